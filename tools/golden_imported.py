"""Exports small PyTorch models to ONNX and records losses and gradients, as src/train/imported.test.ts compares with.

    python tools/golden_imported.py > src/train/imported.golden.json      (PyTorch, onnx and onnxscript from PyPI)
"""
import base64
import io
import json
import math
import sys
import torch
from torch import nn
from torch.nn import functional as F


def wave(dims, k, scale=0.4):
    values = [math.sin(i * 0.7 + k) * scale for i in range(math.prod(dims))]
    return torch.tensor(values, dtype=torch.float64).to(torch.float32).view(dims)


class Mobile(nn.Module):
    """Depthwise convolutions, HardSwish and squeeze-and-excitation, as in MobileNetV3."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.point = nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = F.hardswish(self.bn1(self.stem(x)))
        x = F.relu6(self.bn2(self.depthwise(x)))
        s = F.adaptive_avg_pool2d(x, 1)
        x = x * F.hardsigmoid(self.excite(F.relu(self.squeeze(s))))
        x = F.max_pool2d(F.silu(self.point(x)), 2)
        return self.head(x.mean((2, 3)))


class Attentive(nn.Module):
    """Self-attention with layer normalisation and GELU over (batch, time, width)."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.inner = nn.Linear(8, 16)
        self.outer = nn.Linear(16, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) / 2, -1)
        x = x + self.out((a @ v).transpose(1, 2).reshape(b, t, w))
        x = x + self.outer(F.gelu(self.inner(x)))
        return self.head(x[:, 0])


class Upsampling(nn.Module):
    """Transposed convolution, instance normalisation, padding and resizing: a regression to (batch, 2)."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, 2)
        self.norm = nn.InstanceNorm2d(4, affine=True)
        self.up = nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=1)
        self.slope = nn.PReLU(3)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        x = self.down(F.pad(x, (1, 0, 2, 1), mode='reflect'))
        x = self.slope(self.up(F.elu(self.norm(x))))
        x = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
        return self.last(F.avg_pool2d(x, 3, 2, 1, count_include_pad=False).mean((2, 3)))


class Recurrent(nn.Module):
    """A GRU, and an LSTM whose last states count as well, over (batch, time, width)."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 5, bias=False, batch_first=True)
        self.lstm = nn.LSTM(5, 6, bias=False, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y, h = self.gru(x)
        y, (h, c) = self.lstm(y)
        return self.head(y.mean(1) + h[0] + c[0])


def record(name, net, shape, loss_name, opset):
    with torch.no_grad():
        for k, (_, p) in enumerate(net.named_parameters()):
            p.copy_(wave(list(p.shape), k) + (1.0 if p.dim() == 1 and _.endswith('weight') else 0.0))
        for k, (key, b) in enumerate(net.named_buffers()):
            if b.dim() == 1:
                b.copy_(wave(list(b.shape), k, 0.2) + (1.0 if key.endswith('var') else 0.0))
    net.eval()
    x = wave(shape, 5, 1.0)
    buffer = io.BytesIO()
    torch.onnx.export(net, (x,), buffer, input_names=['x'], output_names=['y'], opset_version=opset, dynamo=False,
                      dynamic_axes={'x': {0: 'n'}, 'y': {0: 'n'}}, do_constant_folding=True, training=torch.onnx.TrainingMode.PRESERVE)
    y = net(x)
    if loss_name == 'cross-entropy':
        target = torch.arange(shape[0]) % y.shape[1]
        loss = F.cross_entropy(y, target)
    else:
        target = wave(list(y.shape), 9, 1.0)
        loss = F.mse_loss(y, target)
    loss.backward()
    gradients = {}
    for key, p in net.named_parameters():
        g = p.grad.double().flatten()
        gradients[key] = [(g * torch.sin(torch.arange(g.numel(), dtype=torch.float64) + 1)).sum().item(), g.norm().item(), list(p.shape)]
    return {'name': name, 'shape': shape, 'loss': loss_name, 'value': loss.item(), 'output': y.flatten().tolist(), 'target': target.flatten().tolist(),
            'gradients': gradients, 'onnx': base64.b64encode(buffer.getvalue()).decode()}


cases = [
    record('mobile', Mobile(), [3, 3, 12, 12], 'cross-entropy', 13),
    record('attentive', Attentive(), [4, 5, 8], 'cross-entropy', 17),
    record('upsampling', Upsampling(), [2, 2, 9, 8], 'mse', 11),
    record('recurrent', Recurrent(), [3, 7, 4], 'cross-entropy', 17),
]
lines = ',\n'.join(json.dumps(case) for case in cases)
print(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}')
