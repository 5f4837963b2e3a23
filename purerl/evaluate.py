"""Evaluation: the first episode of each of N fresh environments, inside or outside a compiled program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl import trees
from purerl.configuration import UsageError, a
from purerl.environments.checks import require_environment
from purerl.types import Array, Environment, Key, Policy


class Evaluation(NamedTuple):
    """Undiscounted returns and lengths (in environment steps) of N episodes, each `[N]`, or `[..., N]` when batched.

    An episode is complete unless the `max_steps` of `evaluate` cut it.
    """

    returns: Array
    lengths: Array


def evaluate(
    policy: Policy, environment: Environment, key: Key, episodes: int = 128, max_steps: int | None = None
) -> Evaluation:
    """Play the first episode of each of `episodes` environments with `policy`.

    Counting exactly the first episode of each environment avoids the bias towards short episodes that counting
    whatever finishes has. An episode is cut after `max_steps` steps (default: `environment.max_steps`, which no episode
    exceeds); the loop ends early when every episode is over.

    Args:
        policy: how to act, for example `algorithm.policy(state)` (greedy) or `algorithm.policy(state, greedy=False)`.
        environment: one environment, not vectorised.
        key: all randomness of the evaluation; training never sees it.
        episodes: N, how many episodes, at least 1.
        max_steps: the bound on every episode's length.

    Raises ValueError if `episodes` or `max_steps` is not positive or for a batch of keys, TypeError for what is no
    policy, no environment or no key.
    """
    if not isinstance(policy, Policy):
        raise UsageError(
            f"evaluate needs a Policy, but got {a(policy)}; pass algorithm.policy(state), where state "
            f"is that of a trained agent (result.state of purerl.train)"
        )
    require_environment(environment, "evaluate")
    key = trees.one_key(key, "evaluate")
    bound = environment.max_steps if max_steps is None else max_steps
    if episodes < 1 or bound < 1:
        raise ValueError(f"evaluate needs episodes >= 1 and max_steps >= 1, got {episodes} and {bound}")
    reset_key, memory_key, step_key = jax.random.split(key, 3)
    states, observations = jax.vmap(environment.reset)(jax.random.split(reset_key, episodes))
    memories = jax.vmap(policy.init)(jax.random.split(memory_key, episodes))
    start = trees.strongly_typed(
        {
            "environment": states,
            "observation": observations,
            "memory": memories,
            "return": jnp.zeros(episodes),
            "length": jnp.zeros(episodes, jnp.int32),
            "alive": jnp.ones(episodes, bool),
            "step": jnp.zeros((), jnp.int32),
        }
    )

    def going_on(carry):
        return (carry["step"] < bound) & jnp.any(carry["alive"])

    def play(carry):
        act_keys, step_keys = jax.random.split(jax.random.fold_in(step_key, carry["step"]), (2, episodes))
        memory, action = jax.vmap(policy.act)(act_keys, carry["memory"], carry["observation"])
        states, timestep = jax.vmap(environment.step)(step_keys, carry["environment"], action)
        alive = carry["alive"]
        return trees.strongly_typed(
            {
                "environment": states,
                "observation": timestep.observation,
                "memory": memory,
                "return": carry["return"] + jnp.where(alive, timestep.reward, 0.0),
                "length": carry["length"] + alive,
                "alive": alive & ~(timestep.terminated | timestep.truncated),
                "step": carry["step"] + 1,
            }
        )

    end = jax.lax.while_loop(going_on, play, start)
    return Evaluation(returns=end["return"], lengths=end["length"])
