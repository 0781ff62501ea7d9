"""Records what PyTorch computes for fixed weights, as the numbers src/train/session.test.ts compares with.

    python tools/golden-lstm.py > src/train/lstm.golden.json      (PyTorch from PyPI, any 2.x)

Weights come from a formula that both sides compute: w[i] = sin(i * 0.7 + k) * scale, k the parameter's number.
"""
import json
import math
import torch

VOCABULARY, WIDTH, HIDDEN, CLASSES, BATCH, TIME = 50, 12, 10, 3, 6, 9


def fill(tensor, k, scale):
    values = [math.sin(i * 0.7 + k) * scale for i in range(tensor.numel())]
    with torch.no_grad():
        tensor.copy_(torch.tensor(values, dtype=torch.float64).to(torch.float32).view_as(tensor))


def reorder(tensor):
    """Gate rows from ONNX's i, o, f, c to PyTorch's i, f, g, o."""
    i, o, f, c = tensor.chunk(4)
    return torch.cat([i, f, c, o])


def data(step):
    lengths = [TIME - (r + step) % 5 for r in range(BATCH)]
    ids = [[1 + (r * 7 + t * 3 + step * 5) % (VOCABULARY - 1) if t < lengths[r] else 0 for t in range(TIME)] for r in range(BATCH)]
    labels = [(r + step) % CLASSES for r in range(BATCH)]
    return torch.tensor(ids), torch.tensor(lengths), torch.tensor(labels)


def losses(optimizer, bidirectional, pooling, clip, decay=0.0):
    directions = 2 if bidirectional else 1
    embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
    lstm = torch.nn.LSTM(WIDTH, HIDDEN, batch_first=True, bidirectional=bidirectional)
    head = torch.nn.Linear(directions * HIDDEN, CLASSES)
    fill(embedding.weight, 0, 0.5)
    for d, suffix in enumerate(['', '_reverse'][:directions]):
        for k, (name, shape) in enumerate([('weight_ih', (4 * HIDDEN, WIDTH)), ('weight_hh', (4 * HIDDEN, HIDDEN)), ('bias_ih', (4 * HIDDEN,)), ('bias_hh', (4 * HIDDEN,))]):
            onnx = torch.empty(shape)
            fill(onnx, 10 * d + k + 1, 0.3)
            with torch.no_grad():
                getattr(lstm, f'{name}_l0{suffix}').copy_(reorder(onnx))
    fill(head.weight, 5, 0.4)
    fill(head.bias, 6, 0.1)
    weights = [lstm.__getattr__(n) for n, _ in lstm.named_parameters() if 'weight' in n] + [head.weight]
    rest = [embedding.weight, head.bias] + [p for n, p in lstm.named_parameters() if 'bias' in n]
    groups = [{'params': weights, 'weight_decay': decay}, {'params': rest, 'weight_decay': 0.0}]
    step_of = {
        'adamw': lambda: torch.optim.AdamW(groups, lr=0.01),
        'sgd': lambda: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    }[optimizer]()
    result = []
    for step in range(10):
        ids, lengths, labels = data(step)
        packed = torch.nn.utils.rnn.pack_padded_sequence(embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=TIME)
        valid = (torch.arange(TIME)[None, :] < lengths[:, None])[..., None]
        if pooling == 'mean':
            pooled = (y * valid).sum(1) / lengths[:, None]
        elif pooling == 'max':
            pooled = y.masked_fill(~valid, -1e30).max(1)[0]
        else:
            pooled = y[torch.arange(BATCH), lengths - 1]
        loss = torch.nn.functional.cross_entropy(head(pooled), labels)
        step_of.zero_grad()
        loss.backward()
        everything = weights + rest
        norm = torch.nn.utils.clip_grad_norm_(everything, clip if clip else math.inf)
        step_of.step()
        result.append({'loss': loss.item(), 'gradientNorm': norm.item()})
    return result


cases = [
    dict(optimizer='adamw', bidirectional=False, pooling='mean', clip=0.5, decay=0.0),
    dict(optimizer='adamw', bidirectional=True, pooling='max', clip=1.0, decay=0.1),
    dict(optimizer='sgd', bidirectional=True, pooling='last', clip=0.0, decay=0.0),
]
print(json.dumps({'torch': torch.__version__, 'cases': [{**case, 'steps': losses(**case)} for case in cases]}, indent=1))
