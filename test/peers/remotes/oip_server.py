"""MLServer with one model: y = 2x of float64 vectors, and the length of each text."""

import asyncio
import sys

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor


class Double(MLModel):
    async def load(self) -> bool:
        self.inputs = [
            MetadataTensor(name="x", datatype="FP64", shape=[-1, 3]),
            MetadataTensor(name="text", datatype="BYTES", shape=[-1, 1]),
        ]
        self.outputs = [
            MetadataTensor(name="y", datatype="FP64", shape=[-1, 3]),
            MetadataTensor(name="length", datatype="INT64", shape=[-1, 1]),
        ]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {one.name: one for one in payload.inputs}
        x = NumpyCodec.decode_input(given["x"])
        texts = StringCodec.decode_input(given["text"])
        lengths = np.array([[len(text)] for text in texts], dtype=np.int64)
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output("y", 2 * x), NumpyCodec.encode_output("length", lengths)],
        )


async def main(port: int) -> None:
    settings = Settings(http_port=port, grpc_port=port + 1, metrics_port=port + 2, host="127.0.0.1", parallel_workers=0)
    server = MLServer(settings)
    await server.start([ModelSettings(name="double", implementation=Double)])


asyncio.run(main(int(sys.argv[1])))
