import { createServer } from 'node:http2'
import type { Socket } from 'node:net'
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from '@connectrpc/connect'
import { compressionBrotli, compressionGzip, connectNodeAdapter } from '@connectrpc/connect-node'
import type { Permission } from '../../access/roles.ts'
import { asAthanorError, fail } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
import { version as code } from '../../base/version.ts'
import { isCallerError } from '../../watch/log.ts'
import { type Caller, findModel } from '../ask.ts'
import { audited } from '../audited.ts'
import type { Gate } from '../gate.ts'
import { type House, readCallHeaders } from '../route.ts'
import { Health } from './gen/health_pb.js'
import { DataType, GRPCInferenceService } from './gen/inference_pb.js'
import { compressionDeflate } from './grpc-deflate.ts'
import { healthService } from './grpc-health.ts'
import { infer, inferStream } from './grpc-infer.ts'
import { repositoryIndex, statisticsOf } from './repository.ts'
import { extensions } from './rest.ts'
import { modelConfig, modelMetadata } from './tensors.ts'

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
export function grpcServer(house: House, gate: Gate): GrpcServer {
  const closing = new AbortController()
  const handler = connectNodeAdapter({
    routes: (router) => {
      router.service(GRPCInferenceService, serviceOf(house, gate))
      router.service(Health, healthService(closing.signal))
    },
    acceptCompression: [compressionGzip, compressionBrotli, compressionDeflate],
    compressMinBytes: Number.POSITIVE_INFINITY, // that a client can read it compressed is no wish to have it so
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
      closing.abort()
      for (const session of sessions) session.close()
      setTimeout(() => {
        for (const session of sessions) session.destroy()
      }, 1000).unref()
    },
  }
}

/** What a call asks of its caller, and what it does in the house of that caller. */
type Call<T> = (house: House, caller: Caller) => Promise<T>

/** The house of who sent a call, and how the call is known in it. Throws UNAUTHORIZED or FORBIDDEN. */
async function enter(gate: Gate, permission: Permission, { requestHeader, responseHeader, signal }: HandlerContext) {
  const requestId = newId('req')
  responseHeader.set('x-request-id', requestId)
  const headers = Object.fromEntries(requestHeader)
  const who = await gate.check(headers, permission, 'grpc')
  if (!who) throw fail('UNAUTHORIZED')
  const house = await gate.house(who)
  if (permission === 'use')
    for (const [name, value] of Object.entries(gate.headers(who))) responseHeader.set(name, value)
  return { house, door: 'grpc', requestId, signal, ...readCallHeaders(headers) } satisfies Caller
}

/** What was thrown, with its gRPC code, and when to try again. */
function failure({ log }: House, thrown: unknown): ConnectError {
  const error = asAthanorError(thrown)
  if (!isCallerError(error)) log.error('grpc.failed', error)
  const known = codes[error.status] ?? (error.status < 500 ? Code.InvalidArgument : Code.Internal)
  const { retryAfter } = error.details
  return new ConnectError(
    `${error.message}. ${error.hint}`,
    known,
    retryAfter === undefined ? undefined : { 'retry-after': String(retryAfter) },
  )
}

const refOf = (name: string, version: string) => (version === '' ? name : `${name}@${version}`)

