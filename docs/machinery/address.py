"""Write the public address of the repository wherever it belongs: notebooks, their badges for Colab, the README.

python -m docs.machinery.address https://github.com/OWNER/NAME

Until there is one, the notebooks have an empty one and no badge: an invented one would install a stranger's code.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLAB = "https://colab.research.google.com/"
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
BADGE = re.compile(r" ?\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")


def badge(address: str, name: str) -> str:
    """The badge that opens the notebook `name` (a file name) in Colab."""
    path = f"{address.removeprefix('https://github.com/')}/blob/main/notebooks/{name}"
    return f"[![Open in Colab]({COLAB}assets/colab-badge.svg)]({COLAB}github/{path})"


def write(address: str, root: Path = ROOT) -> None:
    """Set the address in every notebook and in the README. Raises ValueError for what is no address of GitHub."""
    if not ADDRESS.fullmatch(address):
        raise ValueError(f"the address must look like https://github.com/OWNER/NAME, got {address!r}")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        _write_notebook(path, address)
        link = f"[{path.stem}](notebooks/{path.name})"
        text = re.sub(
            re.escape(link) + f"(?:{BADGE.pattern})?", lambda _, x=f"{link} {badge(address, path.name)}": x, text
        )
    readme.write_text(text, encoding="utf-8")


def _write_notebook(path: Path, address: str) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    title, install = notebook["cells"][:2]
    title["source"] = [f"{badge(address, path.name)}\n", "\n", *without_badge(title["source"])]
    install["source"] = [re.sub(r'^REPOSITORY = ".*"', f'REPOSITORY = "{address}"', line) for line in install["source"]]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def without_badge(lines: list[str]) -> list[str]:
    """The lines of a first cell from its title on."""
    return lines[next(i for i, line in enumerate(lines) if line.startswith("# ")) :]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("say the address: python -m docs.machinery.address https://github.com/OWNER/NAME")
    write(sys.argv[1])
