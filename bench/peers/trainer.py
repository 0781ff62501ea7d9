"""PyTorch's side of a training race. The first line on stdin is the work as JSON; then each line is answered by one JSON
list: `losses N` with N losses, `time S` with step times in milliseconds for S seconds, `product N` with the best GFLOP/s
of some products of N x N matrices."""
import json
import math
import sys
import time
import numpy
import torch

torch.set_num_threads(2)


def fill(k, dims, centre, bound):
    """The k-th parameter's initial values; see `valuesOf` in bench/lib/work.ts."""
    h = numpy.arange(math.prod(dims), dtype=numpy.uint64) * 0x9e3779b1 + (k * 0x85ebca6b)
    h &= 0xffffffff
    h = (h ^ (h >> 16)) * 0x45d9f3b & 0xffffffff
    h ^= h >> 16
    values = centre + (h.astype(numpy.float64) / 2 ** 31 - 1) * bound
    return torch.tensor(values.astype(numpy.float32)).view(dims).requires_grad_()


def product(size):
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = 0
    for _ in range(20):
        started = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * size ** 3 / (time.perf_counter() - started) / 1e9)
    return [best]


def answer(networks, first=None):
    """`networks` by the work's kind: (config, weights by our names) -> parameters, data(step), loss(data)."""
    config = json.loads(first or sys.stdin.readline())
    weights = {p['name']: fill(k, p['dims'], p['centre'], p['bound']) for k, p in enumerate(config['parameters'])}
    parameters, data, loss_of = networks[config['family']](config, weights)
    fused = {'fused': True} if config['optimizer'] == 'fused' else {}
    optimizer = torch.optim.Adam(parameters, lr=config['learningRate'], **fused)
    count = 0

    def step():
        nonlocal count
        batch = data(count)
        started = time.perf_counter()
        loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        count += 1
        return value, (time.perf_counter() - started) * 1e3

    def timed(seconds):
        until = time.perf_counter() + seconds
        times = []
        while time.perf_counter() < until:
            times.append(step()[1])
        return times

    print(json.dumps({'torch': torch.__version__}), flush=True)
    for line in sys.stdin:
        what, amount = line.split()
        if what == 'losses':
            result = [step()[0] for _ in range(int(amount))]
        else:
            result = timed(float(amount)) if what == 'time' else product(int(amount))
        print(json.dumps(result), flush=True)
