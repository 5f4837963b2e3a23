"""The Python of the README runs."""

from tests.markdown import ROOT, python_blocks, run_page

README = ROOT / "README.md"
QUICKER = {
    "200_000": "4_000",
    "100_000": "1_400",
    "samples=16": "samples=2",
    "seeds=8": "seeds=3",
    "(256, 256)": "(8,)",
    "horizon=20": "horizon=2, samples=20, elites=2",
}


def test_the_examples_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(python_blocks(README.read_text(encoding="utf-8"))) == 3
    names = run_page(README, QUICKER)
    assert "100%" in capsys.readouterr().out
    assert len(names["table"].agent.unique()) == 2 * 2 * 2 * 3
    assert names["agent"].number == 17
