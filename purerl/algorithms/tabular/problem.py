"""What a tabular learner needs to know of its problem, be it an environment or a finite MDP."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.algorithms.config import require_discrete
from purerl.configuration import UsageError
from purerl.environments.finite.interaction import as_environment
from purerl.environments.finite.mdp import FiniteMDP
from purerl.types import Array, Discrete, Environment


class TabularProblem(NamedTuple):
    """An environment whose observations number its `states`, and which of its `actions` exist where."""

    environment: Environment
    states: int
    actions: int
    available: Array  # bool [states, actions]


def as_problem(algorithm: str, problem: Environment | FiniteMDP, max_steps: int) -> TabularProblem:
    """The problem of `algorithm`. In an environment every action exists everywhere; a `FiniteMDP` says which do.

    The episodes of a `FiniteMDP` are truncated after `max_steps` steps, those of an environment have their own limit.

    Raises TypeError if the environment's observations or actions are not discrete.
    """
    if isinstance(problem, FiniteMDP):
        available = problem.available
        by_number = problem.replace(available=jnp.ones_like(available))  # else an environment renumbers the actions
        with jax.ensure_compile_time_eval():  # what is known stays known when this is called inside jit
            environment = as_environment(by_number, "finite MDP", max_steps)
    else:
        environment, available = problem, None
    actions = require_discrete(algorithm, environment)
    states = environment.observation_space
    if not isinstance(states, Discrete):
        raise UsageError(
            f"{algorithm} needs discrete observations, which number its states, but those of {environment.name} are "
            f"arrays of shape {states.shape}; use an algorithm with a network, for example dqn"
        )
    if available is None:
        available = jnp.ones((states.n, actions.n), bool)
    return TabularProblem(environment, states.n, actions.n, available)
