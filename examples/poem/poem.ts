// Trains a small Llama on poems of the Tang dynasty and lets it write, through the server that runs (athanor serve).
import { Athanor } from '../../client/src/index.ts'

const athanor = new Athanor(process.env.ATHANOR_URL ? { url: process.env.ATHANOR_URL } : {})
const poems = process.env.POEMS ?? 'dist/quantangshi/poet.tang.1000.json'

const { run } = await athanor.runs.create({
  name: 'poet',
  task: 'text-generation',
  family: 'llama',
  dataset: `npm:chinese-poetry@2.0.1#${poems}`,
  options: {
    context: 48,
    layers: 2,
    batchSize: 32,
    epochs: 20,
    learningRate: 0.003,
    vocabulary: 3000,
    prompt: '《春》',
  },
})
for await (const event of athanor.runs.events(run)) {
  if (event.type === 'epoch') console.log(`epoch ${event.epoch}: validation loss ${event.validation.loss.toFixed(3)}`)
  if (event.type === 'sample') console.log(event.text)
  if (event.type === 'failed') throw new Error(event.error.message)
}

for (const title of ['《春望》', '《山中》', '《送友人》']) {
  process.stdout.write(title)
  for await (const event of athanor.stream('poet', title, { temperature: 0.8, topP: 0.9, maxTokens: 40, seed: 1 }))
    process.stdout.write(event.text)
  process.stdout.write('\n\n')
}
