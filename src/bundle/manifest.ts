import { type Problem, problems } from '../base/problem.ts'
import { type Static, Type } from '../base/schema.ts'
import { Reference } from '../drift/reference.ts'
import { Composition } from './composition.ts'

/** One input or output tensor of the model's graph: a string dimension is symbolic, e.g. `batch`. */
export const TensorSpec = Type.Object({
  name: Type.String(),
  dtype: Type.String(),
  shape: Type.Array(Type.Union([Type.Integer(), Type.String()])),
})
export type TensorSpec = Static<typeof TensorSpec>

const Signature = Type.Object({ inputs: Type.Array(TensorSpec), outputs: Type.Array(TensorSpec) })

/** Named numbers measured on a held-out split: accuracy, macroF1, loss, … */
export const Metrics = Type.Record(Type.String(), Type.Number())
export type Metrics = Static<typeof Metrics>

/** Where a bundle came from; enough to make it again. */
const Lineage = Type.Object({
  /** sha256 of the data set's content, and the name it was given under. */
  dataset: Type.Optional(Type.Object({ digest: Type.String(), source: Type.String(), rows: Type.Integer() })),
  run: Type.Optional(Type.String()),
  /** The version it was trained on from. */
  parent: Type.Optional(Type.String()),
  /** Version of the Athanor that made it. */
  code: Type.String(),
  seed: Type.Optional(Type.Integer()),
  options: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  /** What was tried before this was chosen: each trial with its figures. */
  selection: Type.Optional(Type.Array(Type.Record(Type.String(), Type.Unknown()))),
  /** The version that this one was made from by refinement. */
  refinedFrom: Type.Optional(Type.Object({ model: Type.String(), version: Type.Integer() })),
  /** The passes that made it, in order, and what each did in words. */
  passes: Type.Optional(
    Type.Array(
      Type.Object({ name: Type.String(), options: Type.Record(Type.String(), Type.Unknown()), note: Type.String() }),
    ),
  ),
  /** What the gate measured of it and of its source; `change` is in points for shares, a ratio for the others. */
  measurements: Type.Optional(
    Type.Array(
      Type.Object({ name: Type.String(), source: Type.Number(), refined: Type.Number(), change: Type.Number() }),
    ),
  ),
  /** Why the gate would have refused it, had it not been forced. */
  forced: Type.Optional(Type.Array(Type.String())),
})

const Task = Type.Union([
  Type.Literal('text-classification'),
  Type.Literal('token-classification'),
  Type.Literal('feature-extraction'),
  Type.Literal('fill-mask'),
  Type.Literal('text-generation'),
  Type.Literal('image-classification'),
  Type.Literal('tensor'),
])

/** Another server that answers for a version. Its key, where it wants one, is the bundle's file `key.sealed`. */
export const Remote = Type.Object({
  /** Where its protocol begins: `http://host:8000/v1` of OpenAI's API, `http://host:8000` of the Open Inference Protocol. */
  url: Type.String(),
  protocol: Type.Union([Type.Literal('openai'), Type.Literal('oip')]),
  /** The model's name over there. */
  model: Type.String(),
  /** How often a request is sent again before its first byte. */
  retries: Type.Optional(Type.Integer({ minimum: 0, maximum: 10 })),
  /** A model here that answers while the other server does not. */
  fallback: Type.Optional(Type.String()),
  /** Whether it reads tensors as bytes, and so need not get them as JSON. */
  binary: Type.Optional(Type.Boolean()),
})
export type Remote = Static<typeof Remote>

/** What runs a version: onnxruntime or llama.cpp in a child process, another server, or other models here. */
const EngineKind = Type.Union([
  Type.Literal('onnx'),
  Type.Literal('llama'),
  Type.Literal('remote'),
  Type.Literal('pipeline'),
])

/**
 * What a bundle says about itself. Its files (`model.onnx`, `tokenizer.json`, …) stand beside it, each with its digest.
 * Models of texts take `ids` and `lengths`: `text-classification` gives `probabilities` of each text, `token-classification`
 * of each token, `fill-mask` of the words at `positions`, `feature-extraction` gives `embeddings`;
 * `text-generation` models are decoders with a key/value cache (src/engine/runners/text-generation.ts); `image-classification`
 * models take `pixels` and give `probabilities`; `tensor` models are plain graphs.
 */
export const Manifest = Type.Object({
  format: Type.Literal('athanor-bundle'),
  formatVersion: Type.Literal(1),
  task: Task,
  /** `onnx` where nothing is said. */
  engine: Type.Optional(EngineKind),
  remote: Type.Optional(Remote),
  /** The models that answer for a version, and how their answers become one. */
  composition: Type.Optional(Composition),
  family: Type.String(),
  /** What is learnt, where it is not one label. */
  problem: Type.Optional(Type.Unsafe<Problem>({ type: 'string', enum: [...problems] })),
  /** Scores from which each of several labels counts as given. */
  thresholds: Type.Optional(Type.Array(Type.Number())),
  signature: Signature,
  /** Labels in the order of the model's classes, the name of the number that is learnt; empty for `tensor`. */
  labels: Type.Array(Type.String()),
  /** Configuration of the text or image pipeline (src/data), present for tasks on texts and images. */
  pipeline: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  /** Sizes and head of an encoder of BERT's kind (src/nn/bert.ts), which can be trained on and written for other libraries. */
  encoder: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  parameters: Type.Integer(),
  metrics: Metrics,
  /** Reference profile of the training data, for drift. */
  profile: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  /** Report of reading, cleaning and splitting the training data. */
  data: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  /** What held-out rows look like to the version: the measure of what is normal (src/drift). */
  reference: Type.Optional(Reference),
  lineage: Lineage,
  description: Type.Optional(Type.String()),
  createdAt: Type.String({ format: 'date-time' }),
})
export type Manifest = Static<typeof Manifest>

/** A file of a bundle: its name, sha256 digest (hex) and size in bytes. */
export const BundleFile = Type.Object({ name: Type.String(), digest: Type.String(), bytes: Type.Integer() })
export type BundleFile = Static<typeof BundleFile>
