import { hubTaskNames } from '../../bundle/hub.ts'
import { dataTypes } from '../../graph/dtype.ts'
import type { Version } from '../../registry/registry.ts'
import { type Example, examplesFor } from './examples.ts'

export interface Snippet {
  door: string
  language: 'curl' | 'typescript' | 'python'
  code: string
}

/** Where a snippet is to go: the server's address and the model's name. */
interface Target {
  url: string
  model: string
}
type Make = (target: Target, example: Example) => string

const quoted = (json: unknown) => `'${JSON.stringify(json).replaceAll("'", `'\\''`)}'`
const curl = (url: string, body: unknown) => `curl -s ${url} -H 'content-type: application/json' -d ${quoted(body)}`
const python = (value: unknown) => JSON.stringify(value) // lists, texts and numbers are the same in Python

const nativeInputs = ({ task, text, tensors, slots }: Example) =>
  task === 'tensor'
    ? Object.fromEntries(slots.map(({ slot, dims }) => [slot.name, { shape: dims, data: tensors[slot.name] }]))
    : text

const oipInputs = ({ task, text, tensors, slots }: Example) =>
  slots.map(({ slot, dims }) => ({
    name: slot.name,
    shape: dims,
    datatype: dataTypes[slot.dtype].oip,
    data: task === 'tensor' ? tensors[slot.name] : [text],
  }))

const messages = (text: string) => [{ role: 'user', content: text }]

/** Numpy's names of element types. */
const numpy: Record<string, string> = { string: 'object', bool: 'bool' }

/** Snippets of one door for models of one task (`any` for all): a line each, from which everything else derives. */
const table: [door: string, tasks: readonly string[], language: Snippet['language'], make: Make][] = [
  ['native', hubTaskNames, 'curl', ({ url, model }, { body }) => curl(`${url}/api/models/${model}/run`, body)],
  ['hf', hubTaskNames, 'curl', ({ url, model }, { body }) => curl(`${url}/hf/models/${model}`, body)],
  [
    'native',
    ['text-classification', 'tensor'],
    'curl',
    ({ url, model }, one) => curl(`${url}/api/models/${model}/predict`, { inputs: nativeInputs(one) }),
  ],
  [
    'native',
    ['text-classification'],
    'typescript',
    ({ url, model }, { text }) =>
      `import { Athanor } from 'athanor/client'\n\nconst athanor = new Athanor({ url: '${url}' })\nconst [best] = await athanor.predict('${model}', ${JSON.stringify(text)})\nconsole.log(best.label, best.score)`,
  ],
  [
    'native',
    ['tensor'],
    'typescript',
    ({ url, model }, one) =>
      `import { Athanor } from 'athanor/client'\n\nconst athanor = new Athanor({ url: '${url}' })\nconst { outputs } = await athanor.infer('${model}', ${JSON.stringify(nativeInputs(one))})\nconsole.log(outputs)`,
  ],
  [
    'native',
    ['text-classification', 'tensor'],
    'python',
    ({ url, model }, one) =>
      `import requests\n\nanswer = requests.post("${url}/api/models/${model}/predict", json={"inputs": ${python(nativeInputs(one))}})\nprint(answer.json()["outputs"])`,
  ],
  [
    'native',
    ['text-generation'],
    'curl',
    ({ url, model }, { text }) =>
      curl(`${url}/api/models/${model}/generate`, { prompt: text, parameters: { maxTokens: 32 } }),
  ],
  [
    'native',
    ['text-generation'],
    'typescript',
    ({ url, model }, { text }) =>
      `import { Athanor } from 'athanor/client'\n\nconst athanor = new Athanor({ url: '${url}' })\nfor await (const event of athanor.stream('${model}', ${JSON.stringify(text)}, { maxTokens: 32 })) process.stdout.write(event.text)`,
  ],
  [
    'openai',
    ['text-classification'],
    'curl',
    ({ url, model }, { text }) => curl(`${url}/classify`, { model, input: text }),
  ],
  [
    'openai',
    ['text-generation'],
    'curl',
    ({ url, model }, { text }) => curl(`${url}/v1/completions`, { model, prompt: text, max_tokens: 32 }),
  ],
  [
    'openai',
    ['text-generation'],
    'typescript',
    ({ url, model }, { text }) =>
      `import OpenAI from 'openai'\n\nconst openai = new OpenAI({ baseURL: '${url}/v1', apiKey: 'none' })\nconst { choices } = await openai.completions.create({ model: '${model}', prompt: ${JSON.stringify(text)}, max_tokens: 32 })\nconsole.log(choices[0].text)`,
  ],
  [
    'openai',
    ['text-generation'],
    'python',
    ({ url, model }, { text }) =>
      `from openai import OpenAI\n\nclient = OpenAI(base_url="${url}/v1", api_key="none")\nprint(client.completions.create(model="${model}", prompt=${python(text)}, max_tokens=32).choices[0].text)`,
  ],
  [
    'openai',
    ['chat'],
    'typescript',
    ({ url, model }, { text }) =>
      `import OpenAI from 'openai'\n\nconst openai = new OpenAI({ baseURL: '${url}/v1', apiKey: 'none' })\nconst { choices } = await openai.chat.completions.create({ model: '${model}', messages: ${JSON.stringify(messages(text))}, max_tokens: 32 })\nconsole.log(choices[0].message.content)`,
  ],
  [
    'openai',
    ['feature-extraction'],
    'curl',
    ({ url, model }, { text }) => curl(`${url}/v1/embeddings`, { model, input: text }),
  ],
  [
    'oip',
    ['any'],
    'curl',
    ({ url, model }, one) => curl(`${url}/v2/models/${model}/infer`, { inputs: oipInputs(one) }),
  ],
  [
    'oip',
    ['text-classification', 'tensor'],
    'python',
    ({ url, model }, { slots, tensors, task, text }) =>
      [
        'import numpy as np\nimport tritonclient.http as client\n',
        'inputs = []',
        ...slots.map(({ slot, dims }) => {
          const value = task === 'tensor' ? tensors[slot.name] : [text]
          return `inputs.append(client.InferInput("${slot.name}", ${python(dims)}, "${dataTypes[slot.dtype].oip}"))\ninputs[-1].set_data_from_numpy(np.array(${python(value)}, dtype=np.dtype("${numpy[slot.dtype] ?? slot.dtype}")))`
        }),
        `answer = client.InferenceServerClient("${url.replace(/^\w+:\/\//, '')}").infer("${model}", inputs)`,
        'print(answer.get_response())',
      ].join('\n'),
  ],
  [
    'hf',
    ['text-classification'],
    'typescript',
    ({ url, model }, { text }) =>
      `import { InferenceClient } from '@huggingface/inference'\n\nconst hf = new InferenceClient('none').endpoint('${url}/hf/models/${model}')\nconsole.log(await hf.textClassification({ inputs: ${JSON.stringify(text)} }))`,
  ],
  [
    'hf',
    ['text-classification'],
    'python',
    ({ url, model }, { text }) =>
      `from huggingface_hub import InferenceClient\n\nprint(InferenceClient("${url}/hf/models/${model}").text_classification(${python(text)}))`,
  ],
  [
    'hf',
    ['text-generation'],
    'python',
    ({ url, model }, { text }) =>
      `from huggingface_hub import InferenceClient\n\nprint(InferenceClient("${url}/hf/models/${model}").text_generation(${python(text)}, max_new_tokens=32))`,
  ],
  [
    'tfserving',
    ['any'],
    'curl',
    ({ url, model }, { task, tensors, text }) =>
      curl(`${url}/tfserving/v1/models/${model}:predict`, { inputs: task === 'tensor' ? tensors : { text: [text] } }),
  ],
  [
    'mlflow',
    ['text-classification'],
    'curl',
    ({ url, model }, { text }) =>
      curl(`${url}/mlflow/${model}/invocations`, { dataframe_split: { columns: ['text'], data: [[text]] } }),
  ],
  [
    'mlflow',
    ['tensor'],
    'curl',
    ({ url, model }, { tensors }) => curl(`${url}/mlflow/${model}/invocations`, { inputs: tensors }),
  ],
  [
    'tei',
    ['text-classification'],
    'curl',
    ({ url, model }, { text }) => curl(`${url}/tei/${model}/predict`, { inputs: text }),
  ],
  [
    'ollama',
    ['text-generation'],
    'curl',
    ({ url, model }, { text }) =>
      curl(`${url}/ollama/api/generate`, { model, prompt: text, stream: false, options: { num_predict: 32 } }),
  ],
  [
    'mcp',
    ['any'],
    'curl',
    ({ url, model }, { task, text, tensors }) => {
      const given = task === 'tensor' ? tensors : { [task === 'text-generation' ? 'prompt' : 'text']: text }
      const params = { name: model, arguments: given }
      return curl(`${url}/mcp`, { jsonrpc: '2.0', id: 1, method: 'tools/call', params })
    },
  ],
]

/** Snippets that call a version, for each door that its task fits; throws UNSUPPORTED for tasks that no table knows. */
export function snippetsOf(version: Version, url: string): Snippet[] {
  const example = examplesFor(version)
  const kinds = ['any', example.task, ...('chatTemplate' in (version.manifest.pipeline ?? {}) ? ['chat'] : [])]
  return table
    .filter(([, tasks]) => tasks.some((task) => kinds.includes(task)))
    .map(([door, , language, make]) => ({ door, language, code: make({ url, model: version.name }, example) }))
}
