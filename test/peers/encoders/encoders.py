"""transformers' side of encoders.test.ts.

    run FOLDER TASK TEXTS     what the model says of each text alone, as JSON
    export FOLDER TASK        writes onnx/model.onnx as PyTorch's exporter does
"""
import json
import os
import sys
import torch
import transformers as t

CLASSES = {
    'feature-extraction': t.AutoModel,
    'text-classification': t.AutoModelForSequenceClassification,
    'token-classification': t.AutoModelForTokenClassification,
    'fill-mask': t.AutoModelForMaskedLM,
}


def load(folder, task):
    model, info = CLASSES[task].from_pretrained(folder, output_loading_info=True)
    return model.eval(), [name for name in info['missing_keys'] if 'pooler' not in name or task == 'text-classification']


def run(folder, task, texts):
    model, missing = load(folder, task)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    outputs = []
    for text in json.loads(texts):
        ids = tokenizer(text, return_tensors='pt')
        given = {key: ids[key] for key in ('input_ids', 'attention_mask')}
        with torch.no_grad():
            answer = model(**given)
        if task == 'feature-extraction':
            values = torch.nn.functional.normalize(answer.last_hidden_state.mean(1))
        else:
            values = answer.logits
        outputs.append(values.flatten().tolist())
    labels = [model.config.id2label[i] for i in range(len(model.config.id2label))]
    print(json.dumps({'outputs': outputs, 'labels': labels, 'missing': missing}))


class Plain(torch.nn.Module):
    """A model of two inputs and one output: its class has more of both."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)[0]


def export(folder, task):
    model = Plain(load(folder, task)[0])
    os.makedirs(f'{folder}/onnx', exist_ok=True)
    ids = torch.tensor([[2, 7, 8, 3]])
    axes = {'input_ids': {0: 'batch', 1: 'time'}, 'attention_mask': {0: 'batch', 1: 'time'}}
    torch.onnx.export(model, (ids, torch.ones_like(ids)), f'{folder}/onnx/model.onnx', input_names=list(axes),
                      output_names=['output'], dynamic_axes=axes, opset_version=17, dynamo=False)
    print(json.dumps({}))


{'run': run, 'export': export}[sys.argv[1]](*sys.argv[2:])
