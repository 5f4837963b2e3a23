"""Probe environments: problems so small that the right answer is known, each of which isolates one ability.

A learner that misses the answer of a probe has a fault in the part the probe names, and shows it within seconds. The
idea is Jones's (2021, "Debugging reinforcement learning systems without the agonizing pain"); the probes of
truncation and memory are ours. The docstring of each function states the answer: optimal values V, optimal returns.

Those whose rewards do not depend on the action take `continuous=True` for learners with continuous actions, one action
in [-1, 1] instead of two choices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.types import Action, Array, Box, Discrete, Environment, Key, MultiDiscrete, Observation, Space, Timestep

TWO_CHOICES = Discrete(2)
ONE_NUMBER = Box(-1.0, 1.0, (1,))
TWO_AND_THREE_CHOICES = MultiDiscrete((2, 3))


class ProbeState(struct.PyTreeNode):
    """All that any probe remembers."""

    time: Array  # int32, steps since the reset
    cue: Array  # float32, -1 or 1 with equal probability


def constant(continuous: bool = False) -> Environment:
    """One step, reward 1. V = 1. A wrong value is a fault of the value loss or of the optimiser."""
    actions = ONE_NUMBER if continuous else TWO_CHOICES
    return _probe("probe/constant", 1, lambda s: [0.0 * s.cue], lambda s, action: 1.0, actions, continuous=continuous)


def discount(continuous: bool = False) -> Environment:
    """Two steps, reward 0 and then 1; the observation is the time. V(0) = discount, V(1) = 1, and nothing after.

    A wrong V(0) beside a right V(1) is a fault of the bootstrap.
    """
    actions = ONE_NUMBER if continuous else TWO_CHOICES
    return _probe(
        "probe/discount", 2, lambda s: [s.time], lambda s, action: s.time == 1, actions, continuous=continuous
    )


def action() -> Environment:
    """One step, reward 1 for action 1 and -1 for action 0. V* = 1. Isolates the advantage and the policy's update."""
    return _probe("probe/action", 1, lambda state: [0.0 * state.cue], lambda state, action: 2 * action - 1, TWO_CHOICES)


def observation(continuous: bool = False) -> Environment:
    """One step, the reward is the observation, -1 or 1. V(o) = o. Isolates the path from observation to value."""
    actions = ONE_NUMBER if continuous else TWO_CHOICES
    return _probe("probe/observation", 1, lambda s: [s.cue], lambda s, action: s.cue, actions, continuous=continuous)


def observation_action() -> Environment:
    """One step, reward o (2 a - 1) for observation o in {-1, 1}: action 1 is right for 1, action 0 for -1. V* = 1.

    A learner that solves the two probes above and not this one mixes up the rows of its batches.
    """

    def reward(state: ProbeState, action: Action) -> Array:
        return state.cue * (2 * action - 1)

    return _probe("probe/observation_action", 1, lambda state: [state.cue], reward, TWO_CHOICES)


def truncation(steps: int = 5, continuous: bool = False) -> Environment:
    """Reward 1 forever and nothing to see, cut every `steps` steps and never terminated. V = 1 / (1 - discount).

    Who takes the cut for an end of the world finds less: (1 - discount^steps) / (1 - discount) for the first step of an
    episode and a mixture of smaller values on average. It must be bootstrapped.
    """
    actions = ONE_NUMBER if continuous else TWO_CHOICES

    def reward(state: ProbeState, action: Action) -> float:
        return 1.0

    parameters = {"steps": steps, "continuous": continuous}
    return _probe("probe/truncation", steps, lambda s: [0.0 * s.cue], reward, actions, ends=False, **parameters)


def successor(continuous: bool = False) -> Environment:
    """An observation o in {-1, 1} that flips at every step, reward o, cut after one step. V(o) = o / (1 + discount).

    The cut must be bootstrapped with the value of -o, the true successor: who takes the observation after the reset, a
    fresh draw of either sign, finds V(o) = o.
    """
    actions = ONE_NUMBER if continuous else TWO_CHOICES

    def sign(state: ProbeState) -> Array:
        return state.cue * (1 - 2 * state.time)

    parameters = {"continuous": continuous}
    return _probe("probe/successor", 1, lambda s: [sign(s)], lambda s, a: sign(s), actions, ends=False, **parameters)


