import type { Context } from '../context.ts'
import { type ReadingOptions, readingOf } from '../reading.ts'
import { duration } from '../terminal.ts'
import { upload } from '../upload.ts'

/** Looks at a data set and says what to try on it, why, and how long it may take. */
export async function advise(context: Context, source: string, options: ReadingOptions) {
  const { client, out } = context
  const advice = await client.advise(await upload(source, context), readingOf(options))
  if (out.json) return out.document(advice)
  const { rows, labels, characters, scripts, problem } = advice
  const named = Object.entries(labels)
  out.data(`${rows.read} rows read, ${rows.kept} kept; ${problem}`)
  if (named.length > 0) {
    const shown = named.slice(0, 8).map(([label, count]) => `${label} ${count}`)
    out.data(`${named.length} labels: ${shown.join(', ')}${named.length > 8 ? ', …' : ''}`)
  }
  out.data(`characters a text: half under ${characters.p50}, 95 % under ${characters.p95}, longest ${characters.max}`)
  out.data(
    `scripts: ${Object.entries(scripts)
      .map(([script, count]) => `${script} ${count}`)
      .join(', ')}`,
  )
  for (const note of advice.notes) out.prose(`  ! ${note}`)
  out.data('')
  out.data('To try, in this order (estimated time of training on this machine):')
  advice.candidates.forEach(({ family, options, reasons, seconds }, i) => {
    out.data(`${i + 1}. ${out.style('bold', family)}  about ${duration(seconds)}`)
    for (const reason of reasons) out.prose(`   - ${reason}`)
    const set = Object.entries(options).map(
      ([name, value]) => `--set ${name}=${/\s/.test(String(value)) ? `"${value}"` : value}`,
    )
    out.data(`   athanor train ${source} --family ${family} ${set.join(' ')}`)
  })
  out.next(`athanor train ${source} --budget 5m`)
}
