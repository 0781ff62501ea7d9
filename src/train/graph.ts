import { readFile } from 'node:fs/promises'
import { type Imported, openImported, pathOf } from '../autograd/imported.ts'
import { fail } from '../base/errors.ts'
import { readModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import type { Weights } from './checkpoint.ts'
import { foldConstants } from './fold.ts'
import type { TrainJob } from './job.ts'
import type { Options } from './options.ts'

/** The graph that a run trains further, checked, by its options `trainable`, `output` and `head`; see `openImported`. */
export async function openGraph({ from }: TrainJob, options: Options, logits: boolean): Promise<Imported> {
  const task = from!.manifest?.task ?? 'tensor'
  if (task !== 'tensor' && task !== 'image-classification') {
    const what = `training the ${task} model "${from!.ref}" further as a graph`
    throw fail('UNSUPPORTED', { what, instead: 'Models of tensors and of images can be.' })
  }
  const model = await foldConstants(readModel(await readFile(from!.files['model.onnx'])))
  return openImported(model, {
    trainable: expression(String(options.trainable)),
    ...(options.output !== '' && { output: String(options.output) }),
    logits,
    ...(options.head !== 0 && { head: Number(options.head) }),
  })
}

function expression(source: string): RegExp {
  try {
    return new RegExp(source)
  } catch {
    const reason = `"${source.slice(0, 80)}" is not a regular expression`
    throw fail('OPTION_INVALID', { option: 'trainable', reason })
  }
}

/** The weights that training begins with. */
export const initialWeights = ({ trained }: Imported): Weights =>
  Object.fromEntries(
    [...trained].flatMap(([name, tensor]) =>
      'data' in tensor ? [[pathOf(name), { dims: tensor.dims, data: tensor.data as Float32Array }]] : [],
    ),
  )

/** How many numbers a model stores. */
export const countStored = ({ graph }: ModelProto) =>
  (graph?.initializer ?? []).reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * Number(b), 1), 0)
