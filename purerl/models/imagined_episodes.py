"""Short episodes of a policy in an environment that can be asked about any state, and two gradients of what they earn.

    J = E [ sum_{t < H} discount^t r_t + discount^H V(s_H) ]

The environment is a learned model or the simulator itself; `imagine` begins wherever it is told to. With a
differentiable environment and reparameterised actions, `d pathwise_surrogate` estimates dJ by the chain rule through
H steps; `d likelihood_ratio_surrogate` estimates it from samples alone.

Heess, N. et al. (2015), "Learning continuous control policies by stochastic value gradients". Parmas, P. et al. (2018),
"PIPPS: Flexible model-based policy search robust to the curse of chaos".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from purerl import trees
from purerl.distributions import Distribution
from purerl.operators.returns import window_return
from purerl.types import Array, Environment, EnvState, Key, Observation


class Episodes(NamedTuple):
    """What was imagined, `[H, N, ...]`. After its end an episode stands still, earns 0 and is terminated."""

    observation: Observation
    action: Array  # as it was drawn: before squashing or clipping
    reward: Array
    terminated: Array  # bool
    truncated: Array  # bool
    successor: Observation  # the true one
    alive: Array  # bool: the episode had not ended before this step


def imagine(
    environment: Environment,
    policy: Callable[[Observation], Distribution],
    state: EnvState,
    observation: Observation,
    key: Key,
    horizon: int,
) -> Episodes:
    """`horizon` steps from each of N states, `[N, ...]`, with derivatives in whatever `policy` depends on.

    Args:
        environment: whose actions are those of the distribution, in [-1, 1] if that is squashed (`rescale_actions`).
        policy: pi(. | s) of observations `[N, ...]`, reparameterised if the derivatives are wanted.
        state, observation: where the episodes begin.
        key: of actions and steps.
        horizon: H.

    Nothing flows back through an end: what stands still is a constant.
    """
    count = jax.tree.leaves(observation)[0].shape[0]

    def body(carry: tuple[EnvState, Observation, Array], key: Key) -> tuple[Any, Episodes]:
        state, observation, alive = carry
        act_key, step_key = jax.random.split(key)
        distribution = policy(observation)
        drawn = distribution.sample(act_key)
        keys = jax.random.split(step_key, count)
        after, timestep = jax.vmap(environment.step)(keys, state, distribution.action(drawn))
        reached, still = (after, timestep.observation), jax.lax.stop_gradient((state, observation))
        after, successor = trees.where(alive, reached, still)
        terminated, truncated = timestep.terminated | ~alive, timestep.truncated & alive
        step = Episodes(
            observation=observation,
            action=drawn,
            reward=jnp.where(alive, timestep.reward, 0.0),
            terminated=terminated,
            truncated=truncated,
            successor=successor,
            alive=alive,
        )
        return (after, successor, ~(terminated | truncated)), step

    start = trees.strongly_typed((state, observation, jnp.ones(count, bool)))
    return jax.lax.scan(body, start, jax.random.split(key, horizon))[1]


def pathwise_surrogate(episodes: Episodes, successor_value: Array, discount: float | Array) -> Array:
    """The mean return of the episodes, a scalar: an estimate of J, and its derivative one of dJ.

    Args:
        episodes: N of H steps, through which the derivative flows.
        successor_value: V of the successors, `[H, N]`, read in the last step unless it terminates, and where an
            episode is truncated; zeros for the return of H steps alone.
        discount: in [0, 1].
    """
    chex.assert_equal_shape([episodes.reward, successor_value])
    steps = (episodes.reward, successor_value, episodes.terminated, episodes.truncated)
    return jnp.mean(window_return(*steps, discount))


def likelihood_ratio_surrogate(
    log_probability: Array, advantage: Array, alive: Array, discount: float | Array
) -> Array:
    """A scalar whose derivative estimates dJ: `mean_n sum_t discount^t alive_t A_t log pi(a_t | s_t)` (Williams, 1992).

    Args:
        log_probability: of the actions drawn, `[H, N]`; states and actions are constants in it.
        advantage: what came of them, less anything that does not depend on the action, `[H, N]`; a constant as well.
        alive: bool `[H, N]`: the episode had not ended before.
        discount: in [0, 1].
    """
    chex.assert_rank([log_probability, advantage, alive], 2)
    chex.assert_equal_shape([log_probability, advantage, alive])
    weight = alive * discount ** jnp.arange(alive.shape[0])[:, None]
    return jnp.mean(jnp.sum(weight * advantage * log_probability, axis=0))


def leave_one_out_advantage(reward_to_go: Array) -> Array:
    """What an episode earns from a step on, less the mean of the others from the same step on: `[H, N]`, N >= 2.

    Other episodes know nothing of its action: the baseline leaves the gradient unbiased.
    """
    chex.assert_rank(reward_to_go, 2)
    others = jnp.sum(reward_to_go, axis=1, keepdims=True) - reward_to_go
    return reward_to_go - others / (reward_to_go.shape[1] - 1)
