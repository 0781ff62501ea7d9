import type { Reason } from '../data/clean.ts'
import { type Cleaned, cleanTexts } from '../data/cleaned.ts'
import { labelCounts } from '../data/prepare.ts'
import { reasons as removedWords } from '../data/report.ts'
import { toScript } from '../data/script.ts'
import { normalise } from '../data/text.ts'
import type { Advice, Candidate } from './advice.ts'
import { optionsOf } from './job.ts'
import { defaultEpochs, type Options } from './options.ts'
import { estimateSeconds, measureSpeed } from './speed.ts'

/** Texts that are looked at closely. */
const SAMPLE = 400

/** Ways to cut texts that are looked at. */
type Cut = 'character' | 'word' | 'both'

/** What a look at the texts tells. */
interface Look {
  characters: Record<string, number>
  /** Mean tokens a row, and different tokens, by how texts are cut. */
  perRow: Record<Cut, number>
  different: Record<Cut, number>
  /** Shares of the Chinese texts in one script and in the other. */
  simplified: number
  traditional: number
}

/**
 * Looks at cleaned data and says what to try, in order, with reasons and estimated time on this machine; trains nothing.
 */
export async function advise(folder: string, cleaned: Cleaned, threads: number): Promise<Advice> {
  const look = await lookAt(folder, cleaned)
  const speed = await measureSpeed(threads)
  const counts = labelCounts(cleaned)
  const sizes = Object.values(counts).filter((count) => count > 0)
  const imbalance = sizes.length > 1 ? Math.max(...sizes) / Math.min(...sizes) : 1
  const { problem, rows, rowsRead, removed } = cleaned
  const shared = sharedOptions(cleaned, look, imbalance)
  const trained = Math.round(rows.length * 0.8)
  const estimate = (family: string, options: Options): number => {
    const all = optionsOf({ dataset: '', family, options: options as Record<string, number | string | boolean> })
    const tokenizer = options.tokenizer as Cut
    const tokens = trained * Math.min(look.perRow[tokenizer], Number(all.maxLength))
    const vocabulary = Math.min(Number(all.vocabulary), look.different[tokenizer])
    const epochs = all.epochs === null ? defaultEpochs(trained) : Number(all.epochs)
    const work = { rows: trained, tokens, vocabulary, classes: Math.max(1, cleaned.labels.length), epochs }
    return Number(estimateSeconds(family, all, work, speed).toPrecision(2))
  }
  const candidates = proposals(cleaned, look).map(({ family, options, reasons }): Candidate => {
    const all = { ...shared.options, ...options }
    return { family, options: all, reasons: [...reasons, ...shared.reasons], seconds: estimate(family, all) }
  })
  return {
    task: 'text-classification',
    problem,
    rows: { read: rowsRead, kept: rows.length },
    labels: counts,
    imbalance: Number(imbalance.toFixed(2)),
    characters: look.characters,
    scripts: cleaned.scripts,
    removed: Object.fromEntries(Object.entries(removed.counts).filter(([, count]) => count > 0)),
    notes: notesOn(cleaned, look, imbalance),
    candidates,
  }
}

async function lookAt(folder: string, cleaned: Cleaned): Promise<Look> {
  const lengths: number[] = []
  const characters = new Set<string>()
  const words = new Set<string>()
  const segmenter = new Intl.Segmenter('zh', { granularity: 'word' })
  const every = Math.max(1, Math.floor(cleaned.rows.length / SAMPLE))
  let [sampled, inCharacters, inWords, chinese, simplified, traditional] = [0, 0, 0, 0, 0, 0]
  for await (const batch of cleanTexts(folder, cleaned, () => true)) {
    for (const { at, text } of batch) {
      lengths.push(text.length)
      if (at % every !== 0) continue
      sampled++
      const normal = normalise(text.slice(0, 4000), { unicode: 'NFKC', lowercase: true })
      for (const character of normal) characters.add(character)
      inCharacters += normal.length
      for (const { segment } of segmenter.segment(normal)) {
        if (segment.trim() === '') continue
        inWords++
        words.add(segment)
      }
      const [toSimple, toTraditional] = [toScript(normal, 'simplified'), toScript(normal, 'traditional')]
      if (toSimple === toTraditional) continue
      chinese++
      if (toSimple === normal) simplified++
      else if (toTraditional === normal) traditional++
    }
  }
  const sorted = lengths.sort((a, b) => a - b)
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]
  // of all rows there are more, though not as many more as there are rows
  const different = { character: characters.size * 1.5, word: words.size * Math.sqrt(every) }
  return {
    characters: { p5: at(0.05), p50: at(0.5), p95: at(0.95), max: at(1) },
    perRow: {
      character: inCharacters / sampled,
      word: inWords / sampled,
      both: (inCharacters + inWords) / sampled,
    },
    different: { ...different, both: different.character + different.word },
    simplified: simplified / Math.max(1, chinese),
    traditional: traditional / Math.max(1, chinese),
  }
}

