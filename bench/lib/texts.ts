/** Texts of 64 characters, the length that the figures are given for. */
export const texts = Array.from({ length: 64 }, (_, i) =>
  `${'the quick brown fox jumps over the lazy dog and '.repeat(2).slice(i % 40, (i % 40) + 40)}今天天气很好我们去公园散步吧`
    .slice(0, 64)
    .padEnd(64, 'x'),
)
