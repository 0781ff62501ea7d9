"""MLflow's own scoring client against a port that serves one model."""
import json
import sys

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

given = json.loads(sys.argv[1])
client = ScoringServerClient("127.0.0.1", given["ports"]["mlflow"])
assert client.ping().status_code == 200 and client.get_version().text
predictions = client.invoke(pd.DataFrame({"text": ["the fox", "x"]})).get_predictions()
assert list(predictions.columns) == ["label", "score"] and len(predictions) == 2, predictions
print("ok")
