import { toBinary } from '@bufbuild/protobuf'
import { type ModelProto, ModelProtoSchema } from './gen/onnx_pb.js'

/** The model as ONNX bytes. */
export const writeModel = (model: ModelProto): Uint8Array => toBinary(ModelProtoSchema, model)
