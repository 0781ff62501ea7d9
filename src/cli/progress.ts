import asciichart from 'asciichart'
import type { TrainEvent, TrialReport } from '../../client/src/index.ts'
import { describeCorpus, isCorpusReport } from '../data/corpus/describe.ts'
import { type DataReport, describeReport } from '../data/report.ts'
import { figures, score } from './figures.ts'
import { bar, bytes, compact, duration, plural, printable, sparkline, type Terminal } from './terminal.ts'

const number = (value: number) => value.toPrecision(3)

/** Shows a training run as it goes: a live block on a terminal, a line each tenth of the way elsewhere. */
export class TrainProgress {
  readonly #out: Terminal
  readonly losses: number[] = []
  readonly accuracies: number[] = []
  samplesPerSecond: number[] = []
  /** The trials among which a model was chosen. */
  trials: readonly TrialReport[] = []
  #best = 0
  #metric = 'accuracy'
  #tenth = 0

  constructor(out: Terminal) {
    this.#out = out
  }

  show(event: TrainEvent) {
    const out = this.#out
    switch (event.type) {
      case 'progress':
        out.redraw([
          `${event.phase} ${event.total ? bar(event.done / event.total, 24) : ''} ${event.phase === 'measuring' ? `${event.done}%` : `${compact(event.done)} rows`}`,
        ])
        break
      case 'data':
        for (const line of linesOf(event.report)) out.say(out.style('dim', line))
        break
      case 'sample':
        out.say(out.style('dim', `│ ${printable(event.text).trimEnd().replaceAll('\n', '\n│ ')}`))
        break
      case 'model':
        out.say(
          [
            event.family,
            `${compact(event.parameters)} parameters`,
            plural(event.threads, 'thread'),
            ...(event.memory === undefined ? [] : [`at most ${bytes(event.memory)} of memory`]),
          ].join(' · '),
        )
        break
      case 'step':
        this.#step(event)
        break
      case 'epoch':
        this.#score(event.validation)
        if (!out.live || event.validation.accuracy === undefined) {
          const { epoch, epochs, loss, validation } = event
          out.say(
            `epoch ${epoch}/${epochs}  loss ${number(loss)}  validation ${figures(validation)}${event.best ? '  best' : ''}`,
          )
        }
        break
      case 'advice':
        for (const note of event.advice.notes) out.say(out.style('dim', `  ! ${note}`))
        break
      case 'trial':
        this.#trial(event.trial)
        break
      case 'selection':
        this.trials = event.trials
        break
      case 'state':
        if (event.state === 'evaluating') out.redraw(['evaluating on the held-out split …'])
        break
      default:
        break
    }
  }

  /** The loss over the run as a chart. */
  chart(): string[] {
    if (this.losses.length < 16) return []
    const width = Math.min(this.#out.width - 16, 72)
    const series = Array.from({ length: width }, (_, i) => this.losses[Math.floor((i * this.losses.length) / width)])
    const drawn = asciichart.plot(series, { height: 8, format: (value: number) => value.toFixed(3).padStart(9) })
    return ['     loss', ...drawn.split('\n')]
  }

  #score(validation: Record<string, number>) {
    const { title, value, better } = score(validation)
    this.#metric = title
    this.#best = this.accuracies.length > 0 ? Math[better](this.#best, value) : value
    this.accuracies.push(value)
  }
  #trial({ trial, family, state, epochs, metrics, reason }: TrialReport) {
    if (state === 'running' && epochs > 0 && this.#told === trial) return
    this.#told = trial
    const so = metrics ? `  ${figures(metrics)} after ${plural(epochs, 'epoch')}` : ''
    const why = state === 'dropped' || (state === 'running' && epochs === 0) ? `  ${reason ?? ''}` : ''
    this.#out.say(`trial ${trial}  ${family.padEnd(11)} ${state.padEnd(8)}${so}${why}`)
    this.#tenth = 0
  }
  #told = 0

  #step({ step, steps, epoch, epochs, loss, samplesPerSecond, eta }: Extract<TrainEvent, { type: 'step' }>) {
    this.losses.push(loss)
    this.samplesPerSecond.push(samplesPerSecond)
    const out = this.#out
    const fraction = step / steps
    const percent = `${Math.floor(fraction * 100)}%`.padStart(4)
    const figures = `loss ${number(loss)}  ${compact(samplesPerSecond)} samples/s  eta ${duration(eta)}`
    if (out.live) {
      const accuracy = this.accuracies.length
        ? `  ${this.#metric} ${this.accuracies.at(-1)!.toFixed(3)} (best ${this.#best.toFixed(3)})`
        : ''
      out.redraw([
        `epoch ${epoch}/${epochs} ${out.style('cyan', bar(fraction, 26))}${percent}  ${figures}`,
        `loss  ${out.style('yellow', sparkline(this.losses, Math.min(out.width - 36, 60)))}${accuracy}`,
      ])
    } else if (Math.floor(fraction * 10) > this.#tenth) {
      this.#tenth = Math.floor(fraction * 10)
      out.say(`${percent}  epoch ${epoch}/${epochs}  ${figures}`)
    }
  }
}

/** What is told of the data: in full for classifiers of texts, otherwise how it was split. */
function linesOf(report: Record<string, unknown>): string[] {
  if (isCorpusReport(report)) return describeCorpus(report)
  if ('removed' in report) return describeReport(report as unknown as DataReport)
  const splits = Object.entries((report.splits ?? {}) as Record<string, number>)
  return [`${report.source}: ${report.rowsRead} rows, ${splits.map(([part, rows]) => `${rows} ${part}`).join(', ')}`]
}
