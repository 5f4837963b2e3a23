"""The environments of the suite `finite/`: textbook problems with a number for an observation."""

from collections.abc import Callable
from typing import Any

import jax

from purerl.environments.finite import problems
from purerl.environments.finite.interaction import as_environment, moving_wall
from purerl.types import Environment


def gridworld(max_steps: int = 100) -> Environment:
    """The 4x4 grid with two terminal corners, -1 per step. Starts anywhere; optimal mean return -2 from the others."""
    return as_environment(problems.gridworld(), "finite/gridworld", max_steps, problems.GRIDWORLD)


def frozen_lake(
    size: int = 4, slippery: bool = True, success_rate: Any = 1 / 3, max_steps: int | None = None
) -> Environment:
    """FrozenLake; 100 steps on the 4x4 map and 200 on the 8x8 one unless told otherwise."""
    mdp = problems.frozen_lake(size, slippery, success_rate)
    steps = {4: 100, 8: 200}[size] if max_steps is None else max_steps
    return as_environment(mdp, "finite/frozen_lake", steps, problems.FROZEN_LAKES[size])


def cliff_walking(max_steps: int = 1_000) -> Environment:
    """The cliff of 4x12; optimal return -13."""
    return as_environment(problems.cliff_walking(), "finite/cliff_walking", max_steps, problems.CLIFF)


def maximization_bias(actions: int = 10, mean: Any = -0.1, deviation: Any = 1.0) -> Environment:
    """Left or right, then `actions` noisy actions. In the first state even actions go left and odd ones right."""
    mdp = problems.maximization_bias(actions, mean, deviation)
    return as_environment(mdp, "finite/maximization_bias", max_steps=2, state_names=("A", "B", "end"))


def dyna_maze(max_steps: int = 10_000) -> Environment:
    """The 6x9 maze; the shortest way has 14 steps and the return is 1."""
    return as_environment(problems.dyna_maze(), "finite/dyna_maze", max_steps, problems.DYNA_MAZE)


def blocking_maze(when: int = 1_000, max_steps: int = 3_000) -> Environment:
    """The wall moves at step `when`; one long episode whose return is the number of goals (see `moving_wall`)."""
    mazes = problems.blocking_maze(moved=False), problems.blocking_maze(moved=True)
    layouts = problems.GAP_RIGHT, problems.GAP_LEFT
    return moving_wall(*mazes, when, "finite/blocking_maze", max_steps, layouts)


def shortcut_maze(when: int = 3_000, max_steps: int = 6_000) -> Environment:
    """A shorter way opens at step `when`; one long episode whose return is the number of goals (see `moving_wall`)."""
    mazes = problems.shortcut_maze(moved=False), problems.shortcut_maze(moved=True)
    layouts = problems.GAP_LEFT, problems.GAP_BOTH
    return moving_wall(*mazes, when, "finite/shortcut_maze", max_steps, layouts)


def slippery_corridor(success_rate: Any = 0.8, max_steps: int = 100) -> Environment:
    """A short way along holes and a safer one."""
    mdp = problems.slippery_corridor(success_rate)
    return as_environment(mdp, "finite/slippery_corridor", max_steps, problems.CORRIDOR)


def garnet(seed: int = 0, states: int = 20, actions: int = 4, branching: int = 3, max_steps: int = 100) -> Environment:
    """A random problem without an end, cut after `max_steps` steps."""
    mdp = problems.garnet(jax.random.key(seed), states, actions, branching)
    return as_environment(mdp, "finite/garnet", max_steps)


ENVIRONMENTS: dict[str, Callable[..., Environment]] = {
    "gridworld": gridworld,
    "frozen_lake": frozen_lake,
    "cliff_walking": cliff_walking,
    "maximization_bias": maximization_bias,
    "dyna_maze": dyna_maze,
    "blocking_maze": blocking_maze,
    "shortcut_maze": shortcut_maze,
    "slippery_corridor": slippery_corridor,
    "garnet": garnet,
}
