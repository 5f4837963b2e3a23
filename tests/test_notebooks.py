"""The notebooks are sources: ready for Colab, without what running them leaves. CI runs them (see .ci/run)."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from docs.machinery import address

DIRECTORY = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(DIRECTORY.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[str]:
    """The sources of the cells of a kind."""
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def test_they_are_numbered_from_one_without_gaps():
    assert [path.stem[:3] for path in NOTEBOOKS] == [f"{i:02d}_" for i in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) == 6


@every_notebook
def test_nothing_of_a_run_is_committed(path):
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) == {"kernelspec"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["execution_count"] is None
            assert cell["outputs"] == []


@every_notebook
def test_it_begins_with_a_title_and_a_cell_that_installs(path):
    first = json.loads(path.read_text())["cells"][:2]
    assert [cell["cell_type"] for cell in first] == ["markdown", "code"]
    title, install = ("".join(cell["source"]) for cell in first)
    assert title.startswith("# ")
    assert re.search(r'^REPOSITORY = ""', install, re.MULTILINE), "no address, or badges too: docs.machinery.address"
    condition, _, command = install.partition("%pip install")
    assert 'if importlib.util.find_spec("purerl") is None:' in condition
    assert "{REPOSITORY}" in command


def test_one_command_writes_the_public_address_everywhere(tmp_path):
    shutil.copytree(DIRECTORY, tmp_path / "notebooks")
    shutil.copy(DIRECTORY.parent / "README.md", tmp_path)
    with pytest.raises(ValueError, match="must look like"):
        address.write("github.com/somebody", tmp_path)
    for name in ("first", "second"):  # the second replaces the first
        address.write(f"https://github.com/somebody/{name}", tmp_path)
    for path in (tmp_path / "notebooks").glob("*.ipynb"):
        title, install = ("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"][:2])
        assert title.splitlines()[0] == address.badge("https://github.com/somebody/second", path.name)
        assert title.count("colab-badge") == 1
        assert 'REPOSITORY = "https://github.com/somebody/second"' in install
        assert address.badge("https://github.com/somebody/second", path.name) in (tmp_path / "README.md").read_text()
    assert (tmp_path / "README.md").read_text().count("colab-badge") == len(NOTEBOOKS)


@every_notebook
def test_it_has_a_quick_mode_that_the_environment_can_choose(path):
    code = cells(path, "code")
    assert "PURERL_NOTEBOOK_QUICK" in code[1]
    assert any(re.search(r"\bif QUICK else\b", cell) for cell in code[2:]), "QUICK changes something"
    assert code[0] == cells(NOTEBOOKS[0], "code")[0]
    assert code[1] == cells(NOTEBOOKS[0], "code")[1]


@every_notebook
def test_its_code_parses_and_its_text_asks_for_something(path):
    for cell in cells(path, "code"):
        ast.parse(re.sub(r"^(\s*)%.*$", r"\1pass", cell, flags=re.MULTILINE))
    assert "## Change something" in cells(path, "markdown")[-1]
