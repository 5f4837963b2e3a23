"""Pieces of reStructuredText."""

import textwrap
from collections.abc import Sequence


def title(text: str) -> str:
    """The title of a page."""
    return f"{text}\n{'=' * len(text)}"


def section(text: str) -> str:
    """The heading of a section."""
    return f"{text}\n{'-' * len(text)}"


def code(text: str) -> str:
    """Code within a line."""
    return f"``{text}``"


def file_link(path: str) -> str:
    """The name of a file of the repository, which `docs.machinery.links` checks and links."""
    return f"``{path}``"


def list_table(header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], kind: str = "") -> str:
    """A table; cells are reStructuredText, one paragraph each.

    Args:
        header: what stands above the columns.
        rows: as many cells each.
        widths: shares of the width, as many.
        kind: a class for the style sheet.
    """
    lines = [".. list-table::", "    :header-rows: 1", f"    :widths: {' '.join(map(str, widths))}"]
    lines.append(f"    :class: wide {kind}".rstrip())
    return "\n".join([*lines, "", *(_row(row) for row in [header, *rows])])


def _row(cells: Sequence[str]) -> str:
    return "\n".join(textwrap.indent(f"{'* -' if i == 0 else '  -'} {cell}", "    ") for i, cell in enumerate(cells))
