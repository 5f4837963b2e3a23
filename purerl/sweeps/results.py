"""What a sweep found: labelled tables, the best trials, and every agent, ready to evaluate, render or train on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import checkpoint
from purerl.evaluate import evaluate
from purerl.host.compilation import Learner, compiler_options, snapshot_shapes, training_shapes
from purerl.report import run_directory
from purerl.report.statistics import Estimate, estimate, interquartile_mean
from purerl.sweeps import directory as files
from purerl.sweeps.execute import Piece, pieces
from purerl.sweeps.plan import Program
from purerl.sweeps.trials import Trial
from purerl.train import Best, Training, require_best
from purerl.types import Algorithm, Environment, Policy, State

KEYS = ("agent", "trial", "seed")
CLOCK = ("iteration", "env_steps")
EVALUATION = {
    "return_per_seed": "return",
    "return_std_per_seed": "return_std",
    "return_min_per_seed": "return_min",
    "return_max_per_seed": "return_max",
    "length_per_seed": "length",
}


class Agent(NamedTuple):
    """One agent of a sweep."""

    number: int
    trial: Trial
    seed: int
    algorithm: Algorithm  # with the agent's own hyperparameters
    environment: Environment | None  # what it was evaluated on
    last: State  # snapshots: `algorithm.policy(last)` acts like the agent at the end of its training
    best: Best  # and `algorithm.policy(best.snapshot)` like at its best evaluation
    iteration: int  # iterations done at `last`
    iterations: int  # of the whole training
    load_training: Callable[[], Training]  # all of its state, to go on with `purerl.train.advance`

    def policy(self, best: bool | None = None, greedy: bool = True) -> Policy:
        """How it acts: with the parameters that evaluated best during training, or with the last ones (`best=False`).

        By default with the best ones if there were evaluations. Raises ValueError for `best=True` if there were none.
        """
        return self.algorithm.policy(chosen(self.best, self.last, best, f"agent {self.number}"), greedy=greedy)


class AgentsTogether(NamedTuple):
    """Agents of a sweep that one program can run: `learner(floats)` is an agent's algorithm, its floats unbatched."""

    numbers: tuple[int, ...]
    learner: Learner
    floats: dict[str, jax.Array]  # [agents] each
    last: State  # snapshots [agents, ...]
    best: Best


def chosen(best: Best, last: State, want_best: bool | None, whose: str) -> State:
    """The snapshots that evaluated best, or the last ones; for None the best if each was evaluated, else the last.

    Raises ValueError if the best are wanted of what was never evaluated: `best` holds the parameters of the beginning.
    """
    evaluated = bool(np.isfinite(best.score).all())
    if want_best:
        require_best(np.min(best.score), whose)
    return last if want_best is False or not evaluated else best.snapshot


class Ranked(NamedTuple):
    """A trial with its score over seeds."""

    trial: Trial
    scores: np.ndarray  # [seeds]
    estimate: Estimate
    diverged: int  # seeds


