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
    episodes, steps, size = states.shape[0], actions.shape[1], states.shape[2]
    weight = jnp.ones(episodes) if weight is None else weight
    inputs, outputs = jnp.concatenate([states[:, :-1], actions], axis=-1), states[:, 1:]
    scale = jnp.sqrt(jnp.mean(jnp.square(inputs - jnp.mean(inputs, (0, 1))), (0, 1))) + 1e-6

    def at(t: Array) -> Linear:
        away = jnp.abs(jnp.arange(steps) - t)
        near = jnp.where(away == 0, 1.0, jnp.where(away <= window, prior, 0.0))
        importance = weight[:, None] * near  # [N, T]
        total = jnp.sum(importance)
        mean_in, mean_out = (jnp.einsum("nt,ntd->d", importance, z) / total for z in (inputs, outputs))
        x, y = (inputs - mean_in) / scale, outputs - mean_out
        moments = jnp.einsum("nt,nti,ntj->ij", importance, x, x) / total + ridge * jnp.eye(x.shape[-1])
        cross = jnp.einsum("nt,nti,ntj->ij", importance, x, y) / total
        slope = positive_definite.solve(positive_definite.factorize(moments), cross)  # [n + m, n]
        residual = y - x @ slope
        covariance = jnp.einsum("nt,nti,ntj->ij", importance, residual, residual) / total
        matrix = (slope / scale[:, None]).T
        return Linear(matrix[:, :size], matrix[:, size:], mean_out - matrix @ mean_in, covariance)

    return jax.vmap(at)(jnp.arange(steps))
