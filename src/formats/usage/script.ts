import { type Asked, indented } from './asked.ts'

/** How JavaScript runs a format: `session.run`, inputs → outputs by name, and `tensor`: an input of an element type, a typed array and dims. */
interface Runtime {
  readonly install: string
  readonly imports: string
  readonly open: string
}

const ort = (opened: string) => `const session = await ort.InferenceSession.create(${opened})
const tensor = (type‹: any›, data‹: any›, dims‹: number[]›) => new ort.Tensor(type, data, dims)`
const tfjs = (open: string, answers: string) => `${open}
const tensor = (type, data, dims) => ({ type, data, dims })
const made = ([name, { type, data, dims }]) => [name, tf.tensor(Array.from(data, Number), dims, type.replace('64', '32'))]
async function run(feeds) {
  const given = Object.fromEntries(Object.entries(feeds).map(made))
${indented(answers, 2)}
  const named = names.map((name, i) => [name, tensor('float32', found[i].dataSync(), found[i].shape)])
  tf.dispose([given, found])
  return Object.fromEntries(named)
}
const session = { run }`

const browsers = ({ loops }: Pick<Asked, 'loops'>): Record<string, Runtime> => ({
  onnx: {
    install: 'onnxruntime-web',
    imports: `import * as ort from 'onnxruntime-web'`,
    open: ort(`new Uint8Array(await (await file('model.onnx')).arrayBuffer())`),
  },
  'tfjs-graph': {
    install: '@tensorflow/tfjs-core @tensorflow/tfjs-converter @tensorflow/tfjs-backend-cpu',
    imports: `import '@tensorflow/tfjs-backend-cpu'
import { loadGraphModel } from '@tensorflow/tfjs-converter'
import * as tf from '@tensorflow/tfjs-core'`,
    open: tfjs(
      `const model = await loadGraphModel(new URL('model.json', at).href)
const names = about.signature.outputs.map(({ name }) => name)`,
      `const found = [${loops ? 'await model.executeAsync' : 'model.execute'}(given, names.map((name) => \`\${name}_out\`))].flat()`,
    ),
  },
  'tfjs-layers': {
    install: '@tensorflow/tfjs-core @tensorflow/tfjs-layers @tensorflow/tfjs-backend-cpu',
    imports: `import '@tensorflow/tfjs-backend-cpu'
import * as tf from '@tensorflow/tfjs-core'
import { loadLayersModel } from '@tensorflow/tfjs-layers'`,
    open: tfjs(
      `const model = await loadLayersModel(new URL('model.json', at).href)\nconst names = ['probabilities', 'values']`,
      `const answer = model.predict(given.ids)\nconst found = [answer, answer]`,
    ),
  },
})
const nodes: Record<string, Runtime> = {
  onnx: {
    install: 'onnxruntime-node',
    imports: `import ort from 'onnxruntime-node'`,
    open: ort(`\`\${import.meta.dirname}/model.onnx\``),
  },
}

/** A way to cut texts: packages, what is done once, and `encode`: a text → ids. */
interface Cutter {
  readonly install?: string
  readonly imports?: string
  readonly open: string
}

const vocabulary = `const vocabulary = new Map(Object.entries((await json('tokenizer.json')).model.vocab))`
const segmenter = `${vocabulary}\nconst words = new Intl.Segmenter('zh', { granularity: 'word' })`
const words = `Array.from(words.segment(text), ({ segment }) => segment)
  .filter((token) => token.trim() !== '')`
const library = {
  install: ' @huggingface/tokenizers',
  imports: `import { Tokenizer } from '@huggingface/tokenizers'`,
  open: `const tokenizer = new Tokenizer(await json('tokenizer.json'), {})`,
}
const cut = (ids: string) => `const ids‹: any[]› = ${ids}.slice(0, about.pipeline.maxLength)
return ids.length > 0 ? ids : [1]`
const encoder = (body: string) => `function encode(text‹: string›) {\n${indented(body, 2)}\n}`

