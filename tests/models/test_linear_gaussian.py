"""Time-varying linear models of systems that are linear, and of one that is not."""

import jax
import jax.numpy as jnp
import numpy as np

from purerl.models import fit_linear_gaussian, fit_linear_steps, fit_mixture
from purerl.planning import Linear, finite_horizon_lqr, follow, quadratic
from purerl.planning.linear_quadratic import Value, repeat

STEPS = 12


def rolled_out(rng: np.random.Generator, episodes: int, noise: float):
    """Episodes of a linear system that turns with time, and its matrices."""
    a = np.stack([[[np.cos(t / 8), -np.sin(t / 8)], [np.sin(t / 8), np.cos(t / 8)]] for t in range(STEPS)])
    b, c = np.array([[0.0, 0.3], [1.0, 0.1]]), np.array([0.2, -0.1])
    states, actions = [rng.normal(size=(episodes, 2))], rng.normal(size=(episodes, STEPS, 2))
    for t in range(STEPS):
        after = states[-1] @ a[t].T + actions[:, t] @ b.T + c + noise * rng.normal(size=(episodes, 2))
        states.append(after)
    return np.stack(states, axis=1).astype(np.float32), actions.astype(np.float32), (a, b, c)


def test_a_linear_system_is_found_with_its_noise():
    states, actions, (a, b, c) = rolled_out(np.random.default_rng(0), 400, 0.2)
    found = fit_linear_gaussian(jnp.asarray(states), jnp.asarray(actions), prior=0.0)
    np.testing.assert_allclose(found.state, a, atol=0.06)
    np.testing.assert_allclose(found.action, np.broadcast_to(b, (STEPS, 2, 2)), atol=0.06)
    np.testing.assert_allclose(found.offset, np.broadcast_to(c, (STEPS, 2)), atol=0.08)
    np.testing.assert_allclose(found.covariance, np.broadcast_to(0.04 * np.eye(2), (STEPS, 2, 2)), atol=0.012)


def test_without_neighbours_it_is_the_least_squares_of_every_step():
    states, actions, _ = rolled_out(np.random.default_rng(1), 30, 0.3)
    found = fit_linear_gaussian(jnp.asarray(states), jnp.asarray(actions), prior=0.0, ridge=1e-7)
    for t in (0, 5, STEPS - 1):
        inputs = np.concatenate([states[:, t], actions[:, t], np.ones((30, 1))], axis=1)
        expected = np.linalg.lstsq(inputs, states[:, t + 1], rcond=None)[0].T
        np.testing.assert_allclose(found.state[t], expected[:, :2], atol=2e-3)
        np.testing.assert_allclose(found.action[t], expected[:, 2:4], atol=2e-3)
        np.testing.assert_allclose(found.offset[t], expected[:, 4], atol=2e-3)


def test_neighbours_help_when_there_are_few_episodes():
    rng = np.random.default_rng(2)
    errors = {0.0: [], 0.3: []}
    for _ in range(10):
        states, actions, (a, *_) = rolled_out(rng, 5, 0.3)
        for prior, found in errors.items():
            fitted = fit_linear_gaussian(jnp.asarray(states), jnp.asarray(actions), prior=prior)
            found.append(float(np.mean((np.asarray(fitted.state) - a) ** 2)))
    assert np.median(errors[0.3]) < 0.5 * np.median(errors[0.0])


def test_episodes_of_no_weight_are_left_out():
    states, actions, _ = rolled_out(np.random.default_rng(3), 20, 0.1)
    poisoned = states.copy()
    poisoned[10:] += 100.0
    weight = jnp.where(jnp.arange(20) < 10, 1.0, 0.0)
    few = fit_linear_gaussian(jnp.asarray(states[:10]), jnp.asarray(actions[:10]), ridge=1e-6)
    left = fit_linear_gaussian(jnp.asarray(poisoned), jnp.asarray(actions), ridge=1e-6, weight=weight)
    # the unit of the ridge is of all episodes, and hardly matters
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=0.02), few, left)


def test_the_controller_of_the_fitted_model_controls_the_system():
    """LQR on a model from 20 noisy episodes pays at most a tenth more than LQR on the truth."""
    states, actions, (a, b, c) = rolled_out(np.random.default_rng(4), 20, 0.05)
    truth = Linear(
        jnp.asarray(a, jnp.float32),
        *repeat((jnp.asarray(b, jnp.float32), jnp.asarray(c, jnp.float32), jnp.zeros((2, 2))), STEPS),
    )
    cost = repeat(quadratic(jnp.eye(2), 0.1 * jnp.eye(2)), STEPS)
    last = Value(10 * jnp.eye(2), jnp.zeros(2), jnp.zeros(()))

    def paid(model: Linear) -> float:
        controllers = finite_horizon_lqr(model, cost, last).controllers
        ends, _, costs = follow(controllers, truth, cost, jnp.array([1.0, -2.0]))
        return float(jnp.sum(costs) + last(ends[-1]))

    assert paid(fit_linear_gaussian(jnp.asarray(states), jnp.asarray(actions))) < 1.1 * paid(truth)


