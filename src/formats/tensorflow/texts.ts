import type { PipelineConfig } from '../../data/pipeline.ts'
import { normalise } from '../../data/text.ts'
import { fromNumbers } from '../../graph/tensor.ts'
import type { TfGraph } from './graphdef.ts'

const UNKNOWN = 1
const LAST = 0x10ffff
/** Stands for a text that is empty, whose one token is not known. */
const EMPTY = '\ue000'
/** White space as JavaScript's `\s` has it, in RE2. */
const BLANKS = '[\\t-\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}]+'
const surrogate = (code: number) => code >= 0xd800 && code <= 0xdfff

/** What each code point becomes: how many tokens, and where they begin in `ids`; beyond the tables one unknown token. */
interface Tables {
  /** Negative where the answer depends on the neighbours. */
  counts: number[]
  starts: number[]
  ids: number[]
}

/**
 * Whether a model's texts can be cut into ids by TensorFlow's own operators: tokens are single characters, and what makes a
 * text uniform can be said character by character. Words are cut by ICU's dictionaries and byte pairs by merges, for which
 * it has no operators.
 */
export const expressible = ({ tokenizer, truncate = 'end', normalise }: PipelineConfig): boolean =>
  tokenizer === 'character' && truncate === 'end' && normalise.script === undefined

/**
 * Adds what cuts texts into ids: a placeholder of strings (batch), and the ids int64 (batch, time) and lengths int64 (batch)
 * that it leads to. A text with marks that Unicode's normal form would join with their neighbours is an error there.
 */
export function textInput(g: TfGraph, config: PipelineConfig, vocabulary: Record<string, number>) {
  const { counts, starts, ids } = tablesOf(config, vocabulary)
  const ints = (values: readonly number[], name: string) =>
    g.constant(fromNumbers('int32', [values.length], values), name)
  const T = (type: 'int32' | 'int64' | 'string') => ({ T: { type } }) as const
  const replaced = (text: string, pattern: string, rewrite: string) =>
    g.add('StaticRegexReplace', [text], {
      pattern: { text: pattern },
      rewrite: { text: rewrite },
      replace_global: { flag: true },
    })
  const gather = (table: string, at: string, params: 'int32' | 'int64', indices: 'int32' | 'int64') =>
    g.add('GatherV2', [table, at, g.ints([0], [])], {
      Tparams: { type: params },
      Tindices: { type: indices },
      Taxis: { type: 'int32' },
      batch_dims: { int: 0 },
    })

  const texts = g.add('Placeholder', [], { dtype: { type: 'string' }, shape: { shape: [-1] } }, 'texts')
  const spaced = replaced(replaced(replaced(texts, BLANKS, ' '), '[\\p{Cc}\\p{Cf}]', ''), ' +', ' ')
  const plain = g.add('StringStrip', [spaced])
  const none = g.add('Equal', [plain, g.text('')], { ...T('string'), incompatible_shape_error: { flag: true } })
  const filled = g.add('SelectV2', [none, g.text(EMPTY), plain], T('string'))
  const decoded = g.add('UnicodeDecode', [filled], {
    input_encoding: { text: 'UTF-8' },
    errors: { text: 'replace' },
    replacement_char: { int: 0xfffd },
    replace_control_characters: { flag: false },
    Tsplits: { type: 'int64' },
  })
  const known = g.add('Minimum', [`${decoded}:1`, g.scalar('int32', counts.length - 1)], T('int32'))
  const signed = gather(ints(counts, 'texts/counts'), known, 'int32', 'int32')
  const joined = g.add('Less', [signed, g.scalar('int32', 0)], T('int32'))
  const any = g.add('Any', [joined, g.ints([0])], { Tidx: { type: 'int32' }, keep_dims: { flag: false } })
  const checked = g.add(
    'Assert',
    [g.add('LogicalNot', [any]), g.text('a text has combining marks: normalise it first')],
    {
      T: { types: ['string'] },
      summarize: { int: 3 },
    },
  )
  const count = g.add('Abs', [signed, `^${checked}`], T('int32'))
  const start = gather(ints(starts, 'texts/starts'), known, 'int32', 'int32')
  const end = g.add('AddV2', [start, count], T('int32'))
  const range = g.add('RaggedRange', [start, end, g.scalar('int32', 1)], { ...T('int32'), Tsplits: { type: 'int64' } })
  const tokens = gather(ints(ids, 'texts/ids'), `${range}:1`, 'int32', 'int32')
  const splits = gather(range, decoded, 'int64', 'int64')
  const whole = g.add(
    'RaggedTensorToTensor',
    [g.constant(fromNumbers('int64', [2], [-1, -1])), tokens, g.scalar('int32', 0), splits],
    {
      ...T('int32'),
      Tindex: { type: 'int64' },
      Tshape: { type: 'int64' },
      num_row_partition_tensors: { int: 1 },
      row_partition_types: { texts: ['ROW_SPLITS'] },
    },
  )
  const sliced = (x: string, type: 'int32' | 'int64', begin: number[], end: number[], masks: [number, number]) =>
    g.add('StridedSlice', [x, g.ints(begin), g.ints(end), g.ints(begin.map(() => 1))], {
      T: { type },
      Index: { type: 'int32' },
      begin_mask: { int: masks[0] },
      end_mask: { int: masks[1] },
      ellipsis_mask: { int: 0 },
      new_axis_mask: { int: 0 },
      shrink_axis_mask: { int: 0 },
    })
  const cut = sliced(whole, 'int32', [0, 0], [0, config.maxLength], [3, 1])
  const rows = g.add('Cast', [cut], { SrcT: { type: 'int32' }, DstT: { type: 'int64' } })
  const differences = g.add(
    'Sub',
    [sliced(splits, 'int64', [1], [0], [0, 1]), sliced(splits, 'int64', [0], [-1], [1, 0])],
    T('int64'),
  )
  const lengths = g.add('Minimum', [differences, g.scalar('int64', config.maxLength)], T('int64'))
  return { texts, defaults: { ids: rows, lengths } }
}

