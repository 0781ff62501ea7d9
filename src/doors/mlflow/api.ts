import { Type } from '../../base/schema.ts'
import { route } from '../route.ts'

// What MLflow's own API looks like, wherever in it: routes under one path, lists of pairs, places of artifacts.

const tag = 'mlflow'
const API = '/api/2.0/mlflow'
export const text = Type.Optional(Type.String({ maxLength: 10_000 }))
export const number = Type.Optional(Type.Number())
export const Pairs = Type.Optional(
  Type.Array(Type.Object({ key: Type.String({ maxLength: 250 }), value: Type.String({ maxLength: 8_000 }) }), {
    maxItems: 1_000,
  }),
)
export type Pair = { key: string; value: string }
export const pairs = (of: Record<string, string>): Pair[] => Object.entries(of).map(([key, value]) => ({ key, value }))
export const record = (list: readonly Pair[] = []) => Object.fromEntries(list.map(({ key, value }) => [key, value]))
export const entries = (list: readonly Pair[] = []) => list.map(({ key, value }): [string, string] => [key, value])

/** Where the artifacts of a run or logged model lie. */
export const SCHEME = 'mlflow-artifacts:/'
export const artifactsOf = (experiment: number, folder: string) => `${SCHEME}${experiment}/${folder}/artifacts`

export const read = <S extends Parameters<typeof route>[2]>(
  head: `${'GET' | 'POST'} ${string}`,
  summary: string,
  schemas: S,
  handle: Parameters<typeof route<S>>[3],
) => route(withPrefix(head), { summary, permission: 'read', tag }, schemas, handle)
export const write = <S extends Parameters<typeof route>[2]>(
  head: `${'POST' | 'PATCH' | 'DELETE'} ${string}`,
  summary: string,
  schemas: S,
  handle: Parameters<typeof route<S>>[3],
) => route(withPrefix(head), { summary, permission: 'write', tag }, schemas, handle)
const withPrefix = <M extends string>(head: `${M} ${string}`) => head.replace(' ', ` ${API}`) as `${M} ${string}`