function serviceOf(outer: House, gate: Gate): Service {
  const answer = async <T>(context: HandlerContext, permission: Permission, call: Call<T>): Promise<T> => {
    try {
      const caller = await enter(gate, permission, context)
      return await call(caller.house, caller)
    } catch (thrown) {
      throw failure(outer, thrown)
    }
  }
  const change = <T>(context: HandlerContext, call: string, target: string, work: (house: House) => Promise<T>) =>
    answer(context, 'write', (house, { requestId }) =>
      audited(house, { action: `gRPC ${call}`, target: target.slice(0, 200), detail: {}, requestId }, () =>
        work(house),
      ),
    )
  /** KServe's clients send the name in the first field. */
  const named = ({ repositoryName, modelName }: { repositoryName: string; modelName: string }) =>
    modelName === '' ? repositoryName : modelName
  return {
    serverLive: () => ({ live: true }),
    serverReady: () => ({ ready: true }),
    serverMetadata: (_request, context) =>
      answer(context, 'read', async () => ({ name: 'athanor', version: code, extensions })),
    modelReady: ({ name, version }, context) =>
      answer(context, 'read', async (house) => {
        await findModel(house, refOf(name, version))
        return { ready: true } // loaded on demand
      }),
    modelMetadata: ({ name, version }, context) =>
      answer(context, 'read', async (house) => {
        const found = await findModel(house, refOf(name, version))
        const versions = (await house.registry.versions(found.name)).map((one) => one.version)
        const { inputs, outputs, ...rest } = modelMetadata(found, versions)
        const described = (slots: typeof inputs) => slots.map((slot) => ({ ...slot, shape: slot.shape.map(BigInt) }))
        return { ...rest, inputs: described(inputs), outputs: described(outputs) }
      }),
    modelConfig: ({ name, version }, context) =>
      answer(context, 'read', async (house) => {
        const found = await findModel(house, refOf(name, version))
        const {
          input,
          output,
          max_batch_size: maxBatchSize,
          model_transaction_policy: policy,
          ...rest
        } = modelConfig(found)
        const slots = (list: typeof input) =>
          list.map(({ name, data_type: type, dims }) => ({
            name,
            dataType: DataType[type as keyof typeof DataType],
            dims: dims.map(BigInt),
          }))
        return {
          config: {
            ...rest,
            maxBatchSize,
            input: slots(input),
            output: slots(output),
            ...(policy && { modelTransactionPolicy: policy }),
          },
        }
      }),
    modelStatistics: ({ name, version }, context) =>
      answer(context, 'read', async (house) => {
        const all = await statisticsOf(house, name === '' ? undefined : refOf(name, version))
        const duration = ({ count, ns }: { count: number; ns: number }) => ({ count: BigInt(count), ns: BigInt(ns) })
        return {
          modelStats: all.map(({ name, version, inference_stats: stats, ...counts }) => ({
            name,
            version,
            lastInference: BigInt(counts.last_inference),
            inferenceCount: BigInt(counts.inference_count),
            executionCount: BigInt(counts.execution_count),
            inferenceStats: {
              success: duration(stats.success),
              fail: duration(stats.fail),
              queue: duration(stats.queue),
              computeInput: duration(stats.compute_input),
              computeInfer: duration(stats.compute_infer),
              computeOutput: duration(stats.compute_output),
            },
            batchStats: counts.batch_stats.map((batch) => ({
              batchSize: BigInt(batch.batch_size),
              computeInput: duration(batch.compute_input),
              computeInfer: duration(batch.compute_infer),
              computeOutput: duration(batch.compute_output),
            })),
          })),
        }
      }),
    repositoryIndex: ({ ready }, context) =>
      answer(context, 'read', async (house) => {
        const models = await repositoryIndex(house)
        return { models: models.filter(({ state }) => !ready || state === 'READY') }
      }),
    repositoryModelLoad: (request, context) =>
      change(context, 'RepositoryModelLoad', named(request), async (house) => {
        const given = Object.keys(request.parameters)
        if (given.length > 0)
          throw fail('UNSUPPORTED', {
            what: `the parameter "${given[0].slice(0, 40)}"`,
            instead: 'Register versions by POST /api/models/:name/versions.',
          })
        await findModel(house, named(request))
        await house.deployments.load(named(request))
        return {}
      }),
    repositoryModelUnload: (request, context) =>
      change(context, 'RepositoryModelUnload', named(request), async (house) => {
        await findModel(house, named(request))
        await house.deployments.unload(named(request))
        return {}
      }),
    modelInfer: (request, context) => answer(context, 'use', (_house, caller) => infer(caller, request)),
    async *modelStreamInfer(requests, context) {
      const caller = await answer(context, 'use', async (_house, caller) => caller)
      yield* inferStream(caller, requests)
    },
  }
}
