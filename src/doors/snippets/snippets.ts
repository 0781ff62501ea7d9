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

const oipInputs = ({ tensors, slots }: Example) =>
  slots.map(({ slot, dims }) => ({
    name: slot.name,
    shape: dims,
    datatype: dataTypes[slot.dtype].oip,
    data: tensors[slot.name],
  }))

/** Arguments of a model as a tool. */
function toolArguments({ task, text, tensors, slots, body }: Example): unknown {
  if (body) return { ...(body.inputs as object), ...(body.parameters as object | undefined) }
  if (task === 'tensor') return tensors
  return { [task === 'text-generation' ? 'prompt' : slots[0].slot.name]: text }
}

/** Tasks of texts or images that are asked and answer at once. */
const asked = [
  'text-classification',
  'image-classification',
  'feature-extraction',
  'fill-mask',
  'token-classification',
] as const
/** Tasks that protocols of tensors know. */
const viewed = [...asked, 'text-generation', 'tensor'] as const

/** How the SDK asks for one thing, by task; and what to print of its answer. */
const sdk: Record<string, [call: string, shown: string]> = {
  'text-classification': ['predict(MODEL, TEXT)', 'answer[0].label, answer[0].score'],
  'image-classification': ["classifyImage(MODEL, Buffer.from(TEXT, 'base64'))", 'answer[0].label, answer[0].score'],
  'feature-extraction': ['embed(MODEL, [TEXT])', 'answer[0].length'],
  'fill-mask': ['fillMask(MODEL, [TEXT])', 'answer[0][0]'],
  'token-classification': ['entities(MODEL, [TEXT])', 'answer[0]'],
}

const messages = (text: string) => [{ role: 'user', content: text }]

/** Numpy's names of element types. */
const numpy: Record<string, string> = { string: 'object', bool: 'bool' }

