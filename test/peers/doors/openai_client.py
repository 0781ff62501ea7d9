"""The openai package against a running server: models, chat, completions, responses, files, fine-tuning, errors."""
import json
import sys
import time

import openai

given = json.loads(sys.argv[1])
client = openai.OpenAI(base_url=given["url"] + "/v1", api_key="none", max_retries=0)
expected = given["expected"]["text"]

assert {"plain", "tiny", "writer"} <= {model.id for model in client.models.list()}
messages = [{"role": "user", "content": "hello"}]
whole = client.chat.completions.create(model="writer", messages=messages, temperature=0, max_tokens=12)
assert whole.choices[0].message.content == expected, whole
assert whole.usage.completion_tokens == 12
stream = client.chat.completions.create(
    model="writer", messages=messages, temperature=0, max_tokens=12, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected
assert chunks[-1].usage == whole.usage
completion = client.completions.create(model="writer", prompt="hello", temperature=0, max_tokens=12)
assert completion.choices[0].text == expected
response = client.responses.create(model="writer", input="hello", temperature=0, max_output_tokens=12)
assert response.output_text == expected
with client.responses.stream(model="writer", input="hello", temperature=0, max_output_tokens=12) as events:
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == expected, text
parameters = {"type": "object", "properties": {"place": {"enum": ["Bern", "Rome"]}}, "required": ["place"]}
tools = [{"type": "function", "name": "weather", "parameters": parameters}]
called = client.responses.create(model="writer", input="hello", tools=tools, tool_choice="required").output
assert [one.name for one in called] == ["weather"] and json.loads(called[0].arguments)["place"] in ("Bern", "Rome"), called
returned = {"type": "function_call_output", "call_id": called[0].call_id, "output": "rain"}
after = client.responses.create(model="writer", input=[*messages, *called, returned], max_output_tokens=4)
assert after.output_text, after
with client.responses.stream(model="writer", input="hello", tools=tools, tool_choice="required") as events:
    assert "response.function_call_arguments.done" in [event.type for event in events]
vectors = client.embeddings.create(model="vectors", input=["a", "b"], dimensions=4).data
assert [len(one.embedding) for one in vectors] == [4, 4]
parsed = client.chat.completions.create(
    model="writer",
    messages=messages,
    seed=1,
    response_format={"type": "json_schema", "json_schema": {"name": "mood", "schema": {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}, "required": ["mood"]}}},
)
assert json.loads(parsed.choices[0].message.content)["mood"] in ("good", "bad")

rows = [{"messages": [{"role": "user", "content": f"a lovely film {i}" if i % 2 else f"an awful waste {i}"}, {"role": "assistant", "content": "good" if i % 2 else "bad"}]} for i in range(40)]
file = client.files.create(file=("films.jsonl", "\n".join(map(json.dumps, rows)).encode()), purpose="fine-tune")
assert client.files.content(file.id).text.count("\n") == 39
job = client.fine_tuning.jobs.create(model="bow", training_file=file.id, suffix="films", hyperparameters={"n_epochs": 4})
while job.status not in ("succeeded", "failed"):
    time.sleep(0.1)
    job = client.fine_tuning.jobs.retrieve(job.id)
assert job.status == "succeeded" and job.fine_tuned_model == "films@1", job
assert any(event.type == "metrics" for event in client.fine_tuning.jobs.list_events(job.id))
assert client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint == "films@1"

for call, kind in (
    (lambda: client.models.retrieve("wirter"), openai.NotFoundError),
    (lambda: client.chat.completions.create(model="writer", messages=messages, n=1000), openai.BadRequestError),
    (lambda: client.chat.completions.create(model="writer", messages=messages, logit_bias={"5": 1}), openai.BadRequestError),
):
    try:
        call()
        raise AssertionError("it was not refused")
    except kind as error:
        assert error.body["type"] == "invalid_request_error" and error.request_id.startswith("req_")
print("ok")
