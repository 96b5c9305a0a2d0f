"""Which digit is in a photo or scan?

    python examples/predict.py results/lenet/mnist_LeNet.h5 digit.png another.jpg

The digit is found, centred and scaled like the digits of MNIST (see nanocnn/data/photo.py).
"""

import sys
from argparse import ArgumentParser

from nanocnn import load_model
from nanocnn.cli.digits import RAW_HELP, in_words, pixels, read_digits
from nanocnn.cli.program import run

NAME = "predict.py"


def main() -> int:
    parser = ArgumentParser(description="Which digit is in a photo or scan?")
    parser.add_argument("model", metavar="MODEL", help="a saved model (.npz, .h5 or .keras)")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a PNG, JPEG, BMP or GIF file")
    parser.add_argument("--raw-pixels", action="store_true", help=RAW_HELP)
    options = parser.parse_args()

    # uint8 (N,28,28), and the names of the files in which there was one digit.
    names, digits = read_digits(options.images, NAME)
    if names:
        model = load_model(options.model)
        x = pixels(model, digits, options.raw_pixels)  # (N,28,28,1), from 0 to 1
        outputs = model.predict(x)  # (N,10)
        for name, answer in zip(names, in_words(model, outputs), strict=True):
            print(f"{name}: {answer}")
    return 0 if len(names) == len(options.images) else 2


if __name__ == "__main__":
    sys.exit(run(main, NAME))
