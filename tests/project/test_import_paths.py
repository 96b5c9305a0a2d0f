"""Import paths of version 0.1.0 and of Keras work, and give the very same objects as today's."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import nanocnn
from nanocnn import Adam, Dense, EarlyStopping, Input, Sequential
from nanocnn.common.moved import MOVED
from nanocnn.kernels.geometry import sliding_window

# Module of 0.1.0, names that it had, and the module of today where it is another one.
PATHS = """
nanocnn                   Sequential Layer Conv2D Adam EarlyStopping History load_model L2
nanocnn.arrays            Array quiet quietly                            > nanocnn.common.arrays
nanocnn.callbacks         Callback CallbackList Monitor EarlyStopping ModelCheckpoint
nanocnn.callbacks         ReduceLROnPlateau LearningRateScheduler constant_rate
nanocnn.data.batches      as_images batches split take
nanocnn.data.digits       read_digit                                     > nanocnn.data.photo
nanocnn.data.idx          read write
nanocnn.datasets.mnist    load_data                                      > nanocnn.data.mnist
nanocnn.data.mirrors      SOURCES fetch cache_folder                     > nanocnn.data.download
nanocnn.data.mnist        load locate sample
nanocnn.doctor            report
nanocnn.errors            DatasetError MissingExtraError ModelFileError  > nanocnn.common.errors
nanocnn.errors            NonFiniteError ShapeError                      > nanocnn.common.errors
nanocnn.gradcheck         check Report ArrayCheck
nanocnn.history           History Progress                               > nanocnn.models.history
nanocnn.initializers      INITIALIZERS initialize
nanocnn.kernels           KERNEL_SETS OPERATIONS get_kernels
nanocnn.kernels.fast      conv2d_forward conv2d_backward dense_forward adam_update choose
nanocnn.kernels.geometry  Window sliding_window
nanocnn.kernels.reference conv2d_forward conv2d_backward im2col col2im softmax_forward
nanocnn.kernels.simd      load store fma lanes tile                      > nanocnn.jit.simd
nanocnn.layers            LAYERS Layer Conv2D Dense Input is_builtin
nanocnn.layers.base       Layer
nanocnn.layers.advanced_activations Activation                           > nanocnn.layers
nanocnn.layers.convolutional Conv2D MaxPooling2D                         > nanocnn.layers
nanocnn.layers.core       Dense Dropout Flatten Activation               > nanocnn.layers
nanocnn.layers.experimental RandomZoom Rescaling                         > nanocnn.layers
nanocnn.layers.experimental.preprocessing RandomRotation Rescaling       > nanocnn.layers
nanocnn.layers.linear     Conv2D Dense
nanocnn.layers.preprocessing Normalization Rescaling                     > nanocnn.layers
nanocnn.losses            Loss Crossentropy MeanSquaredError get_loss
nanocnn.memory            Memory Arena                                   > nanocnn.kernels.memory
nanocnn.metrics           accuracy top_k_categorical_accuracy get_metrics
nanocnn.optimizers        SGD Adam AdamW RMSprop Optimizer get_optimizer
nanocnn.plan              Plan Stage make_plan describe                  > nanocnn.models.plan
nanocnn.plots             training_curves filters grad_cam im2col GradientRecorder
nanocnn.presets           PRESETS build labels_for
nanocnn.regularizers      L2 get_regularizer
nanocnn.schedules         Schedule CosineDecay ExponentialDecay > nanocnn.optimizers.schedules
nanocnn.sequential        Sequential load_model                          > nanocnn.models
nanocnn.storage           Snapshot save load check
nanocnn.storage.archives  Archive parse_json                             > nanocnn.storage.safe_zip
nanocnn.storage.isolated  read main                                      > nanocnn.storage.sandbox
nanocnn.storage.snapshot  Snapshot
nanocnn.threads           get_num_threads set_num_threads                > nanocnn.jit.threads
nanocnn.utils.np_utils    to_categorical                                 > nanocnn.utils
nanocnn.trace             Trace LayerTrace record
"""
ROWS = [
    (old, names.split(), new.strip() or old)
    for row in PATHS.strip().splitlines()
    for old, _, rest in [row.partition(" ")]
    for names, _, new in [rest.partition(">")]
]
HEAVY = {"numba", "llvmlite", "matplotlib", "h5py", "PIL", "pooch", "tqdm"}
NEED_THEM = {"nanocnn.plots", "nanocnn.kernels.fast", "nanocnn.kernels.simd"}


def run(code, *arguments):
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


CODE = """
import sys
from importlib import import_module
first, then, rows = sys.argv[1], sys.argv[2], eval(sys.argv[3])
for row in rows:
    old, new = (import_module(row[2 if order == "new" else 0]) for order in (first, then))
    assert old is new and sys.modules[row[0]] is sys.modules[row[2]], row
    for name in row[1]:
        scope = {}
        exec(f"from {row[0]} import {name} as a\\nfrom {row[2]} import {name} as b", scope)
        assert scope["a"] is scope["b"], (row[0], name)
    parent, _, last = row[0].rpartition(".")
    assert not parent or getattr(sys.modules[parent], last) is old, row
    assert old.__name__ == row[2] == old.__spec__.name, row
