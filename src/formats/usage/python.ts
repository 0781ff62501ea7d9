import { type Asked, indented } from './asked.ts'

/** How Python runs a format: what is installed, how the model is opened, and `run`: named arrays → named arrays. */
interface Runtime {
  readonly install: string
  readonly imports: string
  readonly open: string
  readonly run: string
}

const keras = (file: string): Runtime => ({
  install: 'keras tensorflow-cpu',
  imports: 'import keras',
  open: `model = keras.models.load_model(folder / '${file}', compile=False)`,
  // one output, whatever it is called
  run: `return dict.fromkeys(['probabilities', 'values'], model.predict(feeds['ids'].astype('int32'), verbose=0))`,
})

const runtimes: Record<string, Runtime> = {
  onnx: {
    install: 'onnxruntime',
    imports: 'import onnxruntime',
    open: `session = onnxruntime.InferenceSession(folder / 'model.onnx')`,
    run: `return {output.name: value for output, value in zip(session.get_outputs(), session.run(None, feeds))}`,
  },
  keras: keras('model.keras'),
  'keras-h5': keras('model.h5'),
  savedmodel: {
    install: 'tensorflow-cpu',
    imports: 'import tensorflow as tf',
    open: `serve = tf.saved_model.load(str(folder)).signatures['serving_default']`,
    run: `return {name: value.numpy() for name, value in serve(**dict(zip(feeds, map(tf.constant, feeds.values())))).items()}`,
  },
  tflite: {
    install: 'tensorflow-cpu',
    imports: 'import tensorflow as tf',
    open: `serve = tf.lite.Interpreter(str(folder / 'model.tflite')).get_signature_runner('serving_default')\ndetails = serve.get_input_details()`,
    run: `return serve(**{name: value.astype(details[name]['dtype']) for name, value in feeds.items()})`,
  },
}

/** A way to cut texts: what it takes, what is done once, and the body of `encode`: a text → ids. */
interface Cutter {
  readonly install?: string
  readonly imports?: string
  readonly open: string
  readonly encode: string
}

const vocabulary = `vocabulary = json.loads((folder / 'tokenizer.json').read_text('utf-8'))['model']['vocab']`
const library = {
  install: ' tokenizers',
  imports: 'from tokenizers import Tokenizer',
  open: `tokenizer = Tokenizer.from_file(str(folder / 'tokenizer.json'))`,
}
/** White space as JavaScript's regular expressions know it. */
const BLANKS = '[\\t\\n\\v\\f\\r \\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]'
const cut = (ids: string) => `return ${ids}[:about['pipeline']['maxLength']] or [1]`

function cutterOf({ pipeline: { tokenizer, normalise, truncate } }: Asked): Cutter | undefined {
  if (normalise?.script) return undefined // OpenCC's dictionaries differ from one library to the next
  const normal = [
    normalise?.unicode !== 'none' && `text = unicodedata.normalize('${normalise?.unicode}', text)`,
    normalise?.lowercase && `text = ''.join(character.lower() for character in text)`,
    `text = re.sub('${BLANKS}+', ' ', text)`,
    `text = ' '.join(''.join(c for c in text if unicodedata.category(c) not in ('Cc', 'Cf')).split(' ')).strip()`,
  ]
    .filter(Boolean)
    .join('\n')
  const own = { imports: 'import re\nimport unicodedata', open: vocabulary }
  const known = 'vocabulary.get(token, 1)'
  const inWords = (ids: string): Cutter => ({
    ...own,
    install: ' uniseg',
    imports: `${own.imports}\nfrom uniseg.wordbreak import words`,
    // what is written without blanks is cut by dictionaries that Python lacks
    encode: `${normal}
if re.search('(CJK UNIFIED|HIRAGANA|KATAKANA|THAI|LAO|KHMER|MYANMAR) ', ' '.join(unicodedata.name(c, '') for c in text)):
    raise ValueError('words of this script are found by the dictionaries of ICU: use usage.ts of an ONNX export')
${cut(ids)}`,
  })
  return {
    character: { ...own, encode: `${normal}\n${cut(`[${known} for token in text]`)}` },
    word: inWords(`[${known} for token in words(text) if token.strip()]`),
    both: inWords(`[${known} for token in [*filter(str.strip, words(text)), *text]]`),
    bpe: {
      ...library,
      imports: `${own.imports}\n${library.imports}`,
      encode: `${normal}\n${cut('tokenizer.encode(text).ids')}`,
    },
    keras: {
      open: `config = json.loads((folder / 'tokenizer.json').read_text('utf-8'))['config']
index = {token: i for token, i in json.loads(config['word_index']).items() if i < (config['num_words'] or i + 1)}`,
      encode: `text = text.lower() if config['lower'] else text
if not config['char_level']:
    text = ''.join(config['split'] if c in config['filters'] else c for c in text).split(config['split'])
unknown = json.loads(config['word_index']).get(config['oov_token'])
ids = [index.get(token, unknown) for token in text if token]
ids = [i for i in ids if i is not None]
return ids${truncate === 'start' ? "[-about['pipeline']['maxLength']:]" : "[:about['pipeline']['maxLength']]"} or [0]`,
    },
    published: {
      ...library,
      open: `${library.open}\ntokenizer.no_padding()\ntokenizer.enable_truncation(about['pipeline']['maxLength'])`,
      encode: `return tokenizer.encode(text).ids`,
    },
  }[tokenizer]
}

