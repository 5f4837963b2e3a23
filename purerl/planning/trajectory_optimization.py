"""Best trajectories of smooth dynamics: iLQR, differential dynamic programming, direct collocation.

All three solve the linear-quadratic problem around a trajectory by a recursion backwards and move it by what that
says. iLQR and DDP move the actions and follow the dynamics (Li and Todorov, 2004; Jacobson and Mayne, 1970); direct
collocation moves states and actions together and lets the dynamics be violated on the way there. Dynamics and costs
are any functions of JAX with derivatives, with costs to be minimised:

    x_{t+1} = f(x_t, u_t, t),    J = sum_{t < T} cost(x_t, u_t, t) + final_cost(x_T)

The control limits are kept at every step of the recursion by a quadratic program in the box (Tassa, Mansard and
Todorov, 2014), and the regularisation follows the schedule of Tassa, Erez and Todorov (2012).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from purerl.operators import positive_definite
from purerl.types import Array

Dynamics = Callable[[Array, Array, Array], Array]  # f(x [n], u [m], t) -> x' [n]
Cost = Callable[[Array, Array, Array], Array]  # cost(x [n], u [m], t) -> scalar
FinalCost = Callable[[Array], Array]  # final_cost(x [n]) -> scalar


class Trajectory(NamedTuple):
    """A trajectory, its controller and how it was found."""

    states: Array  # [T + 1, n]
    actions: Array  # [T, m]
    gain: Array  # K [T, m, n]: near the trajectory, act by u_t + K_t (x - x_t)
    covariance: Array  # Q_uu^-1 [T, m, m]: of the maximum-entropy controller around it, free of limits
    cost: Array  # J of states and actions
    defect: Array  # the largest |f(x_t, u_t) - x_{t+1}|: 0 but for collocation
    iterations: Array  # int32: how many recursions were made, those that moved nothing included
    converged: Array  # bool: whether the last move promised less than the tolerance


class _Expansion(NamedTuple):
    """Dynamics and costs around a trajectory: first derivatives of f, second ones of the cost, T steps."""

    a: Array
    b: Array
    defect: Array
    cost_x: Array
    cost_u: Array
    cost_xx: Array
    cost_ux: Array
    cost_uu: Array
    x: Array
    u: Array
    time: Array


class _Step(NamedTuple):
    """How the recursion wants to change the actions: `du = k + K dx`, in the free directions."""

    k: Array
    gain: Array
    covariance: Array


def ilqr(
    dynamics: Dynamics,
    cost: Cost,
    final_cost: FinalCost,
    x: Array,
    actions: Array,
    iterations: int = 50,
    second_order: bool = False,
    low: float | Array = -jnp.inf,
    high: float | Array = jnp.inf,
    tolerance: float | Array = 1e-6,
    regularization: float | Array = 0.0,
    max_regularization: float | Array = 1e6,
) -> Trajectory:
    """Improve `actions` from `x` until no move promises more than `tolerance`, or for `iterations` recursions.

    A recursion gives `Q_ux = l_ux + f_u'V f_x`, `Q_uu = l_uu + f_u'V f_u` and so on with the value V of the next
    state (`second_order`: plus `V_x f_xx` and so on, which makes it DDP), the change `du = a k + K dx` and its promised
    reduction `-(a k'Q_u + a^2 k'Q_uu k / 2)`. Ten step sizes a = 1, 1/2, ... are rolled out at once; the largest whose
    reduction is a tenth of what it promised, or more, is taken. If none is, or Q_uu is not positive definite somewhere,
    `mu I` on Q_uu grows and the recursion is repeated; after a success it shrinks. On a linear-quadratic problem the
    first recursion arrives.

    Args:
        dynamics: f(x, u, t).
        cost: of a step.
        final_cost: of the last state.
        x: the first state, `[n]`.
        actions: where the search begins, `[T, m]`; clipped to the limits.
        iterations: at most so many recursions.
        second_order: DDP: converges quadratically and pays for second derivatives of f.
        low, high: limits of the actions, broadcast to `[m]`.
        tolerance: a promised reduction of J below which the search is over.
        regularization: mu to begin with; it grows from 1e-6 upwards when it must.
        max_regularization: mu at which the search gives up.
    """
    low, high = (jnp.broadcast_to(jnp.asarray(bound, actions.dtype), actions.shape[1:]) for bound in (low, high))
    times = jnp.arange(actions.shape[0])

    def roll_out(step_size: Array, states: Array, actions: Array, move: _Step) -> tuple[Array, Array, Array]:
        def forward(x: Array, inputs: tuple[Array, Array, _Step, Array]) -> tuple[Array, tuple[Array, Array, Array]]:
            before, u, move, t = inputs
            u = jnp.clip(u + step_size * move.k + move.gain @ (x - before), low, high)
            return dynamics(x, u, t), (x, u, cost(x, u, t))

        last, (moved, taken, costs) = jax.lax.scan(forward, states[0], (states[:-1], actions, move, times))
        return jnp.concatenate([moved, last[None]]), taken, jnp.sum(costs) + final_cost(last)

    def improve(carry: _Search) -> _Search:
        expansion = _expand(dynamics, cost, carry.states, carry.actions, times, defects=False)
        final = jax.grad(final_cost)(carry.states[-1]), jax.hessian(final_cost)(carry.states[-1])
        move, promised, definite = _recursion(
            dynamics, expansion, final, low, high, carry.regularization, second_order=second_order
        )
        sizes = 0.5 ** jnp.arange(10, dtype=actions.dtype)
        states, taken, costs = jax.vmap(roll_out, (0, None, None, None))(sizes, carry.states, carry.actions, move)
        expected = sizes * promised[0] + sizes**2 * promised[1]
        good = definite & (carry.cost - costs >= 0.1 * expected) & jnp.isfinite(costs) & (expected > 0)
        chosen, found = jnp.argmax(good), jnp.any(good)
        # a promise too small to be kept in the numbers' precision is the end, not a failure
        done = definite & (expected[0] < jnp.maximum(tolerance, jnp.finfo(actions.dtype).eps * jnp.abs(carry.cost)))
        return carry.choose(found, states[chosen], taken[chosen], costs[chosen], move, definite, done)

    actions = jnp.clip(actions, low, high)
    still = _nothing(actions, x.shape[0])
    states, actions, first = roll_out(jnp.zeros((), actions.dtype), repeat_state(x, actions), actions, still)
    start = _Search.begin(states, actions, first, still, regularization)
    end = jax.lax.while_loop(lambda carry: carry.going_on(iterations, max_regularization), improve, start)
    return end.trajectory(jnp.zeros((), actions.dtype))


def collocation(
    dynamics: Dynamics,
    cost: Cost,
    final_cost: FinalCost,
    states: Array,
    actions: Array,
    iterations: int = 50,
    low: float | Array = -jnp.inf,
    high: float | Array = jnp.inf,
    tolerance: float | Array = 1e-6,
    penalty: float | Array = 10.0,
    regularization: float | Array = 0.0,
    max_regularization: float | Array = 1e6,
) -> Trajectory:
    """Direct collocation: minimise J over states and actions subject to the dynamics, by sequential quadratic programs.

    Around `(states, actions)` the program with linear dynamics, `dx_{t+1} = f_x dx + f_u du + d_t` with the defect
    `d_t = f(x_t, u_t) - x_{t+1}`, and quadratic costs is linear-quadratic control with an offset, and solved as such.
    Its solution is taken as far as it lowers `J + penalty * sum |d|`, in ten step sizes at once. The states may begin
    anywhere (a straight line to where they should go), which the dynamics need not be able to follow.

    Args:
        dynamics, cost, final_cost, iterations, low, high, regularization, max_regularization: as of `ilqr`.
        states: where the search begins, `[T + 1, n]`; the first one is fixed.
        actions: likewise, `[T, m]`.
        tolerance: the search is over when a move promises less and the largest defect is below it as well.
        penalty: of the sum of absolute defects. It must exceed the multipliers of the dynamics, which are slopes of the
            value, for the solution to be feasible.
    """
    low, high = (jnp.broadcast_to(jnp.asarray(bound, actions.dtype), actions.shape[1:]) for bound in (low, high))
    times = jnp.arange(actions.shape[0])

    def defects(states: Array, actions: Array) -> Array:
        return jax.vmap(dynamics)(states[:-1], actions, times) - states[1:]

    def merit(states: Array, actions: Array) -> Array:
        total = jnp.sum(jax.vmap(cost)(states[:-1], actions, times)) + final_cost(states[-1])
        return total + penalty * jnp.sum(jnp.abs(defects(states, actions)))

    def improve(carry: _Search) -> _Search:
        expansion = _expand(dynamics, cost, carry.states, carry.actions, times, defects=True)
        final = jax.grad(final_cost)(carry.states[-1]), jax.hessian(final_cost)(carry.states[-1])
        move, _, definite = _recursion(dynamics, expansion, final, low, high, carry.regularization, second_order=False)

        def along(dx: Array, inputs: tuple[_Expansion, _Step]) -> tuple[Array, tuple[Array, Array]]:
            local, move = inputs
            du = jnp.clip(local.u + move.k + move.gain @ dx, low, high) - local.u
            return local.a @ dx + local.b @ du + local.defect, (dx, du)

        last, (dx, du) = jax.lax.scan(along, jnp.zeros_like(carry.states[0]), (expansion, move))
        dx = jnp.concatenate([dx, last[None]])
        sizes = 0.5 ** jnp.arange(10, dtype=actions.dtype)
        states, taken = (old + jnp.multiply.outer(sizes, d) for old, d in ((carry.states, dx), (carry.actions, du)))
        merits = jax.vmap(merit)(states, taken)
        noise = jnp.finfo(actions.dtype).eps * jnp.abs(carry.cost)
        good = definite & (carry.cost - merits > noise) & jnp.isfinite(merits)
        chosen, found = jnp.argmax(good), jnp.any(good)
        slope = jnp.abs(jnp.vdot(expansion.cost_x, dx[:-1]) + jnp.vdot(expansion.cost_u, du) + final[0] @ dx[-1])
        small = jnp.maximum(jnp.max(jnp.abs(expansion.defect)), slope)
        done = definite & (small < jnp.maximum(tolerance, noise))
        return carry.choose(found, states[chosen], taken[chosen], merits[chosen], move, definite, done)

    actions = jnp.clip(actions, low, high)
    start = _Search.begin(states, actions, merit(states, actions), _nothing(actions, states.shape[1]), regularization)
    end = jax.lax.while_loop(lambda carry: carry.going_on(iterations, max_regularization), improve, start)
    missed = jnp.max(jnp.abs(defects(end.states, end.actions)))
    paid = end.cost - penalty * jnp.sum(jnp.abs(defects(end.states, end.actions)))
    return end._replace(cost=paid).trajectory(missed)


def repeat_state(x: Array, actions: Array) -> Array:
    """The states `[T + 1, n]` of standing still at `x`."""
    return jnp.broadcast_to(x, (actions.shape[0] + 1, *x.shape))


class _Search(NamedTuple):
    """The search between two recursions."""

    states: Array
    actions: Array
    cost: Array
    gain: Array
    covariance: Array
    regularization: Array
    factor: Array  # by which the regularisation changes next, above 1 while it grows
    iterations: Array
    done: Array

    @staticmethod
    def begin(states: Array, actions: Array, cost: Array, still: "_Step", regularization: float | Array) -> "_Search":
        mu = jnp.asarray(regularization, actions.dtype)
        one, none = jnp.ones((), actions.dtype), jnp.zeros((), jnp.int32)
        return _Search(states, actions, cost, still.gain, still.covariance, mu, one, none, jnp.zeros((), bool))

    def going_on(self, iterations: int, max_regularization: float | Array) -> Array:
        return ~self.done & (self.iterations < iterations) & (self.regularization <= max_regularization)

    def choose(
        self, found: Array, states: Array, actions: Array, cost: Array, move: "_Step", definite: Array, done: Array
    ) -> "_Search":
        """The new trajectory if one was `found`, with less regularisation, or the old one with more."""
        factor = jnp.where(found, jnp.minimum(0.5, 0.5 * self.factor), jnp.maximum(2.0, 2.0 * self.factor))
        mu = jnp.where(found, self.regularization, jnp.maximum(self.regularization, 1e-6)) * factor
        mu = jnp.where(found & (mu < 1e-6), 0.0, mu)
        take = lambda new, old: jnp.where(found, new, old)  # noqa: E731
        solved = found | definite  # gains of a recursion that went through are good for where it was made
        return _Search(
            states=take(states, self.states),
            actions=take(actions, self.actions),
            cost=take(cost, self.cost),
            gain=jnp.where(solved, move.gain, self.gain),
            covariance=jnp.where(solved, move.covariance, self.covariance),
            regularization=jnp.where(done, self.regularization, mu),
            factor=factor,
            iterations=self.iterations + 1,
            done=done,
        )

    def trajectory(self, defect: Array) -> Trajectory:
        return Trajectory(
            self.states, self.actions, self.gain, self.covariance, self.cost, defect, self.iterations, self.done
        )


def _nothing(actions: Array, states: int) -> _Step:
    """A move that changes nothing."""
    steps, size = actions.shape
    zeros = (jnp.zeros((steps, *shape), actions.dtype) for shape in ((size,), (size, states), (size, size)))
    return _Step(*zeros)


def _expand(dynamics: Dynamics, cost: Cost, states: Array, actions: Array, times: Array, defects: bool) -> _Expansion:
    """All derivatives along a trajectory."""

    def at(x: Array, u: Array, after: Array, t: Array) -> _Expansion:
        a, b = jax.jacfwd(dynamics, (0, 1))(x, u, t)
        cost_x, cost_u = jax.grad(cost, (0, 1))(x, u, t)
        (cost_xx, _), (cost_ux, cost_uu) = jax.hessian(cost, (0, 1))(x, u, t)
        defect = dynamics(x, u, t) - after if defects else jnp.zeros_like(x)
        return _Expansion(a, b, defect, cost_x, cost_u, cost_xx, cost_ux, cost_uu, x, u, t)

    return jax.vmap(at)(states[:-1], actions, states[1:], times)


def _recursion(
    dynamics: Dynamics,
    expansion: _Expansion,
    final: tuple[Array, Array],
    low: Array,
    high: Array,
    mu: Array,
    second_order: bool,
) -> tuple[_Step, Array, Array]:
    """From the last state backwards: the moves `[T]`, the promised reductions (linear, quadratic), and if all is well.

    The value is that of the regularised K and k in the problem without regularisation.
    """

    def back(carry: tuple[Array, Array], local: _Expansion) -> tuple[tuple[Array, Array], tuple[_Step, Array, Array]]:
        slope, matrix = carry
        pull = slope + matrix @ local.defect
        q_x, q_u = local.cost_x + local.a.T @ pull, local.cost_u + local.b.T @ pull
        q_xx = local.cost_xx + local.a.T @ matrix @ local.a
        q_ux = local.cost_ux + local.b.T @ matrix @ local.a
        q_uu = local.cost_uu + local.b.T @ matrix @ local.b
        if second_order:
            bent = lambda x, u: slope @ dynamics(x, u, local.time)  # noqa: E731
            (f_xx, _), (f_ux, f_uu) = jax.hessian(bent, (0, 1))(local.x, local.u)
            q_xx, q_ux, q_uu = q_xx + f_xx, q_ux + f_ux, q_uu + f_uu
        stiff = q_uu + mu * jnp.eye(q_uu.shape[0], dtype=q_uu.dtype)
        whole = positive_definite.factorize(stiff)
        k, free = box_quadratic_program(stiff, q_u, low - local.u, high - local.u)
        inside = free[:, None] & free[None, :]
        part = positive_definite.factorize(jnp.where(inside, stiff, jnp.eye(q_uu.shape[0], dtype=q_uu.dtype)))
        gain = -positive_definite.solve(part, jnp.where(free[:, None], q_ux, 0.0))
        before_slope = q_x + gain.T @ (q_uu @ k + q_u) + q_ux.T @ k
        before = q_xx + gain.T @ q_uu @ gain + gain.T @ q_ux + q_ux.T @ gain
        move = _Step(k, gain, positive_definite.inverse(whole))
        promised = jnp.stack([-(k @ q_u), -0.5 * (k @ q_uu @ k)])
        return (before_slope, (before + before.T) / 2), (move, promised, whole.positive)

    _, (move, promised, positive) = jax.lax.scan(back, final, expansion, reverse=True)
    definite = jnp.all(positive) & jnp.all(jnp.isfinite(move.k)) & jnp.all(jnp.isfinite(move.gain))
    return move, jnp.sum(promised, axis=0), definite


def box_quadratic_program(matrix: Array, slope: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """`argmin_u u'M u / 2 + g'u` with `low <= u <= high`: the u `[m]` and which of its coordinates are free.

    Projected Newton steps (Bertsekas, 1982; Tassa et al., 2014): coordinates at a limit that want beyond it are held,
    the others solve their part of the system and are clipped. M must be positive definite; 2 m + 2 steps are unrolled,
    each in the best of four lengths, which was enough for every problem of the tests (m up to 4).
    """
    size = slope.shape[0]
    identity = jnp.eye(size, dtype=matrix.dtype)

    def held(u: Array) -> Array:
        gradient = matrix @ u + slope
        return ((u <= low) & (gradient > 0)) | ((u >= high) & (gradient < 0))

    def objective(u: Array) -> Array:
        return 0.5 * u @ matrix @ u + slope @ u

    u = jnp.clip(jnp.zeros_like(slope), low, high)
    for _ in range(2 * size + 2):
        free = ~held(u)
        part = positive_definite.factorize(jnp.where(free[:, None] & free[None, :], matrix, identity))
        step = -positive_definite.solve(part, jnp.where(free, matrix @ u + slope, 0.0)[:, None])[:, 0]
        sizes = jnp.asarray([1.0, 0.5, 0.25, 0.0], matrix.dtype)
        candidates = jnp.clip(u + sizes[:, None] * step, low, high)
        u = candidates[jnp.argmin(jax.vmap(objective)(candidates))]
    return u, ~held(u)
