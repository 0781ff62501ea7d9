"""A small residual network as PyTorch's users write it, for bench/train-resnet.ts."""
import torch
from torch.nn import functional as F
from trainer import answer


def resnet(config, w):
    rows, size, classes, blocks = (config[name] for name in ('rows', 'size', 'classes', 'blocks'))
    running = {}

    def norm(at, x):
        scale = w[f'{at}/weight']
        mean, variance = running.setdefault(at, (torch.zeros_like(scale), torch.ones_like(scale)))
        return F.batch_norm(x, mean.detach(), variance.detach(), scale, w[f'{at}/bias'], True)

    def block(at, x, stride):
        y = F.relu(norm(f'{at}/bn1', F.conv2d(x, w[f'{at}/conv1/weight'], None, stride, 1)))
        y = norm(f'{at}/bn2', F.conv2d(y, w[f'{at}/conv2/weight'], None, 1, 1))
        if f'{at}/downsample.0/weight' in w:
            x = norm(f'{at}/downsample.1', F.conv2d(x, w[f'{at}/downsample.0/weight'], None, stride))
        return F.relu(y + x)

    def loss(batch):
        x, labels = batch
        x = F.relu(norm('bn1', F.conv2d(x, w['conv1/weight'], None, 1, 1)))
        for stage in range(3):
            for i in range(blocks):
                x = block(f'layer{stage + 1}.{i}', x, 2 if stage > 0 and i == 0 else 1)
        return F.cross_entropy(F.linear(x.mean((2, 3)), w['fc/weight'], w['fc/bias']), labels)

    def data(step):
        i = torch.arange(rows * size * size, dtype=torch.int64)
        pixels = ((i * 7919 + step * 104729) % 1000).float() / 500 - 1
        return pixels.view(rows, 1, size, size), (torch.arange(rows) + step) % classes

    return list(w.values()), data, loss


answer({'resnet': resnet})