function cutterOf({ pipeline: { tokenizer, normalise, truncate } }: Asked): Cutter {
  const script = normalise?.script && { simplified: 't2cn', traditional: 'cn2t' }[normalise.script]
  const converted = script === 'cn2t' ? `from: 'cn', to: 't'` : `from: 't', to: 'cn'`
  const normal = [
    normalise?.unicode !== 'none' && `text = text.normalize('${normalise?.unicode}')`,
    script && `text = convert(text)`,
    normalise?.lowercase && `text = Array.from(text, (character) => character.toLowerCase()).join('')`,
    `text = text.replace(/[\\p{Cc}\\p{Cf}]/gu, (character) => (/\\s/.test(character) ? ' ' : '')).replace(/\\s+/gu, ' ').trim()`,
  ]
    .filter(Boolean)
    .join('\n')
  const own = (open: string, ids: string, more: Partial<Cutter> = {}): Cutter => ({
    install: `${more.install ?? ''}${script ? ' opencc-js' : ''}`,
    imports: [more.imports, script && `import { Converter } from 'opencc-js/${script}'`].filter(Boolean).join('\n'),
    open: `${open}${script ? `\nconst convert = Converter({ ${converted} })` : ''}\n${encoder(`${normal}\n${cut(ids)}`)}`,
  })
  return {
    character: () => own(vocabulary, 'Array.from(text, (token) => vocabulary.get(token) ?? 1)'),
    word: () => own(segmenter, `${words}\n  .map((token) => vocabulary.get(token) ?? 1)`),
    both: () => own(segmenter, `${words}\n  .concat(Array.from(text))\n  .map((token) => vocabulary.get(token) ?? 1)`),
    bpe: () => own(library.open, 'tokenizer.encode(text).ids', library),
    keras: () => ({
      open: `const { config } = await json('tokenizer.json')
const index = new Map(Object.entries‹<any>›(JSON.parse(config.word_index)))
${encoder(`if (config.lower) text = text.toLowerCase()
const filtered = Array.from(text, (character) => (config.filters.includes(character) ? config.split : character)).join('')
const tokens‹: string[]› = config.char_level ? Array.from(text) : filtered.split(config.split).filter(Boolean)
const known = (id‹: any›) => id !== undefined && id < (config.num_words ?? id + 1)
const all = tokens.map((token) => (known(index.get(token)) ? index.get(token) : index.get(config.oov_token)))
const ids = all.filter(Boolean).slice(${truncate === 'start' ? '-about.pipeline.maxLength' : '0, about.pipeline.maxLength'})
return ids.length > 0 ? ids : [0]`)}`,
    }),
    // the library cuts no rows: the tokens that frame a text, one before it, are kept
    published: () => ({
      ...library,
      open: `${library.open}
${encoder(`const frame = tokenizer.encode('').ids
const row = tokenizer.encode(text, { add_special_tokens: false }).ids.slice(0, about.pipeline.maxLength - frame.length)
return [...frame.slice(0, 1), ...row, ...frame.slice(1)]`)}`,
    }),
  }[tokenizer]()
}

/** What is done for a task: the name of the function, its parameter, its body, and what an argument is. */
interface Deed {
  readonly name: string
  readonly argument: string
  readonly parameters?: string
  readonly body: string
  /** How an argument of the command line becomes the function's. */
  readonly given?: string
  /** Whether it takes a text that is cut into ids, or the library that cuts. */
  readonly cuts?: true
  readonly library?: true
  readonly open?: string
}

const int64 = `const int64 = (row‹: number[]›, dims = [1, row.length]) => tensor('int64', BigInt64Array.from(row, BigInt), dims)`
const feeds = (more = '') => `{ ids: int64(ids), lengths: int64([ids.length], [1])${more} }`

