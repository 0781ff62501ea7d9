// A load generator in a process of its own: node checked-load.ts JOB.json → one JSON line. Of every answer the first numbers
// are compared with what they should be.
import { readFileSync } from 'node:fs'
import { load, requestTo } from './clients.ts'

export interface CheckedJob {
  url: string
  clients: number
  seconds: number
  bodies: string[]
  /** The first numbers of the answer to each body, and how far off they may be. */
  expected: number[][]
  tolerance: number
}

const { bodies, expected, tolerance, ...job } = JSON.parse(readFileSync(process.argv[2], 'utf8')) as CheckedJob
const url = new URL(job.url)
/** A list of numbers under the names that the servers give it. */
const numbers = /(?:"(?:embedding|data|predictions)":\s*|^)\[+\s*(-?[\d.][^\]]*)/
const right = (text: string, which: number) => {
  const found = numbers.exec(text)?.[1].split(',', expected[which].length).map(Number) ?? []
  return expected[which].every((value, i) => Math.abs(found[i] - value) <= tolerance)
}
const requests = bodies.map((body) => requestTo(url, body))
console.log(JSON.stringify(await load(url, requests, job, right)))
