/** One line of the gate's table. */
export interface Measured {
  readonly name: MeasureName
  readonly source: number
  readonly refined: number
  /** Refined to source: a difference in percentage points for shares, a ratio for the others. */
  readonly change: number
}

/** The gate's measures: how they are compared, and which way is better. */
export const measures = {
  accuracy: { kind: 'share', better: 'higher', description: 'share of held-out rows answered right' },
  macroF1: { kind: 'share', better: 'higher', description: 'mean F1 of the classes on the held-out rows' },
  perplexity: { kind: 'ratio', better: 'lower', description: 'of held-out texts, for models that write' },
  agreement: {
    kind: 'share',
    better: 'higher',
    description: 'share of rows answered as the source answers them; for vectors, their mean cosine',
  },
  latency: { kind: 'ratio', better: 'lower', description: 'median time of one request' },
  throughput: { kind: 'ratio', better: 'higher', description: 'rows a second in batches' },
  size: { kind: 'ratio', better: 'lower', description: 'bytes of the files that serving needs' },
  memory: { kind: 'ratio', better: 'lower', description: 'memory of the engine’s process' },
} as const satisfies Record<string, { kind: 'share' | 'ratio'; better: 'higher' | 'lower'; description: string }>

export type MeasureName = keyof typeof measures

export const measured = (name: MeasureName, source: number, refined: number): Measured => ({
  name,
  source,
  refined,
  change: measures[name].kind === 'share' ? (refined - source) * 100 : refined / source,
})
