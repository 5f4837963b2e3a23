"""The Python of the README runs."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


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
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 3
    names: dict = {}
    for example in examples:
        quick = example
        for slow, fast in QUICKER.items():
            quick = quick.replace(slow, fast)
        assert quick != example
        exec(compile(quick, "README.md", "exec"), names)
    assert "100%" in capsys.readouterr().out
    assert len(names["table"].agent.unique()) == 2 * 2 * 2 * 3
    assert names["agent"].number == 17
