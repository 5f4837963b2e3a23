"""Linear dynamics and quadratic costs: the one continuous problem whose best controller is known exactly.

    x_{t+1} = A_t x_t + B_t u_t + c_t + noise,  noise ~ N(0, W_t)
    cost_t  = x'Q_t x / 2 + u'S_t x + u'R_t u / 2 + q_t'x + r_t'u + e_t

with costs to be minimised and halves in front of squares. The best action is `u = K x + k` (K is negative feedback:
`u = -K x` of other conventions has the opposite sign), the cost from x on `x'P x / 2 + p'x + s`. Noise changes the
cost and not the controller (certainty equivalence). Sources: Anderson and Moore (1990); for the maximum-entropy
controller Todorov (2009), Levine and Koltun (2013).
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from purerl.operators import positive_definite
from purerl.types import Array, Key


class Linear(NamedTuple):
    """Dynamics of one step, or of T steps with a leading axis T; n states, m actions."""

    state: Array  # A [..., n, n]
    action: Array  # B [..., n, m]
    offset: Array  # c [..., n]
    covariance: Array  # W [..., n, n], zero for deterministic dynamics

    def mean(self, x: Array, u: Array) -> Array:
        """`A x + B u + c`, the expected next state `[..., n]`."""
        moved = jnp.einsum("...ij,...j->...i", self.state, x) + jnp.einsum("...ij,...j->...i", self.action, u)
        return moved + self.offset


class Quadratic(NamedTuple):
    """Costs of one step, or of T steps with a leading axis T."""

    state: Array  # Q [..., n, n], symmetric
    action: Array  # R [..., m, m], symmetric
    cross: Array  # S [..., m, n]
    state_slope: Array  # q [..., n]
    action_slope: Array  # r [..., m]
    constant: Array  # e [...]


class Value(NamedTuple):
    """`V(x) = x'P x / 2 + p'x + s`, the cost from x on."""

    matrix: Array  # P [..., n, n]
    slope: Array  # p [..., n]
    constant: Array  # s [...]

    def __call__(self, x: Array) -> Array:
        """The cost from `x` `[..., n]` on, `[...]`."""
        return 0.5 * jnp.einsum("...i,...ij,...j->...", x, self.matrix, x) + jnp.sum(self.slope * x, -1) + self.constant


class Controller(NamedTuple):
    """`u = K x + k`, and how much worse others are: `u'Q_uu u / 2` around it."""

    gain: Array  # K [..., m, n]
    offset: Array  # k [..., m]
    curvature: Array  # Q_uu [..., m, m]
    positive: Array  # bool [...]: whether Q_uu is positive definite, without which there is no best action

    def mean(self, x: Array) -> Array:
        """The best action `[..., m]` at `x` `[..., n]`."""
        return jnp.einsum("...ij,...j->...i", self.gain, x) + self.offset

    def sample(self, key: Key, x: Array, temperature: float | Array = 1.0) -> Array:
        """An action of the maximum-entropy controller, `N(K x + k, temperature Q_uu^-1)`.

        It minimises the expected cost less `temperature` times the entropy of the actions.
        """
        factor = positive_definite.factorize(self.curvature / temperature)
        return self.mean(x) + positive_definite.draw_with_precision(key, factor)


class Solution(NamedTuple):
    """What `finite_horizon_lqr` finds, T steps: leading axis T of the controllers, T + 1 of the values."""

    controllers: Controller
    values: Value


class StationarySolution(NamedTuple):
    """What `infinite_horizon_lqr` finds: one controller and one value, for ever."""

    controller: Controller
    value: Value
    iterations: Array  # int32: how often the equation was applied
    residual: Array  # the largest change of P and p in the last of them


def backward_step(
    dynamics: Linear, cost: Quadratic, value: Value, discount: float | Array = 1.0
) -> tuple[Controller, Value]:
    """One step of the Riccati recursion: from the value of the next state to this one's, and the controller between.

    `Q_xx = Q + g A'PA`, `Q_ux = S + g B'PA`, `Q_uu = R + g B'PB`, `q_x = q + g A'(P c + p)`, `q_u = r + g B'(P c + p)`;
    `K = -Q_uu^-1 Q_ux`, `k = -Q_uu^-1 q_u`; and the value of `u = K x + k`, as it is for any K and k, with
    `s = e + g (s' + c'P c / 2 + p'c + tr(P W) / 2) + k'Q_uu k / 2 + k'q_u`. g is the discount.
    """
    a, b, offset, covariance = dynamics
    chex.assert_rank([a, b, offset, covariance], [2, 2, 1, 2])
    chex.assert_rank(list(cost), [2, 2, 2, 1, 1, 0])
    ahead = discount * value.matrix
    pull = ahead @ offset + discount * value.slope
    curvature = cost.action + b.T @ ahead @ b
    cross = cost.cross + b.T @ ahead @ a
    slope = cost.action_slope + b.T @ pull
    factor = positive_definite.factorize(curvature)
    gain, k = -positive_definite.solve(factor, cross), -positive_definite.solve(factor, slope[:, None])[:, 0]
    matrix = cost.state + a.T @ ahead @ a + gain.T @ curvature @ gain + gain.T @ cross + cross.T @ gain
    before = Value(
        matrix=(matrix + matrix.T) / 2,
        slope=cost.state_slope + a.T @ pull + gain.T @ (curvature @ k + slope) + cross.T @ k,
        constant=cost.constant
        + discount * (value.constant + value.slope @ offset)
        + 0.5 * (offset @ ahead @ offset + jnp.sum(ahead * covariance) + k @ curvature @ k)
        + k @ slope,
    )
    return Controller(gain, k, curvature, factor.positive), before


def finite_horizon_lqr(
    dynamics: Linear, cost: Quadratic, final: Value, horizon: int | None = None, discount: float | Array = 1.0
) -> Solution:
    """The best controllers of T steps, each for its own step, and the values of T + 1.

    Args:
        dynamics: of every step (leading axis T), or the same for all (then say `horizon`).
        cost: likewise.
        final: the cost of the state after the last step.
        horizon: T, for dynamics and costs without a leading axis.
        discount: of every step, in (0, 1].

    Raises ValueError if the horizon is neither given nor in the shapes, or is given twice.
    """
    varying = dynamics.state.ndim == 3
    if varying == (horizon is not None):
        raise ValueError("say how many steps there are: by the leading axis of dynamics and cost, or by `horizon`")
    if horizon is not None:
        dynamics, cost = repeat(dynamics, horizon), repeat(cost, horizon)

    def back(value: Value, step: tuple[Linear, Quadratic]) -> tuple[Value, tuple[Controller, Value]]:
        controller, before = backward_step(*step, value, discount)
        return before, (controller, before)

    _, (controllers, values) = jax.lax.scan(back, final, (dynamics, cost), reverse=True)
    return Solution(controllers, jax.tree.map(lambda x, last: jnp.concatenate([x, last[None]]), values, final))


def infinite_horizon_lqr(
    dynamics: Linear,
    cost: Quadratic,
    discount: float | Array = 1.0,
    tolerance: float | Array = 1e-13,
    max_iterations: int = 100_000,
) -> StationarySolution:
    """The best controller of an endless problem: the recursion, applied until P and p stay where they are.

    It converges if the pair (A, B) can be stabilised and Q sees what must be (for a discount g, of `sqrt(g) A` and
    `sqrt(g) B`); by how much it misses otherwise is the residual. Without a discount the constant grows by the cost per
    step for ever and is given as that: of an affine or noisy problem `s` is the average cost, of others 0.

    Args:
        dynamics: of every step.
        cost: of every step.
        discount: of every step, in (0, 1].
        tolerance: the change of P and p, relative to the largest entry of P, at which it stops. What the number format
            can tell apart bounds it: about 1e-6 in float32 (a smaller one is raised to that), 1e-15 in float64.
        max_iterations: at which it stops in any case.
    """
    size, dtype = dynamics.state.shape[-1], dynamics.state.dtype
    tolerance = jnp.maximum(tolerance, 8 * jnp.finfo(dtype).eps)
    zero = Value(jnp.zeros((size, size), dtype), jnp.zeros(size, dtype), jnp.zeros((), dtype))

    def going_on(carry: tuple[Value, Array, Array]) -> Array:
        _, iterations, change = carry
        return (iterations < max_iterations) & ~(change <= tolerance)

    def again(carry: tuple[Value, Array, Array]) -> tuple[Value, Array, Array]:
        value, iterations, _ = carry
        _, before = backward_step(dynamics, cost, value._replace(constant=zero.constant), discount)
        largest = jnp.maximum(jnp.max(jnp.abs(before.matrix)), 1e-30)
        moved = jnp.maximum(
            jnp.max(jnp.abs(before.matrix - value.matrix)), jnp.max(jnp.abs(before.slope - value.slope))
        )
        return before, iterations + 1, moved / largest

    start = zero, jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, dtype)
    value, iterations, change = jax.lax.while_loop(going_on, again, start)
    controller, before = backward_step(dynamics, cost, value._replace(constant=zero.constant), discount)
    for_ever = jnp.where(jnp.asarray(discount) < 1, before.constant / jnp.maximum(1 - discount, 1e-30), before.constant)
    return StationarySolution(controller, before._replace(constant=for_ever), iterations, change)


def tracking(cost: Quadratic, states: Array, actions: Array) -> Quadratic:
    """The cost of being away from `states` `[..., n]` and `actions` `[..., m]` instead of from zero.

    `(x - x*)'Q(x - x*) / 2 + ...` is quadratic in x and u again, with other slopes and another constant.
    """
    pulled_state = jnp.einsum("...ij,...j->...i", cost.state, states) + jnp.einsum(
        "...ji,...j->...i", cost.cross, actions
    )
    pulled_action = jnp.einsum("...ij,...j->...i", cost.action, actions) + jnp.einsum(
        "...ij,...j->...i", cost.cross, states
    )
    constant = 0.5 * (jnp.sum(states * pulled_state, -1) + jnp.sum(actions * pulled_action, -1))
    constant -= jnp.sum(cost.state_slope * states, -1) + jnp.sum(cost.action_slope * actions, -1)
    return cost._replace(
        state_slope=cost.state_slope - pulled_state,
        action_slope=cost.action_slope - pulled_action,
        constant=cost.constant + constant,
    )


def linear(state: Array, action: Array, offset: Array | None = None, covariance: Array | None = None) -> Linear:
    """Dynamics of A and B, without noise and offset unless they are given; of one step or of T."""
    offset = jnp.zeros(state.shape[:-1], state.dtype) if offset is None else offset
    return Linear(state, action, offset, jnp.zeros_like(state) if covariance is None else covariance)


def quadratic(state: Array, action: Array) -> Quadratic:
    """The cost `x'Q x / 2 + u'R u / 2`, of one step or of T."""
    leading, n, m = state.shape[:-2], state.shape[-1], action.shape[-1]
    zeros = (jnp.zeros((*leading, *shape), state.dtype) for shape in ((m, n), (n,), (m,), ()))
    return Quadratic(state, action, *zeros)


def repeat(tree: Any, times: int) -> Any:
    """Every array of `tree` with a leading axis of `times`."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (times, *jnp.shape(x))), tree)


def follow(controllers: Controller, dynamics: Linear, cost: Quadratic, x: Array) -> tuple[Array, Array, Array]:
    """Play the controllers of T steps without noise from `x`: states `[T + 1, n]`, actions `[T, m]`, costs `[T]`."""

    def step(x: Array, step: tuple[Controller, Linear, Quadratic]) -> tuple[Array, tuple[Array, Array, Array]]:
        controller, (a, b, offset, _), cost = step
        u = controller.mean(x)
        paid = 0.5 * (x @ cost.state @ x + u @ cost.action @ u) + u @ cost.cross @ x
        paid += cost.state_slope @ x + cost.action_slope @ u + cost.constant
        return a @ x + b @ u + offset, (x, u, paid)

    last, (states, actions, costs) = jax.lax.scan(step, x, (controllers, dynamics, cost))
    return jnp.concatenate([states, last[None]]), actions, costs
