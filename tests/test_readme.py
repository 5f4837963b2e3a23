"""The Python of the README runs."""

from docs.machinery.readme import with_table
from tests.markdown import ROOT, python_blocks, run_page

README = ROOT / "README.md"
QUICKER = {
    "200_000": "4_000",
    "100_000": "1_400",
    "-1.5, 16)": "-1.5, 2)",
    "key(0), 16)": "key(0), 3)",
    "samples=16": "samples=2",
    "seeds=8": "seeds=3",
}


def test_the_examples_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(python_blocks(README.read_text(encoding="utf-8"))) == 2
    names = run_page(README, QUICKER)
    assert names["returns"].shape == (2, 3)
    assert "100%" in capsys.readouterr().out
    assert len(names["table"].agent.unique()) == 2 * 2 * 3


def test_the_table_of_algorithms_is_that_of_the_package():
    text = README.read_text(encoding="utf-8")
    assert text == with_table(text), "run: python -m docs.machinery.readme"
