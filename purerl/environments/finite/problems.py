"""Finite problems of the textbooks, as `FiniteMDP`s. Those on grids also have their map as a constant.

Sutton, R. and Barto, A. (2018), "Reinforcement learning: an introduction", second edition.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.environments.finite.grids import from_map
from purerl.environments.finite.mdp import FiniteMDP, finite_mdp
from purerl.types import Key

GRIDWORLD = ("G...", "....", "....", "...G")
FROZEN_LAKES = {
    4: ("SFFF", "FHFH", "FFFH", "HFFG"),
    8: (
        *("SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF"),
        *("FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"),
    ),
}
CLIFF = ("............", "............", "............", "SCCCCCCCCCCG")
DYNA_MAZE = (".......#G", "..#....#.", "S.#....#.", "..#......", ".....#...", ".........")
GAP_RIGHT = ("........G", ".........", ".........", "########.", ".........", "...S.....")
GAP_LEFT = ("........G", ".........", ".........", ".########", ".........", "...S.....")
GAP_BOTH = ("........G", ".........", ".........", ".#######.", ".........", "...S.....")
CORRIDOR = ("........", "S......G", "HHHHHHHH")


def gridworld(discount: Any = 1.0) -> FiniteMDP:
    """The 4x4 grid with two terminal corners, reward -1 per step (Sutton & Barto, example 4.1)."""
    return from_map(GRIDWORLD, {".": -1.0, "G": -1.0}, discount=discount)


def frozen_lake(size: int = 4, slippery: bool = True, success_rate: Any = 1 / 3, discount: Any = 0.99) -> FiniteMDP:
    """FrozenLake of Gymnasium: reward 1 at the goal, holes end the episode; on slippery ice moves go astray.

    Args:
        size: 4 or 8.
        slippery: without it every move succeeds.
        success_rate: of a move on slippery ice; may be traced.
        discount: in [0, 1]; may be traced.
    """
    if size not in FROZEN_LAKES:
        raise ValueError(f"frozen_lake has the sizes {', '.join(map(str, FROZEN_LAKES))}, not {size}")
    rate = success_rate if slippery else 1.0
    return from_map(FROZEN_LAKES[size], {"G": 1.0}, terminal="GH", success_rate=rate, discount=discount)


def cliff_walking(discount: Any = 1.0) -> FiniteMDP:
    """Along a cliff of 4x12 (Sutton & Barto, example 6.6): -1 per step, -100 for a fall, which leads back to the start.

    The shortest way, 13 steps, is along the edge.
    """
    rewards = {".": -1.0, "S": -1.0, "G": -1.0, "C": -100.0}
    return from_map(CLIFF, rewards, back_to_start="C", discount=discount)


def maximization_bias(actions: int = 10, mean: Any = -0.1, deviation: Any = 1.0, discount: Any = 1.0) -> FiniteMDP:
    """The problem on which the maximum of noisy estimates misleads (Sutton & Barto, example 6.7).

    State 0 (A) has two actions: left (0) leads to state 1 (B) and right (1) ends the episode, both without reward. B
    has `actions` actions, all of which end it with a reward drawn from N(mean, deviation^2): going left is worth
    `mean`. State 2 is the end. Learners that read `available` choose among two actions in A, as the textbook does.
    """
    if actions < 2:
        raise ValueError(f"maximization_bias needs at least 2 actions, got {actions}")
    kind = jnp.zeros(()).dtype
    transition = np.zeros((3, actions, 3))
    transition[:, :, 2] = 1
    transition[0, 0] = [0, 1, 0]
    in_b = np.arange(3)[:, None] == 1
    return finite_mdp(
        transition=transition,
        reward=jnp.where(in_b, jnp.asarray(mean, kind), 0.0) * jnp.ones((3, actions)),
        discount=discount,
        terminal=[False, False, True],
        initial=[1.0, 0.0, 0.0],
        deviation=jnp.where(in_b, jnp.asarray(deviation, kind), 0.0) * jnp.ones((3, actions)),
        available=[[action < 2 for action in range(actions)], [True] * actions, [True] * actions],
    )


def dyna_maze(discount: Any = 0.95) -> FiniteMDP:
    """The 6x9 maze of Dyna-Q (Sutton & Barto, figure 8.2): reward 1 at the goal, 14 steps from the start."""
    return from_map(DYNA_MAZE, {"G": 1.0}, discount=discount)


def blocking_maze(moved: bool = False, discount: Any = 0.95) -> FiniteMDP:
    """The maze whose wall moves (Sutton & Barto, example 8.2), before (10 steps to the goal) or after (16 steps)."""
    return from_map(GAP_LEFT if moved else GAP_RIGHT, {"G": 1.0}, discount=discount)


def shortcut_maze(moved: bool = False, discount: Any = 0.95) -> FiniteMDP:
    """The maze whose wall opens (Sutton & Barto, example 8.3): 16 steps to the goal before, 10 after."""
    return from_map(GAP_BOTH if moved else GAP_LEFT, {"G": 1.0}, discount=discount)


def slippery_corridor(success_rate: Any = 0.8, discount: Any = 1.0) -> FiniteMDP:
    """A short way to the goal along holes and a safer one, a row above, where a slip does not reach them.

    Every step costs 1, a hole ends the episode and costs 20. Whoever takes the outcome of a slip for a matter of choice
    (the optimistic backup of `soft_value_iteration`) overvalues the way along the holes.
    """
    rewards = {".": -1.0, "S": -1.0, "G": -1.0, "H": -20.0}
    return from_map(CORRIDOR, rewards, terminal="GH", success_rate=success_rate, discount=discount)


def garnet(
    key: Key,
    states: int = 20,
    actions: int = 4,
    branching: int = 3,
    terminal_states: int = 0,
    discount: Any = 0.95,
) -> FiniteMDP:
    """A random problem (Archibald et al., 1995; Bhatnagar et al., 2009): vmap over keys for many.

    Every action in every state leads to `branching` different states, drawn without replacement, with probabilities
    between sorted uniform cuts of [0, 1]; its reward is a standard normal draw. The last `terminal_states` states are
    terminal.
    """
    if not 1 <= branching <= states:
        raise ValueError(f"branching must be in [1, states], got {branching} with {states} states")
    if not 0 <= terminal_states < states:
        raise ValueError(f"terminal_states must be in [0, states), got {terminal_states} with {states} states")
    order_key, cut_key, reward_key = jax.random.split(key, 3)
    order = jnp.argsort(jax.random.uniform(order_key, (states, actions, states)), axis=-1)[..., :branching]
    cuts = jnp.sort(jax.random.uniform(cut_key, (states, actions, branching - 1)), axis=-1)
    chances = jnp.diff(cuts, axis=-1, prepend=0.0, append=1.0)
    transition = jnp.sum(jax.nn.one_hot(order, states) * chances[..., None], axis=-2)
    reward = jax.random.normal(reward_key, (states, actions))
    return finite_mdp(transition, reward, discount, terminal=np.arange(states) >= states - terminal_states)
