"""Finite problems as environments: the observation is the number of the state."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from purerl import trees
from purerl.environments import drawing
from purerl.environments.finite.grids import START
from purerl.environments.finite.mdp import FiniteMDP
from purerl.types import Action, Array, Discrete, Environment, Key, Observation, Timestep

COLOURS = {"#": drawing.INK, "H": drawing.INK, "C": (120, 125, 135), "G": drawing.GREEN, START: (200, 222, 238)}


class FiniteState(struct.PyTreeNode):
    """Where an episode is."""

    position: Array  # int32, number of the state
    time: Array  # int32, steps since the reset


def as_environment(
    mdp: FiniteMDP, name: str, max_steps: int, layout: Sequence[str] | None = None, state_names: Sequence[str] = ()
) -> Environment:
    """`mdp` as an environment with Discrete observations (the state) and Discrete actions, cut after `max_steps`.

    Where action a is not available, it is taken as the (a mod n)-th of the n that are, so that every action does
    something and a uniform draw stays nearly uniform. A learner that counts the duplicates as actions of their own
    meets another problem (the maximisation bias grows, for one): tabular learners take the `FiniteMDP` and read
    `available`.

    Args:
        mdp: may be traced or batched by `vmap` around the whole program.
        name: of the environment.
        max_steps: of an episode; an episode that long without an end is truncated.
        layout: the map of a grid, to draw pictures; without it, states are drawn on a circle.
        state_names: what to write there (default: their numbers).

    Raises ValueError if `max_steps` is not positive.
    """
    if max_steps < 1:
        raise ValueError(f"{name}: max_steps must be at least 1, got {max_steps}")
    meant, sample_successor, sample_reward = _available_action(mdp), _successors(mdp), _rewards(mdp)

    def reset(key: Key) -> tuple[FiniteState, Observation]:
        state = FiniteState(_draw(key, jnp.cumsum(mdp.initial)), jnp.int32(0))
        return trees.strongly_typed((state, state.position))

    def step(key: Key, state: FiniteState, action: Action) -> tuple[FiniteState, Timestep]:
        successor_key, reward_key = jax.random.split(key)
        action = meant[state.position, action]
        position = sample_successor(successor_key, state.position, action)
        reward = sample_reward(reward_key, state.position, action, position)
        after = FiniteState(position, state.time + 1)
        terminated = mdp.terminal[position]
        truncated = (after.time >= max_steps) & ~terminated
        return trees.strongly_typed((after, Timestep(position, reward, terminated, truncated, info={})))

    def render(state: FiniteState) -> np.ndarray:
        if layout:
            return grid_image(layout, int(state.position))
        return drawing.state_graph(np.asarray(mdp.transition).max(axis=1) > 0, int(state.position), state_names)

    return Environment(
        name,
        reset,
        step,
        observation_space=Discrete(mdp.num_states),
        action_space=Discrete(mdp.num_actions),
        max_steps=max_steps,
        render=render,
    )


def moving_wall(
    before: FiniteMDP, after: FiniteMDP, when: int, name: str, max_steps: int, layouts: Sequence[Sequence[str]]
) -> Environment:
    """A problem that becomes another one after `when` steps: both in one long episode.

    An environment remembers nothing beyond a reset, so the whole experiment is one episode of `max_steps` steps: a
    terminal state pays as ever, but in that same step the agent is put back to the start and goes on, neither
    terminated nor truncated, and the return is the number of goals reached. Learners that take `FiniteMDP`s can
    instead be moved from one problem to the other with the state they have, and a clock that goes on.

    Raises ValueError if `when` is not in [1, max_steps).
    """
    if not 1 <= when < max_steps:
        raise ValueError(f"{name}: when must be in [1, max_steps), got {when} with max_steps {max_steps}")
    one, other = (as_environment(mdp, name, max_steps) for mdp in (before, after))

    def step(key: Key, state: FiniteState, action: Action) -> tuple[FiniteState, Timestep]:
        step_key, reset_key = jax.random.split(key)
        is_later = state.time >= when
        state, timestep = trees.where(is_later, other.step(step_key, state, action), one.step(step_key, state, action))
        start, _ = one.reset(reset_key)
        position = jnp.where(timestep.terminated, start.position, state.position)
        never = jnp.zeros_like(timestep.terminated)
        timestep = timestep._replace(observation=position, terminated=never, truncated=state.time >= max_steps)
        return state.replace(position=position), timestep

    def render(state: FiniteState) -> np.ndarray:
        return grid_image(layouts[int(state.time) >= when], int(state.position))

    return one._replace(step=step, render=render)


def grid_image(layout: Sequence[str], position: int) -> np.ndarray:
    """The map with the agent at `position`, `[H, W, 3]`."""
    colours = np.array([[COLOURS.get(kind, drawing.PAPER) for kind in row] for row in layout])
    colours[divmod(position, colours.shape[1])] = drawing.RED
    return drawing.grid(colours)


def _draw(key: Key, cumulative: Array) -> Array:
    """A state (int32) by inversion of the cumulative probabilities `[S]`, which may miss 1 by rounding."""
    level = jax.random.uniform(key, dtype=cumulative.dtype) * cumulative[-1]
    return jnp.sum(cumulative <= level, dtype=jnp.int32)


def _available_action(mdp: FiniteMDP) -> Array:
    """`[S, A]`: the available action that each action stands for in each state, itself if it is available."""
    first = jnp.argsort(~mdp.available, axis=-1, stable=True)  # the available ones, in order, then the others
    count = jnp.maximum(jnp.sum(mdp.available, axis=-1, keepdims=True), 1)
    actions = jnp.arange(mdp.num_actions)
    instead = jnp.take_along_axis(first, actions % count, axis=-1)
    return jnp.where(mdp.available, actions, instead).astype(jnp.int32)


def _successors(mdp: FiniteMDP) -> Callable[[Key, Array, Array], Array]:
    """Draw the successor of (key, state, action); nothing is drawn where it is known that there is no choice."""
    if _known(mdp.transition) and np.all(np.isin(mdp.transition, (0.0, 1.0))):
        table = jnp.argmax(mdp.transition, axis=-1).astype(jnp.int32)
        return lambda key, state, action: table[state, action]
    cumulative = jnp.cumsum(mdp.transition, axis=-1)
    return lambda key, state, action: _draw(key, cumulative[state, action])


def _rewards(mdp: FiniteMDP) -> Callable[[Key, Array, Array, Array], Array]:
    """Draw the reward of (key, state, action, successor), float32."""
    mean, deviation = mdp.reward.astype(jnp.float32), mdp.deviation.astype(jnp.float32)
    if _known(deviation) and not np.any(deviation):
        return lambda key, state, action, successor: mean[state, action, successor]

    def noisy(key: Key, state: Array, action: Array, successor: Array) -> Array:
        at = (state, action, successor)
        return mean[at] + deviation[at] * jax.random.normal(key, dtype=jnp.float32)

    return noisy


def _known(x: Any) -> bool:
    """Whether the values are there to look at."""
    return not isinstance(x, Tracer)
