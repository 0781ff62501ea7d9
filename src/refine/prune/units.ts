import { fail } from '../../base/errors.ts'
import type { Options } from '../../train/options.ts'

/** Units along one axis of a parameter: which unit an index belongs to; `part` limits it to one index of the first axis. */
interface Axis {
  readonly parameter: string
  readonly axis: number
  readonly part?: number
  readonly unitOf: (index: number) => number | undefined
  /** Whether these numbers make the unit (its weights and biases) rather than use what it gives. */
  readonly makes: boolean
}

/** Units of a network that can be taken out one by one, and all that goes with each. */
export interface UnitSet {
  readonly name: string
  readonly units: number
  readonly axes: readonly Axis[]
}

/** A kind of unit that a family can lose: the option that tells its number, and what numbers suit the CPU's vectors. */
export interface UnitKind {
  readonly option: string
  readonly multiple: number
  /** Whether it is a share of attention heads that goes. */
  readonly heads?: boolean
  sets(options: Options): UnitSet[]
  /** Sizes that change beside the number itself. */
  resized?(options: Options, left: number): Options
}

const range = (count: number) => [...Array(count).keys()]

const hidden = (cell: 'lstm' | 'gru' | 'rnn'): UnitKind => ({
  option: 'hidden',
  multiple: 8,
  sets({ hidden, layers, bidirectional }) {
    const [units, count] = [Number(hidden), Number(layers)]
    const directions = bidirectional ? 2 : 1
    return range(count).flatMap((layer) =>
      range(directions).map((part) => {
        const [inside, path] = [(i: number) => i % units, `${cell}.${layer}`]
        const after = (i: number) => (Math.floor(i / units) === part ? i % units : undefined)
        const user = layer + 1 < count ? ([`${cell}.${layer + 1}/W`, 2] as const) : (['classifier/weight', 1] as const)
        return {
          name: `${path}${directions > 1 ? ['/forward', '/backward'][part] : ''}`,
          units,
          axes: [
            { parameter: `${path}/W`, axis: 1, part, unitOf: inside, makes: true },
            { parameter: `${path}/R`, axis: 1, part, unitOf: inside, makes: true },
            { parameter: `${path}/R`, axis: 2, part, unitOf: inside, makes: false },
            { parameter: `${path}/B`, axis: 1, part, unitOf: inside, makes: true },
            { parameter: user[0], axis: user[1], unitOf: after, makes: false },
          ],
        }
      }),
    )
  },
})

const filters: UnitKind = {
  option: 'filters',
  multiple: 4,
  sets({ filters, narrowest, windows }) {
    const units = Number(filters)
    return range(Number(windows)).map((window) => {
      const path = `windows.${Number(narrowest) + window}`
      const own = (i: number) => i
      return {
        name: path,
        units,
        axes: [
          { parameter: `${path}/weight`, axis: 0, unitOf: own, makes: true },
          { parameter: `${path}/bias`, axis: 0, unitOf: own, makes: true },
          {
            parameter: 'classifier/weight',
            axis: 1,
            unitOf: (i) => (Math.floor(i / units) === window ? i % units : undefined),
            makes: false,
          },
        ],
      }
    })
  },
}

/** Feed-forward neurons: `makers` have a row for each, `user` a column. */
const inner = (makers: readonly string[], user: string, { bias = true } = {}): UnitKind => ({
  option: 'inner',
  multiple: 16,
  sets: ({ layers, inner }) =>
    range(Number(layers)).map((layer) => {
      const path = `layer.${layer}/feedForward`
      const own = (i: number) => i
      return {
        name: path,
        units: Number(inner),
        axes: [
          ...makers.flatMap((maker) => rowsOf(`${path}/${maker}`, own, bias)),
          { parameter: `${path}/${user}/weight`, axis: 1, unitOf: own, makes: false },
        ],
      }
    }),
})

/** The rows of a product's weight, and its bias. */
const rowsOf = (path: string, unitOf: Axis['unitOf'], bias: boolean): Axis[] =>
  ['weight', ...(bias ? ['bias'] : [])].map((name) => ({ parameter: `${path}/${name}`, axis: 0, unitOf, makes: true }))

/** Heads keep their size when some of them go. */
const sizeOf = ({ width, heads, headSize }: Options) => Number(headSize) || Number(width) / Number(heads)

/** Attention heads: `makers` give queries, keys and values, each of its own or one after another in the rows of one. */
const heads = (makers: readonly string[], user: string): UnitKind => ({
  option: 'heads',
  multiple: 1,
  heads: true,
  sets: (options) =>
    range(Number(options.layers)).map((layer) => {
      const [units, size] = [Number(options.heads), sizeOf(options)]
      const path = `layer.${layer}/attention`
      const headOf = (i: number) => Math.floor((i % (units * size)) / size)
      return {
        name: path,
        units,
        axes: [
          ...makers.flatMap((maker) => rowsOf(`${path}/${maker}`, headOf, true)),
          { parameter: `${path}/${user}/weight`, axis: 1, unitOf: headOf, makes: true },
        ],
      }
    }),
  resized: (options) => ({ headSize: sizeOf(options) }),
})

/** Heads of keys and values with all the heads of queries that share them. */
const keyHeads: UnitKind = {
  option: 'keyHeads',
  multiple: 1,
  heads: true,
  sets: (options) =>
    range(Number(options.layers)).map((layer) => {
      const [units, size] = [Number(options.keyHeads), sizeOf(options)]
      const group = (Number(options.heads) / units) * size
      const path = `layer.${layer}/attention`
      const [queryOf, keyOf] = [(i: number) => Math.floor(i / group), (i: number) => Math.floor(i / size)]
      return {
        name: path,
        units,
        axes: [
          ...rowsOf(`${path}/query`, queryOf, false),
          ...rowsOf(`${path}/key`, keyOf, false),
          ...rowsOf(`${path}/value`, keyOf, false),
          { parameter: `${path}/out/weight`, axis: 1, unitOf: queryOf, makes: true },
        ],
      }
    }),
  resized: (options, left) => ({
    heads: (Number(options.heads) / Number(options.keyHeads)) * left,
    headSize: sizeOf(options),
  }),
}

/** What each family or layout can lose. */
const kinds: Record<string, readonly UnitKind[]> = {
  lstm: [hidden('lstm')],
  gru: [hidden('gru')],
  rnn: [hidden('rnn')],
  textcnn: [filters],
  wide: [filters],
  transformer: [inner(['in'], 'out'), heads(['in'], 'out')],
  encoder: [inner(['up'], 'down'), heads(['query', 'key', 'value'], 'output')],
  gpt: [inner(['in'], 'out'), heads(['in'], 'out')],
  llama: [inner(['gate', 'up'], 'down', { bias: false }), keyHeads],
}

/** Throws UNSUPPORTED for a family that has no such units. */
export function kindsOf(family: string): readonly UnitKind[] {
  const found = kinds[family]
  if (found) return found
  throw fail('UNSUPPORTED', {
    what: `structured pruning of the family ${family}`,
    instead: `These can be pruned: ${Object.keys(kinds).join(', ')}.`,
  })
}
