"""tritonclient over HTTP (JSON and binary) and gRPC (unary and streaming) against a running server."""
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

given = json.loads(sys.argv[1])
host = given["url"].removeprefix("http://")
x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
n = np.array([7], np.int64)
texts = np.array(["the fox", "今天"], object)


def inputs(module, binary=None):
    made = []
    for name, array in (("x", x), ("n", n)):
        one = module.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array, **({} if binary is None else {"binary_data": binary}))
        made.append(one)
    return made


def check_common(client, module):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("plain")
    client.load_model("tiny")
    client.unload_model("tiny")
    answer = client.infer(
        "tiny",
        [text_input(module, texts)],
        outputs=[module.InferRequestedOutput("label"), module.InferRequestedOutput("probabilities", class_count=2)],
    )
    assert answer.as_numpy("label").shape == (2,)
    classes = answer.as_numpy("probabilities")
    assert classes.shape == (2, 2) and classes[0][0].decode().split(":")[2] in "abc", classes
    for bad, part in ((lambda: client.infer("plian", inputs(module)), "plain"), (lambda: client.infer("plain", inputs(module)[:1]), "missing")):
        try:
            bad()
            raise AssertionError("it was not refused")
        except InferenceServerException as error:
            assert part in str(error), error


def text_input(module, values):
    one = module.InferInput("text", values.shape, "BYTES")
    one.set_data_from_numpy(values)
    return one


with http.InferenceServerClient(host) as client:
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("plain")["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
    assert any(one["name"] == "plain" for one in client.get_model_repository_index())
    for sent in (True, False):
        for asked in (True, False):
            outputs = [http.InferRequestedOutput("y", binary_data=asked), http.InferRequestedOutput("m", binary_data=asked)]
            answer = client.infer("plain", inputs(http, sent), outputs=outputs, request_id="q")
            np.testing.assert_array_equal(answer.as_numpy("y"), x * 2 + 7)
            np.testing.assert_array_equal(answer.as_numpy("m"), n * 2)
            assert answer.get_response()["id"] == "q"
    for algorithm in ("gzip", "deflate"):
        answer = client.infer(
            "plain", inputs(http), request_compression_algorithm=algorithm, response_compression_algorithm=algorithm
        )
        np.testing.assert_array_equal(answer.as_numpy("y"), x * 2 + 7)
    answer = client.infer("plain", inputs(http), model_version="1")
    np.testing.assert_array_equal(answer.as_numpy("y"), x * 2 + 7)
    check_common(client, http)
    config = client.get_model_config("tiny")
    assert config["input"] == [{"name": "text", "data_type": "TYPE_STRING", "dims": [-1]}], config
    assert {"plain", "tiny"} <= {one["name"] for one in client.get_inference_statistics()["model_stats"]}
    stats = client.get_inference_statistics("plain")["model_stats"][0]
    assert stats["inference_count"] == stats["execution_count"] == stats["batch_stats"][0]["compute_infer"]["count"] >= 7

client = grpc.InferenceServerClient(f"127.0.0.1:{given['ports']['grpc']}")
assert client.get_server_metadata().name == "athanor"
assert [tuple(one.shape) for one in client.get_model_metadata("plain").inputs] == [(-1, 3), (1,)]
assert client.get_model_config("tiny").config.input[0].name == "text"
answer = client.infer("plain", inputs(grpc), request_id="q")
np.testing.assert_array_equal(answer.as_numpy("y"), x * 2 + 7)
assert answer.get_response().id == "q"
for algorithm in ("gzip", "deflate"):
    answer = client.infer("plain", inputs(grpc), compression_algorithm=algorithm)
    np.testing.assert_array_equal(answer.as_numpy("y"), x * 2 + 7)
check_common(client, grpc)
stats = client.get_inference_statistics("plain").model_stats[0]
assert stats.inference_count == stats.execution_count == stats.batch_stats[0].compute_infer.count >= 3, stats
assert any(one.name == "plain" for one in client.get_model_repository_index().models)

answers = queue.Queue()
client.start_stream(lambda result, error: answers.put((result, error)))
client.async_stream_infer(
    "writer",
    [text_input(grpc, np.array(["hello"], object))],
    request_id="1",
    parameters={"max_tokens": 12, "temperature": 0.0},
)
text = ""
while True:
    result, error = answers.get(timeout=30)
    assert error is None, error
    text += result.as_numpy("text")[0].decode()
    if result.get_response().parameters["triton_final_response"].bool_param:
        break
client.stop_stream()
assert text == given["expected"]["text"], text
print("ok")
