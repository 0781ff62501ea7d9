import { AthanorError } from '../base/errors.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { AnyEngine } from '../engine/any.ts'
import { GREEDY } from '../engine/messages.ts'
import { type DataType, dataTypes, type Tensor } from '../graph/dtype.ts'
import type { Served } from './metrics/served.ts'

/** A model is ready that answered within this many milliseconds. */
const WITHIN = 5_000
/** An answer younger than this is enough; an older one is asked for anew, and must come in time. */
const FRESH = 2_000
const DEADLINE = 2_500
/** Elements that an input made of zeros may have. */
const LARGEST = 1 << 20

interface EngineHealth {
  model: string
  version: number
  /** Milliseconds since it last answered, and whether that is short enough. */
  answered: number
  ready: boolean
}

/**
 * Whether loaded models answer. What callers ask counts; an engine that nobody has asked for a while is sent a small
 * request of its own, when someone wants to know. Models of other servers are not asked: that would cost something.
 */
export class Canary {
  readonly #engines: () => readonly AnyEngine[]
  readonly #answered = new Map<string, number>()
  readonly #asking = new Map<AnyEngine, Promise<void>>()

  constructor(engines: () => readonly AnyEngine[]) {
    this.#engines = engines
  }

  observe({ model, version, code }: Served) {
    if (code === undefined) this.#answered.set(`${model}@${version}`, performance.now())
  }

  /** Every loaded engine with the time since its last answer, which is asked for if it is too long ago. */
  async check(): Promise<EngineHealth[]> {
    const engines = this.#engines().filter(({ spec }) => !spec.manifest.remote)
    await Promise.all(engines.map((engine) => this.#age(engine) > FRESH && this.#ask(engine)))
    return engines.map((engine) => {
      const { name: model, version } = engine.spec
      const answered = Math.round(this.#age(engine))
      return { model, version, answered, ready: answered <= WITHIN }
    })
  }

  #age({ spec: { name, version } }: AnyEngine): number {
    return performance.now() - (this.#answered.get(`${name}@${version}`) ?? Number.NEGATIVE_INFINITY)
  }

  /** Those who want to know at the same time share one request. */
  #ask(engine: AnyEngine): Promise<void> {
    const known = this.#asking.get(engine)
    if (known) return known
    const asking = ask(engine).then((alive) => {
      const { name, version } = engine.spec
      if (alive) this.#answered.set(`${name}@${version}`, performance.now())
      this.#asking.delete(engine)
    })
    this.#asking.set(engine, asking)
    return asking
  }
}

/** True if an engine ran a request, or said in time what it has against it: a graph may not take zeros. */
async function ask(engine: AnyEngine): Promise<boolean> {
  const options = { deadline: DEADLINE, canary: true }
  try {
    if (engine.spec.manifest.task !== 'text-generation') await engine.request(requestFor(engine.spec.manifest), options)
    else for await (const _ of engine.generate({ ...GREEDY, prompt: 'a', maxTokens: 1 }, options));
    return true
  } catch (error) {
    return error instanceof AthanorError && error.status < 500
  }
}

/** A small request that a model of any task takes. */
function requestFor({ task, signature }: Manifest): Parameters<AnyEngine['request']>[0] {
  if (task === 'image-classification')
    return { images: [{ data: new Uint8Array(3), height: 1, width: 1, channels: 3 }] }
  // the masks of BERT and of RoBERTa: a model of words for masks takes nothing without
  if (task !== 'tensor') return { texts: ['[MASK] <mask>'] }
  return {
    inputs: Object.fromEntries(
      signature.inputs.map(({ name, dtype, shape }) => [name, zeros(dtype as DataType, shape)]),
    ),
  }
}

/** Zeros of a shape, symbolic dimensions being 1. */
function zeros(dtype: DataType, shape: readonly (number | string)[]): Tensor {
  const dims = shape.map((dim) => (typeof dim === 'number' && dim > 0 ? dim : 1))
  const count = Math.min(
    LARGEST,
    dims.reduce((a, b) => a * b, 1),
  )
  const Kind = dataTypes[dtype].array
  return { dtype, dims, data: Kind ? new Kind(count) : new Array<string>(count).fill('') }
}
