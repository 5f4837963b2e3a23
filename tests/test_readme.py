"""The Python of the README runs."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_examples_run(capsys):
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 2
    names: dict = {}
    for example in examples:
        quick = example.replace("200_000", "4_000").replace("1000", "4")
        assert quick != example
        exec(compile(quick, "README.md", "exec"), names)
    assert "100%" in capsys.readouterr().out