def memory(steps: int = 3) -> Environment:
    """A cue, -1 or 1, in the first of `steps` observations only; the last action must name it (1 for 1, 0 for -1).

    The last reward is 1 for the right action and -1 for the wrong one, all others are 0. The optimal return is 1 with
    memory and 0 without. The observation is (cue or 0, whether this is the last action).
    """
    if steps < 2:
        raise ValueError(f"probe/memory needs at least 2 steps to have something to remember, got {steps}")

    def observe(state: ProbeState) -> list[Array]:
        return [jnp.where(state.time == 0, state.cue, 0.0), state.time == steps - 1]

    def reward(state: ProbeState, action: Action) -> Array:
        return jnp.where(state.time == steps - 1, state.cue * (2 * action - 1), 0.0)

    return _probe("probe/memory", steps, observe, reward, TWO_CHOICES, steps=steps)


def continuous_action() -> Environment:
    """One step, one action a in [-1, 1], reward -(a - 0.5)^2. The optimal action is 0.5, V* = 0."""

    def reward(state: ProbeState, action: Action) -> Array:
        return -((action[0] - 0.5) ** 2)

    return _probe("probe/continuous_action", 1, lambda state: [0.0 * state.cue], reward, ONE_NUMBER)


def continuous_observation_action() -> Environment:
    """One step, one action a in [-1, 1], reward -(a - o / 2)^2 for observation o in {-1, 1}. a* = o / 2, V* = 0."""

    def reward(state: ProbeState, action: Action) -> Array:
        return -((action[0] - state.cue / 2) ** 2)

    return _probe("probe/continuous_observation_action", 1, lambda state: [state.cue], reward, ONE_NUMBER)


def multi_discrete() -> Environment:
    """One step, two choices at once (of 2 and of 3); each that is right for observation o in {-1, 1} earns 1/2.

    Right are (1, 2) for 1 and (0, 1) for -1. V* = 1. A learner that takes the choices for one another, or the
    log-probability of one of them for that of both, finds less.
    """

    def reward(state: ProbeState, action: Action) -> Array:
        right = jnp.where(state.cue > 0, jnp.array([1, 2]), jnp.array([0, 1]))
        return jnp.mean(jnp.asarray(action) == right)

    return _probe("probe/multi_discrete", 1, lambda state: [state.cue], reward, TWO_AND_THREE_CHOICES)


def _probe(
    name: str,
    length: int,
    observe: Callable[[ProbeState], list],
    reward: Callable[[ProbeState, Action], Array | float],
    action_space: Space,
    ends: bool = True,
    **parameters: Any,
) -> Environment:
    """Episodes of `length` steps: `observe` and `reward` see the state *before* the step; `ends` or is cut.

    `parameters` are what the probe was made with.
    """

    def observed(state: ProbeState) -> Observation:
        return jnp.stack([jnp.asarray(x, jnp.float32) for x in observe(state)])

    def reset(key: Key) -> tuple[ProbeState, Observation]:
        state = trees.strongly_typed(ProbeState(jnp.int32(0), jax.random.rademacher(key, (), jnp.float32)))
        return state, observed(state)

    def step(key: Key, state: ProbeState, action: Action) -> tuple[ProbeState, Timestep]:
        after = state.replace(time=state.time + 1)
        over = after.time >= length
        never = jnp.zeros_like(over)
        terminated, truncated = (over, never) if ends else (never, over)
        earned = jnp.asarray(reward(state, action), jnp.float32)
        return trees.strongly_typed((after, Timestep(observed(after), earned, terminated, truncated, info={})))

    example, _ = reset(jax.random.key(0))
    space = Box(-1.0, float(max(length, 1)), jax.eval_shape(observed, example).shape)
    return Environment(name, reset, step, space, action_space, max_steps=length, parameters=parameters)


PROBES: dict[str, Callable[..., Environment]] = {
    "constant": constant,
    "discount": discount,
    "action": action,
    "observation": observation,
    "observation_action": observation_action,
    "truncation": truncation,
    "successor": successor,
    "memory": memory,
    "continuous_action": continuous_action,
    "continuous_observation_action": continuous_observation_action,
    "multi_discrete": multi_discrete,
}
