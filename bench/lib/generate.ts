import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Load {
  perSecond: number
  p50: number
  p99: number
  requests: number
  failed: number
}

/** Runs the load generator in a process of its own; without a body it sends texts to classify. */
export function generate(url: string, clients: number, seconds: number, body?: string): Promise<Load> {
  const script = fileURLToPath(new URL('./load.ts', import.meta.url))
  const child = spawn(
    process.execPath,
    [script, url, String(clients), String(seconds), ...(body === undefined ? [] : [body])],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  let text = ''
  child.stdout.on('data', (piece) => {
    text += piece
  })
  return new Promise((resolve, reject) =>
    child.once('close', (code) =>
      code === 0 ? resolve(JSON.parse(text) as Load) : reject(new Error(`load generator: ${code}`)),
    ),
  )
}
