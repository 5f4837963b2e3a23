"""Time-varying linear models, `x_{t+1} ~ N(A_t x_t + B_t u_t + c_t, W_t)`, fitted to a few episodes around one another.

Each step t is a regression of its own on the steps of N episodes, with so few data that a prior must help. There are
three, and they add up:

    neighbours     steps at most `window` steps away count as well, weighted by `prior`, as pseudo-observations would
    a mixture      of Gaussians over (x, u, x' - x), fitted to many more episodes (`fit_mixture`): the components that
                   the steps at t belong to count as `strength` observations, as a normal-inverse-Wishart prior does
    a ridge        keeps what remains undetermined near "nothing changes but by its mean"

What comes out is what `finite_horizon_lqr` takes.

Levine, S. and Abbeel, P. (2014), "Learning neural network policies with guided policy search under unknown dynamics".
Gu, S. et al. (2016), "Continuous deep Q-learning with model-based acceleration".
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from purerl.operators import positive_definite
from purerl.planning.linear_quadratic import Linear
from purerl.types import Array, Key

LEAST_VARIANCE = 1e-2  # of a component, in units of the variance of everything


class Mixture(NamedTuple):
    """K Gaussians over rows `(x, u, x' - x)` of d numbers, centred and in units of their deviation."""

    mean: Array  # [d]: what centres the rows
    scale: Array  # [d]: their unit
    log_share: Array  # [K]
    centre: Array  # [K, d]
    variance: Array  # [K, d]: their own diagonal, which decides what belongs to them
    moments: Array  # [K, d + 1, d + 1]: the mean of `(z, 1) (z, 1)'` over what belongs to them


def fit_mixture(
    key: Key,
    state: Array,
    action: Array,
    successor: Array,
    components: int = 20,
    iterations: int = 10,
    weight: Array | None = None,
) -> Mixture:
    """A mixture of Gaussians over M steps, by expectation maximisation, as the prior of `fit_linear_steps`.

    Steps belong to components by Gaussians with diagonal covariances, which need no factorisation; the linear
    dynamics inside a component are in the full moments of what belongs to it.

    Args:
        key: of the rows at which the components begin.
        state, action, successor: `[M, n]`, `[M, m]`, `[M, n]`.
        components: K, at most M.
        iterations: of expectation and maximisation.
        weight: of every step, `[M]`, >= 0 (default 1).
    """
    chex.assert_rank([state, action, successor], 2)
    weight = jnp.ones(state.shape[0]) if weight is None else weight
    share_of_row = weight / jnp.maximum(jnp.sum(weight), 1e-12)
    rows = jnp.concatenate([state, action, successor - state], axis=-1)
    mean, scale = _units(rows, share_of_row)
    z = (rows - mean) / scale

    def belonging(log_share: Array, centre: Array, variance: Array) -> Array:
        return _belonging(z, log_share, centre, variance) * weight[:, None]

    def improve(_: int, mixture: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        share = belonging(*mixture)
        count = jnp.sum(share, axis=0) + 1e-3
        centre = share.T @ z / count[:, None]
        variance = jnp.maximum(share.T @ jnp.square(z) / count[:, None] - jnp.square(centre), 0.0) + LEAST_VARIANCE
        return jnp.log(count / jnp.sum(count)), centre, variance

    first = jax.random.choice(key, z.shape[0], (components,), replace=False, p=share_of_row)
    start = jnp.full(components, -jnp.log(components)), z[first], jnp.ones((components, z.shape[-1]))
    log_share, centre, variance = jax.lax.fori_loop(0, iterations, improve, start)
    share = belonging(log_share, centre, variance).T  # [K, M]
    extended = _with_one(z)
    moments = jnp.matmul((share[:, :, None] * extended).mT, extended, precision="highest")
    moments = moments / (jnp.sum(share, axis=1)[:, None, None] + 1e-6)
    return Mixture(mean, scale, log_share, centre, variance, moments)


def _belonging(z: Array, log_share: Array, centre: Array, variance: Array) -> Array:
    """How much of every row `[M, d]` belongs to every component, `[M, K]`: adds up to 1."""
    precise = 1.0 / variance
    square = jnp.square(z) @ precise.T - 2 * z @ (centre * precise).T + jnp.sum(jnp.square(centre) * precise, axis=-1)
    return jax.nn.softmax(log_share - 0.5 * (square + jnp.sum(jnp.log(variance), axis=-1)), axis=-1)


def fit_linear_gaussian(
    states: Array,
    actions: Array,
    window: int = 2,
    prior: float | Array = 0.3,
    ridge: float | Array = 1e-4,
    weight: Array | None = None,
    mixture: Mixture | None = None,
    strength: float | Array = 10.0,
) -> Linear:
    """Dynamics of T steps from N episodes: `states` `[N, T + 1, n]`, `actions` `[N, T, m]`.

    Args:
        states, actions: of the episodes.
        window: how many steps away neighbours are still looked at.
        prior: weight of a neighbour's data relative to the step's own, in [0, 1]; 1 pools them, 0 ignores them.
        ridge: added to the second moments of inputs (centred, in units of their deviation over all steps), > 0: pulls
            towards a change that does not depend on them.
        weight: of every episode, `[N]`, >= 0 (default 1): zeros leave episodes out, also under jit.
        mixture: of these and of earlier episodes, or None.
        strength: as how many observations it counts at every step, >= 0.

    Returns Linear with a leading axis T. The covariance is that of the residuals, weighted alike.
    """
    chex.assert_rank([states, actions], 3)
    chex.assert_equal(states.shape[1], actions.shape[1] + 1)
    episodes, steps = actions.shape[:2]
    weight = jnp.ones(episodes) if weight is None else weight
    before, taken, after = (x.reshape(episodes * steps, -1) for x in (states[:, :-1], actions, states[:, 1:]))
    times = jnp.tile(jnp.arange(steps), episodes)
    weights = jnp.repeat(weight, steps)
    return fit_linear_steps(before, taken, after, times, steps, window, prior, ridge, weights, mixture, strength)


def fit_linear_steps(
    state: Array,
    action: Array,
    successor: Array,
    time: Array,
    steps: int,
    window: int = 2,
    prior: float | Array = 0.3,
    ridge: float | Array = 1e-4,
    weight: Array | None = None,
    mixture: Mixture | None = None,
    strength: float | Array = 10.0,
) -> Linear:
    """The same from M single steps in any order: `state` `[M, n]`, `action` `[M, m]`, `successor` `[M, n]`.

    `time` `[M]` says how many steps of its episode came before, and `steps` is T; `weight` is of every step. Episodes
    may end early and begin anywhere. Where neither a step nor its neighbours have data, it has the model of all steps
    together, or of the whole mixture.
    """
    chex.assert_rank([state, action, successor, time], [2, 2, 2, 1])
    weight = jnp.ones(time.shape) if weight is None else weight
    rows = jnp.concatenate([state, action, successor - state], axis=-1)  # [M, n + m + n]
    outputs, size = state.shape[-1], state.shape[-1] + action.shape[-1]
    if mixture is None:
        mean, scale = _units(rows, weight / jnp.maximum(jnp.sum(weight), 1e-12))
    else:
        mean, scale = mixture.mean, mixture.scale
    z = (rows - mean) / scale
    extended = _with_one(z)

    def at_every_step(values: Array) -> Array:
        return jax.ops.segment_sum(values, time, num_segments=steps)

    products = (weight[:, None] * extended)[:, :, None] * extended[:, None, :]
    moments = at_every_step(products)  # [T, ...] of each step alone
    away = jnp.abs(jnp.arange(steps)[:, None] - jnp.arange(steps))
    near = jnp.where(away == 0, 1.0, jnp.where(away <= window, prior, 0.0))
    moments = jnp.tensordot(near, moments, axes=1, precision="highest")
    everything = 1e-6 * jnp.sum(products, axis=0)  # what there is where there is nothing else
    moments = moments + everything
    if mixture is not None:
        share = _belonging(z, mixture.log_share, mixture.centre, mixture.variance)
        share = at_every_step(weight[:, None] * share) + 1e-6 * jnp.exp(mixture.log_share)
        share = share / jnp.sum(share, axis=-1, keepdims=True)  # [T, K]
        moments = moments + strength * jnp.tensordot(share, mixture.moments, axes=1, precision="highest")
    (in_mean, out_mean), (in_scale, out_scale) = jnp.split(mean, [size]), jnp.split(scale, [size])

    def at(moments: Array) -> Linear:
        moments = moments / moments[-1, -1]
        centre = moments[-1, :-1]
        central = moments[:-1, :-1] - jnp.outer(centre, centre)
        own, cross = central[:size, :size] + ridge * jnp.eye(size), central[:size, size:]
        slope = positive_definite.solve(positive_definite.factorize(own), cross)  # [n + m, n]
        unexplained = (
            central[size:, size:] - slope.T @ cross - cross.T @ slope + slope.T @ central[:size, :size] @ slope
        )
        matrix = out_scale[:, None] * slope.T / in_scale
        offset = out_mean + out_scale * centre[size:] - matrix @ (in_mean + in_scale * centre[:size])
        return Linear(
            jnp.eye(outputs) + matrix[:, :outputs],
            matrix[:, outputs:],
            offset,
            out_scale[:, None] * unexplained * out_scale[None, :],
        )

    return jax.vmap(at)(moments)


def _with_one(z: Array) -> Array:
    """Rows `(z, 1)`, whose products hold first and second moments."""
    return jnp.concatenate([z, jnp.ones((z.shape[0], 1))], axis=-1)


def _units(z: Array, share: Array) -> tuple[Array, Array]:
    """Mean and deviation of rows `z` `[M, d]` whose shares add up to 1."""
    mean = share @ z
    return mean, jnp.sqrt(share @ jnp.square(z - mean)) + 1e-6
