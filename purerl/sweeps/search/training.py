"""Train the pieces of a generation, each in one call sequence of compiled programs.

A branch compiles one program per rung size, whatever the number of its generations. The states of those that go on are
read from the checkpoint of the rung before and gathered along the agent axis.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purerl import checkpoint
from purerl.host import driver
from purerl.host.compilation import Programs, training_shapes
from purerl.host.driver import Setup
from purerl.report.sweep_console import Display
from purerl.run import execute_in, require_states_that_last
from purerl.sweeps.execute import forget_training, setup_of
from purerl.sweeps.results import restore
from purerl.sweeps.search.generations import Piece, Plan, pieces
from purerl.sweeps.trials import Trial
from purerl.train import EvaluationPlan, Training


class Trainer:
    """Trains pieces; keeps the compiled programs, one per branch and rung."""

    def __init__(self, plan: Plan, display: Display, checkpoint_minutes: float, keep: str) -> None:
        self.plan, self.display, self.keep = plan, display, keep
        self.checkpoint_seconds = 60.0 * checkpoint_minutes
        self.compiled: dict[tuple[int, int], Programs] = {}
        self.found: set[Path] = set()  # pieces that an earlier search trained

    def train(self, directory: Path, generation: int, trials: Sequence[Trial]) -> list[Piece]:
        """Train what is left of a generation and return its pieces."""
        done: list[Piece] = []
        for piece in pieces(self.plan, directory, generation, trials):
            if piece.finished:
                self.display.skip(piece.program, piece.positions)
                self.found.add(piece.directory)
            else:
                self._train(piece, done[-1] if done else None)
            done.append(piece)
        if self.keep == "policy":
            for piece in done:
                forget_training(piece.directory)
        return done

    def _train(self, piece: Piece, before: Piece | None) -> None:
        resumed = [piece.directory]
        if before is not None and before.directory in self.found:
            resumed.append(before.directory)
        for directory in resumed:
            require_states_that_last(piece.program.algorithm, directory, "delete it and resume")
        setup = _setup(self.plan, piece, self.display)._replace(checkpoint_seconds=self.checkpoint_seconds)
        programs = self._programs(piece, setup)
        if before is not None:
            setup = setup._replace(initial=(gathered(before, piece.program.trials), before.end))
        execute_in(piece.directory, setup, resume=True, programs=programs)

    def _programs(self, piece: Piece, setup: Setup) -> Programs:
        key = (piece.study.branch.number, piece.rung)
        if key not in self.compiled:
            count = sum(len(study.rungs) for study in self.plan.studies)
            self.display.compiling(piece.program, len(self.compiled), count, piece.program.agents)
            size = piece.program.agents * piece.program.agent_bytes
            self.compiled[key] = driver.compiled(setup, size, fresh=piece.rung == 0)
        return self.compiled[key]


def gathered(piece: Piece, trials: Sequence[Trial]) -> Training:
    """The training of all seeds of these trials, from the end of a piece that had them. Raises CheckpointError."""
    wanted = {trial.number for trial in trials}
    positions = [i for i, trial in enumerate(piece.program.trials) if trial.number in wanted]
    seeds = len(piece.program.seeds)
    agents = np.array([i * seeds + j for i in positions for j in range(seeds)], np.int32)
    shapes = training_shapes(piece.program.learner, piece.program.batch(piece.positions))
    progress, training = restore(piece.directory, "training", shapes)
    if progress.iteration != piece.end:
        raise checkpoint.CheckpointError(f"{piece.directory} has lost its last checkpoint: delete it and resume")
    return _take(training, agents)


@jax.jit
def _take(tree: Any, agents: jax.Array) -> Any:
    return jax.tree.map(lambda x: x[agents], tree)


def _setup(plan: Plan, piece: Piece, display: Display) -> Setup:
    whole, sinks = piece.study.program, [display.sink(piece.program, piece.positions)]
    until_the_end = piece.program._replace(groups=whole.groups)  # the clock is that of the whole training
    evaluation = EvaluationPlan(plan.evaluate_on, plan.episodes)
    setup = setup_of(until_the_end, piece.positions, piece.directory, evaluation, sinks)
    setup.metadata["piece"] = {"begin": piece.begin, "end": piece.end}
    return setup._replace(resume_with="purerl search --resume", until=piece.end)
