import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Load as Round } from './clients.ts'

/** What came of it; answers that are checked and wrong count as failed. */
export type Load = Omit<Round, 'wrong'>

/**
 * Runs a load generator in a process of its own: `load` with so many clients that wait for their answers, `open` with so
 * many requests a second that do not. Without a body it sends texts to classify.
 */
export function generate(
  url: string,
  amount: number,
  seconds: number,
  body?: string,
  kind: 'load' | 'open' = 'load',
): Promise<Load> {
  const script = fileURLToPath(new URL(`./${kind}.ts`, import.meta.url))
  const given = [url, String(amount), String(seconds), ...(body === undefined ? [] : [body])]
  const child = spawn(process.execPath, [script, ...given], { stdio: ['ignore', 'pipe', 'inherit'] })
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
