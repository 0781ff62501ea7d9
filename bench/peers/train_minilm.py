"""PyTorch's side of bench/train-minilm.ts: trains the classifier in a folder with transformers, and answers lines on stdin:
`losses N` with N losses, `time N` with N step times in milliseconds (one JSON list a line)."""
import json
import sys
import time
import torch
import transformers

torch.set_num_threads(2)
FUSED = sys.argv[2] == 'fused'
BATCH, TIME, VOCABULARY = 16, 64, 30522
model = transformers.BertForSequenceClassification.from_pretrained(
    sys.argv[1], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, **({'fused': True} if FUSED else {}))
mask = torch.ones(BATCH, TIME, dtype=torch.int64)
step = 0


def train():
    global step
    i = torch.arange(BATCH * TIME, dtype=torch.int64)
    ids = (1000 + (i * 7919 + step * 104729) % (VOCABULARY - 1000)).view(BATCH, TIME)
    labels = (torch.arange(BATCH) + step) % 2
    started = time.perf_counter()
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    value = loss.item()
    step += 1
    return value, (time.perf_counter() - started) * 1e3


print(json.dumps({'torch': torch.__version__, 'transformers': transformers.__version__}), flush=True)
for line in sys.stdin:
    what, count = line.split()
    rows = [train() for _ in range(int(count))]
    print(json.dumps([row[0 if what == 'losses' else 1] for row in rows]), flush=True)
