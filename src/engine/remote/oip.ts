import type { Remote, TensorSpec } from '../../bundle/manifest.ts'
import { type DataType, dataTypes, type Tensor } from '../../graph/dtype.ts'
import { binaryOf, dtypeOfOip, tensorFromBinary } from '../../graph/octets.ts'
import { countOf, flattenNumbers, toValues } from '../../graph/values.ts'
import type { Upstream } from './upstream.ts'

const HEAD_LENGTH = 'inference-header-content-length'

interface OutputHead {
  name: string
  datatype: string
  shape: number[]
  data?: unknown[]
  parameters?: { binary_data_size?: number }
}

const pathOf = (model: string) => `/v2/models/${encodeURIComponent(model)}`

/** Runs a model of another server on tensors by the Open Inference Protocol, as bytes where it reads them. */
export async function inferRemotely(
  upstream: Upstream,
  { model, binary }: Remote,
  inputs: Record<string, Tensor>,
  signal: AbortSignal,
): Promise<Record<string, Tensor>> {
  const parts: Uint8Array[] = []
  const described = Object.entries(inputs).map(([name, tensor]) => {
    const head = { name, datatype: dataTypes[tensor.dtype].oip, shape: tensor.dims }
    if (!binary) return { ...head, data: toValues(tensor) }
    const bytes = binaryOf(tensor)
    parts.push(bytes)
    return { ...head, parameters: { binary_data_size: bytes.byteLength } }
  })
  const head = JSON.stringify({ inputs: described, ...(binary && { parameters: { binary_data_output: true } }) })
  const reply = await upstream.send({
    path: `${pathOf(model)}/infer`,
    signal,
    ...(binary
      ? {
          body: Buffer.concat([Buffer.from(head), ...parts]),
          headers: { 'content-type': 'application/octet-stream', [HEAD_LENGTH]: String(Buffer.byteLength(head)) },
        }
      : { body: head }),
  })
  return outputsOf(upstream, await upstream.read(reply, signal), Number(reply.headers[HEAD_LENGTH] ?? 0))
}

/** The tensors of a reply whose JSON has `headLength` bytes (0: all of it). Throws UPSTREAM_FAILED. */
function outputsOf(upstream: Upstream, bytes: Buffer, headLength: number): Record<string, Tensor> {
  const length = headLength > 0 ? headLength : bytes.byteLength
  const { outputs } = upstream.parse(bytes.toString('utf8', 0, length)) as { outputs?: OutputHead[] }
  if (!Array.isArray(outputs)) throw upstream.failed('its reply has no outputs')
  let at = length
  const tensors: Record<string, Tensor> = {}
  for (const { name, datatype, shape, data, parameters } of outputs) {
    const bad = (message: string) => upstream.failed(`output ${String(name).slice(0, 80)}: ${message}`)
    const dtype = dtypeOfOip(datatype)
    if (!dtype || !Array.isArray(shape)) throw bad('no known type and shape')
    const size = parameters?.binary_data_size
    try {
      if (size === undefined) tensors[name] = flattenNumbers(data, shape, dtype, name, '')
      else {
        const part = bytes.subarray(at, at + size)
        tensors[name] = tensorFromBinary(part, dtype, shape, countOf(shape, name, ''), bad)
        at += size
      }
    } catch {
      throw bad('its data do not fit its shape')
    }
  }
  return tensors
}

/** The signature of a model of another server, and whether that server reads tensors as bytes. */
export async function describeRemotely(upstream: Upstream, model: string, signal: AbortSignal) {
  const get = (path: string) => upstream.json({ method: 'GET', path, signal })
  const server = (await get('/v2').catch(() => ({}))) as { extensions?: unknown[] }
  const told = (await get(pathOf(model))) as Record<'inputs' | 'outputs', unknown>
  const specs = (which: 'inputs' | 'outputs') => {
    const list = told?.[which]
    if (!Array.isArray(list)) throw upstream.failed(`its description of "${model}" has no ${which}`)
    return list.map((one: { name?: unknown; datatype?: unknown; shape?: unknown }, i): TensorSpec => {
      const dtype: DataType | undefined = dtypeOfOip(String(one.datatype))
      const { name, shape } = one
      if (typeof name !== 'string' || !dtype || !Array.isArray(shape))
        throw upstream.failed(`its description of ${which}[${i}] has no name, known type and shape`)
      return { name, dtype, shape: shape.map((dim, axis) => (Number(dim) >= 0 ? Number(dim) : `${name}_${axis}`)) }
    })
  }
  return {
    signature: { inputs: specs('inputs'), outputs: specs('outputs') },
    binary: (server.extensions ?? []).some((one) => one === 'binary_tensor_data' || one === 'binary_data'),
  }
}
