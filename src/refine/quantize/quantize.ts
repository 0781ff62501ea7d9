import { fail } from '../../base/errors.ts'
import { Edit } from '../../graph/edit.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { mergeBatchNorm } from '../../graph/passes/batch-norm.ts'
import type { Option } from '../../train/options.ts'
import { difference, runOn, type Said } from '../compare.ts'
import { type Feeds, feedsFor } from '../inputs.ts'
import type { Pass, PassContext } from '../pass.ts'
import { type Subject, withModel, withoutCard } from '../subject.ts'
import { learnRounded, type Rounding } from './aware.ts'
import { quantizeWeights } from './blocks.ts'
import { type Calibration, calibrations } from './calibrate.ts'
import { quantizeDynamic } from './dynamic.ts'
import { storeHalf } from './half.ts'
import { type Layer, layersOf } from './layers.ts'
import { rangesOf } from './observe.ts'
import { observedBy, quantizable, quantizeStatic } from './static.ts'

const schemes = ['int8', 'int8-static', 'int8-weights', 'int4', 'float16'] as const
type Scheme = (typeof schemes)[number]

/** Rows of the sample that a choice between quantized graphs is made by. */
const JUDGED = 256
/** A quantized graph is taken as it is when it agrees with its source on this share of the rows … */
const AGREES = 0.99
/** … and seven bits instead of eight only where they bring the error below this share of that of eight. */
const CLEARLY = 0.7

const options = {
  scheme: {
    type: 'string',
    default: 'int8',
    choices: schemes,
    description:
      'int8 (activations as they come), int8-static (activations by calibration), int8-weights and int4 (weights alone, in blocks), float16 (storage)',
  },
  range: {
    type: 'string',
    default: 'auto',
    choices: ['auto', 'full', 'reduced'],
    description: 'eight bits for weights, or seven for CPUs whose 8-bit products overflow; auto measures',
  },
  calibration: {
    type: 'string',
    default: 'percentile',
    choices: calibrations,
    description: 'how int8-static finds the range of activations',
  },
  block: {
    type: 'integer',
    default: 32,
    minimum: 16,
    maximum: 256,
    description: 'weights that share a scale, a power of two, for int8-weights and int4',
  },
  leave: {
    type: 'integer',
    default: null,
    minimum: 0,
    maximum: 10_000,
    description: 'how many of the most fragile layers stay float; chosen by measurement if not given',
  },
  aware: {
    type: 'boolean',
    default: false,
    description: 'train on with rounded numbers first, so that rounding costs less accuracy; needs the training data',
  },
  learned: {
    type: 'boolean',
    default: false,
    description: 'train on so, and learn how far the weights of each channel or block reach: those beyond are clipped',
  },
} as const satisfies Record<string, Option>

interface Plan {
  readonly scheme: Scheme
  readonly reduced: boolean
  readonly calibration: Calibration
  readonly block: number
  readonly feeds: readonly Feeds[]
  readonly threads: number
}

/** Integers or half floats in the place of float32 weights. */
export const quantize: Pass = {
  description: 'store and compute with integers or half floats',
  options,
  wantsFloats: true,
  async *apply(source, settings, context) {
    const scheme = settings.scheme as Scheme
    // normalisation between integer convolutions would bring floats back
    const given = scheme === 'int8-static' ? withModel(source, mergeBatchNorm(source.model)) : source
    if (scheme === 'float16')
      return { subject: withModel(withoutCard(given), storeHalf(given.model)), note: 'weights stored as half floats' }
    const layers = layersOf(new Edit(given.model)).filter((layer) => fits(layer, scheme))
    if (layers.length === 0)
      throw fail('UNSUPPORTED', {
        what: `${scheme} for this graph, which has no layer of that kind`,
        instead: 'Try another scheme.',
      })
    const block = Number(settings.block)
    if (!Number.isInteger(Math.log2(block))) {
      throw fail('OPTION_INVALID', { option: 'block', reason: `expected a power of two, got ${block}` })
    }
    const learned = settings.learned === true
    const aware = settings.aware === true || learned
    const rounding = { ...roundingOf(scheme, block, settings.range === 'reduced'), learned }
    const subject = aware ? yield* learnRounded(given, layers, rounding, context) : given
    const feeds = await judgedOn(subject, context, scheme)
    const { threads } = context
    const plan = { scheme, calibration: settings.calibration as Calibration, block, feeds, threads }
    const reference = feeds.length > 0 ? await runOn(subject.model, feeds, threads) : undefined
    const reduced = await choosesReduced(subject.model, layers, plan, String(settings.range), reference)
    const settled: Plan = { ...plan, reduced }
    const left = await fragile(subject.model, layers, settled, settings.leave, reference)
    const chosen = layers.filter((layer) => !left.includes(layer))
    const model = await rewrite(subject.model, chosen, settled)
    const parts = [
      `${scheme}: ${chosen.length} of ${layers.length} layers`,
      ...(aware ? [`trained on while rounded${learned ? ' and clipped' : ''}`] : []),
      ...(reduced ? ['seven bits a weight'] : []),
      ...(left.length > 0 ? [`left as they were: ${left.map(({ weight }) => weight).join(', ')}`] : []),
    ]
    return { subject: withModel(withoutCard(subject), model), note: parts.join('; ') }
  },
}

