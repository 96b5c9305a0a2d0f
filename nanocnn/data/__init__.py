"""Data: IDX files, MNIST and its kin, minibatches, and the digit in a photo."""
