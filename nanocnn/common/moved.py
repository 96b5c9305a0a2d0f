"""Old import paths of modules that have moved: `import nanocnn.errors` still works."""

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
    "nanocnn.sequential": "nanocnn.models",
    "nanocnn.storage.archives": "nanocnn.storage.safe_zip",
    "nanocnn.storage.isolated": "nanocnn.storage.sandbox",
    "nanocnn.threads": "nanocnn.jit.threads",
}


class MovedFinder:
    """An import hook: an old name gives the moved module itself, not a copy.

    It is finder and loader in one, without the base classes of `importlib.abc`, whose import takes
    as long as all the rest of `import nanocnn`.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Let the import system make the empty module."""

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns what it finds here afterwards, not the empty `module`.
        sys.modules[module.__name__] = import_module(MOVED[module.__name__])


if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
    sys.meta_path.append(MovedFinder())
