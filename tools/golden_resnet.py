"""Records what PyTorch computes for small residual networks, as the numbers src/train/resnet.test.ts compares with.

    python tools/golden_resnet.py > src/train/resnet.golden.json      (PyTorch from PyPI, any 2.x)

Weights and images come from formulas that both sides compute; parameters are listed in the order of the network.
"""
import json
import math
import torch
from torch import nn
from torch.nn import functional as F

CLASSES, BATCH = 3, 6


def wave(dims, k, centre, scale):
    values = [centre + math.sin(i * 0.7 + k) * scale for i in range(math.prod(dims))]
    return torch.tensor(values, dtype=torch.float64).to(torch.float32).view(dims)


def images(step, channels, size):
    count = channels * size * size
    rows = [[math.sin(i * 0.11 * (r + 1) + step) + 0.3 * math.cos(i * i * 0.01 + r) for i in range(count)] for r in range(BATCH)]
    return torch.tensor(rows, dtype=torch.float64).to(torch.float32).view(BATCH, channels, size, size), torch.tensor([(r + step) % CLASSES for r in range(BATCH)])


class Basic(nn.Module):
    grows = 1

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class Bottleneck(nn.Module):
    grows = 4

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = shortcut(inputs, 4 * width, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


def shortcut(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    def __init__(self, layout, channels):
        super().__init__()
        block = Bottleneck if layout['bottleneck'] else Basic
        large = layout['stem'] == 'large'
        width = layout['width']
        self.conv1 = nn.Conv2d(channels, width, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        inputs, self.stages = width, []
        for stage, blocks in enumerate(layout['stages']):
            layer = nn.Sequential()
            for i in range(blocks):
                layer.append(block(inputs, width << stage, 2 if stage > 0 and i == 0 else 1))
                inputs = (width << stage) * block.grows
            self.add_module(f'layer{stage + 1}', layer)
            self.stages.append(layer)
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


def run(layout, channels, size, optimizer, rate, steps):
    net = ResNet(layout, channels)
    with torch.no_grad():
        for k, (_, parameter) in enumerate(net.named_parameters()):
            norm = parameter.dim() == 1
            parameter.copy_(wave(list(parameter.shape), k, 1.0 if norm and _.endswith('weight') else 0.0, 0.3))
    step_of = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.0) if optimizer == 'adamw' else torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    losses, gradients = [], {}
    for step in range(steps):
        x, labels = images(step, channels, size)
        loss = F.cross_entropy(net(x), labels)
        step_of.zero_grad()
        loss.backward()
        if step == 0:
            for name, parameter in net.named_parameters():
                g = parameter.grad.double().flatten()
                mark = torch.sin(torch.arange(g.numel(), dtype=torch.float64) + 1)
                gradients[name] = [(g * mark).sum().item(), g.norm().item()]
        step_of.step()
        losses.append(loss.item())
    buffers = {name: b.double().norm().item() for name, b in net.named_buffers() if b.dim() == 1}
    net.eval()
    with torch.no_grad():
        logits = net(images(steps, channels, size)[0]).flatten().tolist()
    shapes = {name: list(p.shape) for name, p in net.named_parameters()}
    return {'layout': layout, 'channels': channels, 'size': size, 'optimizer': optimizer, 'rate': rate, 'parameters': shapes,
            'gradients': gradients, 'losses': losses, 'running': buffers, 'logits': logits}


small = {'stem': 'small', 'stages': [1, 1, 1], 'width': 4, 'bottleneck': False}
large = {'stem': 'large', 'stages': [1, 2], 'width': 4, 'bottleneck': True}
cases = [(small, 1, 12, 'sgd', 0.01, 100), (small, 2, 9, 'adamw', 0.001, 100), (large, 3, 32, 'sgd', 0.01, 20)]
lines = ',\n'.join(json.dumps(run(*case)) for case in cases)
print(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}')
