"""What was measured (`docs/measured_results.toml`) and what the experiments show (their gallery), as data."""

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
            (f"{entry.name}.png",),
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