/** What is done for a task: the name of the function, its parameters, its body, and what an argument is. */
interface Deed {
  readonly name: string
  readonly argument: string
  readonly body: string
  readonly imports?: string
  readonly install?: string
  readonly open?: string
  /** How an argument of the command line becomes the function's. */
  readonly given?: string
  /** Whether it takes a text that is cut into ids. */
  readonly cuts?: true
}

const feeds = (more = '') =>
  `feeds = {'ids': np.array([ids], 'int64'), 'lengths': np.array([len(ids)], 'int64')${more}}`
const fits: Record<string, string> = {
  cover: 'ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)',
  contain: `ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS, color='black')`,
  fill: 'image.resize((width, height), Image.Resampling.LANCZOS)',
}

const deeds: Record<string, (asked: Asked) => Deed> = {
  'text-classification': ({ output }) => ({
    name: 'classify',
    argument: 'a text',
    cuts: true,
    body: `ids = encode(text)
${feeds()}
return dict(zip(about['labels'], run(feeds)['${output}'][0].tolist()))`,
  }),
  'feature-extraction': () => ({
    name: 'embed',
    argument: 'a text',
    cuts: true,
    body: `ids = encode(text)\n${feeds()}\nreturn run(feeds)['embeddings'][0].tolist()`,
  }),
  'token-classification': () => ({
    name: 'tag',
    argument: 'a text',
    cuts: true,
    // tokens that frame the text belong to no word
    body: `found = tokenizer.encode(text)
ids = found.ids
${feeds()}
rows = [(i, row) for i, row in enumerate(run(feeds)['probabilities'][0]) if not found.special_tokens_mask[i]]
return [{'token': found.tokens[i], 'label': about['labels'][row.argmax()], 'score': float(row.max())} for i, row in rows]`,
  }),
  'fill-mask': ({ mask }) => ({
    name: 'fill',
    argument: `a text with one ${mask}`,
    cuts: true,
    body: `ids = encode(text)
place = ids.index(tokenizer.token_to_id('${mask}'))
${feeds(`, 'positions': np.array([[place]], 'int64')`)}
scores = run(feeds)['probabilities'][0, 0]
best = scores.argsort()[::-1][:5].tolist()
return [{'token': tokenizer.decode([i], skip_special_tokens=False), 'id': i, 'score': float(scores[i])} for i in best]`,
  }),
  'text-generation': () => ({
    name: 'write',
    argument: 'the beginning of a text',
    install: library.install,
    imports: library.imports,
    open: library.open,
    body: `config = about['pipeline']
read, ids = 0, (prompt := tokenizer.encode(text, add_special_tokens=False).ids or [config['start']])
shapes = {one['name']: one['shape'] for one in about['signature']['inputs'] if one['name'].startswith('past_key_values')}
past = {name: np.zeros((1, heads, 0, size), 'float32') for name, (_, heads, _, size) in shapes.items()}
while len(ids) < min(len(prompt) + tokens, config['context']):
    row = {'input_ids': ids[read:], 'attention_mask': [1] * len(ids), 'position_ids': range(read, len(ids))}
    answers = run({**{name: np.array([values], 'int64') for name, values in row.items()}, **past})
    past = {name: answers[name.replace('past_key_values', 'present')] for name in past}
    answers['logits'][0, -1, config.get('never', [])] = -np.inf
    if (token := int(answers['logits'][0, -1].argmax())) in config['end']:
        break
    read, ids = len(ids), [*ids, token]
return tokenizer.decode(ids[len(prompt):])`,
  }),
  'image-classification': ({ fit, channels }) => ({
    name: 'classify',
    argument: 'image.png',
    install: ' pillow',
    imports: 'from PIL import Image, ImageOps',
    body: `height, width, mean, deviation = (about['pipeline'][part] for part in ('height', 'width', 'mean', 'deviation'))
image = ImageOps.exif_transpose(Image.open(path)).convert('RGBA')
image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('${channels === 1 ? 'L' : 'RGB'}')
image = ${fits[fit]}
values = (np.asarray(image).reshape(height, width, -1) / 255 - mean) / deviation
feeds = {about['signature']['inputs'][0]['name']: values.transpose(2, 0, 1)[None].astype('float32')}
return dict(zip(about['labels'], run(feeds)['probabilities'][0].tolist()))`,
  }),
  tensor: () => ({
    name: 'ask',
    argument: '{"x": [[1, 2]]}',
    given: 'json.loads(text)',
    body: `types = {one['name']: one['dtype'] for one in about['signature']['inputs']}
answers = run({name: np.array(value, types[name]) for name, value in inputs.items()})
return {name: {'dims': list(value.shape), 'data': value.ravel().tolist()} for name, value in answers.items()}`,
  }),
}

