"""A folder of a few real digits, as the examples and commands read it."""

from nanocnn.data import idx, mnist


def write(folder, train, test):
    """The first `train` and `test` digits of the embedded sample as the four MNIST files."""
    (x, y), (x_test, y_test) = mnist.sample()
    folder.mkdir()
    idx.write(folder / "train-images-idx3-ubyte", x[:train])
    idx.write(folder / "train-labels-idx1-ubyte.gz", y[:train])
    idx.write(folder / "t10k-images-idx3-ubyte.gz", x_test[:test])
    idx.write(folder / "t10k-labels-idx1-ubyte", y_test[:test])
    return folder
