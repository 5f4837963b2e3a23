"""The page of the gallery, in Markdown."""

from collections.abc import Callable
from typing import Any

from .entries import Entry

HEAD = """# Gallery

Each of these experiments is one file that tests a claim of the literature, or compares purerl with another program, and
says what came out. The numbers of
the sentences are read from `experiments/results/`; `python -m experiments.gallery` checks them against the bounds that
the claims set and writes this page, and runs the experiments again with `--quick` or `--full`. How the numbers were
found, and what they do not show, is in the docstring of each file.
"""


def page(entries: tuple[Entry, ...], stored: Callable[[Entry], dict[str, Any]]) -> str:
    """One section per experiment; links are relative to a folder beside `experiments/`."""
    return "\n".join([HEAD, *(section(entry, stored(entry)) for entry in entries)])


def section(entry: Entry, record: dict[str, Any]) -> str:
    """Claim, figure, what was found, and where the numbers are from."""
    about = f" ({', '.join(f'`{name}`' for name in entry.algorithms)})" if entry.algorithms else ""
    found = entry.sentence(record["numbers"])
    return f"""## {entry.name}

{entry.claim[0].upper()}{entry.claim[1:]}{about}.

![{entry.claim}](../experiments/figures/{entry.name}.png)

{found[0].upper()}{found[1:]}.

[{entry.name}.py](../experiments/{entry.name}.py), `{record["command"]}`, {record["date"]}, {record["machine"]};
[numbers](../experiments/results/{entry.name}.json)
"""
