"""Models: `Sequential`, from its structure (structure.py) over training (trainer.py) to files."""

from .sequential import Sequential as Sequential, load_model as load_model
