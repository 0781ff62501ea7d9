"""Records how transformers scores pairs with the folders that src/testing/tiny-reranker.ts makes, for src/doors/pairs.test.ts.

    python tools/golden_pairs.py > src/doors/pairs.golden.json      (PyTorch and transformers from PyPI)
"""
import json
import subprocess
import sys
import tempfile
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

WRITE = """
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { writeFolder } from './src/formats/huggingface/write.ts'
import { tinyReranker } from './src/testing/tiny-reranker.ts'
for (const [name, content] of writeFolder(tinyReranker(process.argv[1]))) {
  const path = join(process.argv[2], name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content)
}
"""
LONG = 'the lazy dog jumps over the quick brown fox ' * 3
PAIRS = [
    ['the fox', 'a quick dog'],
    ['今天天气', '天气很好 the dog'],
    ['the dog', LONG],
    [LONG, '今天'],
    [LONG, LONG],
    ['fox', ''],
]

golden = {'pairs': PAIRS}
for layout in ['bert', 'roberta']:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(['node', '--input-type=module', '-e', WRITE, layout, folder], check=True, stdout=sys.stderr)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        with torch.no_grad():
            encoded = [tokenizer([a], [b], truncation=True, return_tensors='pt') for a, b in PAIRS]
            golden[layout] = [round(model(**one).logits.item(), 6) for one in encoded]
print(json.dumps(golden, ensure_ascii=False, indent=2))