/** Snippets of one door for models of some tasks (`chat`: those that converse): a line each, from which everything else derives. */
const table: [door: string, tasks: readonly string[], language: Snippet['language'], make: Make][] = [
  ['native', hubTaskNames, 'curl', ({ url, model }, { body }) => curl(`${url}/api/models/${model}/run`, body)],
  ['hf', hubTaskNames, 'curl', ({ url, model }, { body }) => curl(`${url}/hf/models/${model}`, body)],
  [
    'native',
    [...asked, 'tensor'],
    'curl',
    ({ url, model }, one) => curl(`${url}/api/models/${model}/predict`, { inputs: nativeInputs(one) }),
  ],
  [
    'native',
    asked,
    'typescript',
    ({ url, model }, { task, text }) => {
      const [call, shown] = sdk[task]
      const made = call.replace('MODEL', `'${model}'`).replace('TEXT', () => JSON.stringify(text))
      return `import { Athanor } from 'athanor/client'\n\nconst athanor = new Athanor({ url: '${url}' })\nconst answer = await athanor.${made}\nconsole.log(${shown})`
    },
  ],
  [
    'native',
    hubTaskNames,
    'typescript',
    ({ url, model }, { body = {} }) =>
      `import { Athanor } from 'athanor/client'\n\nconst athanor = new Athanor({ url: '${url}' })\nconsole.log(await athanor.run('${model}', ${JSON.stringify(body.inputs)}, ${JSON.stringify(body.parameters ?? {})}))`,
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
    [...asked, 'tensor'],
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
    ['chat'],
    'python',
    ({ url, model }, { text }) =>
      `from openai import OpenAI\n\nclient = OpenAI(base_url="${url}/v1", api_key="none")\nanswer = client.chat.completions.create(model="${model}", messages=${python(messages(text))}, max_tokens=32)\nprint(answer.choices[0].message.content)`,
  ],
  [
    'openai',
    ['feature-extraction'],
    'typescript',
    ({ url, model }, { text }) =>
      `import OpenAI from 'openai'\n\nconst openai = new OpenAI({ baseURL: '${url}/v1', apiKey: 'none' })\nconst { data } = await openai.embeddings.create({ model: '${model}', input: ${JSON.stringify(text)} })\nconsole.log(data[0].embedding.length)`,
  ],
  [
    'openai',
    ['feature-extraction'],
    'python',
    ({ url, model }, { text }) =>
      `from openai import OpenAI\n\nclient = OpenAI(base_url="${url}/v1", api_key="none")\nprint(len(client.embeddings.create(model="${model}", input=${python(text)}).data[0].embedding))`,
  ],
  [
    'openai',
    ['feature-extraction'],
    'curl',
    ({ url, model }, { text }) => curl(`${url}/v1/embeddings`, { model, input: text }),
  ],
  ['oip', viewed, 'curl', ({ url, model }, one) => curl(`${url}/v2/models/${model}/infer`, { inputs: oipInputs(one) })],
  [
    'oip',
    viewed,
    'python',
    ({ url, model }, { slots, tensors }) =>
      [
        'import numpy as np\nimport tritonclient.http as client\n',
        'inputs = []',
        ...slots.map(({ slot, dims }) => {
          const sent = slot.image
            ? `[base64.b64decode(${python((tensors[slot.name] as string[])[0])})]`
            : python(tensors[slot.name])
          return `${slot.image ? 'import base64\n' : ''}inputs.append(client.InferInput("${slot.name}", ${python(dims)}, "${dataTypes[slot.dtype].oip}"))\ninputs[-1].set_data_from_numpy(np.array(${sent}, dtype=np.dtype("${numpy[slot.dtype] ?? slot.dtype}")))`
        }),
        `answer = client.InferenceServerClient("${url.replace(/^\w+:\/\//, '')}").infer("${model}", inputs)`,
        'print(answer.get_response())',
      ].join('\n'),
  ],
  ['hf', asked, 'curl', ({ url, model }, { text }) => curl(`${url}/hf/models/${model}`, { inputs: text })],
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
    ['feature-extraction'],
    'python',
    ({ url, model }, { text }) =>
      `from huggingface_hub import InferenceClient\n\nprint(InferenceClient("${url}/hf/models/${model}").feature_extraction(${python(text)}).shape)`,
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
    viewed,
    'curl',
    ({ url, model }, { tensors }) => curl(`${url}/tfserving/v1/models/${model}:predict`, { inputs: tensors }),
  ],
  [
    'mlflow',
    viewed,
    'curl',
    ({ url, model }, { task, slots, text, tensors }) =>
      curl(
        `${url}/mlflow/${model}/invocations`,
        task === 'tensor'
          ? { inputs: tensors }
          : { dataframe_split: { columns: [slots[0].slot.name], data: [[text]] } },
      ),
  ],
  [
    'tei',
    ['text-classification'],
    'curl',
    ({ url, model }, { text }) => curl(`${url}/tei/${model}/predict`, { inputs: text }),
  ],
  [
    'tei',
    ['feature-extraction'],
    'curl',
    ({ url, model }, { text }) => curl(`${url}/tei/${model}/embed`, { inputs: text }),
  ],
  [
    'ollama',
    ['feature-extraction'],
    'curl',
    ({ url, model }, { text }) => curl(`${url}/ollama/api/embed`, { model, input: text }),
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
    [...viewed, ...hubTaskNames],
    'curl',
    ({ url, model }, one) => {
      const params = { name: model, arguments: toolArguments(one) }
      return curl(`${url}/mcp`, { jsonrpc: '2.0', id: 1, method: 'tools/call', params })
    },
  ],
]

/** Snippets that call a version, for each door that its task fits; throws UNSUPPORTED for tasks that no table knows. */
export function snippetsOf(version: Version, url: string): Snippet[] {
  const example = examplesFor(version)
  const kinds = [example.task, ...(example.chat ? ['chat'] : [])]
  return table
    .filter(([, tasks]) => tasks.some((task) => kinds.includes(task)))
    .map(([door, , language, make]) => ({ door, language, code: make({ url, model: version.name }, example) }))
}
