"""The Python of the documentation's pages runs."""

from pathlib import Path

import pytest

from tests.markdown import ROOT, python_blocks, run_page

PAGES = [
    path.relative_to(ROOT / "docs").as_posix()
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts and python_blocks(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_page(ROOT / "docs" / page)


def test_blocks_are_found_and_run_in_one_namespace(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 10\n```\n\n```python\n# not executed: it would fail\nraise ValueError\n```\n\n"
        "<!-- not executed: nor would this -->\n```python\nraise ValueError\n```\n\n"
        "```bash\nexit 1\n```\n\n```python\ny = x + 1\n```\n\n"
        "<!-- not executed: nor this, and what stands between two of these is -->\n```python\nraise ValueError\n```\n"
    )
    assert run_page(page, {"10": "20"})["y"] == 21
    with pytest.raises(ValueError, match="no block holds '30'"):
        run_page(page, {"30": "3"})


def test_an_error_names_the_page_and_the_line(tmp_path):
    page = Path(tmp_path / "page.md")
    page.write_text("# Title\n\n```python\nx = 1\nx / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as failure:
        run_page(page)
    assert (str(failure.traceback[-1].path), failure.traceback[-1].lineno) == (str(page), 4)  # lineno is from 0
