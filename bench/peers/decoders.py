"""A decoder of GPT-2's layout as nanoGPT's users write it, for bench/train-gpt.ts: a racer (see trainer.py), or with
`validate` a whole run on the text and windows that the bench names."""
import json
import sys
import time
import numpy
import torch
from torch.nn import functional as F
from trainer import answer, fill


def network(config, w):
    width, heads, layers = (config[name] for name in ('width', 'heads', 'layers'))
    norm = lambda x, at: F.layer_norm(x, [width], w[f'{at}/scale'], w[f'{at}/bias'])
    linear = lambda x, at: F.linear(x, w[f'{at}/weight'], w[f'{at}/bias'])

    def loss(batch):
        ids, targets = batch
        rows, length = ids.shape
        x = F.embedding(ids, w['embedding/weight']) + w['positions/weight'][:length]
        for i in range(layers):
            at = f'layer.{i}/attention'
            q, k, v = linear(norm(x, at), f'{at}/in').view(rows, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            heard = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(rows, length, width)
            x = x + linear(heard, f'{at}/out')
            at = f'layer.{i}/feedForward'
            x = x + linear(F.gelu(linear(norm(x, at), f'{at}/in'), approximate='tanh'), f'{at}/out')
        logits = F.linear(norm(x, 'last'), w['embedding/weight'])
        return F.cross_entropy(logits.view(-1, config['vocabulary']), targets.reshape(-1))

    return loss


def racer(config, w):
    rows, length, vocabulary = (config[name] for name in ('rows', 'time', 'vocabulary'))

    def data(step):
        i = torch.arange(rows * (length + 1), dtype=torch.int64)
        windows = ((i * 7919 + step * 104729) % vocabulary).view(rows, length + 1)
        return windows[:, :-1], windows[:, 1:]

    return list(w.values()), data, network(config, w)


def validate(config):
    rows, length = config['rows'], config['time']
    w = {p['name']: fill(k, p['dims'], p['centre'], p['bound']) for k, p in enumerate(config['parameters'])}
    loss_of = network(config, w)
    text = {part: torch.from_numpy(numpy.fromfile(config['files'][part], 'uint8').astype('int64')) for part in ('train', 'held')}

    def windows(part, step):
        ids = text[part]
        starts = [(step * rows + row) * 7368787 % (len(ids) - length - 1) for row in range(rows)]
        window = torch.stack([ids[start:start + length + 1] for start in starts])
        return window[:, :-1], window[:, 1:]

    groups = [
        {'params': [p for p in w.values() if p.dim() > 1], 'weight_decay': 0.1},
        {'params': [p for p in w.values() if p.dim() <= 1], 'weight_decay': 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    started = time.perf_counter()
    for step, rate in enumerate(config['rates']):
        for group in optimizer.param_groups:
            group['lr'] = rate
        loss = loss_of(windows('train', step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(w.values()), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        losses = [loss_of(windows('held', step)).item() for step in range(config['heldOut'])]
    print(json.dumps({'loss': sum(losses) / len(losses), 'seconds': seconds}))


first = sys.stdin.readline()
if json.loads(first).get('validate'):
    validate(json.loads(first))
else:
    answer({'gpt': racer}, first)