const deeds: Record<string, (asked: Asked) => Deed> = {
  'text-classification': ({ output }) => ({
    name: 'classify',
    argument: 'a text',
    cuts: true,
    open: int64,
    body: `const ids = encode(text)
const { ${output}: scores } = await session.run(${feeds()})
return about.labels.map((label‹: string›, i‹: number›) => ({ label, score: scores.data[i] }))`,
  }),
  'feature-extraction': () => ({
    name: 'embed',
    argument: 'a text',
    cuts: true,
    open: int64,
    body: `const ids = encode(text)
const { embeddings } = await session.run(${feeds()})
return [...embeddings.data]`,
  }),
  'token-classification': () => ({
    name: 'tag',
    argument: 'a text',
    cuts: true,
    open: int64,
    // tokens that frame the text belong to no word
    body: `const ids = encode(text)
const { probabilities } = await session.run(${feeds()})
return ids.flatMap((id‹: number›, t‹: number›) => {
  const row‹: number[]› = [...probabilities.data.slice(t * about.labels.length, (t + 1) * about.labels.length)]
  if (tokenizer.get_added_tokens_decoder().get(id)?.special) return []
  return [{ token: tokenizer.id_to_token(id), label: about.labels[row.indexOf(Math.max(...row))], score: Math.max(...row) }]
})`,
  }),
  'fill-mask': ({ mask }) => ({
    name: 'fill',
    argument: `a text with one ${mask}`,
    cuts: true,
    open: int64,
    body: `const ids = encode(text)
const place = ids.indexOf(tokenizer.token_to_id('${mask}')‹!›)
const { probabilities } = await session.run(${feeds(', positions: int64([place])')})
const scores = Array.from(probabilities.data, (score‹: any›, id) => ({ id, score })).sort((a, b) => b.score - a.score)
return scores.slice(0, 5).map(({ id, score }) => ({ token: tokenizer.decode([id]), id, score }))`,
  }),
  'text-generation': () => ({
    name: 'write',
    argument: 'the beginning of a text',
    parameters: 'text‹: string›, tokens = 32',
    library: true,
    open: int64,
    body: `const { start, end, never = [], context } = about.pipeline
const [ids] = [tokenizer.encode(text, { add_special_tokens: false }).ids, [start]].filter((row) => row.length > 0)
let past‹: any› = Object.fromEntries(about.signature.inputs.filter(({ name }‹: any›) => name.startsWith('past_key_values'))
  .map(({ name, shape: [, heads, , size] }‹: any›) => [name, tensor('float32', new Float32Array(0), [1, heads, 0, size])]))
const begun = ids.length
for (let read = 0; ids.length < Math.min(begun + tokens, context); ) {
  const places = [...ids.keys()].slice(read)
  const row = { input_ids: int64(ids.slice(read)), position_ids: int64(places), attention_mask: int64(ids.map(() => 1)) }
  const answers‹: any› = await session.run({ ...row, ...past })
  past = Object.fromEntries(Object.keys(past).map((name) => [name, answers[name.replace('past_key_values', 'present')]]))
  const last‹: Float32Array› = answers.logits.data.slice(-answers.logits.dims.at(-1))
  const token = last.reduce((best, score, id) => (never.includes(id) || score <= last[best] ? best : id), -1)
  if (end.includes(token)) break
  read = ids.push(token) - 1
}
return tokenizer.decode(ids.slice(begun))`,
  }),
  'image-classification': ({ channels }) => ({
    name: 'classify',
    argument: 'image.png',
    parameters: 'image‹: string›',
    // what lies plane by plane in the model lies pixel by pixel in an image
    body: `const { height, width, mean, deviation } = about.pipeline
const bytes = await pixels(image)
const data = Float32Array.from({ length: ${channels} * height * width }, (_, i) => {
  const channel = Math.floor(i / (height * width))
  return (bytes[(i % (height * width)) * step + channel] / 255 - mean[channel]) / deviation[channel]
})
const input = tensor('float32', data, [1, ${channels}, height, width])
const { probabilities } = await session.run({ [about.signature.inputs[0].name]: input })
return about.labels.map((label‹: string›, i‹: number›) => ({ label, score: probabilities.data[i] }))`,
  }),
  tensor: () => ({
    name: 'ask',
    argument: '{"x": [[1, 2]]}',
    parameters: 'inputs‹: any›',
    given: 'JSON.parse(text)',
    open: `const kinds‹: any› = { float32: Float32Array, float64: Float64Array, int32: Int32Array, int64: BigInt64Array, bool: Uint8Array }
const dimsOf = (value‹: any›)‹: number[]› => (Array.isArray(value) ? [value.length, ...dimsOf(value[0])] : [])`,
    body: `const feeds = about.signature.inputs.map(({ name, dtype }‹: any›) => {
  const values = [inputs[name]].flat(Infinity)
  return [name, tensor(dtype, kinds[dtype].from(values, dtype === 'int64' ? BigInt : Number), dimsOf(inputs[name]))]
})
const answers‹: any› = await session.run(Object.fromEntries(feeds))
return Object.fromEntries(about.signature.outputs.map(({ name }‹: any›) => {
  const { dims, data } = answers[name]
  return [name, { dims, data: Array.from(data, Number) }]
}))`,
  }),
}

/** How an image becomes bytes in Node: by the library that the server uses. */
const nodePixels = ({ fit, channels }: Asked) => `const step = ${channels}
const pixels = (path‹: string›) => sharp(path).autoOrient().flatten({ background: 'white' })
  .resize({ height: about.pipeline.height, width: about.pipeline.width, fit: '${fit}', background: 'black' })
  .toColourspace('${channels === 1 ? 'b-w' : 'srgb'}').raw().toBuffer()`

