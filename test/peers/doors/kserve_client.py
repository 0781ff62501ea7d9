"""KServe's clients, over REST (JSON and binary) and gRPC, against a running server."""
import asyncio
import json
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

given = json.loads(sys.argv[1])
url = given["url"]
x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
n = np.array([7], np.int64)


def request(binary):
    inputs = [InferInput("x", list(x.shape), "FP32"), InferInput("n", [1], "INT64")]
    for one, array in zip(inputs, (x, n)):
        one.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name="plain", infer_inputs=inputs, request_id="q")


def check(answer):
    by_name = {one.name: one.as_numpy() for one in answer.outputs}
    np.testing.assert_array_equal(by_name["y"].reshape(2, 3), x * 2 + 7)
    assert by_name["m"].tolist() == [14] and answer.model_name == "plain" and answer.id == "q", answer


async def main():
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await rest.is_server_live(url) and await rest.is_server_ready(url) and await rest.is_model_ready(url, "plain")
    for binary in (False, True):
        check(await rest.infer(url, request(binary), model_name="plain"))
    assert not await rest.is_model_ready(url, "plian")
    try:
        await rest.infer(url, request(False), model_name="plian")
        raise AssertionError("it was not refused")
    except Exception as error:
        assert "404" in str(error), error
    serving = InferenceRESTClient(RESTConfig(protocol="v1"))
    tf = f"http://127.0.0.1:{given['ports']['tfserving']}"
    answer = await serving.infer(tf, {"instances": [{"text": "the fox"}]}, model_name="tiny")
    assert answer["predictions"][0]["label"] in "abc", answer
    grpc = InferenceGRPCClient(url=f"127.0.0.1:{given['ports']['grpc']}")
    assert await grpc.is_server_live() and await grpc.is_server_ready() and await grpc.is_model_ready("plain")
    for raw in (False, True):
        check(await grpc.infer(request(raw)))
    await rest.close()
    await serving.close()
    await grpc.close()


asyncio.run(main())
print("ok")
