"""MLflow's own client: tracking, artifacts and registry against a running server."""
import json
import sys

import mlflow
import mlflow.onnx
import numpy as np
import onnx
import onnxruntime
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

given = json.loads(sys.argv[1])
mlflow.set_tracking_uri(given["url"])
client = MlflowClient()

experiment = mlflow.set_experiment("reviews")
assert client.get_experiment_by_name("reviews").experiment_id == experiment.experiment_id
assert "reviews" in [one.name for one in client.search_experiments()]

model = onnx.load(given["model"])
with mlflow.start_run(run_name="first") as run:
    mlflow.log_param("epochs", 3)
    mlflow.log_params({"rate": 0.1, "family": "lstm"})
    for step in range(3):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    mlflow.log_metrics({"accuracy": 0.5, "nothing": float("nan")})
    mlflow.set_tag("team", "search")
    mlflow.log_text("an artifact 丹", "notes/read me.txt")
    info = mlflow.onnx.log_model(model, name="model")
run_id = run.info.run_id

found = client.get_run(run_id)
assert found.info.status == "FINISHED", found.info.status
assert found.data.params == {"epochs": "3", "rate": "0.1", "family": "lstm"}, found.data.params
assert found.data.metrics["loss"] == 1.0 / 3 and found.data.metrics["accuracy"] == 0.5, found.data.metrics
assert found.data.tags["team"] == "search"
assert [one.value for one in client.get_metric_history(run_id, "loss")] == [1.0, 0.5, 1.0 / 3]
assert [one.info.run_id for one in client.search_runs([experiment.experiment_id], "metrics.accuracy >= 0.5")] == [run_id]
assert client.search_runs([experiment.experiment_id], "metrics.accuracy > 0.5 and params.epochs = '3'") == []
assert "notes" in [one.path for one in client.list_artifacts(run_id)]
assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/read me.txt") == "an artifact 丹"

version = mlflow.register_model(info.model_uri, "plain-mlflow")
assert version.version in (1, "1"), version
client.set_registered_model_alias("plain-mlflow", "champion", version.version)
client.set_registered_model_tag("plain-mlflow", "task", "doubling")
client.set_model_version_tag("plain-mlflow", version.version, "checked", "yes")
client.update_registered_model("plain-mlflow", description="doubles")
again = client.get_model_version_by_alias("plain-mlflow", "champion")
assert str(again.version) == str(version.version) and again.status == "READY", again
assert again.tags["checked"] == "yes" and again.run_id == run_id, again
registered = client.get_registered_model("plain-mlflow")
assert registered.description == "doubles" and registered.tags["task"] == "doubling", registered
assert str(registered.aliases["champion"]) == str(version.version), registered
assert "plain-mlflow" in [one.name for one in client.search_registered_models("name LIKE 'plain%'")]
assert [str(one.version) for one in client.search_model_versions("name='plain-mlflow'")] == [str(version.version)]

x = np.array([[1, 2, 3]], dtype=np.float32)
n = np.array([7], dtype=np.int64)
for uri in (f"models:/plain-mlflow/{version.version}", "models:/plain-mlflow@champion"):
    loaded = mlflow.onnx.load_model(uri)
    session = onnxruntime.InferenceSession(loaded.SerializeToString())
    assert session.run(["y"], {"x": x, "n": n})[0].tolist() == [[9, 11, 13]]
assert mlflow.pyfunc.load_model("models:/plain-mlflow/1").predict({"x": x, "n": n})["y"].tolist() == [[9, 11, 13]]

try:
    client.get_registered_model("absent")
    raise AssertionError("an unknown model was found")
except MlflowException as error:
    assert error.error_code == "RESOURCE_DOES_NOT_EXIST", error
client.delete_registered_model_alias("plain-mlflow", "champion")
client.delete_run(run_id)
assert client.search_runs([experiment.experiment_id]) == []
print("ok")
