"""Finite Markov decision processes as arrays: what dynamic programming solves and tabular learners learn.

A `FiniteMDP` is a pytree, so `jax.vmap` runs over many of them, or over the discounts of one:
`jax.vmap(lambda discount: value_iteration(mdp.replace(discount=discount)))(discounts)`.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from purerl.types import Array

ROUNDING = 1e-5  # what a row of probabilities may miss 1 by


class FiniteMDP(struct.PyTreeNode):
    """S states, A actions. `finite_mdp` builds one and checks it.

    After a terminal state nothing happens and nothing is earned: its rows stay where they are with reward 0. So do the
    rows of actions that are not available.
    """

    transition: Array  # [S, A, S] probabilities of the successor, every row sums to 1
    reward: Array  # [S, A, S] expected reward of going from s by a to s'
    terminal: Array  # [S] bool: worth 0
    initial: Array  # [S] probabilities of the first state
    discount: Array  # scalar in [0, 1]
    deviation: Array  # [S, A, S] standard deviation of the Gaussian noise on the reward, 0 for none
    available: Array  # [S, A] bool: the actions that exist in s

    @property
    def num_states(self) -> int:
        """S."""
        return self.transition.shape[-1]

    @property
    def num_actions(self) -> int:
        """A, the largest number of actions that any state has."""
        return self.transition.shape[-2]


def expected_reward(mdp: FiniteMDP) -> Array:
    """`r(s, a) = sum_s' P(s' | s, a) r(s, a, s')`, `[S, A]`."""
    return jnp.sum(mdp.transition * mdp.reward, axis=-1)


def finite_mdp(
    transition: Any,
    reward: Any,
    discount: Any,
    terminal: Any = None,
    initial: Any = None,
    deviation: Any = 0.0,
    available: Any = None,
) -> FiniteMDP:
    """A checked `FiniteMDP` in the default float type (float64 where `jax_enable_x64` is on).

    Args:
        transition: `[S, A, S]` probabilities. Rows of terminal states and of actions that are not available are
            replaced: they stay where they are.
        reward: `[S, A, S]`, or `[S, A]` where it does not depend on the successor.
        discount: scalar in [0, 1]; may be traced, as may all others.
        terminal: bool `[S]`; none by default.
        initial: `[S]` probabilities; by default uniform over the states that are not terminal.
        deviation: of the reward's Gaussian noise, a scalar, `[S, A]` or `[S, A, S]`, not negative.
        available: bool `[S, A]`; all by default.

    Raises ValueError for wrong shapes and, unless they are traced, for values that are none of a Markov decision
    process; the message names the state and the action.
    """
    shape = np.shape(transition)
    if len(shape) != 3 or shape[0] != shape[2]:
        raise ValueError(f"transition must have the shape [S, A, S], got {list(shape)}")
    states, actions, _ = shape
    terminal = _marks(np.zeros(states) if terminal is None else terminal)
    available = _marks(np.ones((states, actions)) if available is None else available)
    if initial is None:
        initial = ~terminal / jnp.sum(~terminal)
    wanted = {"terminal": (terminal, (states,)), "initial": (initial, (states,))}
    wanted |= {"available": (available, (states, actions)), "discount": (discount, ())}
    for name, (value, expected) in wanted.items():
        if np.shape(value) != expected:
            raise ValueError(f"{name} must have the shape {list(expected)}, got {list(np.shape(value))}")
    reward, deviation = (_per_successor(name, x, shape) for name, x in (("reward", reward), ("deviation", deviation)))

    given = (transition, reward, discount, terminal, initial, deviation, available)
    if not any(isinstance(x, Tracer) for x in given):
        _check(*(np.asarray(x) for x in given))

    kind = jnp.zeros(()).dtype
    terminal, available = jnp.asarray(terminal), jnp.asarray(available)
    moves = (available & ~terminal[:, None])[..., None]
    stay = jnp.eye(states, dtype=kind)[:, None, :]
    return FiniteMDP(
        transition=jnp.where(moves, jnp.asarray(transition, kind), stay),
        reward=jnp.where(moves, jnp.asarray(reward, kind), 0.0),
        terminal=terminal,
        initial=jnp.asarray(initial, kind),
        discount=jnp.asarray(discount, kind),
        deviation=jnp.where(moves, jnp.asarray(deviation, kind), 0.0),
        available=available,
    )


def _marks(value: Any) -> Any:
    """Truth values of whatever numbers, traced or not."""
    return value.astype(bool) if isinstance(value, Tracer) else np.asarray(value, bool)


def _per_successor(name: str, value: Any, shape: tuple[int, ...]) -> Any:
    """A scalar, `[S, A]` or `[S, A, S]` as `[S, A, S]`."""
    if np.shape(value) not in ((), shape[:2], shape):
        raise ValueError(
            f"{name} must have the shape [] or {list(shape[:2])} or {list(shape)}, got {list(np.shape(value))}"
        )
    numpy = jnp if isinstance(value, Tracer) else np
    value = numpy.asarray(value)
    return numpy.broadcast_to(value[..., None] if value.ndim == 2 else value, shape)


def _check(
    transition: np.ndarray,
    reward: np.ndarray,
    discount: np.ndarray,
    terminal: np.ndarray,
    initial: np.ndarray,
    deviation: np.ndarray,
    available: np.ndarray,
) -> None:
    """Raise ValueError for the first thing that is wrong."""
    used = available & ~terminal[:, None]
    sums = transition.sum(-1)
    faults = {
        "has a negative probability": (transition < 0).any(-1),
        "has probabilities that do not sum to 1": ~(np.abs(sums - 1) <= ROUNDING),
        "has a reward that is not finite": ~np.isfinite(reward).all(-1),
        "has a negative deviation of its reward": ~(deviation >= 0).all(-1),
    }
    for fault, where in faults.items():
        if np.any(where & used):
            state, action = np.argwhere(where & used)[0]
            total = f" but to {sums[state, action]:.6g}" if "sum" in fault else ""
            raise ValueError(f"action {action} in state {state} {fault}{total}")
    if not np.all(available.any(-1) | terminal):
        state = np.argmin(available.any(-1) | terminal)
        raise ValueError(f"state {state} is not terminal and has no available action")
    if not 0 <= discount <= 1:
        raise ValueError(f"discount must be in [0, 1], got {discount}")
    if np.any(initial < 0) or not abs(initial.sum() - 1) <= ROUNDING:
        raise ValueError(f"initial must be probabilities that sum to 1, they sum to {initial.sum():.6g}")
    if np.any(initial[terminal] > 0):
        state = np.flatnonzero(terminal & (initial > 0))[0]
        raise ValueError(f"no episode may begin in a terminal state, but initial[{state}] is {initial[state]:.6g}")
