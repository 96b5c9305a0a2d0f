"""Where things are: the repository, and what tests read or start."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PACKAGE = ROOT / "nanocnn"
BENCHMARKS = ROOT / "benchmarks"
GOLDEN = TESTS / "golden"
CORPUS = TESTS / "corpus"
