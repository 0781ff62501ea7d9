// Trains a small Llama to answer a title with a poem, through the server that runs (athanor serve), and asks it for some.
import { Athanor } from '../../client/src/index.ts'
import { openCorpus } from '../../src/data/corpus/corpus.ts'

const url = process.env.ATHANOR_URL ?? 'http://127.0.0.1:7700'
const athanor = new Athanor({ url })
const files = process.env.POEMS ?? 'dist/quantangshi/poet.tang.1'
const TITLES = ['送別', '春望', '山中']

const dataset = await athanor.datasets.upload('poems.jsonl', new TextEncoder().encode(await conversations()))
const { run } = await athanor.runs.create({
  name: 'poet',
  task: 'text-generation',
  family: 'llama',
  dataset: dataset.id,
  options: {
    context: Number(process.env.CONTEXT ?? 80),
    layers: 2,
    batchSize: 32,
    epochs: Number(process.env.EPOCHS ?? 8),
    learningRate: 0.003,
    vocabulary: 4000,
  },
})
for await (const event of athanor.runs.events(run)) {
  if (event.type === 'epoch') console.log(`epoch ${event.epoch}: validation loss ${event.validation.loss.toFixed(3)}`)
  if (event.type === 'failed') throw new Error(event.error.message)
}

// as any client of OpenAI's would ask
for (const title of TITLES) {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'poet',
      messages: [{ role: 'user', content: `《${title}》` }],
      ...{ temperature: 0.7, top_p: 0.9, max_tokens: 60, seed: 1 },
    }),
  })
  if (!response.ok) throw new Error(await response.text())
  const { choices } = (await response.json()) as { choices: { message: { content: string } }[] }
  console.log(`《${title}》\n${choices[0].message.content}\n`)
}

/** Quatrains and octaves, a line each: the title in brackets is the user's message, author and lines are the answer. */
async function conversations(): Promise<string> {
  const corpus = await openCorpus(`npm:chinese-poetry@2.0.1#${files}`)
  const lines: string[] = []
  for await (const piece of corpus.pieces()) {
    if (!('text' in piece)) continue
    const [, title, answer] = /^(《.*?》)(.+)$/s.exec(piece.text.trim()) ?? []
    if (!answer || title.length > 10 || answer.length > 56) continue
    const messages = [
      { role: 'user', content: title },
      { role: 'assistant', content: answer },
    ]
    lines.push(JSON.stringify({ messages }))
  }
  return `${lines.join('\n')}\n`
}