const browserPixels = ({ fit }: Asked) => `const step = 4
async function pixels(blob) {
  const [image, { height, width }] = [await createImageBitmap(blob), about.pipeline]
  const canvas = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })
  canvas.imageSmoothingQuality = 'high'
  ${
    fit === 'fill'
      ? 'const [w, h] = [width, height]'
      : `const scale = Math.${fit === 'cover' ? 'max' : 'min'}(width / image.width, height / image.height)
  const [w, h] = [image.width * scale, image.height * scale]`
  }
  for (const [colour, area] of [['black', [0, 0, width, height]], ['white', [(width - w) / 2, (height - h) / 2, w, h]]]) {
    canvas.fillStyle = colour
    canvas.fillRect(...area)
  }
  canvas.drawImage(image, (width - w) / 2, (height - h) / 2, w, h)
  return canvas.getImageData(0, 0, width, height).data
}`

interface Parts {
  readonly runtime: Runtime
  readonly deed: Deed
  readonly cutter: Cutter | undefined
}

function partsOf(asked: Asked, runtimes: Record<string, Runtime>): Parts | undefined {
  const runtime = runtimes[asked.format]
  const deed = deeds[asked.task]?.(asked)
  if (!runtime || !deed) return undefined
  return { runtime, deed, cutter: deed.library ? library : deed.cuts && cutterOf(asked) }
}
const lines = (...parts: (string | undefined | false)[]) => parts.filter(Boolean).join('\n')

/** The program for Node, in TypeScript; undefined where Node cannot run the format. */
export function nodeUsage(asked: Asked): string | undefined {
  const parts = partsOf(asked, nodes)
  if (!parts) return undefined
  const { runtime, deed, cutter } = parts
  const image = asked.task === 'image-classification'
  return typed(`// npm install ${runtime.install}${cutter?.install ?? ''}${image ? ' sharp' : ''}
// node usage.ts ${/[ "]/.test(deed.argument) ? `'${deed.argument}'` : deed.argument}
${lines(`import { readFileSync } from 'node:fs'`, cutter?.imports, runtime.imports, image && `import sharp from 'sharp'`)}

const json = (name‹: string›) => JSON.parse(readFileSync(\`\${import.meta.dirname}/\${name}\`, 'utf8'))
const about = json('pipeline.json')
${lines(runtime.open, cutter?.open.replaceAll('await json', 'json').replaceAll(/\((json\('tokenizer.json'\))\)/g, '$1'), deed.open, image && nodePixels(asked))}

export async function ${deed.name}(${deed.parameters ?? 'text‹: string›'}) {
${indented(deed.body, 2)}
}

for (const text of process.argv.slice(2)) console.log(JSON.stringify(await ${deed.name}(${deed.given ?? 'text'})))
`)
}

/** The modules for browsers, by name: one that runs the model and one that asks it; none where they cannot run the format. */
export function browserUsage(asked: Asked): Record<string, string> {
  const parts = partsOf(asked, browsers(asked))
  if (!parts) return {}
  const { runtime, deed, cutter } = parts
  const image = asked.task === 'image-classification'
  const given = image ? 'blob' : asked.task === 'tensor' ? '{ x: [[1, 2]] }' : `'${deed.argument}'`
  const parameters = deed.parameters ?? 'text‹: string›'
  const model = untyped(`// npm install ${runtime.install}${cutter?.install ?? ''}, and a bundler or an import map
${runtime.imports}

/** The model in a folder: what is known of it, and what runs it. */
export async function load(base) {
  const at = new URL(base, import.meta.url)
  const file = (name) => fetch(new URL(name, at))
  const json = async (name) => (await file(name)).json()
  const about = await json('pipeline.json')
${indented(runtime.open, 2)}
  return { about, json, session, tensor }
}
`)
  const browser =
    untyped(`// import { open } from './browser.js'; const ${deed.name} = await open('/folder/of/these/files/'); await ${deed.name}(${given})
${lines(cutter?.imports, `import { load } from './model.js'`)}

export async function open(base = './') {
  const { about, ${cutter ? 'json, ' : ''}session, tensor } = await load(base)
${indented(lines(cutter?.open, deed.open, image && browserPixels(asked)), 2)}
  return async function ${deed.name}(${parameters}) {
${indented(deed.body, 4)}
  }
}
`)
  return { 'model.js': model, 'browser.js': browser }
}

/** In the programs above, what is TypeScript's alone stands between these marks. */
const typed = (program: string) => program.replaceAll(/[‹›]/g, '')
const untyped = (program: string) => program.replaceAll(/‹[^›]*›/g, '')