print(*sorted(sys.modules.keys() & set(sys.argv[4].split())))
"""


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")], ids=" first, ".join)
def test_each_old_path_gives_the_objects_of_the_new_one_and_loads_nothing_heavy(order):
    light = [row for row in ROWS if row[0] not in NEED_THEM]
    assert run(CODE, *order, repr(light), " ".join(HEAVY)) == []
    assert "numba" in run(CODE, *order, repr(ROWS), " ".join(HEAVY))


def test_every_path_that_has_moved_is_in_the_list():
    assert {old for old, _, new in ROWS if old != new} == set(MOVED)
    assert {old: new for old, _, new in ROWS if old != new} == MOVED
    assert {row[0] for row in ROWS} >= {f"nanocnn.{name}" for name in nanocnn._MODULES} - {
        "nanocnn.data", "nanocnn.distributed", "nanocnn.explore",  # new since then
    }  # fmt: skip


def test_names_that_never_were_are_not_found():
    for name in ("nanocnn.error", "nanocnn.errors.more", "nanocnn.data.digit", "errors"):
        with pytest.raises(ModuleNotFoundError, match=name.rpartition(".")[2]):
            __import__(name)


def test_old_paths_are_attributes_of_the_package():
    """As they were after `from nanocnn import Sequential`, which had imported them."""
    code = "import nanocnn; print(nanocnn.threads.__name__, nanocnn.errors.ShapeError.__module__)"
    assert run(code) == ["nanocnn.jit.threads", "nanocnn.common.errors"]


def test_importing_the_package_loads_none_of_what_has_moved():
    loaded = run("import nanocnn, sys; print(*sys.modules)")
    assert not set(loaded) & (MOVED.keys() | set(MOVED.values()))


def model():
    made = Sequential([Input((3,)), Dense(2)], kernels="reference")
    made.compile(Adam(), "mse", metrics=["mae"])
    made.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    return made


MADE = model()
THINGS = {
    "nanocnn.history History": MADE.history,
    "nanocnn.errors ShapeError": nanocnn.ShapeError("x: shape (3,)"),
    "nanocnn.sequential Sequential": MADE,
    "nanocnn.callbacks EarlyStopping": EarlyStopping("loss"),
    "nanocnn.layers.linear Dense": Dense(3),
    "nanocnn.memory Memory": Dense(3),
    "nanocnn.kernels.geometry Window": sliding_window((4, 4), (3, 3)),
    "nanocnn.trace Trace": MADE.trace(np.ones((4, 3)), np.ones((4, 2))),
}


@pytest.mark.parametrize("path", THINGS)
def test_pickles_made_under_the_old_names_load(path):
    old, name = path.split()
    thing = THINGS[path]
    new = getattr(__import__(old, fromlist=[name]), name).__module__
    text = pickle.dumps(thing, protocol=2)  # names its classes in plain text
    assert f"c{new}\n{name}\n".encode() in text
    text = text.replace(f"c{new}\n{name}\n".encode(), f"c{old}\n{name}\n".encode())
    code = "import pickle, sys; print(type(pickle.loads(bytes.fromhex(sys.argv[1]))).__qualname__)"
    assert run(code, text.hex()) == [type(thing).__qualname__]
