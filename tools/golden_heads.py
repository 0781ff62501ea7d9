"""Records what PyTorch gives for losses with their gradients and for learning-rate schedules.

    python tools/golden_heads.py > src/nn/heads.golden.json
"""
import json
import math

import torch
import torch.nn.functional as F

ROWS, CLASSES = 5, 4
logits = torch.tensor([[math.sin(r * 1.3 + c * 2.1) * 3 for c in range(CLASSES)] for r in range(ROWS)])
labels = torch.tensor([(r * 3 + 1) % CLASSES for r in range(ROWS)])
many = torch.tensor([[float((r * c + r + c) % 3 == 0) for c in range(CLASSES)] for r in range(ROWS)])
values = torch.tensor([[math.cos(r) * 2] for r in range(ROWS)])
class_weights = torch.tensor([1.0, 2.5, 0.5, 1.5])


def case(head, target, loss_of, given, **options):
    x = given.clone().requires_grad_()
    loss = loss_of(x)
    loss.backward()
    return {"head": head, "logits": given.tolist(), "target": target.tolist(), "loss": loss.item(),
            "gradient": x.grad.tolist(), **options}


losses = [
    case("classification", labels, lambda x: F.cross_entropy(x, labels), logits),
    case("classification", labels, lambda x: F.cross_entropy(x, labels, label_smoothing=0.1), logits, smoothing=0.1),
    case("classification", labels, lambda x: F.cross_entropy(x, labels, weight=class_weights), logits,
         weights=class_weights[labels].tolist()),
    case("multi-label", many, lambda x: F.binary_cross_entropy_with_logits(x, many), logits * 20),
    case("regression", values, lambda x: F.mse_loss(x, values), logits[:, :1].clone()),
]


def rates(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


STEPS = 40
schedules = {
    "one-cycle": rates(lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=STEPS + 1), STEPS),
    "cosine": rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=STEPS), STEPS),
    "linear": rates(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=STEPS), STEPS),
}
print(json.dumps({"torch": torch.__version__, "losses": losses, "steps": STEPS, "schedules": schedules}))
