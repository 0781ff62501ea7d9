import type { Manifest } from '../../bundle/manifest.ts'
import type { EncoderHead } from '../../nn/encoders.ts'
import type { Files } from '../source.ts'

/** How a pipeline of each task is made and asked, and how its answer becomes what is printed: in transformers and in transformers.js. */
interface Asked {
  readonly python: { readonly made?: string; readonly asked?: string; readonly printed: string }
  readonly script: { readonly asked?: string; readonly printed: string }
}

const pipelines: Record<string, Asked> = {
  'text-classification': {
    python: { asked: ', top_k=None, truncation=True', printed: `{one['label']: one['score'] for one in answer}` },
    script: { asked: ', { top_k: null }', printed: 'answer' },
  },
  'token-classification': {
    python: {
      made: ', ignore_labels=[]',
      printed: `[{'token': one['word'], 'label': one['entity'], 'score': float(one['score'])} for one in answer]`,
    },
    script: {
      asked: ', { ignore_labels: [] }',
      printed: 'answer.map(({ word, entity, score }) => ({ token: word, label: entity, score }))',
    },
  },
  'fill-mask': {
    python: {
      asked: `, tokenizer_kwargs={'truncation': True}`,
      printed: `[{'token': one['token_str'], 'id': one['token'], 'score': one['score']} for one in answer]`,
    },
    script: { printed: 'answer.map(({ token, token_str, score }) => ({ token: token_str, id: token, score }))' },
  },
  'text-generation': {
    python: {
      made: ', do_sample=False, max_new_tokens=32, return_full_text=False',
      printed: `answer[0]['generated_text']`,
    },
    script: {
      asked: ', { do_sample: false, max_new_tokens: 32, return_full_text: false }',
      printed: 'answer[0].generated_text',
    },
  },
}

/** Programs that ask a Hugging Face folder by transformers and transformers.js, or a GGUF file by llama.cpp; undefined for other formats. */
export function publishedUsage(
  { task, encoder }: Pick<Manifest, 'task' | 'encoder'>,
  format: string,
): Files | undefined {
  if (format.startsWith('gguf')) return { 'usage.py': utf8(ggufPython), 'usage.ts': utf8(ggufScript) }
  if (format !== 'huggingface') return undefined
  if (task === 'feature-extraction') {
    const { pooling, unit } = (encoder as { head: Extract<EncoderHead, { task: 'feature-extraction' }> }).head
    const script = { asked: `, { pooling: '${pooling}', normalize: ${unit} }`, printed: 'answer.tolist()[0]' }
    return { 'usage.py': utf8(embeddingUsage), 'usage.ts': utf8(scriptUsage(task, script)) }
  }
  if (!Object.hasOwn(pipelines, task)) return {}
  const { python, script } = pipelines[task]
  return { 'usage.py': utf8(pythonUsage(task, python)), 'usage.ts': utf8(scriptUsage(task, script)) }
}

const utf8 = (text: string) => new TextEncoder().encode(text)

const pythonUsage = (
  task: string,
  { made = '', asked = '', printed }: Asked['python'],
) => `# pip install transformers torch
# python usage.py 'a text'
import json
import sys
from pathlib import Path
from transformers import pipeline

ask = pipeline('${task}', str(Path(__file__).parent)${made})

if __name__ == '__main__':
    for text in sys.argv[1:]:
        answer = ask(text${asked})
        print(json.dumps(${printed}, ensure_ascii=False))
`

const scriptUsage = (
  task: string,
  { asked = '', printed }: Asked['script'],
) => `// npm install @huggingface/transformers
// node usage.ts 'a text'
import { fileURLToPath } from 'node:url'
import { env, pipeline } from '@huggingface/transformers'

env.allowRemoteModels = false
const ask: any = await pipeline('${task}', fileURLToPath(new URL('.', import.meta.url)), { dtype: 'fp32' })
for (const text of process.argv.slice(2)) {
  const answer = await ask(text${asked})
  console.log(JSON.stringify(${printed}))
}
`

const embeddingUsage = `# pip install transformers torch
# python usage.py 'a text'
import json
import sys
from pathlib import Path
import torch
from transformers import AutoModel, AutoTokenizer

folder = Path(__file__).parent
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
pooling = json.loads((folder / '1_Pooling' / 'config.json').read_text())
unit = 'Normalize' in (folder / 'modules.json').read_text()


def embed(texts):
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors='pt')
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    valid = batch['attention_mask'].unsqueeze(-1)
    first = pooling['pooling_mode_cls_token']
    vectors = hidden[:, 0] if first else (hidden * valid).sum(1) / valid.sum(1)
    return (torch.nn.functional.normalize(vectors) if unit else vectors).tolist()


if __name__ == '__main__':
    for vector in embed(sys.argv[1:]):
        print(json.dumps(vector))
`

const ggufPython = `# pip install transformers torch gguf accelerate
# python usage.py 'the beginning of a text'
import json
import sys
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

file = {'pretrained_model_name_or_path': Path(__file__).parent, 'gguf_file': 'model.gguf'}
model, tokenizer = AutoModelForCausalLM.from_pretrained(**file), AutoTokenizer.from_pretrained(**file)
ask = pipeline('text-generation', model, tokenizer=tokenizer)

if __name__ == '__main__':
    for text in sys.argv[1:]:
        answer = ask(text, do_sample=False, max_new_tokens=32, return_full_text=False)
        print(json.dumps(answer[0]['generated_text'], ensure_ascii=False))
`

const ggufScript = `// npm install node-llama-cpp
// node usage.ts 'the beginning of a text'
import { fileURLToPath } from 'node:url'
import { getLlama, LlamaCompletion } from 'node-llama-cpp'

const llama = await getLlama({ gpu: false })
const model = await llama.loadModel({ modelPath: fileURLToPath(new URL('model.gguf', import.meta.url)) })
const context = await model.createContext()
const completion = new LlamaCompletion({ contextSequence: context.getSequence() })
for (const text of process.argv.slice(2)) {
  console.log(JSON.stringify(await completion.generateCompletion(text, { maxTokens: 32, temperature: 0 })))
}
await llama.dispose()
`
