"""How shapes and tables are written, wherever something is printed."""

from collections.abc import Iterable, Sequence


def sizes(shape: Iterable[object]) -> str:
    """28, 28, 1"""
    return ", ".join(map(str, shape))


def table(rows: Sequence[Sequence[str]], right: int = 0) -> str:
    """Rows in columns, the first being their titles; the last `right` columns end flush."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = len(widths) - right
    lines = []
    for row in rows:
        cells = [*map(str.ljust, row[:left], widths), *map(str.rjust, row[left:], widths[left:])]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
