import type { Files } from '../source.ts'

/** How the answer of transformers' pipeline of each task becomes what is printed. */
const printed: Record<string, string> = {
  'text-classification': `{one['label']: one['score'] for one in answer}`,
  'token-classification': `[{'token': one['word'], 'label': one['entity'], 'score': float(one['score'])} for one in answer]`,
  'fill-mask': `[{'token': one['token_str'], 'score': one['score']} for one in answer]`,
  'text-generation': `answer[0]['generated_text']`,
}
const options: Record<string, string> = {
  'token-classification': ', ignore_labels=[]',
  'text-generation': ', do_sample=False, max_new_tokens=32, return_full_text=False',
}

const call: Record<string, string> = {
  'text-classification': ', top_k=None, truncation=True',
  'fill-mask': ", tokenizer_kwargs={'truncation': True}",
}

/** A program that asks a Hugging Face folder by transformers, or a GGUF file by llama.cpp; undefined for other formats. */
export function publishedUsage(task: string, format: string): Files | undefined {
  if (format.startsWith('gguf')) return { 'usage.ts': utf8(ggufUsage) }
  if (format !== 'huggingface') return undefined
  if (task === 'feature-extraction') return { 'usage.py': utf8(embeddingUsage) }
  return printed[task] ? { 'usage.py': utf8(pipelineUsage(task)) } : {}
}

const utf8 = (text: string) => new TextEncoder().encode(text)

const pipelineUsage = (task: string) => `# pip install transformers torch
# python usage.py 'a text'
import json
import sys
from pathlib import Path
from transformers import pipeline

ask = pipeline('${task}', str(Path(__file__).parent)${options[task] ?? ''})

if __name__ == '__main__':
    for text in sys.argv[1:]:
        answer = ask(text${call[task] ?? ''})
        print(json.dumps(${printed[task]}, ensure_ascii=False))
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

const ggufUsage = `// npm install node-llama-cpp
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
