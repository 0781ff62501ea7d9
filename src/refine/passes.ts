import { mergeBatchNorm } from '../graph/passes/batch-norm.ts'
import { clipWeights } from '../graph/passes/clip.ts'
import { mergeLora } from '../graph/passes/lora.ts'
import { keepOutputs, removeDeadCode } from '../graph/passes/outputs.ts'
import type { Option } from '../train/options.ts'
import { distil } from './distil.ts'
import { foldConstants } from './fold.ts'
import { type Pass, plain } from './pass.ts'
import { prune } from './prune/prune.ts'
import { quantize } from './quantize/quantize.ts'
import { sparsify } from './sparsify.ts'
import { withModel } from './subject.ts'
import { trim } from './vocabulary.ts'

/** The outputs that serving reads, for tasks whose graphs have more. */
const servedOutputs: Record<string, readonly string[]> = {
  'text-classification': ['probabilities'],
  'image-classification': ['probabilities'],
}

const tidy: Pass = {
  description: 'drop outputs that serving does not read, dead code, and what can be computed once',
  options: {},
  wantsFloats: false,
  apply: plain(async (subject) => {
    const { model, manifest } = subject
    const served = servedOutputs[manifest.task]
    const names = manifest.signature.outputs.map(({ name }) => name)
    const kept = served?.every((name) => names.includes(name)) ? keepOutputs(model, served) : removeDeadCode(model)
    const { model: folded } = await foldConstants(kept)
    const went = model.graph!.node.length - folded.graph!.node.length
    return { subject: withModel(subject, folded), note: `${went} of ${model.graph!.node.length} nodes went` }
  }),
}

const merge: Pass = {
  description: 'merge batch normalisation into the layer before it, and low-rank adapters into their weights',
  options: {},
  wantsFloats: true,
  apply: plain((subject) => {
    const merged = mergeLora(mergeBatchNorm(subject.model))
    const went = subject.model.graph!.node.length - merged.graph!.node.length
    return { subject: withModel(subject, merged), note: `${went} nodes went` }
  }),
}

const clipOptions = {
  percentile: {
    type: 'number',
    default: 99.9,
    minimum: 50,
    maximum: 100,
    description: 'magnitudes above this percentile of their tensor are clipped to it',
  },
} as const satisfies Record<string, Option>

const clip: Pass = {
  description: 'clip outliers among the weights, so that a quantizer covers a smaller range',
  options: clipOptions,
  wantsFloats: true,
  apply: plain((subject, { percentile }) => {
    const { model, clipped } = clipWeights(subject.model, Number(percentile))
    return { subject: withModel(subject, model), note: `${clipped} weights clipped` }
  }),
}

/** Every pass by its name; help, documentation and the search derive from this table. */
export const passes = { tidy, merge, clip, trim, distil, prune, sparsify, quantize } as const satisfies Record<
  string,
  Pass
>
