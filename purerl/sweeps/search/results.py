"""What a search found: labelled tables, Optuna's studies, the best trial and its agents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purerl.host.compilation import snapshot_shapes, training_shapes
from purerl.report import run_directory
from purerl.report.statistics import estimate
from purerl.sweeps.results import CLOCK, Agent, Ranked, numbers_of, plain, restore
from purerl.sweeps.search import directory as files
from purerl.sweeps.search import proposals
from purerl.sweeps.search.generations import Outcome, Piece, Plan, outcomes, pieces
from purerl.sweeps.trials import Trial
from purerl.train import Training

WHERE = ("agent", "trial", "seed", "study", "generation", "rung")


@dataclass(frozen=True)
class SearchResult:
    """A search on disk. Everything is read from it when it is asked for."""

    directory: Path
    plan: Plan

    @property
    def fields(self) -> list[str]:
        """The fields that the space names, in its order."""
        return list(self.plan.studies[0].branch.names)

    def table(self) -> Any:
        """A pandas DataFrame with one row per agent and evaluation, sorted by agent and iteration.

        Columns: `agent`, `trial`, `seed`, `study`, `generation`, `rung`, every field of the space, `iteration`,
        `env_steps`, `diverged`, the evaluation's `return`, `return_std`, `return_min`, `return_max`, `length`, and the
        training metrics under their own names; what is not a number there is NaN. Agents of a trial that was pruned
        end at its rung.
        """
        import pandas as pd

        rows = [row for done, _ in self._generations() for piece in done for row in _rows(piece, self.fields)]
        columns = [*WHERE, *self.fields, *CLOCK, "diverged"]
        frame: Any = pd.DataFrame(rows)
        if frame.empty:
            return pd.DataFrame(columns=columns)
        rest = [name for name in frame.columns if name not in columns]
        return frame[[*columns, *rest]].sort_values(["agent", "iteration"], ignore_index=True)

    def trials(self) -> Any:
        """A pandas DataFrame with one row per trial of the generations that are finished.

        Columns: `trial`, `study`, `generation`, every field of the space, `value` (the aggregate over seeds of the
        return at its last evaluation; NaN if it failed), `state` ("complete", "pruned", or "failed": a seed diverged),
        `rung` (the last it was on), `iterations` and `env_steps` (of each of its seeds), `diverged` (seeds).
        """
        import pandas as pd

        columns = ["trial", "study", "generation", *self.fields]
        columns += ["value", "state", "rung", "iterations", "env_steps", "diverged"]
        return pd.DataFrame([_trial_row(one, self.fields) for one in self.outcomes], columns=columns)

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of every trial of the generations that are finished."""
        return [one for done, whole in self._generations() if whole for one in outcomes(self.plan, done)]

    def ranking(self) -> list[Ranked]:
        """The trials that were trained to the end with every seed, from best to worst, each with its interval."""
        complete = [one for one in self.outcomes if one.state == "complete"]
        complete.sort(key=lambda one: (-one.reports[-1][1], one.trial.number))
        return [
            Ranked(one.trial, one.returns, estimate(one.returns[:, None], self.plan.aggregate), 0) for one in complete
        ]

    def best(self) -> Ranked:
        """The first of `ranking`. Choosing and reporting on the same seeds flatters: train it again with fresh ones.

        Raises ValueError if no trial was trained to the end.
        """
        ranked = self.ranking()
        if not ranked:
            failed = sum(one.state == "failed" for one in self.outcomes)
            raise ValueError(f"{self.directory} has no complete trial yet ({failed} failed: a seed diverged)")
        return ranked[0]

    @property
    def studies(self) -> list[Any]:
        """Optuna's studies, one per combination of the lists, for its plots (`optuna.visualization`) and importances.

        They are made anew each time, of the generations that are finished; the user attribute `trial` is the number
        of a trial in the whole search.
        """
        result, found = [], self.outcomes
        for study in self.plan.studies:
            axes, number = study.branch.axes, study.branch.number
            told = [one.told(list(axes)) for one in found if one.study == number]
            result.append(proposals.finished_study(f"{self.directory.name}-{number}", axes, told))
        return result

    def agent(self, trial: int, seed: int = 0) -> Agent:
        """One agent at the end of its training, as far as that went: of a trial by its number, and the index of a seed.

        Raises IndexError if there is no such agent, FileNotFoundError if its generation is not finished.
        """
        if not (0 <= trial < self.plan.generations * self.plan.size and 0 <= seed < len(self.plan.seeds)):
            raise IndexError(
                f"there are trials 0 to {self.plan.generations * self.plan.size - 1} with {len(self.plan.seeds)} seeds "
                f"each, got trial {trial} and seed index {seed}"
            )
        found = {one.trial.number: one for one in self.outcomes}
        if trial not in found:
            raise FileNotFoundError(f"trial {trial} of {self.directory} has not been trained yet: resume the search")
        return _agent(found[trial], seed, self.plan)

    def _generations(self) -> Iterator[tuple[list[Piece], bool]]:
        """The finished pieces of every generation that has begun, and whether these are all of its pieces."""
        for number in range(self.plan.generations):
            proposed = files.read_proposals(self.directory, number)
            if proposed is None:
                return
            yield finished_pieces(self.plan, self.directory, number, self.plan.trials(number, proposed))


