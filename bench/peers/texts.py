"""Text classifiers as PyTorch's users write them, without padding, for bench/train-{lstm,textcnn,bow,transformer}.ts."""
import math
import torch
from torch import nn
from torch.nn import functional as F
from trainer import answer


def texts(config):
    rows, time, vocabulary, classes = (config[name] for name in ('rows', 'time', 'vocabulary', 'classes'))

    def data(step):
        i = torch.arange(rows * time, dtype=torch.int64)
        return (1 + (i * 7919 + step * 104729) % (vocabulary - 1)).view(rows, time), (torch.arange(rows) + step) % classes

    return data


def classifier(config, weights, features):
    head = weights['classifier/weight'], weights['classifier/bias']

    def loss(batch):
        ids, labels = batch
        return F.cross_entropy(F.linear(features(ids), *head), labels)

    return list(weights.values()), texts(config), loss


def lstm(config, w):
    """torch.nn.LSTM; gate rows go from ONNX's order i, o, f, c to PyTorch's i, f, g, o."""
    layer = nn.LSTM(config['width'], config['hidden'], batch_first=True)

    def reorder(rows):
        i, o, f, c = rows.chunk(4)
        return torch.cat([i, f, c, o])

    b = w['lstm.0/B'][0].chunk(2)
    with torch.no_grad():
        for name, rows in [('weight_ih_l0', w['lstm.0/W'][0]), ('weight_hh_l0', w['lstm.0/R'][0]), ('bias_ih_l0', b[0]), ('bias_hh_l0', b[1])]:
            getattr(layer, name).copy_(reorder(rows))
    table = w['embedding/weight']
    _, data, loss = classifier(config, w, lambda ids: layer(F.embedding(ids, table))[0][:, -1])
    own = [value for name, value in w.items() if not name.startswith('lstm.0')]
    return [*own, *layer.parameters()], data, loss


def textcnn(config, w):
    sizes = [config['narrowest'] + i for i in range(config['windows'])]
    edge = sizes[-1] - 1

    def features(ids):
        x = F.embedding(F.pad(ids, (edge, edge)), w['embedding/weight']).transpose(1, 2)
        every = []
        for size in sizes:
            spare = edge - size + 1
            y = F.conv1d(x[:, :, spare:x.shape[2] - spare], w[f'windows.{size}/weight'], w[f'windows.{size}/bias'])
            every.append(F.relu(y).max(2)[0])
        return torch.cat(every, 1)

    return classifier(config, w, features)


def bow(config, w):
    """Bags are made beforehand, as by a data loader."""
    _, data, loss = classifier(config, w, lambda grams: F.embedding_bag(grams, w['embedding/weight'], mode='mean'))

    def bags(step):
        ids, labels = data(step)
        pairs = ((ids[:, :-1] + 1) * 1540483477 + ids[:, 1:] + 1) % (2 ** 31 - 1)
        return torch.cat([ids, config['vocabulary'] + pairs % config['buckets']], 1), labels

    return list(w.values()), bags, loss


def transformer(config, w):
    rows, time, width, heads = (config[name] for name in ('rows', 'time', 'width', 'heads'))
    angle = torch.arange(time)[:, None] * 10000 ** (-torch.arange(0, width, 2) / width)
    places = torch.cat([angle.sin(), angle.cos()], 1)
    norm = lambda x, at: F.layer_norm(x, [width], w[f'{at}/scale'], w[f'{at}/bias'])
    linear = lambda x, at: F.linear(x, w[f'{at}/weight'], w[f'{at}/bias'])

    def features(ids):
        x = F.embedding(ids, w['embedding/weight']) * math.sqrt(width) + places
        for i in range(config['layers']):
            at = f'layer.{i}/attention'
            q, k, v = linear(norm(x, at), f'{at}/in').view(rows, time, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            heard = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, time, width)
            x = x + linear(heard, f'{at}/out')
            at = f'layer.{i}/feedForward'
            x = x + linear(F.gelu(linear(norm(x, at), f'{at}/in')), f'{at}/out')
        return norm(x, 'last').mean(1)

    return classifier(config, w, features)


answer({'lstm': lstm, 'textcnn': textcnn, 'bow': bow, 'transformer': transformer})
