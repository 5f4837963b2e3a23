"""The Python in Markdown files, run as a reader would run it: block after block, in one namespace."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^(<!-- not executed: [^\n]+ -->\n)?```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def python_blocks(text: str) -> list[str]:
    """The Python blocks of a page that are meant to run.

    A block that is there to be read has `<!-- not executed: WHY -->` on the line above it, which readers do not see, or
    begins with a comment for readers, `# not executed: WHY`.
    """
    found = [(match[1], match[2]) for match in BLOCK.finditer(text)]
    return [block for marked, block in found if not marked and not block.startswith("# not executed: ")]


def run_page(page: Path, quicker: dict[str, str] | None = None) -> dict[str, Any]:
    """Run the blocks of a page with what `quicker` says put in the place of what takes long; returns the names defined.

    An error in a block shows the page and the line. Raises ValueError for a replacement that replaces nothing.
    """
    text = page.read_text(encoding="utf-8")
    for slow, fast in (quicker or {}).items():
        if not any(slow in block for block in python_blocks(text)):
            raise ValueError(f"{page.name}: no block holds {slow!r}, which was to become {fast!r}")
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in python_blocks(text):
        line = text[: text.index(block)].count("\n")
        for slow, fast in (quicker or {}).items():
            block = block.replace(slow, fast)
        exec(compile("\n" * line + block, str(page), "exec"), names)
    return names
