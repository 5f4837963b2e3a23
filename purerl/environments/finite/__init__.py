"""Finite Markov decision processes: as arrays to plan with, and as environments to learn in.

mdp = frozen_lake(discount=0.99)                               arrays
environment = as_environment(mdp, "lake", max_steps=100)       what agents act in
environment = make("finite/frozen_lake", size=8)               the same by name
mdp, observations = from_environment(environment, 0.99)        back, by trying out every action in every state
"""

from purerl.environments.finite import problems
from purerl.environments.finite.conversion import Enumerated, from_environment
from purerl.environments.finite.grids import ARROWS, from_map
from purerl.environments.finite.interaction import FiniteState, as_environment, grid_image, moving_wall
from purerl.environments.finite.mdp import FiniteMDP, expected_reward, finite_mdp
from purerl.environments.finite.problems import (
    blocking_maze,
    cliff_walking,
    dyna_maze,
    frozen_lake,
    garnet,
    gridworld,
    maximization_bias,
    shortcut_maze,
    slippery_corridor,
)
from purerl.environments.finite.suite import ENVIRONMENTS

__all__ = [
    "ARROWS",
    "ENVIRONMENTS",
    "Enumerated",
    "FiniteMDP",
    "FiniteState",
    "as_environment",
    "blocking_maze",
    "cliff_walking",
    "dyna_maze",
    "expected_reward",
    "finite_mdp",
    "from_environment",
    "from_map",
    "frozen_lake",
    "garnet",
    "grid_image",
    "gridworld",
    "maximization_bias",
    "moving_wall",
    "problems",
    "shortcut_maze",
    "slippery_corridor",
]
