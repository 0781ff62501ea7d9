import { type TrainingGraph, trainingGraph } from '../../src/autograd/training.ts'
import { classifierInputs, families } from '../../src/nn/families.ts'
import type { TextFamily } from '../../src/nn/family.ts'
import { classifierLoss } from '../../src/nn/losses.ts'
import type { Batch } from '../../src/train/batch.ts'
import type { Weights } from '../../src/train/checkpoint.ts'

/** What both sides of a race do at each step, defined so that they can compute it by formula. */
export interface Work {
  /** The peer's script in bench/peers; it is told of everything in `config`. */
  readonly peer: string
  readonly config: Readonly<Record<string, number | string | boolean>>
  readonly rows: number
  /** Floating-point operations in the matrix products and convolutions of a step, forwards and backwards. */
  readonly flops: number
  /** The ratio to the peer's default that we want. */
  readonly goal: number
  readonly learningRate: number
  /** How long a turn takes, in seconds. */
  readonly turn: number
  graph(): TrainingGraph
  /** Initial values that the peer has from elsewhere; else those of `fills`. */
  weights?(): Promise<Weights>
  batch(step: number): Batch
}

type TextConfig = { rows: number; time: number; vocabulary: number } & Record<string, number | string | boolean>

/** Classification of texts into two classes by one of our families; `products` counts multiplications forwards. */
export function textWork(
  family: { [F in keyof typeof families]: (typeof families)[F] extends TextFamily ? F : never }[keyof typeof families],
  given: TextConfig,
  { products, goal, turn = 1.2 }: { products: number; goal: number; turn?: number },
): Work {
  const classes = 2
  const { rows, time, vocabulary } = given
  return {
    peer: 'texts.py',
    config: { family, classes, ...given },
    rows,
    flops: 3 * 2 * products,
    goal,
    learningRate: 1e-3,
    turn,
    graph: () =>
      trainingGraph((network) => {
        const { ids, lengths } = classifierInputs(network.graph)
        const labels = network.graph.input('labels', 'int64', ['batch'])
        const logits = families[family].build(network, ids, lengths, { classes, dropout: 0, ...given })
        return classifierLoss(logits, labels)
      }),
    batch(step) {
      const int64 = (dims: number[], value: (i: number) => number) => {
        const length = dims.reduce((a, b) => a * b, 1)
        return { type: 'int64', dims, data: BigInt64Array.from({ length }, (_, i) => BigInt(value(i))) } as const
      }
      const tensors = {
        ids: int64([rows, time], (i) => 1 + ((i * 7919 + step * 104_729) % (vocabulary - 1))),
        lengths: int64([rows], () => time),
        labels: int64([rows], (row) => (row + step) % classes),
      }
      return { tensors, rows, sizes: { time } }
    },
  }
}

/** A parameter's initial values: a hash of place and number, spread evenly around a centre. */
export interface Fill {
  readonly name: string
  readonly dims: readonly number[]
  readonly centre: number
  readonly bound: number
}

/** As the families start their parameters, but by a formula that the peer knows as well. */
export function fills({ parameters }: TrainingGraph): Fill[] {
  return parameters.map(({ name, dims, init }) => {
    const bound = init.kind === 'uniform' ? init.bound : init.kind === 'normal' ? init.deviation * Math.sqrt(3) : 0
    return { name, dims, centre: init.kind === 'ones' ? 1 : 0, bound }
  })
}

/** The values of the k-th parameter; see `fill` in bench/peers/trainer.py. */
export function valuesOf({ dims, centre, bound }: Fill, k: number): Float32Array {
  const length = dims.reduce((a, b) => a * b, 1)
  const values = new Float32Array(length)
  for (let i = 0; i < length; i++) {
    let h = (Math.imul(i, 0x9e3779b1) + Math.imul(k, 0x85ebca6b)) | 0
    h = Math.imul(h ^ (h >>> 16), 0x45d9f3b)
    values[i] = centre + (((h ^ (h >>> 16)) >>> 0) / 2 ** 31 - 1) * bound
  }
  return values
}
