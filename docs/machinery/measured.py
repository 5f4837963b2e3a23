"""What was measured (`docs/measured_results.toml`) and what the experiments show (their gallery), as data.

python -m docs.machinery.measured       prints the tables of results as Markdown, for the README
"""

import ast
import dataclasses
import datetime
import tomllib
from pathlib import Path

from docs.machinery.docstrings import first_sentence
from experiments.gallery import ENTRIES
from experiments.gallery.results import stored

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
HEADERS = {
    "preset": ("command", "steps per seed", "median greedy return of the final parameters", "worst to best seed"),
    "variation": ("command", "steps per seed", "seeds of eight above 475", "worst to best seed"),
    "minatar": ("command", "steps per seed", "seeds", "greedy return, worst to best seed"),
}


@dataclasses.dataclass(frozen=True)
class Result:
    """One command and what came of it: greedy returns of the final parameters, over seeds."""

    table: str
    command: str
    algorithm: str
    environment: str
    seeds: int
    steps: int  # of the environment, per seed
    recorded: datetime.date
    median: float | None = None
    worst: float | None = None
    best: float | None = None
    solved: int | None = None  # seeds above 475, on CartPole
    note: str = ""

    @property
    def range(self) -> str:
        """'-85 to -81.4', or 'one seed'."""
        if self.worst is None or self.best is None:
            return "one seed"
        return f"{self._written(self.worst)} to {self._written(self.best)}"

    @property
    def centre(self) -> str:
        """The median, where there is one; else the number of seeds that solved the task."""
        if self.median is not None:
            return self._written(self.median)
        return f"{self.solved} of {self.seeds} above 475" if self.solved is not None else ""

    def _written(self, value: float) -> str:
        """With one decimal, unless none of the result's numbers has any."""
        numbers = [x for x in (self.median, self.worst, self.best) if x is not None]
        return f"{value:.0f}" if all(x == round(x) for x in numbers) else f"{value:.1f}"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A script of `experiments/`, or a figure with a `title` of its own that no script makes."""

    name: str
    algorithms: tuple[str, ...]  # names of pages
    figures: tuple[str, ...]  # files in experiments/figures
    title: str
    outcome: str = ""

    @property
    def script(self) -> Path | None:
        """The script, from the root of the repository."""
        path = Path("experiments") / f"{self.name}.py"
        return path if (ROOT / path).exists() else None


def results() -> list[Result]:
    """Everything that was measured, in the order of the file. Raises TypeError for a key that no result has."""
    return [Result(**entry) for entry in tomllib.loads((DOCS / "measured_results.toml").read_text("utf-8"))["result"]]


def experiments() -> list[Experiment]:
    """Those of the gallery, then what claims nothing. Raises ValueError for one that has neither script nor title."""
    shown = [
        Experiment(
            entry.name,
            entry.algorithms,
            tuple(f"{picture}.png" for picture in entry.pictures()),
            _title(entry.name),
            entry.sentence(stored(entry)["numbers"]),
        )
        for entry in ENTRIES
    ]
    others = tomllib.loads((DOCS / "experiments.toml").read_text("utf-8"))
    return shown + [_experiment(name, **entry) for name, entry in others.items()]


def _experiment(name: str, algorithms: list[str], figures: list[str], title: str = "") -> Experiment:
    return Experiment(name, tuple(algorithms), tuple(figures), title or _title(name))


def _title(name: str) -> str:
    """The first sentence of an experiment's docstring."""
    script = ROOT / "experiments" / f"{name}.py"
    if not script.exists():
        raise ValueError(f"docs/experiments.toml: there is no experiments/{name}.py; give {name} a title or remove it")
    return first_sentence(ast.get_docstring(ast.parse(script.read_text("utf-8"))) or "")


def markdown_table(table: str) -> str:
    """One of the tables (`preset`, `variation`, `minatar`) as Markdown."""
    header = HEADERS[table]
    rows = [_row(result) for result in results() if result.table == table]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ("---",) * len(header), *rows])


def _row(result: Result) -> tuple[str, str, str, str]:
    command = f"`{result.command}`" + (f" ({result.note})" if result.note else "")
    middle = {"preset": result.centre, "variation": str(result.solved), "minatar": str(result.seeds)}[result.table]
    last = result.centre if result.table == "minatar" and result.median is not None else result.range
    return command, f"{result.steps:,}", middle, last


if __name__ == "__main__":
    print("\n\n".join(markdown_table(table) for table in HEADERS))
