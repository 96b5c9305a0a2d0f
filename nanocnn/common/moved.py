"""Old import paths of modules that have moved, and Keras's: `import nanocnn.errors` works."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "nanocnn.arrays": "nanocnn.common.arrays",
    "nanocnn.data.digits": "nanocnn.data.photo",
    "nanocnn.data.mirrors": "nanocnn.data.download",
    "nanocnn.errors": "nanocnn.common.errors",
    "nanocnn.history": "nanocnn.models.history",
    "nanocnn.kernels.simd": "nanocnn.jit.simd",
    "nanocnn.memory": "nanocnn.kernels.memory",
    "nanocnn.plan": "nanocnn.models.plan",
    "nanocnn.schedules": "nanocnn.optimizers.schedules",
    "nanocnn.sequential": "nanocnn.models",
    "nanocnn.storage.archives": "nanocnn.storage.safe_zip",
    "nanocnn.storage.isolated": "nanocnn.storage.sandbox",
    "nanocnn.threads": "nanocnn.jit.threads",
    # Keras's paths, of several versions.
    "nanocnn.datasets.mnist": "nanocnn.data.mnist",
    "nanocnn.layers.advanced_activations": "nanocnn.layers",
    "nanocnn.layers.convolutional": "nanocnn.layers",
    "nanocnn.layers.core": "nanocnn.layers",
    "nanocnn.layers.experimental": "nanocnn.layers",
    "nanocnn.layers.experimental.preprocessing": "nanocnn.layers",
    "nanocnn.layers.preprocessing": "nanocnn.layers",
    "nanocnn.utils.np_utils": "nanocnn.utils",
}


class MovedFinder:
    """An import hook: an old name gives the moved module itself, not a copy.

    It is finder and loader in one, without the base classes of `importlib.abc`, whose import takes
    as long as all the rest of `import nanocnn`. It is asked last: `from nanocnn.layers import Add`
    comes here when nothing else has the name, and gets the error of `nanocnn.layers.Add`.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in MOVED:
            return ModuleSpec(name, self)  # type: ignore[arg-type]
        parent, _, last = name.rpartition(".")
        if parent.partition(".")[0] == "nanocnn" and hasattr(sys.modules[parent], "__getattr__"):
            try:
                getattr(sys.modules[parent], last)
            except AttributeError as error:  # without `name=`, or the import system would drop it
                raise ModuleNotFoundError(str(error)) from None
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Let the import system make the empty module."""

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns what it finds here afterwards, not the empty `module`.
        sys.modules[module.__name__] = import_module(MOVED[module.__name__])


if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
    sys.meta_path.append(MovedFinder())
