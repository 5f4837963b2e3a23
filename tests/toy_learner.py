"""A learner and an environment so small that the driver around them can be tested in seconds."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purerl.algorithms.config import is_concrete
from purerl.environments.vectorize import VectorState, vectorize
from purerl.types import Algorithm, Box, Discrete, Environment, Key, Policy, Timestep


@dataclass(frozen=True)
class Config:
    """The toy's knobs."""

    learning_rate: float = 0.1
    """Step size."""
    num_envs: int = 3
    """Environments."""
    memory: int = 64
    """Slots of a pretended replay."""
    empty_leaf: bool = True
    """Whether the state has an array without elements (XLA of jax 0.11 crashes on one shared by several processes)."""
    explode_after: int = -1
    """From this iteration on (-1: never) seeds whose chance is above `explode_above` produce NaN."""
    explode_above: float = 0.0
    """See `explode_after`."""


def corridor(length: int = 4, limit: int = 12) -> Environment:
    """Walk left or right from 0; +1 at `length`, -1 at `-length`, both terminal."""

    def reset(key: Key) -> tuple[Any, jax.Array]:
        position = jax.random.key_data(key)[0].astype(jnp.int32) % 3 - 1.0  # quicker to compile than randint
        return {"position": position, "time": jnp.zeros((), jnp.int32)}, position[None]

    def step(key: Key, state: Any, action: jax.Array) -> tuple[Any, Timestep]:
        position, time = state["position"] + 2.0 * action - 1.0, state["time"] + 1
        terminated = jnp.abs(position) >= length
        reward = jnp.where(terminated, jnp.sign(position), 0.0)
        truncated = (time >= limit) & ~terminated
        return {"position": position, "time": time}, Timestep(position[None], reward, terminated, truncated, {})

    def render(state: Any) -> np.ndarray:
        picture = np.full((16, 64, 3), 255, np.uint8)
        centre = int(32 + 6 * np.asarray(state["position"]))
        picture[4:12, centre - 3 : centre + 3] = (0, 114, 178)
        return picture

    spaces = Box(-float(length), float(length), (1,)), Discrete(2)
    parameters = {"length": length, "limit": limit}
    return Environment("corridor", reset, step, *spaces, limit, parameters, render=render)


class State(struct.PyTreeNode):
    """Of every kind of leaf that a checkpoint must carry."""

    weights: dict[str, jax.Array]
    environments: VectorState
    replay: jax.Array
    nothing: jax.Array | tuple  # no elements
    chance: jax.Array
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """A learner that drifts towards the right at its learning rate."""
    if is_concrete(config.learning_rate) and config.learning_rate <= 0:
        raise ValueError(f"toy: learning_rate must be > 0, got {config.learning_rate}")
    environments = vectorize(environment, config.num_envs)

    def init(key: Key) -> State:
        environment_key, chance_key, run_key = jax.random.split(key, 3)
        chance = jax.random.uniform(chance_key)
        weights = {"a/b": chance - jnp.ones(2), "half": jnp.ones((), jnp.bfloat16)}
        replay = jnp.zeros((config.memory, 2))
        nothing = jnp.zeros((0, 3)) if config.empty_leaf else ()
        return State(weights, environments.reset(environment_key), replay, nothing, chance, run_key)

    def step(state: State, time) -> tuple[State, dict[str, jax.Array]]:
        act_key, environment_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        logit = state.weights["a/b"].sum() + (1 - time.progress)
        actions = jax.random.bernoulli(act_key, jax.nn.sigmoid(logit), (config.num_envs,)).astype(jnp.int32)
        vector, _ = environments.step(environment_key, state.environments.clear_statistics(), actions)
        explode = (config.explode_after >= 0) & (time.iteration >= config.explode_after)
        explode &= state.chance > config.explode_above
        noise = jnp.sin(time.iteration * state.chance + jnp.arange(2.0))
        drift = config.learning_rate * noise + jnp.where(explode, jnp.nan, 0.01)
        weights = {**state.weights, "a/b": state.weights["a/b"] + drift}
        replay = jax.lax.dynamic_update_slice(state.replay, drift[None], (time.iteration % config.memory, 0))
        metrics = {"loss": weights["a/b"].sum() ** 2, **vector.statistics.metrics()}
        return state.replace(weights=weights, environments=vector, replay=replay), metrics

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key, memory, observation):
            right = state.weights["a/b"].sum() > 0 if greedy else jax.random.bernoulli(key)
            return memory, right.astype(jnp.int32)

        return Policy(lambda key: (), act)

    def snapshot(state: State) -> State:
        return state.replace(environments=(), replay=(), nothing=(), chance=())

    return Algorithm("toy", config, environment, init, step, policy, snapshot, config.num_envs, env_steps_of_init=0)
