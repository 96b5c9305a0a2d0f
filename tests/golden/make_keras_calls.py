"""Write keras_calls.json: what Keras answers to the calls of call_cases.py. Needs Keras 3.

Run in this folder: python make_keras_calls.py
"""

import json
from pathlib import Path

import keras
import numpy as np
from call_cases import CASES, model


def main():
    found = {"keras": keras.__version__}
    for name, call in CASES.items():
        answer = call(model(keras, name), keras.utils.PyDataset)
        found[name] = answer.tolist() if isinstance(answer, np.ndarray) else answer
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in found.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    Path(__file__).with_name("keras_calls.json").write_text(text)


main()
