"""huggingface_hub's InferenceClient against a running server."""
import base64
import json
import sys

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

given = json.loads(sys.argv[1])
url = given["url"]
expected = given["expected"]["text"]

got = InferenceClient(f"{url}/hf/models/tiny").text_classification("the fox", top_k=2)
assert len(got) == 2 and got[0].score >= got[1].score and got[0].label in "abc", got
writer = InferenceClient(f"{url}/hf/models/writer")
assert writer.text_generation("hello", max_new_tokens=12, do_sample=False) == expected
pieces = list(writer.text_generation("hello", max_new_tokens=12, do_sample=False, stream=True))
assert "".join(pieces) == expected, pieces
chat = writer.chat_completion([{"role": "user", "content": "hello"}], max_tokens=12, temperature=0.0)
assert chat.choices[0].message.content == expected, chat
details = writer.text_generation("hello", max_new_tokens=12, do_sample=False, details=True).details
assert "".join(token.text for token in details.tokens) == expected, details
fills = InferenceClient(f"{url}/hf/models/mask").fill_mask("the <mask> sat", top_k=2)
assert len(fills) == 2 and fills[0].score >= fills[1].score and "sat" in fills[0].sequence and fills[0].token > 0, fills
seen = InferenceClient(f"{url}/hf/models/vision").image_classification(base64.b64decode(given["image"]))
assert {one.label for one in seen} == {"dark", "light"}, seen
vectors = InferenceClient(f"{url}/hf/models/vectors")
assert vectors.feature_extraction("the fox").shape == (8,)
assert len(vectors.sentence_similarity("the fox", other_sentences=["x", "y"])) == 2
try:
    InferenceClient(f"{url}/hf/models/tinny").text_classification("x")
    raise AssertionError("it was not refused")
except HfHubHTTPError as error:
    assert error.response.status_code == 404
print("ok")