function tablesOf({ normalise: how }: PipelineConfig, vocabulary: Record<string, number>): Tables {
  const joining = how.unicode === 'none' ? () => false : joins(how.unicode)
  const counts: number[] = []
  const starts: number[] = []
  const ids = [UNKNOWN]
  let last = 0
  for (let code = 0; code <= LAST; code++) {
    if (surrogate(code)) {
      counts.push(1)
      starts.push(0)
      continue
    }
    const character = String.fromCodePoint(code)
    // a blank between two letters stays; alone it would be trimmed
    const became = normalise(`x${character}x`, { ...how }).slice(1, -1)
    const tokens = Array.from(became, (one) => (Object.hasOwn(vocabulary, one) ? vocabulary[one] : UNKNOWN))
    const plain = tokens.length === 1 && tokens[0] === UNKNOWN
    const apart =
      joining(character) || tokens.length === 0 || (character !== ' ' && became.includes(' ') && !/\s/.test(character))
    counts.push(apart ? -Math.max(1, tokens.length) : tokens.length)
    starts.push(plain ? 0 : ids.length)
    if (!plain) ids.push(...tokens)
    if (apart || !plain) last = code
  }
  // one more, for all that lie beyond
  return { counts: counts.slice(0, last + 2), starts: starts.slice(0, last + 2), ids }
}

/** Tells characters that a normal form may join with, or move around, what stands before them. */
function joins(form: 'NFC' | 'NFKC'): (character: string) => boolean {
  const seconds = new Set<string>()
  for (let code = 0; code <= LAST; code++) {
    if (surrogate(code)) continue
    const character = String.fromCodePoint(code)
    const parts = Array.from(character.normalize('NFD'))
    if (parts.length > 1 && character.normalize(form) === character)
      for (const part of parts.slice(1)) seconds.add(part)
  }
  // marks change places by their combining classes: 1 and 240 are the least and the greatest
  const moves = (character: string) =>
    `a${character}\u0334`.normalize('NFD') !== `a${character.normalize('NFD')}\u0334` ||
    `a\u0345${character}`.normalize('NFD') !== `a\u0345${character.normalize('NFD')}`
  return (character) => seconds.has(character) || (/\p{M}/u.test(character) && moves(character))
}