/** Options that do not depend on the family, and why. */
function sharedOptions({ problem }: Cleaned, look: Look, imbalance: number) {
  const options: Record<string, number | string | boolean> = {}
  const reasons: string[] = []
  if (mixed(look)) {
    options.script = 'simplified'
    reasons.push('one Chinese script for both that occur')
  }
  if (problem === 'classification' && imbalance > 5) {
    options.chooseBy = 'macroF1'
    reasons.push(`compared by macro-F1: the commonest label has ${imbalance.toFixed(0)} times the rows of the rarest`)
  }
  return { options, reasons }
}

/** Tokens that are kept of a text when nearly all texts are to be read to their end, within what is worth the time. */
function lengthFor(look: Look, tokenizer: Cut, most: number): number {
  const tokens = (look.characters.p95 * look.perRow[tokenizer]) / Math.max(1, look.perRow.character)
  return Math.min(most, Math.max(16, 8 * Math.ceil((1.2 * tokens) / 8)))
}

const mixed = ({ simplified, traditional }: Look) => Math.min(simplified, traditional) > 0.02

/** Rows below which only the simplest families are worth their time, from which few epochs are enough, and from which attention is. */
const [FEW, SOME, MANY] = [500, 5000, 20_000]

/** Families in the order in which they are worth trying, each with the tokens that it does best with. */
function proposals({ rows, scripts, suitableTokenizer }: Cleaned, look: Look): Omit<Candidate, 'seconds'>[] {
  const count = rows.length
  const half = Math.round(look.characters.p50)
  const chinese =
    (scripts.Han ?? 0) /
      Math.max(
        1,
        Object.values(scripts).reduce((a, b) => a + b, 0),
      ) >
    0.5
  const cut = (tokenizer: Cut, most: number) => ({
    tokenizer,
    maxLength: lengthFor(look, tokenizer, most),
  })
  const tokens = cut(suitableTokenizer, 200)
  const grams = chinese ? cut('both', 640) : cut(suitableTokenizer, 400)
  const list: Omit<Candidate, 'seconds'>[] = [
    {
      family: 'bow',
      options: {
        ...grams,
        ngrams: 3,
        buckets: count < 20_000 ? 524_288 : 1_048_576,
        width: 8,
        epochs: 5,
        learningRate: 0.003,
      },
      reasons: [
        'the baseline to beat: n-grams are hard to do better than on short texts, and train in seconds',
        chinese
          ? 'n-grams of words and of characters: parts of words count too, and words that were never met'
          : 'n-grams of words: short phrases count too',
      ],
    },
    {
      family: 'wide',
      options: {
        ...(chinese ? { ...grams, ngrams: 3 } : tokens),
        ...(count >= SOME && { epochs: 5 }),
        ...(count < FEW && { width: 64, filters: 64 }),
      },
      reasons: ['phrases decide in most classifications: those that were met are remembered, new ones judged'],
    },
  ]
  if (count < FEW) return list
  list.push({
    family: 'lstm',
    options: { ...tokens, ...(count >= MANY && { epochs: 3 }) },
    reasons: [`reads in order and both ways: half of the texts have over ${half} characters, where negation counts`],
  })
  if (count >= MANY) {
    list.push({
      family: 'transformer',
      options: { ...tokens },
      reasons: [`${count} rows are enough for attention, which wants many`],
    })
  }
  return list
}

function notesOn({ rows, rowsRead, removed, problem }: Cleaned, look: Look, imbalance: number): string[] {
  const notes: string[] = []
  const share = (count: number) => `${((100 * count) / rowsRead).toFixed(1)} %`
  for (const [reason, count] of Object.entries(removed.counts) as [Reason, number][])
    if (count > 0) notes.push(`${count} rows (${share(count)}) are left out: ${removedWords[reason]}`)
  if (rows.length < FEW)
    notes.push(`${rows.length} rows are few: figures on what is held out will vary by several points`)
  if (imbalance > 5 && problem === 'classification')
    notes.push(`labels are uneven (${imbalance.toFixed(0)} : 1): look at macro-F1, and try --set classWeights=balanced`)
  if (mixed(look)) notes.push('Chinese in both scripts: they are converted to simplified')
  if (look.characters.max > 10 * Math.max(1, look.characters.p95))
    notes.push(`some texts are very long (${look.characters.max} characters): only their beginning is read`)
  return notes
}
