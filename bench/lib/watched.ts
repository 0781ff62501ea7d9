// A server for the bench of watching's own cost: `node watched.ts on|off HOME` prints its address.
import { startApp } from '../../src/app.ts'
import { TextPipeline } from '../../src/data/pipeline.ts'
import { classifierReference } from '../../src/train/reference.ts'
import { benchClassifier } from './server.ts'
import { texts } from './texts.ts'

const [mode, home] = process.argv.slice(2)
const app = await startApp({ home, port: 0, logLevel: 'silent' })
const { manifest, files } = await benchClassifier()
const pipeline = TextPipeline.load(manifest.pipeline as never, files['tokenizer.json'].toString())
const { labels } = manifest
const samples = Array.from({ length: 400 }, (_, i) => ({
  text: texts[i % texts.length],
  label: labels[i % labels.length],
}))
const reference = await classifierReference(files['model.onnx'], pipeline, labels, samples, 1)
await app.house.registry.register('text', mode === 'on' ? { ...manifest, reference } : manifest, files)
if (mode === 'off') {
  const nothing = () => undefined
  Object.assign(app.house, { observe: nothing })
  Object.assign(app.house.feedback, { answered: nothing })
  Object.assign(app.house.metrics, { answeredHttp: nothing })
}
process.once('SIGTERM', () => void app.close().then(() => process.exit(0)))
console.log(JSON.stringify({ url: app.url }))
