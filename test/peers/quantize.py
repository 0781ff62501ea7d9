"""onnxruntime's own quantizer on a model, for comparison: quantize.py MODEL FOLDER FEEDS.npz writes dynamic.onnx and static.onnx.

The feeds hold the calibration batches: one array an input and batch, named "<batch>/<input>".
"""
import json
import sys

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

model, folder, feeds = sys.argv[1:4]
spec = json.load(open(feeds))
batches = []
for batch in spec:
    batches.append({
        name: np.array(tensor["data"], dtype=tensor["dtype"]).reshape(tensor["dims"]) for name, tensor in batch.items()
    })


class Reader(CalibrationDataReader):
    def __init__(self):
        self.left = iter(batches)

    def get_next(self):
        return next(self.left, None)


quantize_dynamic(model, f"{folder}/dynamic.onnx", weight_type=QuantType.QInt8, per_channel=True)
quantize_static(
    model,
    f"{folder}/static.onnx",
    Reader(),
    quant_format=QuantFormat.QDQ,
    per_channel=True,
    activation_type=QuantType.QUInt8,
    weight_type=QuantType.QInt8,
    calibrate_method=CalibrationMethod.MinMax,
    op_types_to_quantize=["MatMul", "Gemm", "Conv"],
)

checked = {}
for path in sys.argv[4:]:
    try:
        onnx.checker.check_model(path, full_check=True)
        checked[path] = "ok"
    except Exception as error:  # told to the test
        checked[path] = str(error)[:300]
print(json.dumps(checked))