const parameters: Record<string, string> = {
  'text-generation': 'text, tokens=32',
  'image-classification': 'path',
  tensor: 'inputs',
}

/** The program for Python; undefined where it cannot run the format, or cut texts as the server does. */
export function pythonUsage(asked: Asked): string | undefined {
  const runtime = runtimes[asked.format]
  const deed = deeds[asked.task]?.(asked)
  const cutter = deed?.cuts && cutterOf(asked)
  if (!runtime || !deed || (deed.cuts && !cutter)) return undefined
  const lines = (...parts: (string | undefined)[]) => parts.filter(Boolean).join('\n')
  const more = lines(cutter?.imports, deed.imports).split('\n').filter(Boolean)
  const standard = ['import re', 'import unicodedata'].filter((line) => more.includes(line))
  const modules = ['json', 'sys', ...standard.map((line) => line.slice(7))].sort()
  const encode = cutter && / encode\(/.test(deed.body) && `def encode(text):\n${indented(cutter.encode, 4)}\n\n\n`
  return `# pip install ${runtime.install} numpy${cutter?.install ?? ''}${deed.install ?? ''}
# python usage.py ${/[ "]/.test(deed.argument) ? `'${deed.argument}'` : deed.argument}
import ${modules.join(', ')}
from pathlib import Path
import numpy as np
${[runtime.imports, ...more.filter((line) => !standard.includes(line))].join('\n')}

folder = Path(__file__).parent
about = json.loads((folder / 'pipeline.json').read_text('utf-8'))
${lines(runtime.open, cutter?.open, deed.open)}


def run(feeds):
${indented(runtime.run, 4)}


${encode || ''}def ${deed.name}(${parameters[asked.task] ?? 'text'}):
${indented(deed.body, 4)}


if __name__ == '__main__':
    for text in sys.argv[1:]:
        print(json.dumps(${deed.name}(${deed.given ?? 'text'}), ensure_ascii=False))
`
}
