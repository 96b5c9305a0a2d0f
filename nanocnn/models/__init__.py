"""Models: `Sequential`, and the classes it is built on, each a floor of its own.

structure.py    `Structure`: layers, their shapes and weights
predictor.py    `Predictor`: is built for data, and predicts
evaluator.py    `Evaluator`: with a loss and metrics it is measured
trainer.py      `Trainer`: with an optimizer it is trained
sequential.py   `Sequential`: is saved, shows what is inside; models from files and JSON

Start reading at step.py, one training step. plan.py and stages.py say in which stages layers run,
passes.py which passes are captured as programs; inference.py is the pass that predicts; inputs.py,
sources.py, measure.py, run.py, history.py and interrupts.py serve the training. shards.py is a step
in shards, on one process or several, with shard.py, gradients.py and split_update.py. record.py,
worked_example.py and formulas.py make the trace of one pass; reach.py (receptive fields), update.py
with update_formulas.py (one optimizer step) and samples.py (what each sample does) add to it: all
these are public in `nanocnn.trace`.
"""

from ..common.names import names_of
from .sequential import (
    Sequential as Sequential,
    load_model as load_model,
    model_from_json as model_from_json,
)

__getattr__ = names_of(__name__)
