"""Asks a SavedModel's signature of texts: python texts.py FOLDER

FOLDER holds saved_model.pb and asked.json. Prints answers to all texts together and one by one, and whether a text with
combining marks was refused.
"""
import json
import os
import sys
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
import tensorflow as tf

folder = sys.argv[1]
asked = json.load(open(f'{folder}/asked.json'))
serve = tf.saved_model.load(folder).signatures['serving_texts']
ask = lambda texts: serve(texts=tf.constant(texts))['probabilities'].numpy().tolist()
try:
    ask(asked['joined'])
    refused = False
except tf.errors.InvalidArgumentError as error:
    refused = 'combining marks' in str(error)
print(json.dumps({'answers': ask(asked['texts']), 'alone': [ask([text])[0] for text in asked['texts']], 'refused': refused}))
