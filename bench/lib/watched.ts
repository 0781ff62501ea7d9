// A server for the bench of watching's own cost, whose requests are watched or not as its parent tells it: `node watched.ts HOME`
// prints its address. `on` is a version with a reference of held-out rows, `off` the same without.
import { startApp } from '../../src/app.ts'
import { TextPipeline } from '../../src/data/pipeline.ts'
import { classifierReference } from '../../src/train/reference.ts'
import { benchClassifier } from './server.ts'
import { texts } from './texts.ts'

const app = await startApp({ home: process.argv[2], port: 0, logLevel: 'silent' })
const { manifest, files } = await benchClassifier()
const pipeline = TextPipeline.load(manifest.pipeline as never, files['tokenizer.json'].toString())
const { labels } = manifest
const samples = Array.from({ length: 400 }, (_, i) => ({
  text: texts[i % texts.length],
  label: labels[i % labels.length],
}))
const reference = await classifierReference(files['model.onnx'], pipeline, labels, samples, 1)
const { registry, feedback, metrics, observe } = app.house
await registry.register('on', { ...manifest, reference }, files)
await registry.register('off', manifest, files)
const watching = {
  observe,
  answered: feedback.answered.bind(feedback),
  answeredHttp: metrics.answeredHttp.bind(metrics),
}
const nothing = () => undefined
process.on('message', (mode) => {
  const { observe, answered, answeredHttp } =
    mode === 'on' ? watching : { observe: nothing, answered: nothing, answeredHttp: nothing }
  Object.assign(app.house, { observe })
  Object.assign(feedback, { answered })
  Object.assign(metrics, { answeredHttp })
})
process.once('SIGTERM', () => void app.close().then(() => process.exit(0)))
console.log(JSON.stringify({ url: app.url }))
