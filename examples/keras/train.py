"""A Keras model as many projects begin: two sentences, a Tokenizer, Embedding -> LSTM -> Dense, saved as model.h5.

    pip install tensorflow-cpu
    python train.py [folder]

Writes model.h5, tokenizer.json and expected.json (what Keras itself answers) into the folder.
"""
import json
import sys
import numpy as np
from tensorflow import keras
from tensorflow.keras.preprocessing.text import Tokenizer
from tensorflow.keras.utils import pad_sequences

folder = sys.argv[1] if len(sys.argv) > 1 else '.'
keras.utils.set_random_seed(1)
LENGTH = 20

texts = ['这部电影太好看了，我还想再看一遍', '剧情无聊，浪费了我两个小时']
labels = np.array([1, 0])

tokenizer = Tokenizer(char_level=True)
tokenizer.fit_on_texts(texts)


def rows(texts):
    return pad_sequences(tokenizer.texts_to_sequences(texts), maxlen=LENGTH)


model = keras.Sequential([
    keras.Input((LENGTH,)),
    keras.layers.Embedding(len(tokenizer.word_index) + 1, 128),
    keras.layers.LSTM(64),
    keras.layers.Dense(1, activation='sigmoid'),
])
model.compile(optimizer=keras.optimizers.Adam(0.01), loss='binary_crossentropy')
model.fit(rows(texts), labels, epochs=10, verbose=0)
asked = [*texts, '电影好看', '无聊', '完全没有见过的字 abc', '', texts[0] * 3]
answers = model.predict(rows(asked), verbose=0)[:, 0].tolist()
model.save(f'{folder}/model.h5', include_optimizer=False)  # the optimizer's state would triple the file
with open(f'{folder}/tokenizer.json', 'w') as file:
    file.write(tokenizer.to_json())
with open(f'{folder}/expected.json', 'w') as file:
    json.dump({'texts': asked, 'probabilities': answers}, file, ensure_ascii=False, indent=1)
