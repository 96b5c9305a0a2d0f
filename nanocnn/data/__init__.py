"""Data: IDX files, MNIST-like data sets, mini-batches, and digits in photos."""
