"""The ollama package against a running server, at the door's own port."""
import json
import sys

import ollama

given = json.loads(sys.argv[1])
client = ollama.Client(f"http://127.0.0.1:{given['ports']['ollama']}")
expected = given["expected"]["text"]
options = {"temperature": 0, "num_predict": 12}

assert {"tiny:latest", "writer:latest"} <= {model.model for model in client.list().models}
assert client.show("writer").details.format == "onnx"
assert client.generate("writer", "hello", options=options, raw=True).response == expected
assert "".join(part.response for part in client.generate("writer", "hello", options=options, raw=True, stream=True)) == expected
messages = [{"role": "user", "content": "hello"}]
assert client.chat("writer", messages, options=options).message.content == expected
assert "".join(part.message.content for part in client.chat("writer", messages, options=options, stream=True)) == expected
schema = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}, "required": ["mood"]}
formed = client.chat("writer", messages, format=schema, options={"seed": 1})
assert json.loads(formed.message.content)["mood"] in ("good", "bad"), formed
weather = {"type": "object", "properties": {"place": {"type": "string", "enum": ["Bern", "Rome"]}}, "required": ["place"]}
tools = [{"type": "function", "function": {"name": "weather", "description": "", "parameters": weather}}]
for parts in (
    [client.chat("caller", messages, tools=tools, options={"temperature": 0})],
    list(client.chat("caller", messages, tools=tools, options={"temperature": 0}, stream=True)),
):
    calls = [call.function for part in parts for call in part.message.tool_calls or []]
    assert [(call.name, call.arguments) for call in calls] == [("weather", {"place": "Bern"})], parts
assert len(client.embed("vectors", ["a", "b"]).embeddings) == 2
assert any(model.model == "writer:1" for model in client.ps().models)
try:
    client.generate("wirter", "x")
    raise AssertionError("it was not refused")
except ollama.ResponseError as error:
    assert error.status_code == 404 and "writer" in error.error
print("ok")
