"""Shapes and tables as text."""

from collections.abc import Iterable, Sequence


def sizes(shape: Iterable[object]) -> str:
    """A shape as text without parentheses: "28, 28, 1"."""
    return ", ".join(map(str, shape))


def table(rows: Sequence[Sequence[str]], right: int = 0) -> str:
    """A text table whose first row is the header; the last `right` columns are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = len(widths) - right
    lines = []
    for row in rows:
        cells = [*map(str.ljust, row[:left], widths), *map(str.rjust, row[left:], widths[left:])]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
