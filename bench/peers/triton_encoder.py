"""Triton, started by PyTriton, with the encoder: python triton_encoder.py FOLDER PORT THREADS. Batches dynamically.

Triton's Python backend loads libpython: LD_LIBRARY_PATH names its folder where that is not a system's own.
"""

import sys

import numpy as np
from encoder import Encoder
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

if __name__ == "__main__":
    folder, port, threads = sys.argv[1:]
    encode = Encoder(folder, int(threads))

    @batch
    def infer(text: np.ndarray):
        return {"embeddings": encode([one.decode() for one in text[:, 0]])}

    config = TritonConfig(http_address="127.0.0.1", http_port=int(port), grpc_port=int(port) + 1, metrics_port=int(port) + 2)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="encoder",
            infer_func=infer,
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="embeddings", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
            strict=True,
        )
        triton.serve()
