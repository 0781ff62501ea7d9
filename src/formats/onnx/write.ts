import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { type ModelProto, ModelProtoSchema } from '../../graph/gen/onnx_pb.js'
import type { WriteOptions } from '../formats.ts'
import type { Files } from '../source.ts'
import { externalise } from './external.ts'
import { convertOpset } from './opset.ts'
import { makePortable } from './portable.ts'

/** Name of the file that tensors are kept in beside the model. */
const DATA_FILE = 'model.onnx.data'

/** A model as files that any ONNX runtime reads. Throws UNSUPPORTED for operators without a standard form. */
export function writeOnnx(model: ModelProto, { opset, externalData, keepOperators }: WriteOptions): Files {
  const copy = fromBinary(ModelProtoSchema, toBinary(ModelProtoSchema, model))
  if (!keepOperators) makePortable(copy)
  if (opset !== undefined) convertOpset(copy, opset)
  const data = externalData ? externalise(copy, DATA_FILE) : undefined
  return { 'model.onnx': toBinary(ModelProtoSchema, copy), ...(data && { [DATA_FILE]: data }) }
}
