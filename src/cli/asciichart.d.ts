declare module 'asciichart' {
  /** A line chart of the numbers, as text of `height` + 1 lines. */
  export function plot(
    series: readonly number[],
    options?: { height?: number; format?: (value: number) => string },
  ): string
  const asciichart: { plot: typeof plot }
  export default asciichart
}
