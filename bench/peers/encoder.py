"""The encoder that the servers of a race share: the same graph and tokenizer as ours, with onnxruntime."""

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer


class Encoder:
    """Texts to vectors, float32 [texts, width]."""

    def __init__(self, folder: str, threads: int):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(128)

    def __call__(self, texts: list[str]) -> np.ndarray:
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        ids = np.zeros((len(rows), lengths.max()), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return self.session.run(["embeddings"], {"ids": ids, "lengths": lengths})[0]
