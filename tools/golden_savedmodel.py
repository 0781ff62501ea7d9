"""Records small SavedModels as Keras exports them, and what they answer: python golden_savedmodel.py > FILE

    pip install tensorflow-cpu
    python tools/golden_savedmodel.py > src/formats/tensorflow/savedmodel.golden.json
"""
import base64
import gzip
import json
import os
import sys
import tempfile
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
import numpy as np
import keras
from keras import layers as L

keras.utils.set_random_seed(3)
random = np.random.default_rng(3)
ids = np.array([[0, 3, 4, 1, 2], [0, 0, 0, 5, 6]], 'int32')
models = {
    'lstm': (keras.Sequential([L.Input((5,), dtype='int32'), L.Embedding(7, 4, mask_zero=True), L.LSTM(3), L.Dense(1, activation='sigmoid')]), ids),
    'conv': (keras.Sequential([L.Input((6, 5, 2)), L.Conv2D(3, 3, strides=2, padding='same', activation='relu'), L.GlobalAveragePooling2D(), L.Dense(2, activation='softmax')]), random.normal(size=(2, 6, 5, 2)).astype('float32')),
}
golden = {}
for name, (model, x) in models.items():
    for w in model.weights:
        w.assign(random.normal(size=w.shape, scale=0.4))
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        files = {}
        for path, _, names in os.walk(folder):
            for file in names:
                if file == 'fingerprint.pb':
                    continue
                full = os.path.join(path, file)
                packed = gzip.compress(open(full, 'rb').read(), mtime=0)
                files[os.path.relpath(full, folder)] = base64.b64encode(packed).decode()
    y = model.predict(x, verbose=0)
    golden[name] = {
        'files': files,
        'input': {'type': str(x.dtype), 'shape': list(x.shape), 'data': x.ravel().tolist()},
        'output': {'shape': list(y.shape), 'data': y.ravel().tolist()},
    }
json.dump(golden, sys.stdout)
