"""Writes Keras models of many kinds, and what they answer: python keras_models.py FOLDER

For each model FOLDER/<name>.keras, FOLDER/<name>.h5, FOLDER/<name>.saved (a SavedModel) and FOLDER/<name>.json with
inputs and outputs.
"""
import json
import os
import sys
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
import numpy as np
import keras
from keras import layers as L

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
keras.utils.set_random_seed(7)
random = np.random.default_rng(7)


def ids(rows, time, top, before=0, after=0):
    x = random.integers(1, top, (rows, time))
    for r in range(rows):
        x[r, :(r * before) % time] = 0
        if after:
            x[r, time - (r * after) % time:] = 0
    return x.astype('int32')


def floats(*shape):
    return random.normal(size=shape).astype('float32')


def vary(model):
    """Weights that are not zeros and ones, so that a swapped or forgotten one shows."""
    for w in model.weights:
        if 'seed' in w.name:
            continue
        value = random.normal(size=w.shape, scale=0.4)
        w.assign(np.abs(value) + 0.5 if 'variance' in w.path else value)


def sequential(*all):
    return keras.Sequential(list(all))


def functional(inputs, outputs):
    return keras.Model(inputs, outputs)


def branches():
    x = L.Input((12, 6))
    a = L.Conv1D(5, 3, padding='causal', activation='relu')(x)
    b = L.Conv1D(5, 3, padding='same', dilation_rate=2)(x)
    y = L.Add()([a, b])
    z = L.Concatenate()([y, L.Multiply()([a, b]), L.Maximum()([a, b]), L.Average()([a, b]), L.Subtract()([a, b]), L.Minimum()([a, b])])
    z = L.MaxPooling1D(2)(z)
    z = L.AveragePooling1D(3, strides=2, padding='same')(z)
    return functional(x, L.Dense(3, activation='softmax')(L.GlobalAveragePooling1D()(z)))


def attention(mask):
    x = L.Input((9,))
    e = L.Embedding(20, 8, mask_zero=mask)(x)
    a = L.MultiHeadAttention(2, 5)(e, e)
    n = L.LayerNormalization()(L.Add()([e, a]))
    return functional(x, L.Dense(2, activation='sigmoid')(L.GlobalAveragePooling1D()(n)))


def shared():
    inner = keras.Sequential([L.Input((4,)), L.Dense(3, activation='tanh'), L.Dense(4)], name='inner')
    x, y = L.Input((4,), name='left'), L.Input((4,), name='right')
    d = L.Dense(5, activation='gelu')
    z = L.Concatenate()([d(inner(x)), d(y)])
    return functional([x, y], [L.Dense(2, name='one')(z), L.Dense(1, activation='sigmoid', name='two')(z)])


def dot():
    x = L.Input((None,))
    e = L.Embedding(20, 6, mask_zero=True)(x)
    w = L.Dense(1, activation='relu')(e)
    return functional(x, L.Flatten()(L.Dot(axes=1)([w, e])))


def masked():
    x = L.Input((None,))
    e = L.Embedding(20, 6, mask_zero=True)(x)
    a = L.LSTM(5, return_sequences=True)(e)
    b = L.Bidirectional(L.GRU(5, return_sequences=True))(e)
    c = L.Concatenate()([a, b, L.Dense(3)(e)])
    return functional(x, L.Dense(2)(L.GlobalAveragePooling1D()(L.Add()([L.Dense(4)(c), L.SimpleRNN(4, return_sequences=True)(c)]))))


