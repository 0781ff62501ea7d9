"""Records what PyTorch and transformers compute for small decoders, as the numbers src/train/decoder.test.ts compares with.

    python tools/golden_decoder.py > src/train/decoder.golden.json      (torch 2.x and transformers from PyPI)

Weights come from the formula of tools/golden.py: w[i] = centre + sin(i * 0.7 + k) * scale, k the parameter's place in
the list. The learning rate keeps PyTorch's own float32 and float64 losses within 3e-5 of each other. `names` maps our parameters to transformers' (GPT-2's matrices are stored transposed there).
"""
import base64
import json
import math
import torch
import transformers

VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS, INNER = 29, 16, 16, 2, 4, 24
BATCH, TIME, STEPS, RATE = 5, 11, 100, 0.001


def gpt_names():
    yield 'embedding/weight', 'transformer.wte.weight', False
    yield 'positions/weight', 'transformer.wpe.weight', False
    for i in range(LAYERS):
        ours, theirs = f'layer.{i}', f'transformer.h.{i}'
        yield f'{ours}/attention/scale', f'{theirs}.ln_1.weight', False
        yield f'{ours}/attention/bias', f'{theirs}.ln_1.bias', False
        yield f'{ours}/attention/in/weight', f'{theirs}.attn.c_attn.weight', True
        yield f'{ours}/attention/in/bias', f'{theirs}.attn.c_attn.bias', False
        yield f'{ours}/attention/out/weight', f'{theirs}.attn.c_proj.weight', True
        yield f'{ours}/attention/out/bias', f'{theirs}.attn.c_proj.bias', False
        yield f'{ours}/feedForward/scale', f'{theirs}.ln_2.weight', False
        yield f'{ours}/feedForward/bias', f'{theirs}.ln_2.bias', False
        yield f'{ours}/feedForward/in/weight', f'{theirs}.mlp.c_fc.weight', True
        yield f'{ours}/feedForward/in/bias', f'{theirs}.mlp.c_fc.bias', False
        yield f'{ours}/feedForward/out/weight', f'{theirs}.mlp.c_proj.weight', True
        yield f'{ours}/feedForward/out/bias', f'{theirs}.mlp.c_proj.bias', False
    yield 'last/scale', 'transformer.ln_f.weight', False
    yield 'last/bias', 'transformer.ln_f.bias', False


def llama_names(tied):
    yield 'embedding/weight', 'model.embed_tokens.weight', False
    for i in range(LAYERS):
        ours, theirs = f'layer.{i}', f'model.layers.{i}'
        yield f'{ours}/attention/scale', f'{theirs}.input_layernorm.weight', False
        for name, hf in [('query', 'q_proj'), ('key', 'k_proj'), ('value', 'v_proj'), ('out', 'o_proj')]:
            yield f'{ours}/attention/{name}/weight', f'{theirs}.self_attn.{hf}.weight', False
        yield f'{ours}/feedForward/scale', f'{theirs}.post_attention_layernorm.weight', False
        for name in ['gate', 'up', 'down']:
            yield f'{ours}/feedForward/{name}/weight', f'{theirs}.mlp.{name}_proj.weight', False
    yield 'last/scale', 'model.norm.weight', False
    if not tied:
        yield 'head/weight', 'lm_head.weight', False


def make(layout, keyHeads, tied):
    if layout == 'gpt':
        config = transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=INNER,
            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation='eager')
        return transformers.GPT2LMHeadModel(config), list(gpt_names())
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=keyHeads, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5,
        tie_word_embeddings=tied, attn_implementation='eager')
    return transformers.LlamaForCausalLM(config), list(llama_names(tied))


def data(step):
    """Rows of falling length; what follows the end, and the first tokens of every other row, are not learnt."""
    ids, targets = [], []
    for r in range(BATCH):
        length = TIME - (r * 2 + step) % 7
        row = [1 + (r * 7 + t * t * 3 + step * 5) % (VOCABULARY - 1) for t in range(length + 1)]
        first = 3 if r % 2 else 0
        ids.append([row[t] if t < length else 0 for t in range(TIME)])
        targets.append([row[t + 1] if first <= t < length else -1 for t in range(TIME)])
    return torch.tensor(ids), torch.tensor(targets)


def pack(tensor):
    return base64.b64encode(tensor.detach().contiguous().numpy().astype('<f4').tobytes()).decode()


def run(layout, keyHeads, tied):
    model, names = make(layout, keyHeads, tied)
    model.train()
    held = dict(model.named_parameters())
    assert len(held) == len(names), (len(held), len(names))
    parameters = {}
    for k, (ours, theirs, turned) in enumerate(names):
        tensor = held[theirs]
        dims = list(tensor.shape)[::-1] if turned else list(tensor.shape)
        centre, scale = (1.0 if ours.endswith('scale') else 0.0), (0.5 if ours.startswith('embedding') else 0.3)
        values = torch.tensor([centre + math.sin(i * 0.7 + k) * scale for i in range(math.prod(dims))], dtype=torch.float64)
        values = values.to(torch.float32).view(dims)
        with torch.no_grad():
            tensor.copy_(values.T if turned else values)
        parameters[ours] = dims
    decayed = [p for p in held.values() if p.dim() > 1]
    kept = [p for p in held.values() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{'params': decayed, 'weight_decay': 0.1}, {'params': kept, 'weight_decay': 0.0}], lr=RATE)
    losses, gradients = [], {}
    ids, _ = data(0)
    logits = pack(model(ids).logits)
    for step in range(STEPS):
        ids, targets = data(step)
        loss = torch.nn.functional.cross_entropy(model(ids).logits.view(-1, VOCABULARY), targets.view(-1), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for ours, theirs, turned in names:
                gradients[ours] = pack(held[theirs].grad.T if turned else held[theirs].grad)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    config = {
        'layout': layout, 'vocabulary': VOCABULARY, 'context': CONTEXT, 'width': WIDTH, 'layers': LAYERS, 'heads': HEADS,
        'keyHeads': keyHeads, 'inner': INNER, 'tied': tied, 'base': 10000, 'epsilon': 1e-5, 'dropout': 0}
    return {'config': config, 'parameters': parameters, 'logits': logits, 'gradients': gradients, 'losses': losses}


cases = [('gpt', HEADS, True), ('llama', 2, False), ('llama', HEADS, True)]
lines = ',\n'.join(json.dumps(run(*case)) for case in cases)
print(f'{{"torch": "{torch.__version__}", "transformers": "{transformers.__version__}", "cases": [\n{lines}\n]}}')