def test_single_steps_of_cut_episodes_in_any_order_are_as_good_as_episodes():
    """Half of the episodes end early, what would have come later weighs nothing, and the rows are shuffled."""
    states, actions, _ = rolled_out(np.random.default_rng(5), 40, 0.1)
    alive = np.ones((40, STEPS))
    alive[20:, 7:] = 0.0
    rows = np.random.default_rng(6).permutation(40 * STEPS)
    flat = [jnp.asarray(x.reshape(40 * STEPS, -1)[rows]) for x in (states[:, :-1], actions, states[:, 1:])]
    time, weight = np.tile(np.arange(STEPS), 40)[rows], alive.reshape(-1)[rows]
    found = fit_linear_steps(*flat, jnp.asarray(time), STEPS, prior=0.0, ridge=1e-7, weight=jnp.asarray(weight))
    for t in (0, 6, 7, STEPS - 1):
        kept = slice(None) if t < 7 else slice(0, 20)
        inputs = np.concatenate([states[kept, t], actions[kept, t], np.ones_like(states[kept, t, :1])], axis=1)
        expected = np.linalg.lstsq(inputs, states[kept, t + 1], rcond=None)[0].T
        np.testing.assert_allclose(found.state[t], expected[:, :2], atol=2e-3)
        np.testing.assert_allclose(found.action[t], expected[:, 2:4], atol=2e-3)


def test_a_step_without_data_has_the_model_of_all_steps():
    rng = np.random.default_rng(7)
    x, u = rng.normal(size=(50, 2)), rng.normal(size=(50, 1))
    after = x @ np.array([[0.9, 0.2], [0.0, 0.8]]) + u @ np.array([[0.0, 1.0]])
    rows = [jnp.asarray(z, jnp.float32) for z in (x, u, after)]
    found = fit_linear_steps(*rows, jnp.zeros(50, jnp.int32), 9, window=1, ridge=1e-7)
    np.testing.assert_allclose(found.state[8], np.array([[0.9, 0.0], [0.2, 0.8]]), atol=1e-3)
    np.testing.assert_allclose(found.action[8], np.array([[0.0], [1.0]]), atol=1e-3)


def regimes(rng: np.random.Generator, count: int):
    """Single steps in one of two regimes, apart in x, each with a linear system of its own."""
    right = rng.random(count) < 0.4
    x = rng.normal(size=(count, 2)) + np.where(right, 4.0, -4.0)[:, None]
    u = rng.normal(size=(count, 1))
    matrices = np.array([[[0.9, 0.3], [0.0, 0.7]], [[0.2, 0.0], [0.5, 1.1]]])
    after = np.einsum("mij,mj->mi", matrices[right.astype(int)], x) + u @ np.array([[0.0, 1.0]])
    return [jnp.asarray(z, jnp.float32) for z in (x, u, after)], right, matrices


def test_a_mixture_finds_the_regimes_and_their_shares():
    rows, right, _ = regimes(np.random.default_rng(8), 1000)
    mixture = fit_mixture(jax.random.key(0), *rows, components=2, iterations=20)
    first = np.asarray(mixture.mean[:2] + mixture.scale[:2] * mixture.centre[:, :2])  # of x
    at_right = int(np.argmax(first[:, 0]))
    np.testing.assert_allclose(np.exp(mixture.log_share[at_right]), right.mean(), atol=0.02)
    np.testing.assert_allclose(first[at_right], rows[0][right].mean(axis=0), atol=0.1)
    np.testing.assert_allclose(first[1 - at_right], rows[0][~right].mean(axis=0), atol=0.1)
    of_rows = np.concatenate([*rows[:2], rows[2] - rows[0]], axis=1)
    z = np.concatenate([(of_rows - of_rows.mean(0)) / of_rows.std(0), np.ones((1000, 1))], axis=1)
    expected = np.mean(z[right, :, None] * z[right, None, :], axis=0)
    np.testing.assert_allclose(mixture.moments[at_right], expected, atol=0.02)


def test_rows_without_weight_do_not_shape_a_mixture():
    rows, *_ = regimes(np.random.default_rng(9), 300)
    poisoned = [jnp.concatenate([x, 100.0 + x[:50]]) for x in rows]
    weight = jnp.concatenate([jnp.ones(300), jnp.zeros(50)])
    mixture = fit_mixture(jax.random.key(0), *poisoned, components=3, weight=weight)
    centre = mixture.mean + mixture.scale * mixture.centre
    assert jnp.all(jnp.abs(centre[:, :2]) < 8.0)
    np.testing.assert_allclose(mixture.mean[:2], rows[0].mean(axis=0), atol=1e-3)


def test_with_a_mixture_two_steps_of_a_regime_tell_its_dynamics():
    """At step 0 all is on the left, at step 1 on the right, with two observations each: fewer than there are inputs."""
    rng = np.random.default_rng(10)
    many, _, matrices = regimes(rng, 2000)
    mixture = fit_mixture(jax.random.key(0), *many, components=2, iterations=20)
    few, right, _ = regimes(rng, 40)
    chosen = np.concatenate([np.flatnonzero(~right)[:2], np.flatnonzero(right)[:2]])
    rows = [x[chosen] for x in few]
    time = jnp.array([0, 0, 1, 1])
    found = fit_linear_steps(*rows, time, 3, window=0, ridge=1e-6, mixture=mixture, strength=10.0)
    np.testing.assert_allclose(found.state[:2], matrices, atol=0.05)
    np.testing.assert_allclose(found.action[:2], np.broadcast_to([[0.0], [1.0]], (2, 2, 1)), atol=0.05)
    alone = fit_linear_steps(*rows, time, 3, window=0, ridge=1e-6)
    assert np.abs(np.asarray(alone.state[:2]) - matrices).max() > 0.3
    everywhere = fit_linear_steps(*many, jnp.zeros(2000, jnp.int32), 1, ridge=1e-6)  # of both regimes at once
    np.testing.assert_allclose(found.state[2], everywhere.state[0], atol=0.05)  # a step without data