models = {
    'mlp': (sequential(L.Input((7,)), L.Dense(9, activation='elu'), L.Dropout(0.5), L.BatchNormalization(), L.Dense(4), L.Activation('softmax')), [floats(5, 7)]),
    'seed': (sequential(L.Input((10,)), L.Embedding(30, 16), L.LSTM(8), L.Dense(1, activation='sigmoid')), [ids(6, 10, 30, before=2)]),
    'lstm-mask': (sequential(L.Input((None,)), L.Embedding(30, 8, mask_zero=True), L.LSTM(6), L.Dense(3, activation='softmax')), [ids(7, 11, 30, before=3, after=2)]),
    'lstm-sequences': (sequential(L.Input((None,)), L.Embedding(30, 8, mask_zero=True), L.LSTM(6, return_sequences=True), L.LSTM(5, go_backwards=True, recurrent_activation='hard_sigmoid')), [ids(7, 11, 30, before=3, after=2)]),
    'gru': (sequential(L.Input((None,)), L.Embedding(30, 8, mask_zero=True), L.GRU(6, return_sequences=True), L.GRU(4, reset_after=False, go_backwards=True, return_sequences=True)), [ids(7, 11, 30, before=1, after=4)]),
    'rnn-zero': (sequential(L.Input((None,)), L.Embedding(30, 8, mask_zero=True), L.SimpleRNN(6, return_sequences=True, zero_output_for_mask=True), L.SimpleRNN(4, activation='relu', use_bias=False, zero_output_for_mask=True)), [ids(7, 11, 30, before=1, after=4)]),
    'bidirectional': (sequential(L.Input((None,)), L.Embedding(30, 8, mask_zero=True), L.Bidirectional(L.LSTM(6, return_sequences=True)), L.Bidirectional(L.GRU(5), merge_mode='sum')), [ids(7, 11, 30, before=2, after=3)]),
    'bidirectional-own': (sequential(L.Input((8, 3)), L.Masking(), L.Bidirectional(L.SimpleRNN(4, return_sequences=True), backward_layer=L.SimpleRNN(4, return_sequences=True, go_backwards=True), merge_mode='ave'), L.TimeDistributed(L.Dense(2)), L.GlobalMaxPooling1D()), [floats(4, 8, 3) * (random.random((4, 8, 1)) > 0.4)]),
    'cnn': (sequential(L.Input((17, 14, 3)), L.Conv2D(6, 3, strides=2, padding='same', activation='relu'), L.DepthwiseConv2D(3, depth_multiplier=2), L.ZeroPadding2D(((1, 2), (0, 1))), L.MaxPooling2D(2), L.AveragePooling2D((2, 1), padding='same'), L.Flatten(), L.Dense(3)), [floats(2, 17, 14, 3)]),
    'shapes': (sequential(L.Input((12,)), L.Reshape((3, -1)), L.Permute((2, 1)), L.LeakyReLU(0.2), L.Conv1D(4, 2, groups=1), L.ZeroPadding1D((1, 2)), L.Flatten(), L.RepeatVector(3), L.LayerNormalization(), L.GlobalAveragePooling1D(), L.Rescaling(2.0, 0.5), L.ReLU(6.0)), [floats(3, 12)]),
    'branches': (branches(), [floats(3, 12, 6)]),
    'attention': (attention(False), [ids(4, 9, 20)]),
    'attention-mask': (attention(True), [ids(4, 9, 20, after=2)]),
    'shared': (shared(), [floats(3, 4), floats(3, 4)]),
    'masked': (masked(), [ids(3, 7, 20, before=1, after=2)]),
    'dot': (dot(), [ids(4, 6, 20, after=2)]),
    'activations': (sequential(L.Input((6,)), *[L.Dense(6, activation=a) for a in ['selu', 'softplus', 'softsign', 'exponential', 'silu', 'hard_silu', 'mish', 'relu6', 'hard_sigmoid', 'log_softmax', 'leaky_relu', 'gelu', 'tanh']]), [floats(3, 6)]),
}

for name, (model, inputs) in models.items():
    vary(model)
    outputs = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    model.save(f'{folder}/{name}.keras')
    try:
        model.save(f'{folder}/{name}.h5')
    except Exception as error:
        print(name, 'h5:', error, file=sys.stderr)
    model.export(f'{folder}/{name}.saved', verbose=False)
    tensor = lambda x: {'shape': list(x.shape), 'type': str(x.dtype), 'data': x.ravel().tolist()}
    json.dump({'inputs': [tensor(x) for x in inputs], 'outputs': [tensor(x) for x in outputs]}, open(f'{folder}/{name}.json', 'w'))
