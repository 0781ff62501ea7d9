import { once } from 'node:events'
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect'
import { type Health, HealthCheckResponse_ServingStatus as Status } from './gen/health_pb.js'
import { GRPCInferenceService } from './gen/inference_pb.js'

/** What is asked about: the server, or a service of it by name. */
const known = new Set(['', GRPCInferenceService.typeName])

/** gRPC's own health service, as balancers and orchestrators ask it; who watches is told when `closing` fires. */
export const healthService = (closing: AbortSignal): ServiceImpl<typeof Health> => ({
  check({ service }) {
    if (!known.has(service)) throw new ConnectError(`no service "${service.slice(0, 80)}"`, Code.NotFound)
    return { status: closing.aborted ? Status.NOT_SERVING : Status.SERVING }
  },
  async *watch({ service }, { signal }) {
    yield { status: known.has(service) ? Status.SERVING : Status.SERVICE_UNKNOWN }
    const either = AbortSignal.any([closing, signal])
    if (!either.aborted) await once(either, 'abort')
    if (!signal.aborted && known.has(service)) yield { status: Status.NOT_SERVING }
  },
})
