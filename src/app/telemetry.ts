import type { Config } from '../base/config.ts'
import { version } from '../base/version.ts'
import type { OpenTelemetry } from '../watch/otel/otel.ts'
import { readTelemetry, wantsTelemetry } from '../watch/otel/settings.ts'

/** What sends traces and metrics to a collector: loaded only where one is named. Throws OPTION_INVALID. */
export async function openTelemetry({ telemetry }: Config): Promise<OpenTelemetry | undefined> {
  if (!wantsTelemetry(telemetry)) return undefined
  const { OpenTelemetry } = await import('../watch/otel/otel.ts')
  return new OpenTelemetry(readTelemetry(telemetry, version), version)
}
