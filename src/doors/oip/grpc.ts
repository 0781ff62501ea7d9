import { createServer } from 'node:http2'
import type { Socket } from 'node:net'
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from '@connectrpc/connect'
import { connectNodeAdapter } from '@connectrpc/connect-node'
import { asAthanorError, fail } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
import { version as code } from '../../base/version.ts'
import { isCallerError } from '../../watch/log.ts'
import { type Caller, findModel } from '../ask.ts'
import { type House, readCallHeaders } from '../route.ts'
import { viewOf } from '../views.ts'
import { DataType, GRPCInferenceService } from './gen/inference_pb.js'
import { infer, inferStream } from './grpc-infer.ts'
import { repositoryIndex } from './repository.ts'
import { extensions } from './rest.ts'
import { modelMetadata } from './tensors.ts'

export interface GrpcServer {
  /** Speaks HTTP/2 over a connection. */
  serve(socket: Socket): void
  close(): void
}

type Service = ServiceImpl<typeof GRPCInferenceService>

/** gRPC codes by HTTP status. */
const codes: Record<number, Code> = {
  401: Code.Unauthenticated,
  403: Code.PermissionDenied,
  404: Code.NotFound,
  429: Code.ResourceExhausted,
  501: Code.Unimplemented,
  503: Code.Unavailable,
  504: Code.DeadlineExceeded,
}

/** The Open Inference Protocol over gRPC. */
export function grpcServer(house: House): GrpcServer {
  const handler = connectNodeAdapter({
    routes: (router) => {
      router.service(GRPCInferenceService, serviceOf(house))
    },
    connect: false,
    grpcWeb: false,
    readMaxBytes: house.config.bodyLimit,
  })
  const server = createServer({ settings: { initialWindowSize: 1 << 20, maxConcurrentStreams: 1000 } }, handler)
  const sessions = new Set<{ close(): void; destroy(): void }>()
  server.on('session', (session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
  })
  return {
    serve: (socket) => void server.emit('connection', socket),
    close() {
      for (const session of sessions) session.close()
      setTimeout(() => {
        for (const session of sessions) session.destroy()
      }, 1000).unref()
    },
  }
}

function callerOf(house: House, { signal, responseHeader, requestHeader }: HandlerContext): Caller {
  const requestId = newId('req')
  responseHeader.set('x-request-id', requestId)
  return { house, door: 'grpc', requestId, signal, ...readCallHeaders(Object.fromEntries(requestHeader)) }
}

/** Runs one call; what it throws is told with its gRPC code. */
async function answer<T>(house: House, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (thrown) {
    const error = asAthanorError(thrown)
    if (!isCallerError(error)) house.log.error('grpc.failed', error)
    const known = codes[error.status] ?? (error.status < 500 ? Code.InvalidArgument : Code.Internal)
    throw new ConnectError(`${error.message}. ${error.hint}`, known)
  }
}

const refOf = (name: string, version: string) => (version === '' ? name : `${name}@${version}`)

function serviceOf(house: House): Service {
  const { deployments, registry, metrics } = house
  /** KServe's clients send the name in the first field. */
  const named = ({ repositoryName, modelName }: { repositoryName: string; modelName: string }) =>
    modelName === '' ? repositoryName : modelName
  return {
    serverLive: () => ({ live: true }),
    serverReady: () => ({ ready: true }),
    serverMetadata: () => ({ name: 'athanor', version: code, extensions }),
    modelReady: ({ name, version }) =>
      answer(house, async () => {
        await findModel(house, refOf(name, version))
        return { ready: true } // loaded on demand
      }),
    modelMetadata: ({ name, version }) =>
      answer(house, async () => {
        const found = await findModel(house, refOf(name, version))
        const versions = (await registry.versions(found.name)).map((one) => one.version)
        const { inputs, outputs, ...rest } = modelMetadata(found, versions)
        const described = (slots: typeof inputs) => slots.map((slot) => ({ ...slot, shape: slot.shape.map(BigInt) }))
        return { ...rest, inputs: described(inputs), outputs: described(outputs) }
      }),
    modelConfig: ({ name, version }) =>
      answer(house, async () => {
        const found = await findModel(house, refOf(name, version))
        const view = viewOf(found)
        const slots = (list: ReturnType<typeof view.inputs>) =>
          list.map((slot) => ({ name: slot.name, dataType: configType(slot.dtype), dims: slot.shape.map(BigInt) }))
        const decoupled = found.manifest.task === 'text-generation'
        return {
          config: {
            name: found.name,
            platform: 'onnxruntime_onnx',
            backend: 'onnxruntime',
            maxBatchSize: 0, // shapes are whole: the first axis is told like any other
            input: slots(view.inputs(found.manifest)),
            output: slots(view.outputs(found.manifest)),
            ...(decoupled && { modelTransactionPolicy: { decoupled } }),
          },
        }
      }),
    modelStatistics: ({ name, version }) =>
      answer(house, async () => {
        const found = name === '' ? await registry.list() : [await findModel(house, refOf(name, version))]
        const all = await Promise.all(found.map((one) => metrics.statistics(one.name, one.version)))
        const duration = ({ count, ns }: { count: number; ns: number }) => ({ count: BigInt(count), ns: BigInt(ns) })
        return {
          modelStats: all.map(({ inference_count, inference_stats: stats, ...rest }) => ({
            ...rest,
            inferenceCount: BigInt(inference_count),
            inferenceStats: {
              success: duration(stats.success),
              fail: duration(stats.fail),
              queue: duration(stats.queue),
              computeInput: duration(stats.compute_input),
              computeInfer: duration(stats.compute_infer),
              computeOutput: duration(stats.compute_output),
            },
          })),
        }
      }),
    repositoryIndex: ({ ready }) =>
      answer(house, async () => {
        const models = await repositoryIndex(house)
        return { models: models.filter(({ state }) => !ready || state === 'READY') }
      }),
    repositoryModelLoad: (request) =>
      answer(house, async () => {
        const given = Object.keys(request.parameters)
        if (given.length > 0)
          throw fail('UNSUPPORTED', {
            what: `the parameter "${given[0].slice(0, 40)}"`,
            instead: 'Register versions by POST /api/models/:name/versions.',
          })
        await findModel(house, named(request))
        await deployments.load(named(request))
        return {}
      }),
    repositoryModelUnload: (request) =>
      answer(house, async () => {
        await findModel(house, named(request))
        await deployments.unload(named(request))
        return {}
      }),
    modelInfer: (request, context) => answer(house, () => infer(callerOf(house, context), request)),
    modelStreamInfer: (requests, context) => inferStream(callerOf(house, context), requests),
  }
}

const configTypes: Record<string, DataType> = {
  bool: DataType.TYPE_BOOL,
  float16: DataType.TYPE_FP16,
  bfloat16: DataType.TYPE_BF16,
  float32: DataType.TYPE_FP32,
  float64: DataType.TYPE_FP64,
  string: DataType.TYPE_STRING,
}
const configType = (dtype: string) =>
  configTypes[dtype] ?? DataType[`TYPE_${dtype.toUpperCase()}` as keyof typeof DataType] ?? DataType.TYPE_INVALID
