"""PyTorch's side of bench/train-lstm.ts: builds the same network from the same formula, then answers lines on stdin:
`losses N` with N losses, `time N` with N step times in milliseconds (one JSON list a line)."""
import json
import math
import sys
import time
import torch

torch.set_num_threads(2)
FUSED = len(sys.argv) > 1 and sys.argv[1] == 'fused'
VOCABULARY, WIDTH, HIDDEN, CLASSES, BATCH, TIME = 8000, 128, 128, 2, 32, 64


def fill(tensor, k, scale):
    i = torch.arange(tensor.numel(), dtype=torch.float64)
    with torch.no_grad():
        tensor.copy_((torch.sin(i * 0.7 + k) * scale).to(torch.float32).view_as(tensor))


def reorder(tensor):
    i, o, f, c = tensor.chunk(4)
    return torch.cat([i, f, c, o])


embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
lstm = torch.nn.LSTM(WIDTH, HIDDEN, batch_first=True)
head = torch.nn.Linear(HIDDEN, CLASSES)
fill(embedding.weight, 0, 0.5)
for k, (name, shape) in enumerate([('weight_ih_l0', (512, WIDTH)), ('weight_hh_l0', (512, HIDDEN)), ('bias_ih_l0', (512,)), ('bias_hh_l0', (512,))]):
    onnx = torch.empty(shape)
    fill(onnx, k + 1, 0.1)
    with torch.no_grad():
        getattr(lstm, name).copy_(reorder(onnx))
fill(head.weight, 5, 0.1)
fill(head.bias, 6, 0.1)
optimizer = torch.optim.Adam([*embedding.parameters(), *lstm.parameters(), *head.parameters()], lr=1e-3, **({'fused': True} if FUSED else {}))


def data(step):
    i = torch.arange(BATCH * TIME, dtype=torch.int64)
    ids = (1 + (i * 7919 + step * 104729) % (VOCABULARY - 1)).view(BATCH, TIME)
    return ids, (torch.arange(BATCH) + step) % CLASSES


step = 0


def train():
    global step
    ids, labels = data(step)
    started = time.perf_counter()
    y, _ = lstm(embedding(ids))
    loss = torch.nn.functional.cross_entropy(head(y[:, -1]), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    value = loss.item()
    step += 1
    return value, (time.perf_counter() - started) * 1e3


print(json.dumps({'torch': torch.__version__}), flush=True)
for line in sys.stdin:
    what, count = line.split()
    rows = [train() for _ in range(int(count))]
    print(json.dumps([row[0 if what == 'losses' else 1] for row in rows]), flush=True)
