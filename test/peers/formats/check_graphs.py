"""Checks and runs ONNX files: python check_graphs.py FOLDER

FOLDER/<case>/ holds the export (model.onnx, perhaps model.onnx.data), feeds.json and expected.json: tensors by their names
as {dtype, dims, data}. Prints one JSON object: case -> largest difference relative to the largest value, or the error.
"""
import json
import os
import sys
import numpy as np
import onnx
import onnxruntime

tensors = lambda path: {
    name: np.array(one['data'], one['dtype']).reshape(one['dims']) for name, one in json.load(open(path)).items()
}
results = {}
root = sys.argv[1]
for case in sorted(os.listdir(root)):
    folder = os.path.join(root, case)
    path = os.path.join(folder, 'model.onnx')
    try:
        onnx.checker.check_model(path, full_check=True)
        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        expected = tensors(os.path.join(folder, 'expected.json'))
        answers = session.run(list(expected), tensors(os.path.join(folder, 'feeds.json')))
        results[case] = max(
            float(np.abs(answer - wanted).max() / max(1, np.abs(wanted).max()))
            for answer, wanted in zip(answers, expected.values())
        )
    except Exception as error:
        results[case] = f'{type(error).__name__}: {error}'[:800]
print(json.dumps(results))
