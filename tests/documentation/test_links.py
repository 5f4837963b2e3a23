"""Links to files of the repository lead to pages with these files, and those to nowhere are warned of."""

import io
import os

import pytest

from tests.markdown import ROOT

application = pytest.importorskip("sphinx.application")  # the extra `docs`


def build(folder, text):
    """What Sphinx complained of; the site is in `folder`/html."""
    (folder / "index.md").write_text(f"# Title\n\n{text}\n")
    (folder / "conf.py").write_text("extensions = ['myst_parser', 'docs.machinery.links']\nhtml_theme = 'basic'\n")
    complaints = io.StringIO()
    site = application.Sphinx(folder, folder, folder / "html", folder / "tree", "html", status=None, warning=complaints)
    site.build()
    return complaints.getvalue()


def test_files_are_linked_and_shown(tmp_path):
    relative = os.path.relpath(ROOT / "purerl" / "types.py", tmp_path)
    links = f"[the contracts]({relative}), `experiments/ppo_brax.py`"
    left_alone = "{file}`experiments/mine.py`, `purerl/presets/NAME.toml`"
    assert build(tmp_path, f"{links}, {left_alone}\n\n```bash\npython experiments/ppo_brax.py --quick\n```") == ""
    page = (tmp_path / "html" / "index.html").read_text()
    assert 'href="source/purerl/types.py.html"' in page
    assert 'href="source/experiments/ppo_brax.py.html"' in page
    assert "mine.py.html" not in page
    assert "class" in (tmp_path / "html" / "source" / "purerl" / "types.py.html").read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("`experiments/nothing.py`", "the repository has no experiments/nothing.py"),
        ("[a page](nothing.md)", "nothing.md"),
        ("```bash\npython experiments/nothing.py\n```", "the repository has no experiments/nothing.py"),
    ],
)
def test_what_is_missing_is_named(tmp_path, text, complaint):
    assert complaint in build(tmp_path, text)
