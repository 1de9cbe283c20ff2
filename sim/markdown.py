"""Tables of Markdown."""

from collections.abc import Iterable, Sequence

#: How a column stands.
LEFT, RIGHT = "---", "--:"


def table(
    heading: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    first: str = LEFT,
    others: str = LEFT,
) -> str:
    """Return a table, without a line end behind it.

    Args:
        heading: Of each column.
        rows: Cells.
        first: How the first column stands, LEFT or RIGHT.
        others: How the others do.
    """
    lines = [heading, [first, *[others] * (len(heading) - 1)], *rows]
    # A vertical bar in a cell ends it.
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
