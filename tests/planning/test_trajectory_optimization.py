"""iLQR, DDP and collocation: exact for linear-quadratic problems, elsewhere as good as general optimisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from purerl.planning.linear_quadratic import Linear, Quadratic, Value, finite_horizon_lqr, follow
from purerl.planning.trajectory_optimization import box_quadratic_program, collocation, ilqr, repeat_state
from tests.planning.test_linear_quadratic import random_problem

STEPS = 5


def linear_quadratic_functions(seed: int):
    """A random problem as functions of (x, u, t), and its exact solution from the first state."""
    dynamics, cost, final = random_problem(seed, STEPS)
    a, b, c = (jnp.asarray(dynamics[name]) for name in ("state", "action", "offset"))
    cost, last = Quadratic(**jax.tree.map(jnp.asarray, cost)), Value(**jax.tree.map(jnp.asarray, final))
    x = jnp.asarray(np.random.default_rng(seed).normal(size=3))

    def f(x, u, t):
        return a[t] @ x + b[t] @ u + c[t]

    def paid(x, u, t):
        at = jax.tree.map(lambda part: part[t], cost)
        whole = 0.5 * x @ at.state @ x + 0.5 * u @ at.action @ u + u @ at.cross @ x
        return whole + at.state_slope @ x + at.action_slope @ u + at.constant

    problem = Linear(a, b, c, jnp.zeros_like(a))
    found = finite_horizon_lqr(problem, cost, last)
    states, actions, _ = follow(found.controllers, problem, cost, x)
    return f, paid, last, x, (states, actions, found.values)


@pytest.mark.parametrize("second_order", [False, True])
def test_a_linear_quadratic_problem_is_solved_in_one_iteration(second_order):
    with jax.enable_x64(True):
        f, cost, last, x, (states, actions, values) = linear_quadratic_functions(0)
        start = jnp.ones((STEPS, 2))
        once = ilqr(f, cost, last, x, start, iterations=1, second_order=second_order)
        np.testing.assert_allclose(once.actions, actions, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(once.cost, jax.tree.map(lambda v: v[0], values)(x), rtol=1e-9)
        whole = ilqr(f, cost, last, x, start, second_order=second_order)
        assert whole.converged
        assert whole.iterations == 2  # the second finds nothing to do
        np.testing.assert_allclose(whole.states, states, atol=1e-9)


def test_collocation_solves_it_from_states_that_no_action_reaches():
    with jax.enable_x64(True):
        f, cost, last, x, (states, actions, values) = linear_quadratic_functions(1)
        guess = jnp.asarray(np.random.default_rng(7).normal(size=(STEPS + 1, 3))).at[0].set(x)
        once = collocation(f, cost, last, guess, jnp.ones((STEPS, 2)), iterations=1, penalty=1000.0)
        np.testing.assert_allclose(once.states, states, atol=1e-8)
        np.testing.assert_allclose(once.actions, actions, atol=1e-8)
        np.testing.assert_allclose(once.cost, jax.tree.map(lambda v: v[0], values)(x), rtol=1e-8)
        assert once.defect < 1e-9


def swing(x, u, t):
    """A pendulum with its angle and speed."""
    speed = x[1] + 0.1 * (9.81 * jnp.sin(x[0]) + u[0])
    return jnp.stack([x[0] + 0.1 * speed, speed])


def effort(x, u, t):
    return 0.5 * (0.1 * x[1] ** 2 + 0.01 * u[0] ** 2 + 2 * (1 - jnp.cos(x[0])))


def upright(x):
    return 50 * (1 - jnp.cos(x[0])) + 5 * x[1] ** 2


HANGING, SWING_STEPS = np.array([2.0, 0.0]), 30  # in the precision of whoever uses it


def reference(low: float, high: float) -> float:
    """What SciPy's bounded quasi-Newton method reaches on the actions, from the same start."""

    def total(actions):
        def step(x, u):
            return swing(x, u, 0), effort(x, u, 0)

        last, costs = jax.lax.scan(step, jnp.asarray(HANGING), actions.reshape(SWING_STEPS, 1))
        return jnp.sum(costs) + upright(last)

    found = scipy.optimize.minimize(
        jax.jit(total), np.zeros(SWING_STEPS), jac=jax.jit(jax.grad(total)), method="L-BFGS-B",
        bounds=[(low, high)] * SWING_STEPS, options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    return float(found.fun)


@pytest.mark.parametrize("limit", [np.inf, 5.0])
def test_a_pendulum_is_swung_up_as_well_as_by_quasi_newton(limit):
    with jax.enable_x64(True):
        start = jnp.zeros((SWING_STEPS, 1))
        expected = reference(-limit, limit)
        found = {
            "ilqr": ilqr(swing, effort, upright, HANGING, start, 200, low=-limit, high=limit),
            "ddp": ilqr(swing, effort, upright, HANGING, start, 200, True, low=-limit, high=limit),
            "collocation": collocation(
                swing, effort, upright, repeat_state(HANGING, start), start, 200, -limit, limit, penalty=200.0
            ),
        }
        for name, one in found.items():
            assert one.cost <= expected * 1.01 + 1e-6, name
            assert one.defect < 1e-4, name
            assert np.all(np.abs(one.actions) <= limit + 1e-9), name
            states = [np.asarray(HANGING)]
            for u in np.asarray(one.actions):
                states.append(np.asarray(swing(jnp.asarray(states[-1]), jnp.asarray(u), 0)))
            np.testing.assert_allclose(one.states, np.stack(states), atol=2e-3, err_msg=name)
        if np.isfinite(limit):  # it binds
            assert np.max(np.abs(found["ilqr"].actions)) > limit - 1e-6


def test_differential_dynamic_programming_converges_quadratically_and_ilqr_does_not():
    """Five steps towards 2.2 with actions that saturate: second derivatives of the dynamics matter at the optimum."""
    with jax.enable_x64(True):
        problem = (
            lambda x, u, t: x + 0.5 * jnp.tanh(2 * u),
            lambda x, u, t: 0.5 * u[0] ** 2 + 0.1 * x[0] ** 2,
            lambda x: 5 * (x[0] - 2.2) ** 2,
            jnp.zeros(1),
        )
        best = ilqr(*problem, 0.3 * jnp.ones((5, 1)), 100, second_order=True, tolerance=1e-15)

        def gaps(second_order: bool) -> list[float]:
            near = best.actions + 0.1
            costs = [ilqr(*problem, near, i, second_order, tolerance=0.0).cost for i in range(5)]
            return [float(cost - best.cost) for cost in costs]

        newton, gauss = gaps(True), gaps(False)
        assert newton[2] < newton[1] ** 2  # 1.5e-2, 1.8e-4, 4.8e-8, 4.9e-15
        assert newton[3] < newton[2] ** 2 * 10
        assert 0.1 < gauss[4] / gauss[3] < 0.4  # a fixed factor


def test_the_controller_around_a_trajectory_corrects_what_is_off():
    with jax.enable_x64(True):
        found = ilqr(swing, effort, upright, HANGING, jnp.zeros((SWING_STEPS, 1)), 200)

        def end(feedback: bool) -> float:
            x, total = HANGING + jnp.array([0.05, 0.1]), 0.0
            for t in range(SWING_STEPS):
                u = found.actions[t] + feedback * found.gain[t] @ (x - found.states[t])
                total += float(effort(x, u, t))
                x = swing(x, u, t)
            return total + float(upright(x))

        assert end(True) < 0.9 * end(False)


def test_a_hopeless_search_ends_and_says_so():
    """A cost without a minimum in the action has no positive definite curvature at any regularisation below 1e6."""
    found = ilqr(
        lambda x, u, t: x + u,
        lambda x, u, t: -1e8 * u[0] ** 2,
        lambda x: jnp.zeros(()),
        jnp.zeros(1),
        jnp.ones((3, 1)),
        iterations=500,
    )
    assert not found.converged
    assert found.iterations < 500
    np.testing.assert_array_equal(found.actions, jnp.ones((3, 1)))


def test_box_programs_are_those_of_a_general_solver():
    rng = np.random.default_rng(0)
    solve = jax.jit(box_quadratic_program)
    for trial in range(40):
        size = 1 + trial % 4
        half = rng.normal(size=(size, size))
        matrix, slope = half @ half.T + 0.1 * np.eye(size), 3 * rng.normal(size=size)
        low, high = -rng.uniform(0, 1, size), rng.uniform(0, 1, size)
        found, free = solve(*(jnp.asarray(x, jnp.float32) for x in (matrix, slope, low, high)))
        expected = scipy.optimize.minimize(
            lambda u, matrix=matrix, slope=slope: 0.5 * u @ matrix @ u + slope @ u, np.zeros(size),
            jac=lambda u, matrix=matrix, slope=slope: matrix @ u + slope, method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)), options={"ftol": 1e-15, "gtol": 1e-10},
        ).x  # fmt: skip
        np.testing.assert_allclose(found, expected, atol=2e-4)
        np.testing.assert_array_equal(free, ~((expected <= low + 1e-6) | (expected >= high - 1e-6)))


def test_many_trajectories_are_optimised_in_one_program():
    starts = jnp.array([[2.0, 0.0], [1.0, 0.5], [-0.5, 0.0]])
    plan = lambda x: ilqr(swing, effort, upright, x, jnp.zeros((SWING_STEPS, 1)), 100)  # noqa: E731
    together = jax.jit(jax.vmap(plan))(starts)
    for i in range(3):
        np.testing.assert_allclose(together.cost[i], jax.jit(plan)(starts[i]).cost, rtol=1e-3)
