"""requests as TensorFlow Serving's and MLflow's guides use it, against a running server."""
import json
import sys

import requests

given = json.loads(sys.argv[1])
serving = f"http://127.0.0.1:{given['ports']['tfserving']}/v1/models"
row = {"x": [1.0, 2.0, 3.0]}
data = json.dumps({"signature_name": "serving_default", "inputs": {"x": [row["x"]], "n": [7]}})
answer = requests.post(f"{serving}/plain:predict", data=data, headers={"content-type": "application/json"}, timeout=30)
assert answer.json()["outputs"]["y"] == [[9, 11, 13]], answer.text
assert requests.get(f"{serving}/plain", timeout=30).json()["model_version_status"][0]["state"] == "AVAILABLE"

mlflow = f"http://127.0.0.1:{given['ports']['mlflow']}"
assert requests.get(f"{mlflow}/ping", timeout=30).status_code == 200
for body in (
    {"dataframe_split": {"columns": ["text"], "data": [["the fox"], ["x"]]}},
    {"dataframe_records": [{"text": "the fox"}, {"text": "x"}]},
    {"inputs": ["the fox", "x"]},
):
    answer = requests.post(f"{mlflow}/invocations", json=body, timeout=30)
    assert [set(one) for one in answer.json()["predictions"]] == [{"label", "score"}] * 2, answer.text
print("ok")
