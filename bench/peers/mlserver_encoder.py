"""MLServer with the encoder: python mlserver_encoder.py FOLDER PORT THREADS. Batches adaptively, as its documentation shows."""

import asyncio
import sys

import mlserver
from encoder import Encoder
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.settings import ModelParameters, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse


class Embedder(mlserver.MLModel):
    async def load(self) -> bool:
        extra = self.settings.parameters.extra
        self.encode = Encoder(extra["folder"], extra["threads"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("embeddings", self.encode(texts))
        return InferenceResponse(model_name=self.name, outputs=[output])


async def main(folder: str, port: int, threads: int, workers: int) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
        metrics_endpoint=None,
        parallel_workers=workers,
        debug=False,
    )
    model = ModelSettings(
        name="encoder",
        implementation=Embedder,
        max_batch_size=32,
        max_batch_time=0.005,
        parameters=ModelParameters(extra={"folder": folder, "threads": threads}),
    )
    await mlserver.MLServer(settings).start([model])


if __name__ == "__main__":
    folder, port, threads, workers = sys.argv[1:]
    asyncio.run(main(folder, int(port), int(threads), int(workers)))
