"""Records what PyTorch computes for fixed weights, as the numbers src/train/families.test.ts compares with.

    python tools/golden.py > src/train/families.golden.json      (PyTorch from PyPI, any 2.x)

One row a family in `families`: its parameters in our layout, and the network in PyTorch's own operators. Weights come
from a formula that both sides compute: w[i] = centre + sin(i * 0.7 + k) * scale, k the parameter's place in the list.
"""
import json
import math
import torch
from torch.nn import functional as F

VOCABULARY, CLASSES, BATCH, TIME, STEPS = 50, 3, 6, 9, 10


def data(step):
    lengths = [TIME - (r * 2 + step) % 9 for r in range(BATCH)]  # 9 tokens down to a single one
    ids = [[1 + (r * 7 + t * 3 + step * 5) % (VOCABULARY - 1) if t < lengths[r] else 0 for t in range(TIME)] for r in range(BATCH)]
    labels = [(r + step) % CLASSES for r in range(BATCH)]
    return torch.tensor(ids), torch.tensor(lengths), torch.tensor(labels)


def fill(dims, k, centre, scale):
    values = [centre + math.sin(i * 0.7 + k) * scale for i in range(math.prod(dims))]
    return torch.tensor(values, dtype=torch.float64).to(torch.float32).view(dims).requires_grad_()


def positions_valid(lengths, time):
    return torch.arange(time)[None, :] < lengths[:, None]  # (batch, time)


# Gate rows from ONNX's order to PyTorch's: i, o, f, c → i, f, g, o and z, r, h → r, z, n.
ORDER = {'lstm': [0, 2, 3, 1], 'gru': [1, 0, 2], 'rnn': [0]}


def recurrent(cell):
    gates = len(ORDER[cell])

    def parameters(o):
        directions = 2 if o['bidirectional'] else 1
        yield 'embedding/weight', [VOCABULARY, o['width']]
        inputs = o['width']
        for i in range(o['layers']):
            yield f'{cell}.{i}/W', [directions, gates * o['hidden'], inputs]
            yield f'{cell}.{i}/R', [directions, gates * o['hidden'], o['hidden']]
            yield f'{cell}.{i}/B', [directions, 2 * gates * o['hidden']]
            inputs = directions * o['hidden']
        yield 'classifier/weight', [CLASSES, inputs]
        yield 'classifier/bias', [CLASSES]

    def network(w, ids, lengths, o):
        reorder = lambda rows: torch.cat([rows.chunk(gates)[i] for i in ORDER[cell]])
        flat = []
        for i in range(o['layers']):
            for d in range(2 if o['bidirectional'] else 1):
                ours = [w[f'{cell}.{i}/{name}'][d] for name in 'WRB']
                flat += [reorder(rows) for rows in (ours[0], ours[1], *ours[2].chunk(2))]
        x = torch.nn.utils.rnn.pack_padded_sequence(w['embedding/weight'][ids], lengths, batch_first=True, enforce_sorted=False)
        zero = torch.zeros(o['layers'] * (2 if o['bidirectional'] else 1), len(ids), o['hidden'])
        run = {'lstm': torch.lstm, 'gru': torch.gru, 'rnn': torch.rnn_tanh}[cell]
        packed = run(x.data, x.batch_sizes, (zero, zero) if cell == 'lstm' else zero, flat, True, o['layers'], 0.0, True, o['bidirectional'])[0]
        packed = torch.nn.utils.rnn.PackedSequence(packed, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=TIME)
        valid = positions_valid(lengths, TIME)[..., None]
        pooled = {
            'mean': lambda: (y * valid).sum(1) / lengths[:, None],
            'max': lambda: y.masked_fill(~valid, -1e30).max(1)[0],
            'last': lambda: y[torch.arange(len(ids)), lengths - 1],
        }[o['pooling']]()
        return F.linear(pooled, w['classifier/weight'], w['classifier/bias'])

    return parameters, network


def textcnn_parameters(o):
    yield 'embedding/weight', [VOCABULARY, o['width']]
    for i in range(o['windows']):
        size = o['narrowest'] + i
        yield f'windows.{size}/weight', [o['filters'], o['width'], size]
        yield f'windows.{size}/bias', [o['filters']]
    yield 'classifier/weight', [CLASSES, o['windows'] * o['filters']]
    yield 'classifier/bias', [CLASSES]


