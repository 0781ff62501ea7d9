import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { AthanorError, fail } from '../base/errors.ts'
import { aligned, FILLING } from './aligned.ts'
import { checkModel } from './check.ts'
import { type ModelProto, ModelProtoSchema } from './gen/onnx_pb.js'
import { scan } from './wire.ts'

/** The model as ONNX bytes, large tensors aligned. */
export const writeModel = (model: ModelProto): Uint8Array => aligned(toBinary(ModelProtoSchema, model))

/** Largest model file that is read; protobuf itself ends at 2 GiB. */
const SIZE_LIMIT = 2 ** 31 - 1

/**
 * Reads an ONNX file and checks it, so that no native code sees one that lies about itself. Throws MODEL_INVALID with
 * the reason in words. `inline` may bring tensors kept in other files into the model before it is checked.
 */
export function readModel(bytes: Uint8Array, inline?: (model: ModelProto) => void): ModelProto {
  if (bytes.byteLength === 0) throw fail('MODEL_INVALID', { reason: 'the file is empty' })
  if (bytes.byteLength > SIZE_LIMIT) throw fail('MODEL_INVALID', { reason: 'the file is over 2 GiB' })
  scan(bytes)
  let model: ModelProto
  try {
    model = fromBinary(ModelProtoSchema, bytes)
  } catch (error) {
    if (error instanceof AthanorError) throw error
    throw fail('MODEL_INVALID', { reason: 'the bytes are not an ONNX model' }, { cause: error })
  }
  if (model.graph?.$unknown) model.graph.$unknown = model.graph.$unknown.filter(({ no }) => no !== FILLING)
  inline?.(model)
  checkModel(model)
  return model
}
