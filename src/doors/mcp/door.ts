import { type AthanorError, asAthanorError, fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import { version as code } from '../../base/version.ts'
import { type Caller, callerOf } from '../ask.ts'
import type { Door } from '../door.ts'
import { type House, route } from '../route.ts'
import { callTool, listTools } from './tools.ts'

const tag = 'model context protocol'

/** Versions of the protocol that are spoken, newest first; they do not differ in what is used here. */
const versions = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']

/** JSON-RPC's own error codes. */
const INVALID_REQUEST = -32600
const METHOD_NOT_FOUND = -32601
const INVALID_PARAMS = -32602
const INTERNAL = -32603

const Message = Type.Object({
  jsonrpc: Type.Literal('2.0'),
  id: Type.Optional(Type.Union([Type.String(), Type.Number()])),
  method: Type.Optional(Type.String()),
  params: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
})

type Params = Record<string, unknown>
type Method = (house: House, params: Params, caller: Caller) => unknown

const methods: Record<string, Method> = {
  initialize: (_house, { protocolVersion }) => ({
    protocolVersion: versions.includes(protocolVersion as string) ? protocolVersion : versions[0],
    capabilities: { tools: {} },
    serverInfo: { name: 'athanor', title: 'Athanor', version: code },
    instructions: 'Every tool is a model that is served here.',
  }),
  ping: () => ({}),
  'tools/list': (house, { cursor }) => listTools(house, cursor),
  'tools/call': (_house, params, caller) => callTool(caller, params),
}

function errorOf(error: AthanorError) {
  const { status, code, message, hint } = error
  const number = code === 'NOT_FOUND' ? METHOD_NOT_FOUND : status < 500 ? INVALID_PARAMS : INTERNAL
  return { code: number, message: `${message}. ${hint}`, data: { code } }
}

const routes = [
  route(
    'POST /mcp',
    { summary: 'Model Context Protocol (streamable HTTP, no sessions): every model is a tool', permission: 'use', tag },
    { body: Message },
    async (house, call) => {
      const { id, method, params = {} } = call.body
      const spoken = call.request.headers['mcp-protocol-version']
      if (spoken !== undefined && !versions.includes(String(spoken)))
        throw fail('BAD_REQUEST', { message: `MCP-Protocol-Version: expected one of ${versions.join(', ')}` })
      if (id === undefined || method === undefined) {
        call.reply.code(202) // a notification, or an answer to what was never asked
        return call.reply.send()
      }
      try {
        const run = Object.hasOwn(methods, method) ? methods[method] : undefined
        if (!run) throw fail('NOT_FOUND', { method: 'method', path: `"${method.slice(0, 80)}"` })
        return { jsonrpc: '2.0', id, result: await run(house, params, callerOf('mcp', house, call)) }
      } catch (thrown) {
        const error = asAthanorError(thrown)
        if (error.status >= 500) house.log.error('http.failed', error, { requestId: call.request.id })
        return { jsonrpc: '2.0', id, error: errorOf(error) }
      }
    },
  ),
  ...(['GET', 'DELETE'] as const).map((method) =>
    route(
      `${method} /mcp`,
      { summary: 'No stream of its own and no sessions', permission: 'read', tag, status: 405 },
      {},
      async (_house, { reply }) => {
        reply.header('allow', 'POST')
        return { jsonrpc: '2.0', id: null, error: { code: INVALID_REQUEST, message: 'only POST is served here' } }
      },
    ),
  ),
]

/** The Model Context Protocol. */
export const mcp: Door = {
  name: 'mcp',
  prefixes: ['/mcp'],
  routes,
  failure: ({ message, hint, code }) => ({
    body: {
      jsonrpc: '2.0',
      id: null,
      error: { code: INVALID_REQUEST, message: `${message}. ${hint}`, data: { code } },
    },
  }),
}
