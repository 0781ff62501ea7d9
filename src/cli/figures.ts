import type { Metrics, TrialReport } from '../../client/src/index.ts'
import { compact, duration, type Terminal } from './terminal.ts'

/** Figures in the order in which they are told, and their names. */
const names: Record<string, string> = {
  f1: 'entity F1',
  accuracy: 'accuracy',
  microF1: 'micro-F1',
  macroF1: 'macro-F1',
  subsetAccuracy: 'all labels right',
  mae: 'mean error',
  rmse: 'root mean square error',
  r2: 'R²',
  retrievalAccuracy: 'retrieval accuracy',
  spearman: 'Spearman',
  perplexity: 'perplexity',
  bitsPerCharacter: 'bits a character',
}

/** Figures of which less is better. */
const errors = new Set(['mae', 'rmse', 'perplexity', 'bitsPerCharacter', 'loss'])

/** The most telling figure of an epoch, and which of two values is better: `Math.max` or `Math.min`. */
export function score(metrics: Metrics): { title: string; value: number; better: 'max' | 'min' } {
  const [name, title] = Object.entries(names).find(([name]) => metrics[name] !== undefined) ?? ['loss', 'loss']
  return { title, value: metrics[name] ?? Number.NaN, better: errors.has(name) ? 'min' : 'max' }
}

/** The figures of a model in one line: accuracy and F1, or errors; over folds their mean and deviation. */
export const figures = (metrics: Metrics): string =>
  (metrics.loss !== undefined && ['accuracy', 'rmse', 'microF1', 'f1'].every((name) => metrics[name] === undefined)
    ? [['loss', 'loss'], ...Object.entries(names)]
    : Object.entries(names)
  )
    .filter(([name]) => metrics[name] !== undefined)
    .map(([name, shown]) => {
      const [mean, deviation] = [metrics[`${name}Mean`], metrics[`${name}Deviation`]]
      const over =
        mean === undefined ? '' : ` (${mean.toFixed(4)} ± ${deviation.toFixed(4)} over ${metrics.folds} folds)`
      return `${shown} ${metrics[name].toFixed(4)}${over}`
    })
    .join(', ')

/** The trials among which a model was chosen, as a table. */
export function trialTable(out: Terminal, trials: readonly TrialReport[]) {
  const shown = ['accuracy', 'microF1', 'macroF1', 'rmse', 'spearman'].filter((name) =>
    trials.some(({ metrics }) => metrics?.[name] !== undefined),
  )
  out.table(
    [
      'TRIAL',
      'FAMILY',
      ...shown.map((name) => names[name].toUpperCase()),
      'PARAMETERS',
      'LATENCY',
      'EPOCHS',
      'TIME',
      '',
    ],
    trials.map((trial) => [
      String(trial.trial),
      trial.family,
      ...shown.map((name) => trial.metrics?.[name]?.toFixed(4) ?? ''),
      trial.parameters === undefined ? '' : compact(trial.parameters),
      trial.latency === undefined ? '' : `${trial.latency.toPrecision(2)} ms`,
      String(trial.epochs),
      duration(60 * trial.minutes),
      trial.state === 'chosen' ? 'chosen' : trial.state === 'dropped' ? (trial.reason ?? '') : '',
    ]),
  )
}
