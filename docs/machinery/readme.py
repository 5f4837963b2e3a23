"""The README's table of algorithms: what each takes, what was measured of it, where it is read and shown.

python -m docs.machinery.readme       writes the table into README.md, between the two comments that mark its place
"""

import inspect
from pathlib import Path

from docs.machinery import measured
from docs.machinery.algorithms import (
    FAMILIES,
    FROM_DATA,
    MODULES,
    NUMBERED,
    actions_of,
    family_of,
    memory_of,
    module_of,
)
from docs.machinery.docstrings import first_sentence

README = measured.ROOT / "README.md"
BEGIN, END = "<!-- algorithms: python -m docs.machinery.readme -->\n", "<!-- end of algorithms -->"
SHORT = {"discrete": "discrete", "several discrete": "several discrete", "continuous": "continuous", NUMBERED: "tables"}


def table() -> str:
    """One row per algorithm, by family."""
    measured_as = "measured: median return, or seeds that solve it (worst to best seed)"
    lines = [f"| algorithm | what (paper) | actions, memory | {measured_as} | shown by |", "|---|---|---|---|---|"]
    for family, heading in FAMILIES.items():
        lines.append(f"| **{heading}** | | | | |")
        lines += [row(name) for name in MODULES if family_of(name) == family]
    return "\n".join(lines) + "\n"


def row(name: str) -> str:
    """Name with a link to its file, first sentence, actions, the first result of the data, experiments."""
    module = module_of(name)
    path = Path(inspect.getfile(module)).relative_to(measured.ROOT).as_posix()
    takes = "a dataset" if name in FROM_DATA else ", ".join(SHORT[kind] for kind in actions_of(name))
    if memory_of(module) != "none":
        takes += "; GRU, LSTM"
    what = first_sentence(module.__doc__ or "")
    cells = [f"[`{name}`]({path})", what, takes, result(name), experiments(name)]
    return "| " + " | ".join(cells) + " |"


def result(name: str) -> str:
    """What was measured first of it, as in `docs/measured_results.toml`."""
    found = [x for x in measured.results() if x.algorithm == name]
    if not found:
        return ""
    first = found[0]
    spread = f" ({first.range})" if first.median is not None or first.solved is None else f", {first.range}"
    return f"{first.environment}: {first.centre}{spread}, {first.seeds} seeds x {first.steps / 1000:.0f}k steps"


def experiments(name: str) -> str:
    """Links to at most three experiments that show something of it."""
    shown = [x for x in measured.experiments() if name in x.algorithms and x.outcome]
    return ", ".join(f"[{x.name}]({x.script.as_posix()})" for x in shown[:3] if x.script)


def with_table(text: str) -> str:
    """The README with its table made anew. Raises ValueError if the comments that mark its place are missing."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"README.md needs the lines {BEGIN.strip()} and {END} around the table of algorithms")
    before, rest = text.split(BEGIN, 1)
    return before + BEGIN + table() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
