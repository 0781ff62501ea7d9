import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createRunner } from '../../src/engine/runner.ts'
import type { CheckedJob } from './checked-load.ts'
import type { Load } from './clients.ts'
import type { Bundle } from './server.ts'
import { texts } from './texts.ts'

/** Numbers of each vector that are compared, and how far off they may be: batches add in other orders. */
const [CHECKED, TOLERANCE] = [8, 2e-4]

/** A text as the Open Inference Protocol takes it. */
export const protocolText = (text: string) => ({
  inputs: [{ name: 'text', shape: [1, 1], datatype: 'BYTES', data: [text] }],
})

/** What the first numbers of each text's answer are, by the engine's own runner: of its vector, or its greatest probability. */
export async function expectedAnswers({
  manifest,
  files,
}: Bundle): Promise<Pick<CheckedJob, 'expected' | 'tolerance'>> {
  const runner = await createRunner(manifest, (name) => files[name], { threads: 1, tokenBudget: 8192 })
  const expected: number[][] = []
  for (const text of texts)
    for await (const answer of runner.run([{ id: 1, at: 0, kind: 'texts', texts: [text] }])) {
      if (!('output' in answer)) throw new Error(`no answer: ${JSON.stringify(answer)}`)
      const { output } = answer
      if (output.kind === 'vectors') expected.push([...output.vectors.subarray(0, CHECKED)])
      else if (output.kind === 'texts') expected.push([Math.max(...output.probabilities)])
    }
  return { expected, tolerance: TOLERANCE }
}

/** Runs clients in a process of their own that check every answer. */
export async function checkedLoad(job: CheckedJob): Promise<Load> {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-load-'))
  const file = join(folder, 'job.json')
  writeFileSync(file, JSON.stringify(job))
  try {
    const script = fileURLToPath(new URL('./checked-load.ts', import.meta.url))
    const child = spawn(process.execPath, [script, file], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    for await (const piece of child.stdout) text += piece
    return JSON.parse(text) as Load
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
