import { type Around, buildImported, exportImported, type Imported } from '../../autograd/imported.ts'
import { trainingGraph } from '../../autograd/training.ts'
import { fail } from '../../base/errors.ts'
import type { ImagePipelineConfig } from '../../data/images/pixels.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import * as o from '../../graph/ops.ts'
import { pixelsInput } from '../../nn/images.ts'
import { classifierLoss } from '../../nn/losses.ts'
import { initialWeights, openGraph } from '../graph.ts'
import type { TaskContext } from '../learner.ts'
import type { Options } from '../options.ts'
import type { ImageNetwork, ImageWants } from './image-classification.ts'

// what torchvision's published networks were trained with
const IMAGENET = { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] }
const DEFAULT_SIDE = 224

/** An imported graph as a network of images, and what it expects of them. */
export async function openImageGraph(
  { job, options }: TaskContext,
  around?: Around,
): Promise<{
  wants: ImageWants
  network(pipeline: ImagePipelineConfig, labels: readonly string[]): ImageNetwork
}> {
  const imported = await openGraph(job, options, true)
  const known = job.from!.manifest?.pipeline as Partial<ImagePipelineConfig> | undefined
  const wants = wantsOf(imported, options, known)
  return {
    wants,
    network(pipeline, labels) {
      const [input] = imported.inputs
      const graph = trainingGraph((network) => {
        const target = network.graph.input('labels', 'int64', ['batch'])
        const output = buildImported(network, imported, { [input.name]: pixelsInput(network.graph, pipeline) }, around)
        const logits = output.shape.length > 2 ? o.within(network.graph, () => o.flatten(output)) : output
        checkClasses(logits.shape, labels, output.shape)
        return classifierLoss(logits, target)
      })
      return {
        graph,
        initial: initialWeights(imported),
        inference: (weights) => withSize(exportImported(imported, weights, true), pipeline),
      }
    },
  }
}

function wantsOf({ inputs }: Imported, options: Options, known: Partial<ImagePipelineConfig> | undefined): ImageWants {
  const shape = inputs[0]?.shape ?? []
  const channels = Number(shape[1])
  if (
    inputs.length !== 1 ||
    inputs[0].dtype !== 'float32' ||
    shape.length !== 4 ||
    (channels !== 1 && channels !== 3)
  ) {
    const told = inputs.map(({ name, dtype, shape }) => `${name} ${dtype} [${shape.join(', ')}]`).join('; ')
    throw fail('UNSUPPORTED', {
      what: `a graph that takes ${told.slice(0, 200)} as one of images`,
      instead: 'It must take one float32 input [batch, 1 or 3 channels, height, width].',
    })
  }
  const [height, width] = shape.slice(2)
  const fixed = typeof height === 'number' && typeof width === 'number' ? { height, width } : undefined
  const own = known?.height && known.width ? { height: known.height, width: known.width } : undefined
  const side = Number(options.size ?? DEFAULT_SIDE)
  const size = fixed ?? (options.size === null && own ? own : { height: side, width: side })
  const scale = scaleOf(String(options.scale), channels, known)
  return { size, channels, ...(known?.fit && { fit: known.fit }), ...(scale && { scale }) }
}

function scaleOf(name: string, channels: number, known: Partial<ImagePipelineConfig> | undefined): ImageWants['scale'] {
  const even = (mean: number, deviation: number) => ({
    mean: Array<number>(channels).fill(mean),
    deviation: Array<number>(channels).fill(deviation),
  })
  if (name === 'unit') return even(0, 1)
  if (name === 'signed') return even(0.5, 0.5)
  if (name === 'data') return undefined
  if (name === 'auto' && known?.mean && known.deviation) return { mean: known.mean, deviation: known.deviation }
  if (channels === 3) return IMAGENET
  if (name === 'auto') return undefined
  throw fail('OPTION_INVALID', { option: 'scale', reason: 'that of ImageNet is for three channels' })
}

function checkClasses(logits: readonly (number | string)[], labels: readonly string[], output: readonly unknown[]) {
  if (logits[0] !== 'batch' || logits.length !== 2) {
    const what = `the output [${output.join(', ')}] as an answer for each image`
    throw fail('UNSUPPORTED', { what, instead: 'Export the model with a free first axis, or name another --output.' })
  }
  if (logits[1] === labels.length) return
  const reason = `the model tells ${logits[1]} classes, the data has ${labels.length}; pass --head ${labels.length} for a new last layer`
  throw fail('OPTION_INVALID', { option: 'head', reason })
}

/** The model with its input's height and width told, where they were free. */
function withSize(model: ModelProto, { height, width }: ImagePipelineConfig): ModelProto {
  const [input] = model.graph!.input
  if (input.type?.value.case !== 'tensorType') return model
  const tensor = input.type.value.value
  const sizes = [undefined, undefined, height, width]
  const dim = tensor.shape!.dim.map((one, i) =>
    sizes[i] === undefined ? one : { ...one, value: { case: 'dimValue' as const, value: BigInt(sizes[i]) } },
  )
  const shaped = { ...tensor, shape: { ...tensor.shape!, dim } }
  const first = { ...input, type: { ...input.type, value: { case: 'tensorType' as const, value: shaped } } }
  return { ...model, graph: { ...model.graph!, input: [first, ...model.graph!.input.slice(1)] } }
}
