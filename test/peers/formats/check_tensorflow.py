"""Runs SavedModels and TensorFlow Lite models in TensorFlow: python check_tensorflow.py FOLDER

FOLDER/<case>/ holds an export (model.tflite or saved_model.pb), feeds.json and expected.json: tensors by their names as
{dtype, dims, data}. Prints one JSON object: case -> largest difference relative to the largest value, or the error.
"""
import json
import os
import sys
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
import numpy as np
import tensorflow as tf

tensors = lambda path: {
    name: np.array(one['data'], one['dtype']).reshape(one['dims']) for name, one in json.load(open(path)).items()
}


def run_lite(folder, feeds):
    interpreter = tf.lite.Interpreter(os.path.join(folder, 'model.tflite'))
    details = {one['name'].split(':')[0]: one for one in interpreter.get_input_details()}
    for name, value in feeds.items():
        interpreter.resize_tensor_input(details[name]['index'], value.shape)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner('serving_default')
    wanted = {name: value.astype(details[name]['dtype']) for name, value in feeds.items()}
    return runner(**wanted)


def run_saved(folder, feeds):
    serve = tf.saved_model.load(folder).signatures['serving_default']
    return {name: value.numpy() for name, value in serve(**{name: tf.constant(one) for name, one in feeds.items()}).items()}


results = {}
root = sys.argv[1]
for case in sorted(os.listdir(root)):
    folder = os.path.join(root, case)
    try:
        run = run_lite if os.path.exists(os.path.join(folder, 'model.tflite')) else run_saved
        answers = run(folder, tensors(os.path.join(folder, 'feeds.json')))
        results[case] = max(
            float(np.abs(answers[name] - wanted).max() / max(1, np.abs(wanted).max()))
            for name, wanted in tensors(os.path.join(folder, 'expected.json')).items()
        )
    except Exception as error:
        results[case] = f'{type(error).__name__}: {error}'[:800]
print(json.dumps(results, indent=1))
