"""The generations of a search: who trains how far, as read from the disk.

A generation is so many proposals of one study times the seeds, all agents of one program. With halving it climbs a
ladder of rungs, and a piece of it is what trains on one of them.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purerl.report import run_directory
from purerl.sweeps import directory as sweep_files
from purerl.sweeps.plan import Program
from purerl.sweeps.search import directory as files
from purerl.sweeps.search.branches import Branch
from purerl.sweeps.search.halving import Rung, promoted
from purerl.sweeps.search.proposals import State, Told
from purerl.sweeps.trials import Catalogue, Trial, resolve
from purerl.types import Environment


class Study(NamedTuple):
    """A branch of the space, ready to be trained."""

    branch: Branch
    program: Program  # its trials are the corners of the branch; every generation has trials of its own
    rungs: tuple[Rung, ...]


class Plan(NamedTuple):
    """What a search trains, whatever is proposed."""

    studies: tuple[Study, ...]
    generations: int  # in all; number g belongs to study g % len(studies)
    size: int  # trials per generation
    seeds: tuple[int, ...]
    aggregate: Callable[[np.ndarray], Any]  # [seeds, 1] -> the value of a trial
    catalogue: Catalogue
    preset: bool
    episodes: int
    evaluate_on: Environment | None

    def study_of(self, generation: int) -> Study:
        """The study that a generation belongs to."""
        return self.studies[generation % len(self.studies)]

    def words(self, trial: Trial) -> str:
        """The settings of a trial that are searched, or differ between the studies."""
        static = [study.branch.settings for study in self.studies]
        differ = {name for name in trial.settings if len({repr(one.get(name)) for one in static}) > 1}
        searched = {name for study in self.studies for name in study.branch.axes}
        shown = {n: v for n, v in trial.settings.items() if n in searched or n in differ}
        return ", ".join(f"{n}={f'{v:.4g}' if isinstance(v, float) else v}" for n, v in shown.items())

    def trials(self, generation: int, proposals: Sequence[dict[str, float]]) -> tuple[Trial, ...]:
        """The trials of a generation."""
        branch, first = self.study_of(generation).branch, generation * self.size
        settings = [branch.with_values(values) for values in proposals]
        return tuple(resolve(first + i, one, self.catalogue, self.preset) for i, one in enumerate(settings))


class Piece(NamedTuple):
    """One generation on one rung: a run directory whose seeds are the numbers of its agents."""

    study: Study
    generation: int
    rung: int
    program: Program  # of exactly these trials, until the end of the rung
    directory: Path

    @property
    def positions(self) -> list[int]:
        """Of all agents in the program."""
        return list(range(self.program.agents))

    @property
    def begin(self) -> int:
        """Iterations done when it begins."""
        return self.study.rungs[self.rung - 1].groups * self.program.group if self.rung else 0

    @property
    def end(self) -> int:
        """Iterations done at its end."""
        return self.program.groups * self.program.group

    @property
    def finished(self) -> bool:
        """Whether it has been trained to its end."""
        return sweep_files.finished(self.directory)

    @property
    def iterations(self) -> int:
        """Done when it had finished: fewer than its end if every agent had diverged."""
        return run_directory.read_json(self.directory / run_directory.SUMMARY)["iterations"]

    def returns(self) -> dict[int, np.ndarray]:
        """By the number of the trial, `[seeds]` returns of its last evaluation; NaN for a seed that has diverged."""
        summary = run_directory.read_json(self.directory / run_directory.SUMMARY)
        values = np.array(summary["evaluation"]["return_per_seed"], float)
        values[np.isin(summary["seed_list"], summary["diverged_seeds"])] = np.nan
        per_trial = values.reshape(len(self.program.trials), -1)
        return {trial.number: row for trial, row in zip(self.program.trials, per_trial, strict=True)}


class Outcome(NamedTuple):
    """What became of a trial."""

    trial: Trial
    study: int
    generation: int
    state: State  # "failed": a seed diverged
    piece: Piece  # the last one it was in
    reports: tuple[tuple[int, float], ...]  # (iterations done, value) at the end of every rung, until it diverged
    returns: np.ndarray  # [seeds] of its last evaluation

    def told(self, names: Sequence[str]) -> Told:
        """What its study is told."""
        values = {name: self.trial.settings[name] for name in names}
        return Told(self.trial.number, values, self.reports, self.state)


def pieces(plan: Plan, directory: Path, generation: int, trials: Sequence[Trial]) -> Iterator[Piece]:
    """The pieces of a generation, one after the other: each must be finished when the next one is asked for."""
    study, left = plan.study_of(generation), list(trials)
    for number, rung in enumerate(study.rungs):
        program = study.program._replace(trials=tuple(left), groups=rung.groups)
        piece = Piece(study, generation, number, program, files.rung(directory, generation, number))
        yield piece
        values = scores(plan, piece)
        if number + 1 == len(study.rungs) or all(value is None for value in values):
            return  # at the top, or nobody is left
        left = [left[i] for i in promoted(values, study.rungs[number + 1].trials)]


def scores(plan: Plan, piece: Piece) -> list[float | None]:
    """The value of every trial at the end of a finished piece; None where a seed has diverged."""
    return [float(plan.aggregate(row[:, None])) if np.isfinite(row).all() else None for row in piece.returns().values()]


def outcomes(plan: Plan, done: Sequence[Piece]) -> list[Outcome]:
    """What became of the trials of a generation, from all its pieces."""
    found: dict[int, Outcome] = {}
    for piece in done:
        top = piece.rung + 1 == len(piece.study.rungs)
        returns = piece.returns()
        for trial, value in zip(piece.program.trials, scores(plan, piece), strict=True):
            before = found[trial.number].reports if trial.number in found else ()
            reports = before if value is None else (*before, (piece.end, value))
            state: State = "failed" if value is None else "complete" if top else "pruned"
            found[trial.number] = Outcome(
                trial, piece.study.branch.number, piece.generation, state, piece, reports, returns[trial.number]
            )
    return [found[number] for number in sorted(found)]
