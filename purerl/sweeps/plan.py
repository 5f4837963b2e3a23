"""From trials to programs: which trials share a compiled program, and which agents train at a time.

Fields annotated `float`, and float parameters of an environment that can be traced, vary inside one program; whatever
else differs makes another program. The agents of a program are its trials times the seeds. They are cut into chunks of
equal size that fit the memory, so a program is compiled once; what the last chunk lacks is filled with repetitions of
its first agent, whose results are dropped.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import trees
from purerl.configuration import to_json
from purerl.host import memory
from purerl.host.compilation import Agents, Learner, training_shapes
from purerl.run import plan_groups
from purerl.sweeps.trials import ENVIRONMENT, Catalogue, Trial, float_fields
from purerl.types import Algorithm

SHARE = 0.8  # of the memory that is left may be used
COPIES = 3  # training, work on it and its copy for checkpoints: the guess that compiling replaces by a measurement


class Program(NamedTuple):
    """Trials that one compiled program trains."""

    trials: tuple[Trial, ...]
    floats: tuple[str, ...]  # the fields that vary within it
    learner: Learner
    algorithm: Algorithm  # of the first trial
    seeds: tuple[int, ...]
    groups: int
    group: int  # iterations
    agent_bytes: int  # of one agent's training

    @property
    def environment(self) -> str:
        """The name of its environment."""
        return self.trials[0].environment

    @property
    def agents(self) -> int:
        """How many agents it trains."""
        return len(self.trials) * len(self.seeds)

    @property
    def total_steps(self) -> int:
        """Environment steps per agent."""
        steps = self.groups * self.group * self.algorithm.env_steps_per_iteration
        return self.algorithm.env_steps_of_init + steps

    def number(self, position: int) -> int:
        """The number, in the sweep, of the agent at a position in this program."""
        return self.trials[position // len(self.seeds)].number * len(self.seeds) + position % len(self.seeds)

    def batch(self, positions: Sequence[int]) -> Agents:
        """The agents at these positions, as the arguments of the compiled program."""
        trials = [self.trials[position // len(self.seeds)] for position in positions]
        keys = trees.keys([self.seeds[position % len(self.seeds)] for position in positions])
        floats = {name: jnp.asarray([trial.value(name) for trial in trials], jnp.float32) for name in self.floats}
        return Agents(keys, floats)


def programs(trials: Sequence[Trial], seeds: Sequence[int], catalogue: Catalogue, evaluations: int) -> list[Program]:
    """The programs that train `trials`, the shortest first, so that mistakes and first results show soon.

    Raises what the algorithms and environments raise for values out of range, before anything is compiled.
    """
    found = [
        _program(group, tuple(seeds), catalogue, evaluations) for group in _untraceable_apart(_alike(trials), catalogue)
    ]
    return sorted(found, key=lambda program: (program.agents * program.total_steps, program.trials[0].number))


def chunk_size(
    program: Program,
    budget: int | None,
    devices: int,
    *,
    per_agent: int | None = None,
    most: int | None = None,
    even: bool = False,
) -> int:
    """How many agents of a program train at a time: chunks as equal as possible that fit `budget` bytes.

    Args:
        budget: bytes; None: unlimited.
        devices: how many there are; each takes the same number of agents.
        per_agent: bytes that an agent needs; default: a guess from the size of its training.
        most: agents; default: unlimited.
        even: whether it must be a multiple of the devices.

    Raises MemoryError with the numbers if not even one agent fits, ValueError if it must be `even` and cannot.
    """
    least = per_agent or program.agent_bytes
    if budget is not None and least > budget:
        raise MemoryError(
            f"one agent of {program.algorithm.name} on {program.environment} needs {memory.human(least)}, but the "
            f"sweep may use {memory.human(budget)}: use a smaller replay, fewer environments or more memory"
        )
    fits = math.inf if budget is None else max(1, budget // (per_agent or COPIES * program.agent_bytes))
    fits = min(fits, math.inf if most is None else most)
    chunks = -(-program.agents // int(min(fits, program.agents)))
    size = -(-program.agents // chunks)
    up, down = -(-size // devices) * devices, size // devices * devices
    if up <= fits and (even or down):
        return up
    if even and not down:
        raise ValueError(
            f"{devices} devices of several processes train at least {devices} agents at a time, but a chunk may have "
            f"only {fits}: use fewer devices, more memory or a larger chunk"
        )
    return down or size


def positions(program: Program, size: int) -> list[list[int]]:
    """The chunks of a program, each `size` positions; the last repeats its first agent until it is full."""
    starts = range(0, program.agents, size)
    return [[start + i if start + i < program.agents else start for i in range(size)] for start in starts]


def memory_budget(devices: Sequence[Any], override: int | None = None) -> int | None:
    """Bytes that a chunk may use: `override`, else a share of what the devices have left; None if nobody can say."""
    available = memory.available_bytes(devices) if override is None else override
    return int(available * SHARE) if override is None and available is not None else available


def fixed(program: Program, all_programs: Sequence[Program]) -> dict[str, Any]:
    """The static settings by which a program differs from the others of a sweep (without algorithm and environment)."""
    first = program.trials[0]
    names = dict.fromkeys(name for other in all_programs for name in other.trials[0].settings)
    differ = [n for n in names if len({repr(other.trials[0].value(n)) for other in all_programs}) > 1]
    return {n: first.value(n) for n in differ if n not in ("algorithm", "env") and n not in program.floats}


def describe(program: Program) -> dict[str, Any]:
    """A program in `sweep.json`."""
    return {
        "algorithm": program.algorithm.name,
        "environment": program.environment,
        "trials": [trial.number for trial in program.trials],
        "swept": list(program.floats),
        "iterations": program.groups * program.group,
        "group": program.group,
        "total_steps": program.total_steps,
    }


def _alike(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Trials that differ in nothing but numbers that may vary inside one program."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        config, floats = to_json(trial.config), float_fields(trial.config)
        statics = {name: value for name, value in config.items() if name not in floats}
        parameters = {n: "float" if isinstance(v, float) else [_comparable(v)] for n, v in trial.parameters.items()}
        key = [trial.algorithm, trial.environment, trial.total_steps, statics, parameters]
        groups.setdefault(json.dumps(key, sort_keys=True), []).append(trial)
    return list(groups.values())


def _comparable(value: Any) -> Any:
    try:
        return to_json(value)
    except TypeError:
        return repr(value)


def _untraceable_apart(groups: list[list[Trial]], catalogue: Catalogue) -> list[list[Trial]]:
    """Split the groups along float parameters of environments that cannot be traced."""
    result = []
    for group in groups:
        names = [n for n in _varying(group) if n.startswith(ENVIRONMENT) and not _traceable(group[0], n, catalogue)]
        parts: dict[tuple, list[Trial]] = {}
        for trial in group:
            parts.setdefault(tuple(trial.value(name) for name in names), []).append(trial)
        result += parts.values()
    return result


def _varying(group: Sequence[Trial]) -> list[str]:
    """The float fields that differ within a group, those of the Config first."""
    first = group[0]
    names = float_fields(first.config)
    names += [ENVIRONMENT + name for name, value in first.parameters.items() if isinstance(value, float)]
    return [name for name in names if len({trial.value(name) for trial in group}) > 1]


def _traceable(trial: Trial, name: str, catalogue: Catalogue) -> bool:
    make = trial.learner(catalogue)

    def init(value: Any, key: Any) -> Any:
        return make({name: value}).init(key)

    try:
        jax.eval_shape(init, jax.ShapeDtypeStruct((), jnp.float32), jax.eval_shape(lambda: jax.random.key(0)))
    except (TypeError, ValueError):  # what an environment raises that must see the number
        return False
    return True


def _program(group: list[Trial], seeds: tuple[int, ...], catalogue: Catalogue, evaluations: int) -> Program:
    floats, first = tuple(_varying(group)), group[0]
    learner = first.learner(catalogue)
    _check(group, floats, catalogue, learner)
    algorithm = learner({})
    groups, iterations = plan_groups(algorithm, first.total_steps, None, evaluations)
    one = Agents(jax.random.key(0)[None], {name: jnp.zeros(1) for name in floats})
    size = trees.nbytes(training_shapes(learner, one))
    return Program(tuple(group), floats, learner, algorithm, seeds, groups, iterations, size)


def _check(group: Sequence[Trial], floats: Sequence[str], catalogue: Catalogue, learner: Learner) -> None:
    """Look at every number before it is traced, where nobody can look at it any more.

    Configs by the algorithm's own `check`, if it has one, else by making the algorithm; the environments at the
    lowest and the highest value of each parameter.
    """
    module = catalogue.algorithm(group[0].algorithm)
    environment = catalogue.environment(group[0].environment, group[0].parameters)
    for trial in group:
        if hasattr(module, "check"):
            module.check(trial.config, environment)
        else:
            module.make(environment, trial.config)
    for name in floats:
        values = [trial.value(name) for trial in group]
        if not np.all(np.isfinite(values)) and name.startswith(ENVIRONMENT):
            raise ValueError(f"{name} must be finite, got {values}")
        if name.startswith(ENVIRONMENT):
            for extreme in (min(values), max(values)):
                learner({name: extreme})
