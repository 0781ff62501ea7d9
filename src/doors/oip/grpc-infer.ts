import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { asAthanorError } from '../../base/errors.ts'
import { dataTypes, type Tensor } from '../../graph/dtype.ts'
import { binaryOf } from '../../graph/octets.ts'
import type { Version } from '../../registry/registry.ts'
import { askRef } from '../../serve/deployments.ts'
import { beginGeneration, type Caller, findModel } from '../ask.ts'
import { runView } from '../views.ts'
import {
  InferParameterSchema,
  type ModelInferRequest,
  type ModelInferResponseSchema,
  type ModelStreamInferResponseSchema,
} from './gen/inference_pb.js'
import { contentsOf, parametersOf, readInputs } from './grpc-tensors.ts'
import { settingsFrom } from './settings.ts'
import { invalid, wantedOutputs } from './tensors.ts'

type Response = MessageInitShape<typeof ModelInferResponseSchema>
type StreamResponse = MessageInitShape<typeof ModelStreamInferResponseSchema>

const findFor = ({ house }: Caller, { modelName, modelVersion }: ModelInferRequest) =>
  findModel(house, modelVersion === '' ? modelName : `${modelName}@${modelVersion}`)

/** Runs a model; answers raw where the request was raw, or where a type has no other form. */
export async function infer(caller: Caller, request: ModelInferRequest): Promise<Response> {
  const version = await findFor(caller, request)
  const settings = settingsFrom(parametersOf(request.parameters))
  const answer = await runView(caller, version, readInputs(request, version), settings)
  const wanted = request.outputs.map(({ name, parameters }) => ({ name, parameters: parametersOf(parameters) }))
  const answered = { name: answer.model, version: answer.version }
  return responseOf(request, answered, wantedOutputs(answer, wanted))
}

function responseOf(
  { id, rawInputContents }: Pick<ModelInferRequest, 'id' | 'rawInputContents'>,
  { name, version }: Pick<Version, 'name' | 'version'>,
  outputs: readonly { name: string; tensor: Tensor }[],
): Response {
  const raw =
    rawInputContents.length > 0 || outputs.some(({ tensor: { dtype } }) => dtype === 'float16' || dtype === 'bfloat16')
  return {
    modelName: name,
    modelVersion: String(version),
    id,
    outputs: outputs.map(({ name, tensor }) => {
      const contents = raw ? undefined : contentsOf(tensor)
      const head = { name, datatype: dataTypes[tensor.dtype].oip, shape: tensor.dims.map(BigInt) }
      return { ...head, ...(contents && { contents }) }
    }),
    ...(raw && { rawOutputContents: outputs.map(({ tensor }) => binaryOf(tensor)) }),
  }
}

/**
 * Answers the requests of a stream one after another. A model that writes texts answers token by token; other models once.
 * An error is an answer of the stream, and the stream goes on.
 */
export async function* inferStream(
  caller: Caller,
  requests: AsyncIterable<ModelInferRequest>,
): AsyncGenerator<StreamResponse> {
  for await (const request of requests) {
    try {
      const { manifest } = await findFor(caller, request)
      if (manifest.task === 'text-generation') yield* written(caller, request)
      else yield { inferResponse: await infer(caller, request) }
    } catch (thrown) {
      const { message, hint } = asAthanorError(thrown)
      yield { errorMessage: `${message}. ${hint}`, inferResponse: { id: request.id, modelName: request.modelName } }
    }
  }
}

async function* written(caller: Caller, request: ModelInferRequest): AsyncGenerator<StreamResponse> {
  const version = await findFor(caller, request)
  const { text } = readInputs(request, version)
  if (text?.dtype !== 'string' || text.data.length !== 1)
    throw invalid('inputs: expected one, "text", of type BYTES and shape [1]', version.name)
  const parameters = parametersOf(request.parameters)
  const { events } = await beginGeneration(caller, askRef(version), {
    ...settingsFrom(parameters),
    prompt: (text.data as string[])[0],
  })
  const final = (value: boolean) => ({
    triton_final_response: create(InferParameterSchema, { parameterChoice: { case: 'boolParam', value } }),
  })
  for await (const event of events) {
    if (event.text === '' && event.type === 'token') continue
    const tensor: Tensor = { dtype: 'string', dims: [1], data: [event.text] }
    const response = responseOf(request, version, [{ name: 'text', tensor }])
    yield { inferResponse: { ...response, parameters: final(event.type === 'end') } }
  }
}
