import { basename } from 'node:path'
import type { Context } from '../context.ts'
import { wholeNumber } from '../reading.ts'
import { sparkline } from '../terminal.ts'
import { upload } from '../upload.ts'

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

/** How the requests of a version compare with its held-out rows; or sets what those of the next version are compared with. */
export async function drift(context: Context, model: string, { compareWith }: { compareWith?: string } = {}) {
  const { client, out } = context
  if (compareWith !== undefined) {
    const made = await client.models.compareWith(model, await upload(compareWith, context))
    if (out.json) return out.document(made)
    return out.data(`${made.model}@${made.version} is compared with ${made.rows} rows of ${basename(compareWith)}`)
  }
  const report = await client.drift(model)
  if (out.json) return out.document(report)
  const { reference, drifted, estimatedAccuracy, labelled, windows } = report
  const name = `${report.model}@${report.version}`
  if (!reference) {
    out.say(`${name} has nothing to compare with: fewer than 200 held-out rows, or imported`)
    return out.next(`athanor drift ${report.model} --compare-with rows.jsonl`)
  }
  const state =
    windows.length === 0
      ? 'no window of 250 requests is full yet'
      : drifted.length > 0
        ? out.style('red', `drifted: ${drifted.map(({ meaning }) => meaning).join('; ')}`)
        : out.style('green', 'as the held-out rows')
  out.data(`${out.style('bold', name)}  ${state}`)
  const shown =
    reference.accuracy === undefined
      ? `${reference.rows} held-out rows`
      : `${percent(reference.accuracy)} on ${reference.rows} held-out rows`
  const estimated = estimatedAccuracy === undefined ? '' : `, of recent requests about ${percent(estimatedAccuracy)}`
  out.data(`  ${reference.accuracy === undefined ? 'compared with' : 'accuracy    '} ${shown}${estimated}`)
  if (labelled.accuracy !== undefined)
    out.data(`  labelled     ${percent(labelled.accuracy)} of ${labelled.rows} answers were right`)
  const last = windows.at(-1)
  if (!last) return
  out.data('')
  out.table(
    ['FEATURE', 'DISTANCE', 'LEVEL', 'PSI', `LAST ${windows.length} WINDOWS`],
    Object.entries(last.distances).map(([feature, { distance, level, stability }]) => [
      feature,
      distance > level ? out.style('red', distance.toFixed(4)) : distance.toFixed(4),
      level.toFixed(4),
      stability.toFixed(3),
      sparkline(
        windows.map((window) => window.distances[feature].distance),
        32,
      ),
    ]),
  )
}

/** Attaches the right label to an answered request. */
export async function feedback({ client, out }: Context, request: string, label: string, { row }: { row?: string }) {
  const told = await client.feedback(request, label, row === undefined ? 0 : wholeNumber('row', row))
  if (out.json) return out.document(told)
  out.data(`${told.model}@${told.version} said ${told.predicted}: ${told.right ? 'right' : 'wrong'}`)
  out.next(`athanor drift ${told.model}`, `athanor train --from-feedback ${told.model}`)
}