def finished_pieces(plan: Plan, directory: Path, number: int, trials: Sequence[Trial]) -> tuple[list[Piece], bool]:
    """The finished pieces of a generation, and whether these are all."""
    done = []
    for piece in pieces(plan, directory, number, trials):
        if not piece.finished:
            return done, False
        done.append(piece)
    return done, True


def _trial_row(one: Outcome, fields: Sequence[str]) -> dict[str, Any]:
    iterations = one.piece.iterations
    algorithm = one.piece.program.algorithm
    return {
        "trial": one.trial.number,
        "study": one.study,
        "generation": one.generation,
        **{name: plain(one.trial.value(name)) for name in fields},
        "value": np.nan if one.state == "failed" else one.reports[-1][1],
        "state": one.state,
        "rung": one.piece.rung,
        "iterations": iterations,
        "env_steps": algorithm.env_steps_of_init + iterations * algorithm.env_steps_per_iteration,
        "diverged": int(np.isnan(one.returns).sum()),
    }


def _rows(piece: Piece, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of the table that a piece holds."""
    evaluations = run_directory.read_lines(piece.directory / run_directory.EVALUATIONS)
    evaluated = {line["iteration"]: line for line in evaluations}
    seeds, where = piece.program.seeds, (piece.study.branch.number, piece.generation, piece.rung)
    metrics = run_directory.read_lines(piece.directory / run_directory.METRICS)
    for place in piece.positions:
        trial, number = piece.program.trials[place // len(seeds)], piece.program.number(place)
        label = dict(zip(WHERE, (number, trial.number, seeds[place % len(seeds)], *where), strict=True))
        label |= {name: plain(trial.value(name)) for name in fields}
        for line in metrics:
            evaluation = evaluated.get(line["iteration"], {})
            row = {**label, **{name: line[name] for name in CLOCK}, "diverged": number in line["diverged_seeds"]}
            yield row | numbers_of(line, evaluation, place, fields)


def _agent(one: Outcome, seed: int, plan: Plan) -> Agent:
    piece, program = one.piece, one.piece.program
    place = [trial.number for trial in program.trials].index(one.trial.number) * len(plan.seeds) + seed
    algorithm = program.learner({name: one.trial.value(name) for name in program.floats})
    batch = program.batch(piece.positions)

    def at(tree: Any) -> Any:
        return jax.tree.map(lambda x: x[place], tree)

    def training() -> Training:
        steps = (piece.directory / run_directory.CHECKPOINTS).iterdir()
        if not any((step / "training").exists() for step in steps):
            raise FileNotFoundError(f"{piece.directory} holds policies only: search with keep='training' to train on")
        return at(restore(piece.directory, "training", training_shapes(program.learner, batch))[1])

    progress, snapshots = restore(piece.directory, "policy", snapshot_shapes(program.learner, batch))
    snapshots = at(snapshots)
    return Agent(
        number=program.number(place),
        trial=one.trial,
        seed=plan.seeds[seed],
        algorithm=algorithm,
        environment=plan.evaluate_on or algorithm.environment,
        last=snapshots["last"],
        best=snapshots["best"],
        iteration=progress.iteration,
        iterations=piece.study.program.groups * program.group,
        load_training=training,
    )
