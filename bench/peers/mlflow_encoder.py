"""MLflow's scoring server with the encoder: python mlflow_encoder.py FOLDER PORT THREADS. One worker, in this Python."""

import os
import sys

import mlflow


class Embedder(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        sys.path.insert(0, os.environ["ENCODER_CODE"])
        from encoder import Encoder

        self.encode = Encoder(os.environ["ENCODER_FOLDER"], int(os.environ["ENCODER_THREADS"]))

    def predict(self, context, model_input: list[str], params=None):
        return self.encode(list(model_input))


if __name__ == "__main__":
    folder, port, threads = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))
    os.environ |= {"ENCODER_FOLDER": folder, "ENCODER_THREADS": threads, "ENCODER_CODE": here}
    mlflow.pyfunc.save_model(f"{folder}/mlflow", python_model=Embedder(), pip_requirements=[])
    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    serve = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"{folder}/mlflow", "--env-manager", "local"]
    os.execv(sys.executable, [*serve, "--host", "127.0.0.1", "--port", port, "--workers", "1"])