def textcnn(w, ids, lengths, o):
    features = []
    for i in range(o['windows']):
        size = o['narrowest'] + i
        x = w['embedding/weight'][F.pad(ids, (size - 1, size - 1))].transpose(1, 2)
        y = F.relu(F.conv1d(x, w[f'windows.{size}/weight'], w[f'windows.{size}/bias']))
        valid = positions_valid(lengths + size - 1, y.shape[2])[:, None]
        features.append(y.masked_fill(~valid, -1e30).max(2)[0])
    return F.linear(torch.cat(features, 1), w['classifier/weight'], w['classifier/bias'])


def bow_parameters(o):
    yield 'embedding/weight', [VOCABULARY + (o['buckets'] if o['ngrams'] > 1 else 0), o['width']]
    yield 'classifier/weight', [CLASSES, o['width']]
    yield 'classifier/bias', [CLASSES]


def bow(w, ids, lengths, o, share=lambda count: 1 / count):
    bags = []
    for text, length in zip(ids.tolist(), lengths.tolist()):
        bag = text[:length]
        for n in range(2, o['ngrams'] + 1):
            for start in range(length - n + 1):
                value = text[start] + 1
                for token in text[start + 1:start + n]:
                    value = (value * 1540483477 + token + 1) % (2 ** 31 - 1)
                bag.append(VOCABULARY + value % o['buckets'])
        bags.append(torch.tensor(bag))
    offsets = torch.tensor([0] + [len(bag) for bag in bags[:-1]]).cumsum(0)
    shares = torch.cat([torch.full([len(bag)], share(len(bag))) for bag in bags])
    pooled = F.embedding_bag(torch.cat(bags), w['embedding/weight'], offsets, mode='sum', per_sample_weights=shares)
    return F.linear(pooled, w['classifier/weight'], w['classifier/bias'])


def wide_parameters(o):
    for name, dims in bow_parameters({**o, 'width': o['bagWidth']}):
        yield f'phrases/{name}', dims
    yield from textcnn_parameters(o)


def wide(w, ids, lengths, o):
    bag = {name.removeprefix('phrases/'): value for name, value in w.items() if name.startswith('phrases/')}
    # n-grams of equal rarity: their weights have length 1
    met = bow(bag, ids, lengths, o, lambda count: 1 / math.sqrt(count))
    return 3 * met + textcnn(w, ids, lengths, o)


def transformer_parameters(o):
    width = o['width']
    yield 'embedding/weight', [VOCABULARY, width]
    if o['positions'] == 'learned':
        yield 'positions/weight', [o['maxLength'], width]
    for i in range(o['layers']):
        at = f'layer.{i}'
        yield f'{at}/attention/scale', [width]
        yield f'{at}/attention/bias', [width]
        for name, dims in [('attention/in', [3 * width, width]), ('attention/out', [width, width])]:
            yield f'{at}/{name}/weight', dims
            yield f'{at}/{name}/bias', dims[:1]
        yield f'{at}/feedForward/scale', [width]
        yield f'{at}/feedForward/bias', [width]
        for name, dims in [('feedForward/in', [o['inner'], width]), ('feedForward/out', [width, o['inner']])]:
            yield f'{at}/{name}/weight', dims
            yield f'{at}/{name}/bias', dims[:1]
    yield 'last/scale', [width]
    yield 'last/bias', [width]
    yield 'classifier/weight', [CLASSES, width]
    yield 'classifier/bias', [CLASSES]


def transformer(w, ids, lengths, o):
    width = o['width']
    valid = positions_valid(lengths, TIME)
    norm = lambda x, at: F.layer_norm(x, [width], w[f'{at}/scale'], w[f'{at}/bias'])
    if o['positions'] == 'learned':
        places = w['positions/weight'][:TIME]
    else:
        angle = torch.arange(TIME)[:, None] * 10000 ** (-torch.arange(0, width, 2) / width)
        places = torch.cat([angle.sin(), angle.cos()], 1)
    x = w['embedding/weight'][ids] * math.sqrt(width) + places
    for i in range(o['layers']):
        at = f'layer.{i}/attention'
        y = norm(x, at).transpose(0, 1)
        heard, _ = F.multi_head_attention_forward(
            y, y, y, width, o['heads'], w[f'{at}/in/weight'], w[f'{at}/in/bias'], None, None, False, 0.0,
            w[f'{at}/out/weight'], w[f'{at}/out/bias'], key_padding_mask=~valid, need_weights=False)
        x = x + heard.transpose(0, 1)
        at = f'layer.{i}/feedForward'
        y = F.gelu(F.linear(norm(x, at), w[f'{at}/in/weight'], w[f'{at}/in/bias']))
        x = x + F.linear(y, w[f'{at}/out/weight'], w[f'{at}/out/bias'])
    y = norm(x, 'last')
    pooled = y[:, 0] if o['pooling'] == 'first' else (y * valid[..., None]).sum(1) / lengths[:, None]
    return F.linear(pooled, w['classifier/weight'], w['classifier/bias'])


