"""Which digit is in a photo or scan?

    python examples/predict.py results/lenet/mnist_LeNet.h5 digit.png another.jpg

The digit is found, centred and scaled as MNIST's digits were (see nanocnn/data/digits.py).
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from nanocnn import load_model
from nanocnn.data.digits import read_digit


def main() -> None:
    parser = ArgumentParser(description="Which digit is in a photo or scan?")
    parser.add_argument("model", metavar="MODEL", help="a saved model (.npz, .h5 or .keras)")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a PNG, JPEG, BMP or GIF file")
    options = parser.parse_args()

    digits = np.stack([read_digit(image) for image in options.images])  # (N,28,28), uint8
    probabilities = load_model(options.model).predict(digits)  # (N,10)

    for image, p in zip(options.images, probabilities, strict=True):
        first, *others = np.argsort(p)[::-1][:3]
        runners_up = ", ".join(f"{digit} ({p[digit]:.1%})" for digit in others)
        print(f"{image}: {first} ({p[first]:.1%}), then {runners_up}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:  # bad input: the message says what and where
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        sys.exit(2)
