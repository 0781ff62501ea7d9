"""Records what Hugging Face's own encoders compute for weights by formula, as the numbers src/nn/bert.test.ts compares with.

    python tools/golden-encoders.py > src/nn/bert.golden.json      (PyTorch and transformers from PyPI)

Weights: w[i] = centre + sin(i * 0.7 + k) * scale, k the parameter's place in `named_parameters`.
"""
import json
import math
import sys
import torch
import transformers as t

BATCH, TIME, STEPS = 4, 7, 100
SIZES = dict(vocab_size=40, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20)
QUIET = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
DISTIL = dict(vocab_size=40, dim=12, n_layers=2, n_heads=3, hidden_dim=20, max_position_embeddings=16, dropout=0.0,
              attention_dropout=0.0, seq_classif_dropout=0.0)
CASES = [
    ('bert', t.BertConfig(**SIZES, **QUIET, max_position_embeddings=16, num_labels=3), t.BertForSequenceClassification),
    ('roberta', t.RobertaConfig(**SIZES, **QUIET, max_position_embeddings=18, num_labels=3, type_vocab_size=1,
                                layer_norm_eps=1e-5, hidden_act='gelu_new'), t.RobertaForSequenceClassification),
    ('distilbert', t.DistilBertConfig(**DISTIL, num_labels=3), t.DistilBertForSequenceClassification),
    ('bert', t.BertConfig(**SIZES, **QUIET, max_position_embeddings=16, num_labels=3, hidden_act='relu'), t.BertForTokenClassification),
    ('bert', t.BertConfig(**SIZES, **QUIET, max_position_embeddings=16), t.BertForMaskedLM),
    ('roberta', t.RobertaConfig(**SIZES, **QUIET, max_position_embeddings=18, type_vocab_size=1), t.RobertaForMaskedLM),
    ('distilbert', t.DistilBertConfig(**DISTIL), t.DistilBertForMaskedLM),
]


def fill(parameter, name, k):
    norm = 'norm' in name.lower() and name.endswith('weight')
    scale = 0.5 if 'embeddings' in name and not norm else 0.3
    values = [(1 if norm else 0) + math.sin(i * 0.7 + k) * scale for i in range(parameter.numel())]
    parameter.data = torch.tensor(values, dtype=torch.float64).to(torch.float32).view(parameter.shape)


def data(step):
    lengths = [TIME - (r * 2 + step) % 6 for r in range(BATCH)]
    ids = [[4 + (r * 7 + i * 3 + step * 5) % 36 if i < lengths[r] else 1 for i in range(TIME)] for r in range(BATCH)]
    return torch.tensor(ids), lengths


def targets(model, ids, lengths, step):
    """Labels as the model's own loss wants them: -100 for none."""
    if 'Sequence' in type(model).__name__:
        return torch.tensor([(r + step) % 3 for r in range(BATCH)])
    masked = 'Masked' in type(model).__name__
    valid = lambda r, i: i < lengths[r] and (not masked or i % 3 == 1)
    value = lambda r, i: (ids[r][i].item() * 5) % 40 if masked else (r + i) % 3
    return torch.tensor([[value(r, i) if valid(r, i) else -100 for i in range(TIME)] for r in range(BATCH)])


def record(kind, config, cls):
    torch.manual_seed(0)
    model = cls(config)
    parameters = list(model.named_parameters())
    for k, (name, parameter) in enumerate(parameters):
        fill(parameter, name, k)
    model.tie_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    hidden, gradients, losses = None, {}, []
    for step in range(STEPS):
        ids, lengths = data(step)
        mask = torch.tensor([[int(i < n) for i in range(TIME)] for n in lengths])
        output = model(input_ids=ids, attention_mask=mask, labels=targets(model, ids, lengths, step), output_hidden_states=True)
        optimizer.zero_grad()
        output.loss.backward()
        losses.append(output.loss.item())
        if step == 0:
            hidden = [round(v, 7) for r, n in enumerate(lengths) for v in output.hidden_states[-1][r, :n].flatten().tolist()]
            for name, parameter in parameters:
                gradient = parameter.grad.flatten() if parameter.grad is not None else torch.zeros(parameter.numel())
                picked = gradient[:: max(1, gradient.numel() // 12)].tolist()
                gradients[name] = [float('%.7g' % v) for v in [gradient.norm().item(), *picked]]
        optimizer.step()
    return {
        'kind': kind,
        'architecture': cls.__name__,
        'config': json.loads(config.to_json_string(use_diff=False)) | {'architectures': [cls.__name__]},
        'parameters': {name: list(parameter.shape) for name, parameter in parameters},
        'hidden': hidden,
        'gradients': gradients,
        'losses': [float('%.8g' % v) for v in losses],
    }


cases = [record(*case) for case in CASES]
keep = ('model_type', 'architectures', 'vocab_size', 'hidden_size', 'num_hidden_layers', 'num_attention_heads', 'intermediate_size',
        'hidden_act', 'layer_norm_eps', 'max_position_embeddings', 'type_vocab_size', 'pad_token_id', 'id2label', 'label2id', 'dim',
        'n_layers', 'n_heads', 'hidden_dim', 'activation', 'tie_word_embeddings')
for case in cases:
    case['config'] = {key: value for key, value in case['config'].items() if key in keep}
json.dump({'torch': torch.__version__, 'transformers': t.__version__, 'cases': cases}, sys.stdout)
print()
