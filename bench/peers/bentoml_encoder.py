"""BentoML with the encoder: python bentoml_encoder.py FOLDER PORT THREADS. Batches adaptively, as its documentation shows."""

import os
import sys

import bentoml
import numpy as np
from encoder import Encoder


@bentoml.service(workers=1, traffic={"timeout": 60}, metrics={"enabled": True}, logging={"access": {"enabled": False}})
class Embedder:
    def __init__(self) -> None:
        self.encode = Encoder(os.environ["ENCODER_FOLDER"], int(os.environ["ENCODER_THREADS"]))

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10_000)
    def embed(self, texts: list[str]) -> np.ndarray:
        return self.encode(texts)


if __name__ == "__main__":
    folder, port, threads = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))
    os.environ |= {"ENCODER_FOLDER": folder, "ENCODER_THREADS": threads, "BENTOML_DO_NOT_TRACK": "true"}
    os.environ |= {"PYTHONPATH": here}
    serve = [sys.executable, "-m", "bentoml", "serve", "bentoml_encoder:Embedder", "--working-dir", here]
    os.execv(sys.executable, [*serve, "--host", "127.0.0.1", "--port", port])
