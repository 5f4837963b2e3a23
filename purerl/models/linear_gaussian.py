"""Time-varying linear models, `x_{t+1} ~ N(A_t x_t + B_t u_t + c_t, W_t)`, fitted to a few episodes around one another.

Each step t is a regression of its own on the steps of N episodes, with so few data that a prior must help. Neighbouring
steps are the prior here: those at most `window` steps away count as well, weighted by `prior` (as much as
pseudo-observations would), and a ridge keeps what remains undetermined near zero. What comes out is what
`finite_horizon_lqr` takes (Levine and Abbeel, 2014; Gu et al., 2016).
"""

import chex
import jax
import jax.numpy as jnp

from purerl.operators import positive_definite
from purerl.planning.linear_quadratic import Linear
from purerl.types import Array


def fit_linear_gaussian(
    states: Array,
    actions: Array,
    window: int = 2,
    prior: float | Array = 0.3,
    ridge: float | Array = 1e-4,
    weight: Array | None = None,
) -> Linear:
    """Dynamics of T steps from N episodes: `states` `[N, T + 1, n]`, `actions` `[N, T, m]`.

    Args:
        states, actions: of the episodes.
        window: how many steps away neighbours are still looked at.
        prior: weight of a neighbour's data relative to the step's own, in [0, 1]; 1 pools them, 0 ignores them.
        ridge: added to the second moments of inputs (centred, in units of their deviation over all steps), > 0.
        weight: of every episode, `[N]`, >= 0 (default 1): zeros leave episodes out, also under jit.

    Returns Linear with a leading axis T. The covariance is that of the residuals, weighted alike.
    """
    chex.assert_rank([states, actions], 3)
    chex.assert_equal(states.shape[1], actions.shape[1] + 1)
    episodes, steps = actions.shape[:2]
    weight = jnp.ones(episodes) if weight is None else weight
    before, taken, after = (x.reshape(episodes * steps, -1) for x in (states[:, :-1], actions, states[:, 1:]))
    times = jnp.tile(jnp.arange(steps), episodes)
    return fit_linear_steps(before, taken, after, times, steps, window, prior, ridge, jnp.repeat(weight, steps))


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
) -> Linear:
    """The same from M single steps in any order: `state` `[M, n]`, `action` `[M, m]`, `successor` `[M, n]`.

    `time` `[M]` says how many steps of its episode came before, and `steps` is T; `weight` is of every step. Episodes
    may end early and begin anywhere. Where neither a step nor its neighbours have data, it has the model of all steps
    together.
    """
    chex.assert_rank([state, action, successor, time], [2, 2, 2, 1])
    weight = jnp.ones(time.shape) if weight is None else weight
    inputs = jnp.concatenate([state, action], axis=-1)
    share = weight / jnp.maximum(jnp.sum(weight), 1e-12)
    (in_mean, in_scale), (out_mean, out_scale) = (_units(z, share) for z in (inputs, successor))
    x, y = (inputs - in_mean) / in_scale, (successor - out_mean) / out_scale
    z = jnp.concatenate([x, y, jnp.ones((*time.shape, 1))], axis=-1)  # [M, n + m + n + 1]
    size, outputs = x.shape[-1], y.shape[-1]

    products = (weight[:, None] * z)[:, :, None] * z[:, None, :]
    moments = jax.ops.segment_sum(products, time, num_segments=steps)  # [T, ...] of each step alone
    away = jnp.abs(jnp.arange(steps)[:, None] - jnp.arange(steps))
    near = jnp.where(away == 0, 1.0, jnp.where(away <= window, prior, 0.0))
    moments = jnp.tensordot(near, moments, axes=1, precision="highest")
    everything = 1e-6 * jnp.sum(products, axis=0)  # what there is where there is nothing else
    moments = moments + everything

    def at(moments: Array) -> Linear:
        moments = moments / moments[-1, -1]
        mean = moments[-1, :-1]
        central = moments[:-1, :-1] - jnp.outer(mean, mean)
        own, cross = central[:size, :size] + ridge * jnp.eye(size), central[:size, size:]
        slope = positive_definite.solve(positive_definite.factorize(own), cross)  # [n + m, n]
        unexplained = (
            central[size:, size:] - slope.T @ cross - cross.T @ slope + slope.T @ central[:size, :size] @ slope
        )
        matrix = out_scale[:, None] * slope.T / in_scale
        centre = out_mean + out_scale * mean[size:] - matrix @ (in_mean + in_scale * mean[:size])
        return Linear(
            matrix[:, :outputs], matrix[:, outputs:], centre, out_scale[:, None] * unexplained * out_scale[None, :]
        )

    return jax.vmap(at)(moments)


def _units(z: Array, share: Array) -> tuple[Array, Array]:
    """Mean and deviation of rows `z` `[M, d]` whose shares add up to 1."""
    mean = share @ z
    return mean, jnp.sqrt(share @ jnp.square(z - mean)) + 1e-6
