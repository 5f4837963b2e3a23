"""Films of a sweep's agents: those that share a program are played by one, whatever their hyperparameters."""

from collections.abc import Sequence
from typing import Any

from purerl.report.rendering import Episode, play
from purerl.sweeps.results import AgentsTogether, SweepResult, chosen
from purerl.types import Environment, Key, Policy


def play_agents(
    result: SweepResult,
    numbers: Sequence[int],
    key: Key,
    max_steps: int | None = None,
    *,
    best: bool | None = None,
    greedy: bool = True,
    every: int = 1,
) -> list[Episode]:
    """An episode of each of these agents, labelled, to be laid out by `purerl.report.rendering.lay_out`.

    Agents of the same environment begin in the same state. `best=True` takes the parameters that evaluated best,
    `best=False` the last ones; by default it is the best if there were evaluations.

    Raises ValueError for an algorithm without environment and for the best of agents that were never evaluated,
    IndexError for an agent that there is not.
    """
    episodes: dict[int, Episode] = {}
    for group in result.together(numbers):
        played = _play(group, result, key, max_steps, best, greedy, every)
        episodes |= dict(zip(group.numbers, played, strict=True))
    return [episodes[number]._replace(label=label(result, number, numbers)) for number in numbers]


def _play(
    group: AgentsTogether,
    result: SweepResult,
    key: Key,
    max_steps: int | None,
    best: bool | None,
    greedy: bool,
    every: int,
) -> list[Episode]:
    snapshots = chosen(group.best, group.last, best, str(result.directory))

    def make(agent: Any) -> tuple[Policy, Environment]:
        floats, snapshot = agent
        algorithm = group.learner(dict(floats))
        return algorithm.policy(snapshot, greedy=greedy), _environment(result, algorithm)

    of_agents = [result.trials[number // len(result.seeds)] for number in group.numbers]
    concrete = [group.learner({name: trial.value(name) for name in group.floats}) for trial in of_agents]
    environments = [_environment(result, algorithm) for algorithm in concrete]
    return play(make, (group.floats, snapshots), key, max_steps, every=every, environments=environments)


def _environment(result: SweepResult, algorithm: Any) -> Environment:
    environment = result.evaluate_on or algorithm.environment
    if environment is None:
        raise ValueError(f"{algorithm.name} has no environment to film")
    return environment


def label(result: SweepResult, number: int, among: Sequence[int]) -> str:
    """What tells an agent from the others that are shown: '12: learning_rate=0.001, seed 4'."""
    trials = [result.trials[other // len(result.seeds)] for other in among]
    trial = result.trials[number // len(result.seeds)]
    differ = [name for name in result.fields if len({repr(other.value(name)) for other in trials}) > 1]
    settings = [f"{name}={_short(trial.value(name))}" for name in differ]
    return f"{number}: " + ", ".join([*settings, f"seed {result.seeds[number % len(result.seeds)]}"])


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
