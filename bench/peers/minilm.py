"""PyTorch's side of bench/train-minilm.ts (see trainer.py): a classifier in a folder, trained with transformers."""
import torch
import transformers
from trainer import answer


def network(config, _):
    rows, time, vocabulary = (config[name] for name in ('rows', 'time', 'vocabulary'))
    model = transformers.BertForSequenceClassification.from_pretrained(
        config['folder'], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.train()
    mask = torch.ones(rows, time, dtype=torch.int64)

    def data(step):
        i = torch.arange(rows * time, dtype=torch.int64)
        ids = (1000 + (i * 7919 + step * 104729) % (vocabulary - 1000)).view(rows, time)
        return ids, (torch.arange(rows) + step) % 2

    def loss(batch):
        ids, labels = batch
        return model(input_ids=ids, attention_mask=mask, labels=labels).loss

    return list(model.parameters()), data, loss


answer({'bert': network})
