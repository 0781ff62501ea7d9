"""LitServe with the encoder: python litserve_encoder.py FOLDER PORT THREADS. Batches, as its documentation shows."""

import sys

import litserve as ls
from encoder import Encoder


class EncoderApi(ls.LitAPI):
    def __init__(self, folder: str, threads: int):
        super().__init__(max_batch_size=32, batch_timeout=0.005)
        self.folder, self.threads = folder, threads

    def setup(self, device):
        self.encode = Encoder(self.folder, self.threads)

    def decode_request(self, request):
        return request["text"]

    def predict(self, texts):
        return self.encode(texts)

    def encode_response(self, output):
        return {"embedding": output.tolist()}


if __name__ == "__main__":
    folder, port, threads = sys.argv[1:]
    server = ls.LitServer(EncoderApi(folder, int(threads)), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="error")
