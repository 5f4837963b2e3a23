"""Exploration: schedules of progress, and ways to act at random."""

import jax
import jax.numpy as jnp

from purerl.types import Array


def linear_schedule(
    progress: float | Array, start: float | Array, end: float | Array, fraction: float | Array
) -> Array:
    """From `start` to `end` in a straight line over the first `fraction` of training, then `end`.

    `progress` is the share of the run that is over, in [0, 1) (`time.progress`).
    """
    return start + (end - start) * jnp.clip(jnp.asarray(progress) / fraction, 0.0, 1.0)


def epsilon_greedy(draw: Array, action_values: Array, epsilon: float | Array) -> Array:
    """Greedy with probability 1 - epsilon, else uniform over *all* actions (Mnih et al., 2015).

    `draw` `[...]` is uniform in [0, 1), drawn beforehand, for a whole rollout at once if need be; `action_values` is
    `[..., A]`, the actions are int32 `[...]`. One draw u serves both choices: given u < epsilon, u / epsilon is uniform
    again. The greedy action so has probability `1 - epsilon + epsilon / A`.
    """
    num_actions = action_values.shape[-1]
    uniform = jnp.floor(num_actions * draw / jnp.maximum(epsilon, 1e-8)).astype(jnp.int32)
    greedy = jnp.argmax(action_values, axis=-1)
    return jnp.where(draw < epsilon, jnp.minimum(uniform, num_actions - 1), greedy)


def boltzmann(draw: Array, action_values: Array, temperature: float | Array) -> Array:
    """An action with probability `softmax(Q / temperature)`: Boltzmann exploration, the policy of soft Q-learning.

    `draw` `[...]` is uniform in [0, 1), `action_values` is `[..., A]`, `temperature` > 0 is in units of the values. The
    actions are int32 `[...]`, found by inverting the cumulated probabilities.
    """
    cumulated = jnp.cumsum(jax.nn.softmax(action_values / temperature), axis=-1)
    action = jnp.sum(cumulated[..., :-1] <= draw[..., None] * cumulated[..., -1:], axis=-1)
    return action.astype(jnp.int32)


def ornstein_uhlenbeck(noise: Array, draw: Array, reversion: float | Array, deviation: float | Array) -> Array:
    """The next exploration noise, `(1 - reversion) noise + deviation draw` (Uhlenbeck & Ornstein, 1930).

    `noise` and `draw` (standard normal) are `[..., A]`, `reversion` is in [0, 1] per step. With `reversion` 1 the noise
    is Gaussian and independent from step to step, with 0.15 that of Lillicrap et al. (2016): it swings slowly, with a
    deviation of `deviation / sqrt(reversion (2 - reversion))` in the long run. An episode begins with noise 0.
    """
    return (1.0 - reversion) * noise + deviation * draw
