"""Many environments as one, and the only auto-reset in the package.

The successor that `step` returns is always the true one; the observation to act on next, fresh after a reset, is in
the state. A reset is a fresh draw from the environment's start distribution, and it is paid for only in steps in
which some environment is done.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.devices import split, splits
from purerl.environments.checks import check_types, require_environment
from purerl.types import Action, Array, Environment, EnvState, Key, Observation, Space, Timestep


class EpisodeStatistics(struct.PyTreeNode):
    """Sums over the episodes finished since `clear_statistics` (scalars)."""

    return_sum: Array
    length_sum: Array
    episodes: Array

    def metrics(self) -> dict[str, Array]:
        """As metrics: sums and a count, so that any two iterations can be merged exactly."""
        return {
            "episode_return_sum": self.return_sum,
            "episode_length_sum": self.length_sum,
            "episodes": self.episodes,
        }


class VectorState(struct.PyTreeNode):
    """The states of `B` environments and of their running episodes."""

    environment: EnvState  # [B, ...]
    observation: Observation  # [B, ...] what to act on next
    episode_return: Array  # [B] of the running episodes
    episode_length: Array  # [B]
    statistics: EpisodeStatistics

    def clear_statistics(self) -> "VectorState":
        """Start counting finished episodes anew (each iteration does)."""
        return self.replace(statistics=jax.tree.map(jnp.zeros_like, self.statistics))


@dataclasses.dataclass(frozen=True)
class SelectiveReset:
    """A `reset` that can be told whether it is needed, for environments whose resets cost something on the host.

    `vectorize` resets all environments when one of them is done, and keeps what it needs.
    """

    where: Callable[[Key, Array], tuple[EnvState, Observation]]  # the bool: whether anyone will look at the result

    def __call__(self, key: Key) -> tuple[EnvState, Observation]:
        return self.where(key, jnp.ones((), bool))


def then(
    reset: Callable[[Key], tuple[EnvState, Observation]],
    change: Callable[[EnvState, Observation], tuple[EnvState, Observation]],
) -> Callable[[Key], tuple[EnvState, Observation]]:
    """A reset that makes something else of what another one returns; it is selective if that one is."""
    if isinstance(reset, SelectiveReset):
        return SelectiveReset(lambda key, wanted: change(*reset.where(key, wanted)))
    return lambda key: change(*reset(key))


class VectorEnvironment(NamedTuple):
    """`num_envs` environments stepped together, resetting by themselves."""

    name: str
    num_envs: int
    reset: Callable[[Key], VectorState]
    step: Callable[[Key, VectorState, Action], tuple[VectorState, Timestep]]  # every field of Timestep is [B, ...]
    observation_space: Space
    action_space: Space


MANY = 64  # environments, of which an eighth is reset at a time


def _at_a_time(num_envs: int) -> int:
    """How many environments a turn resets: all on a GPU, which computes them side by side, and across devices."""
    return num_envs // 8 if num_envs >= MANY and jax.default_backend() == "cpu" and not splits() else num_envs


def vectorize(environment: Environment, num_envs: int) -> VectorEnvironment:
    """`num_envs` copies of `environment` with auto-reset and episode statistics.

    `step(key, state, actions)` takes actions `[B, ...]` and returns the state to go on with and the `Timestep` of the
    true successors. Resets run inside a loop rather than a `lax.cond`: `vmap` turns a `cond` into both branches at
    every step, but leaves a loop a loop, which nobody pays for while no environment of any agent is done. For the same
    reason each half of the keys is drawn where it is used: an environment whose steps are deterministic draws none.
    A turn of the loop resets all environments, or on a CPU an eighth of many: few are done in the same step.

    Raises ValueError if `num_envs` is not positive, TypeError if `environment` is none, or if its observations, rewards
    or states are not what its spaces, `Timestep` and `reset` say.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    require_environment(environment, "vectorize")
    check_types(environment)

    def reset(key: Key) -> VectorState:
        states, observation = jax.vmap(environment.reset)(jax.random.split(key, num_envs))
        zeros = jnp.zeros(num_envs)
        statistics = EpisodeStatistics(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
        states, observation, zeros = split((states, observation, zeros))
        state = VectorState(states, observation, zeros, zeros.astype(jnp.int32), statistics)
        return trees.strongly_typed(state)

    def step(key: Key, state: VectorState, action: Action) -> tuple[VectorState, Timestep]:
        step_keys = split(jax.random.split(key, 2 * num_envs)[:num_envs])
        states, timestep = split(jax.vmap(environment.step)(step_keys, split(state.environment), split(action)))
        done = timestep.terminated | timestep.truncated
        episode_return = state.episode_return + timestep.reward
        episode_length = state.episode_length + 1
        statistics = EpisodeStatistics(
            return_sum=state.statistics.return_sum + jnp.sum(jnp.where(done, episode_return, 0.0)),
            length_sum=state.statistics.length_sum + jnp.sum(jnp.where(done, episode_length, 0)).astype(jnp.float32),
            episodes=state.statistics.episodes + jnp.sum(done).astype(jnp.float32),
        )

        def some_done(carry):
            return jnp.any(carry[0])

        def reset_done(carry):
            waiting, states, observation = carry
            # The barrier ties the key to what varies in the loop: else XLA computes the resets ahead of it, always.
            reset_key, waiting = jax.lax.optimization_barrier((key, waiting))
            reset_keys = jax.random.split(reset_key, 2 * num_envs)[num_envs:]
            now = waiting
            if isinstance(environment.reset, SelectiveReset):
                fresh = jax.vmap(environment.reset.where)(reset_keys, waiting)
            elif (turn := _at_a_time(num_envs)) < num_envs:
                (first,) = jnp.nonzero(waiting, size=turn, fill_value=0)
                place = jnp.cumsum(waiting) - 1  # in the queue of those that wait
                fresh = jax.vmap(environment.reset)(reset_keys[first])
                fresh, now = jax.tree.map(lambda x: x[place], fresh), waiting & (place < turn)
            else:
                fresh = jax.vmap(environment.reset)(reset_keys)
            states, observation = trees.where(now, trees.strongly_typed(fresh), (states, observation))
            return waiting & ~now, states, observation

        carry = (done, trees.strongly_typed(states), timestep.observation)
        _, states, observation = jax.lax.while_loop(some_done, reset_done, carry)
        state = VectorState(
            environment=states,
            observation=observation,
            episode_return=jnp.where(done, 0.0, episode_return),
            episode_length=jnp.where(done, 0, episode_length),
            statistics=statistics,
        )
        return state, timestep

    return VectorEnvironment(
        name=environment.name,
        num_envs=num_envs,
        reset=reset,
        step=step,
        observation_space=environment.observation_space,
        action_space=environment.action_space,
    )
