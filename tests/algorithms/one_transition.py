"""Environments of one step: a replay that holds one transition only, so that every batch is known; a known reward."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.types import Box, Discrete, Environment, Space, Timestep

START = np.array([0.3, -0.8], np.float32)
SUCCESSOR = np.array([-0.4, 0.9], np.float32)
REWARD = 0.7
ONE = {  # fields of any such learner
    "num_envs": 1,
    "steps_per_iteration": 1,
    "replay_capacity": 1,
    "warm_up_steps": 1,
    "batch_size": 1,
    "widths": (5,),
    "critic_widths": (4, 3),
    "discount": 0.9,
    "target_rate": 0.3,
}


def one_transition(actions: Space, terminated: bool, truncated: bool) -> Environment:
    """Every step leads from `START` to `SUCCESSOR` for `REWARD`, whatever is done, and ends the episode as told."""

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(()), jnp.asarray(START)

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, Timestep]:
        flags = jnp.asarray(terminated), jnp.asarray(truncated)
        return state, Timestep(jnp.asarray(SUCCESSOR), jnp.float32(REWARD), *flags, {})

    return Environment("one_transition", reset, step, Box(-1.0, 1.0, (2,)), actions, max_steps=1)


def one_step(reward: Callable[[jax.Array], jax.Array], bound: float) -> Environment:
    """One step, one action a in [-bound, bound], `reward(a)` for it."""

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(()), jnp.zeros(1)

    def step(key: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, Timestep]:
        return state, Timestep(jnp.zeros(1), reward(action[0]), jnp.asarray(True), jnp.asarray(False), {})

    return Environment("one_step", reset, step, Box(-1.0, 1.0, (1,)), Box(-bound, bound, (1,)), max_steps=1)


def dense(layer: Any, x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"]


def layers(params: Any, x: jax.Array) -> jax.Array:
    """Hidden layers with relu, then a linear one, of a network that has nothing else: read by name, in order."""
    params = params["params"]
    hidden = params["MLP_0"]
    for name in sorted(hidden):
        x = jnp.maximum(dense(hidden[name], x), 0.0)
    return dense(params["Dense_0"], x)


def critic(params: Any, k: int) -> Any:
    """The parameters of the k-th of several critics."""
    (module,) = params["params"].values()
    return {"params": jax.tree.map(lambda x: x[k], module)}


CONTINUOUS = Box(-2.0, 2.0, (1,))
DISCRETE = Discrete(3)
