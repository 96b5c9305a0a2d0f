"""Which digit is in a photo or scan?

    python examples/predict.py results/lenet/mnist_LeNet.h5 digit.png another.jpg

The digit is found, centred and scaled as MNIST's digits were (see nanocnn/data/photo.py).
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from nanocnn.answers import RAW_HELP, answers, open_model
from nanocnn.data.photo import read_digit


def main() -> int:
    parser = ArgumentParser(description="Which digit is in a photo or scan?")
    parser.add_argument("model", metavar="MODEL", help="a saved model (.npz, .h5 or .keras)")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a PNG, JPEG, BMP or GIF file")
    parser.add_argument("--raw-pixels", action="store_true", help=RAW_HELP)
    options = parser.parse_args()

    names, digits = [], []
    for image in options.images:
        try:
            digits.append(read_digit(image))  # (28,28), uint8
            names.append(image)
        except (OSError, ValueError) as error:  # the other images are read all the same
            print(f"{Path(__file__).name}: {error}", file=sys.stderr)

    if digits:
        model, _ = open_model(options.model)
        # model.predict gives (N,10); `answers` says the largest of each ten and the runners-up.
        said = answers(model, np.stack(digits), options.raw_pixels)
        for name, answer in zip(names, said, strict=True):
            print(f"{name}: {answer}")
    return 0 if len(digits) == len(options.images) else 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:  # bad input: the message says what and where
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        sys.exit(2)
