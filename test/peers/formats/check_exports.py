"""Loads what Athanor exported with the formats' own readers: python check_exports.py FOLDER

FOLDER/<model>/rows.json holds ids, lengths and the probabilities that ONNX Runtime in Node gave; beside it stand the
exports. Prints one JSON object: model/format -> largest difference, or the error.
"""
import json
import os
import sys
import traceback
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
import numpy as np


def read_onnx(path, ids, lengths):
    import onnx
    import onnxruntime
    file = os.path.join(path, 'model.onnx')
    onnx.checker.check_model(file, full_check=True)
    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    return session.run(['probabilities'], {'ids': ids.astype('int64'), 'lengths': lengths.astype('int64')})[0]


def read_keras(path, ids, lengths):
    import keras
    model = keras.models.load_model(os.path.join(path, 'model.keras'))
    return model.predict(ids.astype('int32'), verbose=0)


def read_h5(path, ids, lengths):
    import keras
    model = keras.models.load_model(os.path.join(path, 'model.h5'), compile=False)
    return model.predict(ids.astype('int32'), verbose=0)


def read_savedmodel(path, ids, lengths):
    import tensorflow as tf
    serve = tf.saved_model.load(path).signatures['serving_default']
    return serve(ids=tf.constant(ids, tf.int64), lengths=tf.constant(lengths, tf.int64))['probabilities'].numpy()


def read_tflite(path, ids, lengths):
    import tensorflow as tf
    interpreter = tf.lite.Interpreter(os.path.join(path, 'model.tflite'))
    whole = interpreter.get_input_details()[0]['dtype']
    serve = interpreter.get_signature_runner('serving_default')
    return serve(ids=ids.astype(whole), lengths=lengths.astype(whole))['probabilities']


readers = {'onnx': read_onnx, 'keras': read_keras, 'keras-h5': read_h5, 'savedmodel': read_savedmodel, 'tflite': read_tflite}
results = {}
root = sys.argv[1]
for model in sorted(os.listdir(root)):
    rows = json.load(open(f'{root}/{model}/rows.json'))
    ids, lengths = np.array(rows['ids']), np.array(rows['lengths'])
    expected = np.array(rows['probabilities'])
    for name in sorted(os.listdir(f'{root}/{model}')):
        reader = readers.get(name.split('+')[0])
        if not reader:
            continue
        try:
            answer = reader(f'{root}/{model}/{name}', ids, lengths)
            results[f'{model}/{name}'] = float(np.abs(answer - expected).max())
        except Exception as error:
            results[f'{model}/{name}'] = f'{type(error).__name__}: {error}'[:600]
            if '-v' in sys.argv:
                traceback.print_exc()
print(json.dumps(results))
