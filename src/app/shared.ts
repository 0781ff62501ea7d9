import type { Access } from '../access/access.ts'
import type { Config } from '../base/config.ts'
import type { Spare } from '../engine/processes.ts'
import type { Memory } from '../serve/memory.ts'
import type { Canary } from '../watch/canary.ts'
import type { OpenTelemetry } from '../watch/otel/otel.ts'

/** What the houses of all tenants share. */
export interface Shared {
  readonly config: Config
  readonly access: Access
  readonly webhook: URL | undefined
  readonly url: () => string
  readonly memory: Memory
  /** A started process for the next engine, where one is kept. */
  readonly spare: Spare | undefined
  /** Of every tenant that has been opened. */
  readonly canaries: Canary[]
  readonly telemetry: OpenTelemetry | undefined
}