const roundingOf = (scheme: Scheme, block: number, reduced: boolean): Omit<Rounding, 'learned'> => ({
  activations: scheme === 'int8' || scheme === 'int8-static',
  weights:
    scheme === 'int8' || scheme === 'int8-static'
      ? { limit: reduced ? 63 : 127 }
      : { block, bits: scheme === 'int4' ? 4 : 8 },
})

const fits = (layer: Layer, scheme: Scheme): boolean => {
  if (scheme === 'int8') return layer.kind !== 'conv'
  if (scheme === 'int8-static') return quantizable(layer) || layer.kind === 'gather'
  return layer.kind === 'matmul' || layer.kind === 'gemm' || layer.kind === 'gather'
}

async function judgedOn(subject: Subject, { heldIn }: PassContext, scheme: Scheme): Promise<Feeds[]> {
  const rows = heldIn.slice(0, JUDGED)
  const possible = subject.manifest.task === 'tensor' || rows.length > 0
  if (!possible && scheme === 'int8-static') {
    throw fail('BAD_REQUEST', {
      message:
        'int8-static needs rows to calibrate with, and this version keeps none: give the training data as well: athanor refine MODEL DATA',
    })
  }
  return possible ? feedsFor(subject, rows) : []
}

/** The graph with the given layers quantized by the plan. */
async function rewrite(model: ModelProto, layers: readonly Layer[], plan: Plan): Promise<ModelProto> {
  const edit = new Edit(model)
  const { scheme, reduced, block } = plan
  if (scheme === 'int8') quantizeDynamic(edit, layers, { reduced })
  else if (scheme === 'int8-static') {
    const observed = observedBy(edit, layers)
    const ranges = await rangesOf(model, observed, plan.feeds, plan.calibration, plan.threads)
    quantizeStatic(edit, layers, ranges, { reduced })
    quantizeDynamic(
      edit,
      layers.filter(({ kind }) => kind === 'gather'),
      { reduced },
    )
  } else quantizeWeights(edit, layers, { bits: scheme === 'int4' ? 4 : 8, block })
  return edit.finish()
}

async function choosesReduced(
  model: ModelProto,
  layers: readonly Layer[],
  plan: Omit<Plan, 'reduced'>,
  range: string,
  reference: Said | undefined,
): Promise<boolean> {
  if (range !== 'auto' || !reference || !plan.scheme.startsWith('int8') || plan.scheme === 'int8-weights')
    return range === 'reduced'
  const errorOf = async (reduced: boolean) => {
    const said = await runOn(await rewrite(model, layers, { ...plan, reduced }), plan.feeds, plan.threads)
    return difference(reference, said).error
  }
  return (await errorOf(true)) < CLEARLY * (await errorOf(false))
}

/** The layers to leave: none if all quantized agree with the source, else as few of those with the largest error as do it. */
async function fragile(
  model: ModelProto,
  layers: readonly Layer[],
  plan: Plan,
  leave: unknown,
  reference: Said | undefined,
): Promise<Layer[]> {
  if (!reference || leave === 0) return []
  const judge = async (chosen: readonly Layer[]) =>
    difference(reference, await runOn(await rewrite(model, chosen, plan), plan.feeds, plan.threads))
  const whole = await judge(layers)
  if (leave === null && whole.agreement >= AGREES) return []
  const errors = new Map<Layer, number>()
  for (const layer of layers) errors.set(layer, (await judge([layer])).error)
  const order = layers.toSorted((a, b) => errors.get(b)! - errors.get(a)!)
  if (typeof leave === 'number') return order.slice(0, leave)
  for (let count = 1; count < layers.length; count *= 2) {
    const left = order.slice(0, count)
    if ((await judge(layers.filter((layer) => !left.includes(layer)))).agreement >= AGREES) return left
  }
  return order.slice(0, Math.floor(layers.length / 2))
}
