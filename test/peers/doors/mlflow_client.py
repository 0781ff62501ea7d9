"""MLflow's own scoring client against a port that serves one model."""
import json
import sys

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

given = json.loads(sys.argv[1])
client = ScoringServerClient("127.0.0.1", given["ports"]["mlflow"])
client.ping()  # raises unless it answers 200
assert client.get_version()
predictions = client.invoke(pd.DataFrame({"text": ["the fox", "x"]})).get_predictions()
assert list(predictions.columns) == ["label", "score"] and len(predictions) == 2, predictions
print("ok")