@dataclass(frozen=True)
class SweepResult:
    """A sweep on disk. Tables are read from it when they are asked for."""

    directory: Path
    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    programs: tuple[Program, ...]
    sizes: tuple[int, ...]  # agents per chunk of each program
    evaluate_on: Environment | None

    @property
    def fields(self) -> list[str]:
        """The fields that the space names, in its order."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.settings))

    @property
    def environments(self) -> list[str]:
        """The names of the environments, in their order."""
        return list(dict.fromkeys(trial.environment for trial in self.trials))

    def table(self) -> Any:
        """A pandas DataFrame with one row per agent and evaluation (or report), sorted by agent and iteration.

        Columns: `agent`, `trial`, `seed`, every field of the space, `iteration`, `env_steps`, `diverged` (whether the
        agent has diverged by then: its policy is frozen since), the evaluation's `return` (mean over episodes,
        undiscounted), `return_std`, `return_min`, `return_max` and `length` (environment steps), and the training
        metrics under their own names (`metric_NAME` where a field has that name). What is not a number there is NaN.
        """
        import pandas as pd

        rows = [row for piece, program in self._finished() for row in _rows(piece, program, self.fields)]
        columns = [*KEYS, *self.fields, *CLOCK, "diverged"]
        frame: Any = pd.DataFrame(rows)
        if frame.empty:
            return pd.DataFrame(columns=columns)
        rest = [name for name in frame.columns if name not in columns]
        return frame[[*columns, *rest]].sort_values(["agent", "iteration"], ignore_index=True)

    def agents(self) -> Any:
        """A pandas DataFrame with one row per agent: what it is and how it ended.

        Columns: those of `table` that say which agent it is, `env_steps`, `final_return`, `best_return`,
        `best_iteration`, `diverged`, `diverged_at`.
        `final_return` and `best_return` are of evaluations; of training episodes where nothing was evaluated.
        `best_return` is the maximum over noisy evaluations and therefore optimistic. `diverged_at` is the iteration of
        the report that found the divergence, NaN if there was none.
        """
        import pandas as pd

        table: Any = self.table()
        score = "return" if "return" in table else "episode_return"
        if table.empty or score not in table:
            return pd.DataFrame(columns=[*KEYS, *self.fields])
        rows = [_agent_row(of_agent, self.fields, score) for _, of_agent in table.groupby("agent", sort=True)]
        return pd.DataFrame(rows)

    def xarray(self) -> Any:
        """An xarray Dataset: the table as arrays `[trial, seed, iteration]`, the fields as coordinates of `trial`."""
        table = self.table()
        numbers = [n for n in table.columns if n not in (*KEYS, *CLOCK, *self.fields)]
        dataset = table.set_index(["trial", "seed", "iteration"])[["env_steps", *numbers]].to_xarray()
        by_number = {trial.number: trial for trial in self.trials}
        for name in self.fields:
            values = [plain(by_number[int(number)].value(name)) for number in dataset["trial"].values]
            dataset = dataset.assign_coords({name: ("trial", values)})
        return dataset

    def ranking(
        self,
        by: str = "final_return",
        env: str | None = None,
        aggregate: Callable[..., Any] = interquartile_mean,
        maximise: bool = True,
    ) -> list[Ranked]:
        """Trials from best to worst by `aggregate` over seeds of a column of `agents()`.

        A trial with a diverged seed comes after all that have none: its scores are those of frozen policies.
        Raises ValueError for an unknown column, or where the sweep has several environments and `env` names none:
        returns of different environments cannot be compared.
        """
        agents = self.agents()
        if env is None and len(self.environments) > 1:
            raise ValueError(f"say which environment to rank on: env = {' or '.join(map(repr, self.environments))}")
        if env is not None:
            agents = agents[[self.trials[number].environment == env for number in agents["trial"]]]
        numeric = list(agents.select_dtypes("number").columns)
        if by not in numeric:
            raise ValueError(f"cannot rank by {by!r}: choose one of {', '.join(numeric)}")
        by_number = {trial.number: trial for trial in self.trials}
        ranked = []
        for number, of_trial in agents.groupby("trial", sort=True):
            scores = of_trial[by].to_numpy(float)
            if np.isfinite(scores).all():
                value = estimate(scores[:, None], aggregate)
                ranked.append(Ranked(by_number[int(number)], scores, value, int(of_trial["diverged"].sum())))
        sign = -1.0 if maximise else 1.0
        return sorted(ranked, key=lambda r: (r.diverged > 0, sign * r.estimate.value, r.trial.number))

    def best(self, by: str = "final_return", **options: Any) -> Ranked:
        """The first of `ranking`. Choosing and reporting on the same seeds flatters: evaluate it on fresh ones."""
        ranked = self.ranking(by, **options)
        if not ranked:
            raise ValueError(f"{self.directory} has no finished agents yet")
        return ranked[0]

    def agent(self, number: int) -> Agent:
        """An agent by its number: trial x seeds + index of the seed.

        Raises IndexError if there is no such agent, FileNotFoundError if it has not been trained yet.
        """
        self._check_number(number)
        program, piece, place = self._find(number)
        trial, seed = self.trials[number // len(self.seeds)], self.seeds[number % len(self.seeds)]
        batch = program.batch(piece.positions)
        algorithm = program.learner({name: trial.value(name) for name in program.floats})

        def training() -> Training:
            shapes = training_shapes(program.learner, batch)
            return _at(restore(piece.directory, "training", shapes)[1], place)

        progress, snapshots = restore(piece.directory, "policy", snapshot_shapes(program.learner, batch))
        snapshots = _at(snapshots, place)
        return Agent(
            number=number,
            trial=trial,
            seed=seed,
            algorithm=algorithm,
            environment=self.evaluate_on or algorithm.environment,
            last=snapshots["last"],
            best=snapshots["best"],
            iteration=progress.iteration,
            iterations=program.groups * program.group,
            load_training=training,
        )

    def together(self, numbers: Sequence[int]) -> Iterator[AgentsTogether]:
        """These agents in groups that one program can run, each checkpoint read once. Raises like `agent`."""
        for number in numbers:
            self._check_number(number)
            self._find(number)
        for piece, program in self._finished():
            places = [program.number(position) for position in piece.positions]
            wanted = [number for number in dict.fromkeys(numbers) if number in places]
            if not wanted:
                continue
            batch, chosen = program.batch(piece.positions), jnp.array([places.index(number) for number in wanted])
            _, snapshots = restore(piece.directory, "policy", snapshot_shapes(program.learner, batch))
            floats, last, best = _at((batch.floats, snapshots["last"], snapshots["best"]), chosen)
            yield AgentsTogether(tuple(wanted), program.learner, floats, last, best)

    def absolute_scores(self, episodes: int = 128, seed: int = 0) -> np.ndarray:
        """`[agents]`, the mean return of fresh episodes with every agent's best parameters; NaN if not trained yet.

        Fresh episodes take back what choosing the best of many noisy evaluations has added (the absolute metric of
        Gorsane et al., 2022). Agents on one program are evaluated by one program.

        Args:
            episodes: per agent; at least 100 for a number to publish.
            seed: of the episodes; no training or evaluation has drawn from it.

        Raises ValueError if nothing was evaluated during training: there are no best parameters.
        """
        scores = np.full(len(self.trials) * len(self.seeds), np.nan)
        for piece, program in self._finished():
            numbers = [program.number(position) for position in piece.positions]
            scores[numbers] = _fresh_returns(piece, program, self.evaluate_on, episodes, seed)
        return scores

    def _finished(self) -> Iterator[tuple[Piece, Program]]:
        for piece in pieces(self.programs, self.sizes, self.directory):
            if files.finished(piece.directory):
                yield piece, self.programs[piece.program]

    def _check_number(self, number: int) -> None:
        if not 0 <= number < len(self.trials) * len(self.seeds):
            raise IndexError(f"agents are numbered 0 to {len(self.trials) * len(self.seeds) - 1}, got {number}")

    def _find(self, number: int) -> tuple[Program, Piece, int]:
        """The program and the chunk of an agent, and its place in the chunk."""
        for piece, program in self._finished():
            numbers = [program.number(position) for position in piece.positions]
            if number in numbers:
                return program, piece, numbers.index(number)
        raise FileNotFoundError(f"agent {number} of {self.directory} has not been trained to the end: resume the sweep")


def _rows(piece: Piece, program: Program, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of the table that a chunk holds, without the repetitions that fill it."""
    metrics = run_directory.read_lines(piece.directory / run_directory.METRICS)
    evaluations = run_directory.read_lines(piece.directory / run_directory.EVALUATIONS)
    evaluated = {line["iteration"]: line for line in evaluations}
    count = len(program.seeds)
    for place, position in enumerate(dict.fromkeys(piece.positions)):
        trial, number = program.trials[position // count], program.number(position)
        keys = {"agent": number, "trial": trial.number, "seed": program.seeds[position % count]}
        keys |= {name: plain(trial.value(name)) for name in fields}
        for line in metrics:
            evaluation = evaluated.get(line["iteration"], {})
            lost = {"diverged": number in line["diverged_seeds"]}
            clock = {name: line[name] for name in CLOCK}
            yield {**keys, **clock, **lost, **numbers_of(line, evaluation, place, fields)}


def numbers_of(
    line: Mapping[str, Any], evaluation: Mapping[str, Any], place: int, fields: Sequence[str]
) -> dict[str, float]:
    """What one line of `metrics.jsonl` and of `evaluations.jsonl` says of the agent at a place.

    A metric that is called like a field of the space is `metric_NAME`.
    """
    metrics = {name: values for name, values in line.items() if name not in (*CLOCK, "diverged_seeds")}
    found = {short: evaluation[name][place] for name, short in EVALUATION.items() if name in evaluation}
    found |= {f"metric_{name}" if name in fields else name: values[place] for name, values in metrics.items()}
    return {name: np.nan if value is None else value for name, value in found.items()}


def _agent_row(of_agent: Any, fields: Sequence[str], score: str) -> dict[str, Any]:
    last, found = of_agent.iloc[-1], of_agent[score].notna()
    lost = of_agent[of_agent["diverged"]]
    best = of_agent.loc[of_agent[score].idxmax()] if found.any() else None
    return {
        **{name: last[name] for name in (*KEYS, *fields)},
        "env_steps": last["env_steps"],
        "final_return": float(of_agent[score][found].iloc[-1]) if best is not None else np.nan,
        "best_return": float(best[score]) if best is not None else np.nan,
        "best_iteration": int(best["iteration"]) if best is not None else -1,
        "diverged": bool(last["diverged"]),
        "diverged_at": int(lost["iteration"].iloc[0]) if len(lost) else np.nan,
    }


def _fresh_returns(
    piece: Piece, program: Program, evaluate_on: Environment | None, episodes: int, seed: int
) -> np.ndarray:
    """`[positions]` mean returns of the best parameters in fresh episodes."""
    batch = program.batch(piece.positions)
    _, snapshots = restore(piece.directory, "policy", snapshot_shapes(program.learner, batch))
    require_best(snapshots["best"].score, piece.directory)

    def one(floats: Mapping[str, jax.Array], snapshot: State, key: jax.Array) -> jax.Array:
        algorithm = program.learner(dict(floats))
        environment = evaluate_on or algorithm.environment
        if environment is None:
            raise ValueError(f"{algorithm.name} has no environment to evaluate on: give evaluate_on")
        return jnp.mean(evaluate(algorithm.policy(snapshot), environment, key, episodes).returns)

    numbers = jnp.array([program.number(position) for position in piece.positions])
    stream = jax.random.fold_in(jax.random.key(seed), 0x5EED)
    keys = jax.vmap(lambda number: jax.random.fold_in(stream, number))(numbers)
    score = jax.jit(jax.vmap(one)).lower(batch.floats, snapshots["best"].snapshot, keys).compile(compiler_options())
    return np.asarray(score(batch.floats, snapshots["best"].snapshot, keys))


def restore(run: Path, item: str, template: Any) -> tuple[checkpoint.Progress, Any]:
    """An item ("training" or "policy") of a run directory's last checkpoint, like `template`, on the first device.

    Raises FileNotFoundError if only the policies were kept, CheckpointError if there is nothing that can be read.
    """
    checkpoints_directory = run / run_directory.CHECKPOINTS
    steps = [step for step in checkpoints_directory.iterdir() if step.name.isdigit()]
    if item == "training" and steps and not any((step / item).exists() for step in steps):
        raise FileNotFoundError(f"{run} holds policies only (keep='policy'): keep='training' keeps what trains on")
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with checkpoint.opened(checkpoints_directory, read_only=True) as checkpoints:
        _, progress, tree = checkpoints.restore(item, template, sharding)
    return progress, tree


def _at(tree: Any, index: int | jax.Array) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


def plain(value: Any) -> Any:
    """A value that a column of a table can hold and compare: sequences in words."""
    return str(tuple(value)) if isinstance(value, tuple | list) else value