families = {
    **{cell: recurrent(cell) for cell in ORDER},
    'textcnn': (textcnn_parameters, textcnn),
    'bow': (bow_parameters, bow),
    'wide': (wide_parameters, wide),
    'transformer': (transformer_parameters, transformer),
}


def run(family, options, optimizer, clip, decay):
    parameters, network = families[family]
    names = dict(parameters(options))
    w = {
        name: fill(dims, k, 1.0 if name.endswith('scale') else 0.0, 0.5 if name.startswith('embedding') else 0.3)
        for k, (name, dims) in enumerate(names.items())
    }
    # what decays: matrices but for tables of vectors and stacked biases
    kept = [name for name, dims in names.items() if len(dims) == 1 or name.endswith('/B') or name.endswith(('embedding/weight', 'positions/weight'))]
    groups = [
        {'params': [w[name] for name in names if name not in kept], 'weight_decay': decay},
        {'params': [w[name] for name in kept], 'weight_decay': 0.0},
    ]
    step_of = {
        'adamw': lambda: torch.optim.AdamW(groups, lr=0.01),
        'sgd': lambda: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    }[optimizer]()
    steps = []
    for step in range(STEPS):
        ids, lengths, labels = data(step)
        loss = F.cross_entropy(network(w, ids, lengths, options), labels)
        step_of.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(w.values()), clip if clip else math.inf)
        step_of.step()
        steps.append({'loss': loss.item(), 'gradientNorm': norm.item()})
    return {'family': family, 'options': options, 'optimizer': optimizer, 'clip': clip, 'decay': decay, 'parameters': names, 'steps': steps}


def recurrent_options(**more):
    return {'width': 12, 'hidden': 10, 'layers': 1, 'bidirectional': True, 'pooling': 'max', **more}


attention = {'width': 16, 'layers': 2, 'heads': 4, 'inner': 24, 'maxLength': 12}
cases = [
    ('lstm', recurrent_options(bidirectional=False, pooling='mean'), 'adamw', 0.5, 0.0),
    ('lstm', recurrent_options(), 'adamw', 1.0, 0.1),
    ('lstm', recurrent_options(pooling='last'), 'sgd', 0.0, 0.0),
    ('gru', recurrent_options(layers=2), 'adamw', 1.0, 0.1),
    ('gru', recurrent_options(bidirectional=False, pooling='last'), 'sgd', 0.0, 0.0),
    ('rnn', recurrent_options(layers=2, pooling='mean'), 'adamw', 1.0, 0.1),
    ('rnn', recurrent_options(bidirectional=False), 'sgd', 0.0, 0.0),
    ('textcnn', {'width': 12, 'filters': 8, 'narrowest': 2, 'windows': 3}, 'adamw', 1.0, 0.1),
    ('textcnn', {'width': 12, 'filters': 8, 'narrowest': 1, 'windows': 1}, 'sgd', 0.0, 0.0),
    ('bow', {'width': 8, 'ngrams': 3, 'buckets': 40}, 'adamw', 1.0, 0.1),
    ('bow', {'width': 8, 'ngrams': 1, 'buckets': 40}, 'sgd', 0.0, 0.0),
    ('wide', {'width': 12, 'filters': 8, 'narrowest': 2, 'windows': 2, 'bagWidth': 4, 'ngrams': 2, 'buckets': 40}, 'adamw', 1.0, 0.1),
    ('transformer', {**attention, 'positions': 'waves', 'pooling': 'mean'}, 'adamw', 1.0, 0.1),
    ('transformer', {**attention, 'positions': 'learned', 'pooling': 'first'}, 'sgd', 0.0, 0.0),
]
lines = ',\n'.join(json.dumps(run(*case)) for case in cases)
print(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}')
