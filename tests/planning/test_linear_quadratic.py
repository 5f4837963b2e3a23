"""Linear-quadratic control against SciPy, ALGORITHMS' textbook numbers, plain optimisation and its own costs."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from purerl.planning import linear_quadratic
from purerl.planning.linear_quadratic import (
    Linear,
    Quadratic,
    Value,
    finite_horizon_lqr,
    follow,
    infinite_horizon_lqr,
    linear,
    quadratic,
    repeat,
    tracking,
)

STEP = 0.1
DOUBLE_INTEGRATOR = np.array([[1, STEP], [0, 1]]), np.array([[STEP**2 / 2], [STEP]]), np.eye(2), 0.1 * np.eye(1)


def random_problem(seed: int, steps: int, n: int = 3, m: int = 2) -> tuple[dict[str, np.ndarray], ...]:
    """Dynamics, costs (jointly convex) and a last cost, everything different in every step, in float64."""
    rng = np.random.default_rng(seed)
    joint = rng.normal(size=(steps, n + m, n + m))
    joint = joint @ joint.swapaxes(1, 2) + 0.3 * np.eye(n + m)
    noise = rng.normal(size=(steps, n, n)) / 3
    dynamics = {
        "state": rng.normal(size=(steps, n, n)) / 2,
        "action": rng.normal(size=(steps, n, m)),
        "offset": rng.normal(size=(steps, n)),
        "covariance": noise @ noise.swapaxes(1, 2),
    }
    cost = {
        "state": joint[:, :n, :n],
        "action": joint[:, n:, n:],
        "cross": joint[:, n:, :n],
        "state_slope": rng.normal(size=(steps, n)),
        "action_slope": rng.normal(size=(steps, m)),
        "constant": rng.normal(size=steps),
    }
    half = rng.normal(size=(n, n))
    return dynamics, cost, {"matrix": half @ half.T, "slope": rng.normal(size=n), "constant": np.array(0.7)}


def check_against_optimisation(module: ModuleType) -> None:
    """The best action sequence of a convex problem is the solution of one linear system; V is what it costs."""
    discount, steps, n, m = 0.9, 4, 3, 2
    with jax.enable_x64(True):
        for seed in range(3):
            dynamics, cost, final = random_problem(seed, steps)
            x = np.random.default_rng(seed).normal(size=n)

            def total(flat: jax.Array, dynamics=dynamics, cost=cost, final=final, x=x) -> jax.Array:
                paid, state = 0.0, x
                for t in range(steps):
                    u = flat[t * m : (t + 1) * m]
                    paid += discount**t * (
                        0.5 * state @ cost["state"][t] @ state
                        + 0.5 * u @ cost["action"][t] @ u
                        + u @ cost["cross"][t] @ state
                        + cost["state_slope"][t] @ state
                        + cost["action_slope"][t] @ u
                        + cost["constant"][t]
                    )
                    state = dynamics["state"][t] @ state + dynamics["action"][t] @ u + dynamics["offset"][t]
                return paid + discount**steps * (
                    0.5 * state @ final["matrix"] @ state + final["slope"] @ state + final["constant"]
                )

            zero = jnp.zeros(steps * m)
            best = np.linalg.solve(jax.hessian(total)(zero), -jax.grad(total)(zero))
            # noise costs tr(P W) / 2 of the next value and changes no action
            problem = [
                jax.tree.map(jnp.asarray, part)
                for part in (module.Linear(**dynamics), module.Quadratic(**cost), module.Value(**final))
            ]
            found = module.finite_horizon_lqr(*problem, discount=discount)
            states, actions, _ = module.follow(found.controllers, problem[0], problem[1], jnp.asarray(x))
            np.testing.assert_allclose(actions.reshape(-1), best, rtol=1e-8, atol=1e-8)
            noise = sum(
                discount ** (t + 1) * np.trace(np.asarray(found.values.matrix[t + 1]) @ dynamics["covariance"][t]) / 2
                for t in range(steps)
            )
            first = jax.tree.map(lambda x: x[0], found.values)
            np.testing.assert_allclose(first(jnp.asarray(x)), total(jnp.asarray(best)) + noise, rtol=1e-8)
            assert np.all(found.controllers.positive)
            assert states.shape == (steps + 1, n)


def test_the_best_actions_are_those_of_plain_optimisation():
    check_against_optimisation(linear_quadratic)  # asserts


def test_the_double_integrator_of_the_textbook():
    a, b, q, r = (jnp.asarray(x, jnp.float32) for x in DOUBLE_INTEGRATOR)
    found = infinite_horizon_lqr(linear(a, b), quadratic(q, r))
    np.testing.assert_allclose(found.controller.gain, [[-2.5857, -3.4434]], atol=1e-4)
    np.testing.assert_allclose(found.value.matrix, [[13.3172, 3.2016], [3.2016, 4.6035]], atol=1e-4)
    closed = np.linalg.eigvals(np.asarray(a + b @ found.controller.gain))
    np.testing.assert_allclose(np.sort(np.abs(closed)), [0.7436, 0.8992], atol=1e-4)
    assert found.residual < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_the_endless_problem_is_scipys_riccati_equation(seed):
    rng = np.random.default_rng(seed)
    n, m = 4, 2
    a, b = rng.normal(size=(n, n)) / 1.5, rng.normal(size=(n, m))
    half, r = rng.normal(size=(n, n)), np.diag(rng.uniform(0.5, 2.0, m))
    q = half @ half.T + 0.1 * np.eye(n)
    expected = scipy.linalg.solve_discrete_are(a, b, q, r)
    with jax.enable_x64(True):
        problem = linear(jnp.asarray(a), jnp.asarray(b)), quadratic(jnp.asarray(q), jnp.asarray(r))
        found = infinite_horizon_lqr(*problem)
        long = finite_horizon_lqr(*problem, jax.tree.map(jnp.zeros_like, found.value), horizon=500)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.value.matrix, expected, atol=1e-8 * scale)
    np.testing.assert_allclose(long.values.matrix[0], expected, atol=1e-8 * scale)
    gain = -np.linalg.solve(r + b.T @ expected @ b, b.T @ expected @ a)
    np.testing.assert_allclose(found.controller.gain, gain, atol=1e-8 * scale)


def test_what_is_paid_is_what_the_value_says():
    a, b, q, r = (jnp.asarray(x, jnp.float32) for x in DOUBLE_INTEGRATOR)
    found = infinite_horizon_lqr(linear(a, b), quadratic(q, r))
    controllers = repeat(found.controller, 400)
    x = jnp.array([1.0, -0.5])
    _, _, costs = follow(controllers, repeat(linear(a, b), 400), repeat(quadratic(q, r), 400), x)
    np.testing.assert_allclose(jnp.sum(costs), found.value(x), rtol=1e-4)


def test_a_discount_is_a_scaled_problem():
    """sqrt(g) A and sqrt(g) B without a discount have the same P and K."""
    a, b, q, r = DOUBLE_INTEGRATOR
    expected = scipy.linalg.solve_discrete_are(np.sqrt(0.9) * a, np.sqrt(0.9) * b, q, r)
    with jax.enable_x64(True):
        found = infinite_horizon_lqr(linear(*map(jnp.asarray, (a, b))), quadratic(*map(jnp.asarray, (q, r))), 0.9)
    np.testing.assert_allclose(found.value.matrix, expected, atol=1e-8)


def test_tracking_is_control_of_the_difference():
    """The cost of tracking at (x, u) is the cost of (x - x*, u - u*), slopes and cross terms included."""
    with jax.enable_x64(True):
        _, cost, _ = random_problem(5, 6)
        cost = jax.tree.map(jnp.asarray, Quadratic(**cost))
        rng = np.random.default_rng(0)
        x, goal_x = rng.normal(size=(2, 6, 3))
        u, goal_u = rng.normal(size=(2, 6, 2))

        def paid(cost: Quadratic, x: np.ndarray, u: np.ndarray) -> np.ndarray:
            one = lambda c, x, u: (  # noqa: E731
                0.5 * x @ c.state @ x
                + 0.5 * u @ c.action @ u
                + u @ c.cross @ x
                + c.state_slope @ x
                + c.action_slope @ u
                + c.constant
            )
            return np.asarray(jax.vmap(one)(cost, jnp.asarray(x), jnp.asarray(u)))

        moved = tracking(cost, jnp.asarray(goal_x), jnp.asarray(goal_u))
        np.testing.assert_allclose(paid(moved, x, u), paid(cost, x - goal_x, u - goal_u), rtol=1e-9)


def test_the_maximum_entropy_controller_has_the_inverse_curvature():
    with jax.enable_x64(True):
        problem = random_problem(1, 3)
        dynamics, cost, final = (
            jax.tree.map(jnp.asarray, kind(**part))
            for kind, part in zip((Linear, Quadratic, Value), problem, strict=True)
        )
        controller = jax.tree.map(lambda x: x[0], finite_horizon_lqr(dynamics, cost, final).controllers)
        x = jnp.array([0.3, -1.0, 0.5])
        draws = jax.vmap(lambda key: controller.sample(key, x, 0.5))(jax.random.split(jax.random.key(0), 100_000))
        np.testing.assert_allclose(draws.mean(0), controller.mean(x), atol=0.02)
        np.testing.assert_allclose(np.cov(draws.T), 0.5 * np.linalg.inv(controller.curvature), atol=0.02)


def test_a_problem_without_a_best_action_is_found():
    a, b, q, _ = (jnp.asarray(x, jnp.float32) for x in DOUBLE_INTEGRATOR)
    last = Value(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(()))
    found = finite_horizon_lqr(linear(a, b), quadratic(q, -jnp.eye(1)), last, horizon=1)
    assert not found.controllers.positive[0]


def test_the_number_of_steps_is_said_once():
    a, b, q, r = (jnp.asarray(x, jnp.float32) for x in DOUBLE_INTEGRATOR)
    last = Value(q, jnp.zeros(2), jnp.zeros(()))
    with pytest.raises(ValueError, match="say how many steps"):
        finite_horizon_lqr(linear(a, b), quadratic(q, r), last)
    with pytest.raises(ValueError, match="say how many steps"):
        finite_horizon_lqr(repeat(linear(a, b), 3), repeat(quadratic(q, r), 3), last, horizon=3)
