"""Searches for the action that maximises a function: `argmax_a q(a)` over the box [-1, 1]^A.

`q` takes actions `[M, A]` and gives their values `[M]`; every search returns the best action `[A]` of all those it has
evaluated. They are pure and go under `vmap`: with a key and a `q` of every state they maximise an action value for a
whole batch at once.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from purerl.types import Array, Key

Values = Callable[[Array], Array]  # q(actions [M, A]) -> values [M]


def uniform_search(key: Key, q: Values, size: int, samples: int) -> Array:
    """The best of `samples` actions drawn uniformly from the box; `size` is A. Costs `samples` values."""
    actions = jax.random.uniform(key, (samples, size), minval=-1.0, maxval=1.0)
    return _best(actions, q(actions))


def gaussian_search(key: Key, q: Values, size: int, samples: int, deviation: float | Array = 1.0) -> Array:
    """The best of `samples` actions `clip(deviation e)`, e standard normal. Costs `samples` values.

    Clipping puts draws on the bounds themselves, where the best action often is.
    """
    actions = jnp.clip(deviation * jax.random.normal(key, (samples, size)), -1.0, 1.0)
    return _best(actions, q(actions))


def cross_entropy_search(
    key: Key,
    q: Values,
    size: int,
    samples: int,
    elites: int,
    iterations: int,
    deviation: float | Array = 1.0,
    floor: float | Array = 0.05,
) -> Array:
    """The cross-entropy method (Rubinstein, 1999; for action values Kalashnikov et al., 2018).

    Every iteration draws `samples` actions from a Gaussian, clipped to the box, and fits mean and deviation of every
    coordinate to the `elites` best of them; it begins with mean 0 and `deviation`. The fitted deviation is never below
    `floor`: without one it shrinks to nothing wherever the elites happen to agree. Costs `samples x iterations` values.
    """

    def iterate(carry: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        mean, spread = carry
        actions = jnp.clip(mean + spread * jax.random.normal(key, (samples, size)), -1.0, 1.0)
        values = q(actions)
        top, which = jax.lax.top_k(values, elites)
        elite = actions[which]
        fitted = jnp.mean(elite, axis=0), jnp.maximum(jnp.std(elite, axis=0), floor)
        return fitted, (elite[0], top[0])

    start = jnp.zeros(size), jnp.full(size, deviation)
    _, (actions, values) = jax.lax.scan(iterate, start, jax.random.split(key, iterations))
    return _best(actions, values)


def gradient_search(
    key: Key, q: Values, size: int, samples: int, iterations: int, step_size: float | Array = 0.3
) -> Array:
    """Projected gradient ascent `a <- clip(a + step g / |g|)` on the action, from `samples` uniform starts.

    Steps shrink linearly from `step_size` to nothing, and have the same length whatever the scale of q; coordinates of
    g that point out of the box do not count. Costs `samples x iterations` values with their gradients, and `samples`
    more values.
    """

    def climb(actions: Array, step: Array) -> tuple[Array, tuple[Array, Array]]:
        values, pullback = jax.vjp(q, actions)
        (gradient,) = pullback(jnp.ones_like(values))
        pressed = jnp.abs(jnp.clip(actions + jnp.sign(gradient), -1.0, 1.0) - actions) == 0.0
        gradient = jnp.where(pressed, 0.0, gradient)
        length = jnp.linalg.norm(gradient, axis=-1, keepdims=True)
        moved = jnp.clip(actions + step * gradient / jnp.maximum(length, 1e-12), -1.0, 1.0)
        return moved, (actions, values)

    start = jax.random.uniform(key, (samples, size), minval=-1.0, maxval=1.0)
    steps = step_size * (1.0 - jnp.arange(iterations) / iterations)
    last, (actions, values) = jax.lax.scan(climb, start, steps)
    actions = jnp.concatenate([actions.reshape(-1, size), last])
    return _best(actions, jnp.concatenate([values.reshape(-1), q(last)]))


def _best(actions: Array, values: Array) -> Array:
    """The action `[A]` of the largest value: `[M, A]`, `[M]`."""
    return actions[jnp.argmax(values)]
