import { Type } from '../base/schema.ts'
import { isDataType, type Tensor } from '../graph/dtype.ts'
import { flattenNumbers } from '../graph/values.ts'
import { ReadColumns } from '../train/events.ts'
import { nativeOutputs } from './answers.ts'
import { counted } from './counted.ts'
import { imageFromText } from './data.ts'
import { callOf, route } from './route.ts'

const PredictionBody = Type.Object({
  model: Type.String(),
  version: Type.Integer(),
  requestId: Type.String(),
  /**
   * Texts: for each, labels best first; its embedding; words for each mask; or labelled stretches. Tensors: outputs by
   * name.
   */
  outputs: Type.Unknown(),
  timings: Type.Object({
    queue: Type.Number(),
    pre: Type.Number(),
    run: Type.Number(),
    post: Type.Number(),
    total: Type.Number(),
  }),
})

const JsonTensor = Type.Object({
  shape: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 64 }),
  data: Type.Array(Type.Unknown()),
})

const Body = Type.Object(
  {
    inputs: Type.Union([
      Type.String(),
      Type.Array(Type.String(), { minItems: 1 }),
      Type.Array(Type.Object({ text: Type.String(), text_pair: Type.String() }, { additionalProperties: false }), {
        minItems: 1,
      }),
      Type.Record(Type.String(), JsonTensor),
    ]),
    parameters: Type.Optional(
      Type.Object(
        {
          topK: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
          deadline: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 3_600_000, description: 'Milliseconds the answer may take' }),
          ),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)

export const predictRoutes = [
  route(
    'POST /api/models/:model/predict',
    {
      summary: 'Classify, embed or complete texts, classify images (in base64), or run a plain graph on tensors',
      permission: 'use',
      tag: 'predict',
    },
    { params: Type.Object({ model: Type.String() }), body: Body, response: PredictionBody },
    async (house, { params, body, request, reply }) => {
      const { inputs, parameters } = body
      const call = { ...callOf(request, reply), ...parameters }
      const ref = params.model
      const prediction = await counted(house, 'native', ref, request.id, async () => {
        const { name, manifest } = await house.deployments.resolve(ref)
        if (typeof inputs === 'string' || Array.isArray(inputs)) {
          const given = typeof inputs === 'string' ? [inputs] : inputs
          const texts = given.map((one) => (typeof one === 'string' ? one : one.text))
          const pairs = given.flatMap((one) => (typeof one === 'string' ? [] : [one.text_pair]))
          if (pairs.length > 0) return house.deployments.predict(ref, texts, { ...call, pairs })
          if (manifest.task !== 'image-classification') return house.deployments.predict(ref, texts, call)
          const images = texts.map((text, i) => imageFromText(text, `inputs[${i}]`))
          return house.deployments.classifyImages(ref, images, call)
        }
        const tensors: Record<string, Tensor> = {}
        for (const [input, { shape, data }] of Object.entries(inputs)) {
          const spec = manifest.signature.inputs.find((one) => one.name === input)
          const dtype = spec && isDataType(spec.dtype) ? spec.dtype : 'float32'
          tensors[input] = flattenNumbers(data, shape, dtype, `inputs.${input}`, name)
        }
        return house.deployments.infer(ref, tensors, call)
      })
      const { model, version, timings, total } = prediction
      const { queue, pre, run, post } = timings
      return {
        model,
        version,
        requestId: request.id,
        outputs: nativeOutputs(prediction, parameters?.topK),
        timings: { queue, pre, run, post, total },
      }
    },
  ),
  route(
    'POST /api/models/:model/run',
    {
      summary:
        'Run a model of one of the hub’s tasks (question-answering, translation, object-detection, …) in its own words',
      permission: 'use',
      tag: 'predict',
    },
    {
      params: Type.Object({ model: Type.String() }),
      body: Type.Object(
        { inputs: Type.Unknown(), parameters: Type.Optional(Type.Record(Type.String(), Type.Unknown())) },
        { additionalProperties: false },
      ),
      response: PredictionBody,
    },
    async (house, { params, body, request, reply }) => {
      const call = () => house.deployments.ask(params.model, body.inputs, body.parameters, callOf(request, reply))
      const prediction = await counted(house, 'native', params.model, request.id, call)
      const { model, version, timings, total } = prediction
      const { queue, pre, run, post } = timings
      const outputs = nativeOutputs(prediction)
      return { model, version, requestId: request.id, outputs, timings: { queue, pre, run, post, total } }
    },
  ),
  route(
    'POST /api/evaluations',
    { summary: 'Measure a version on a data set', permission: 'use', tag: 'predict' },
    {
      body: Type.Object(
        {
          model: Type.String(),
          dataset: Type.String(),
          read: Type.Optional(ReadColumns),
        },
        { additionalProperties: false },
      ),
    },
    async (house, { body, request, reply }) => {
      const { evaluate } = await import('../serve/evaluate.ts')
      return evaluate(house, body, callOf(request, reply).signal)
    },
  ),
]
