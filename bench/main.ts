// npm run -s bench -- NAME [--json]     npm run -s bench -- --list
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { parseArgs } from 'node:util'

/** One figure of a bench. `ratio` is ours over the floor or peer, arranged so that larger is better. */
export interface Result {
  measure: string
  value: number
  unit: string
  floor?: number
  peer?: number
  ratio?: number
}

export interface Bench {
  description: string
  run(log: (line: string) => void): Promise<Result[]>
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, list: { type: 'boolean' } },
})
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.ts') && file !== 'main.ts')
  .map((file) => file.slice(0, -3))
const load = async (name: string) => (await import(`./${name}.ts`)) as Bench

if (values.list) {
  for (const name of names) console.log(`${name.padEnd(14)} ${(await load(name)).description}`)
} else if (!names.includes(positionals[0])) {
  console.error(`usage: npm run -s bench -- NAME [--json]; NAME is one of ${names.join(', ')}`)
  process.exitCode = 2
} else {
  const [name] = positionals
  const results = await (await load(name)).run((line) => console.error(line))
  const machine = `${cpus()[0].model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`
  if (values.json) console.log(JSON.stringify({ name, results, machine, commit: commit() }))
  else {
    console.log(`${name} on ${machine}, ${commit()}`)
    for (const { measure, value, unit, floor, peer, ratio } of results) {
      const against = [
        floor !== undefined && `floor ${round(floor)}`,
        peer !== undefined && `peer ${round(peer)}`,
        ratio !== undefined && `ratio ${round(ratio)}`,
      ]
      console.log(
        `  ${measure.padEnd(44)} ${String(round(value)).padStart(10)} ${unit.padEnd(10)} ${against.filter(Boolean).join('  ')}`,
      )
    }
  }
}

function round(value: number): number {
  return Number(value.toPrecision(4))
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return 'unknown commit'
  }
}
