"""Fast convolution. Start with conv2d.py, which opens with a map of this folder."""
