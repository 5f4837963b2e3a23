"""Least squares: against sums written out, against exact solutions, and where matrices are singular."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.environments.finite import garnet
from purerl.operators import least_squares
from purerl.planning import action_values, exact_policy_evaluation


def transitions(rng: np.random.Generator, count: int, features: int) -> dict[str, np.ndarray]:
    return {
        "features": rng.normal(size=(count, features)),
        "reward": rng.normal(size=count),
        "terminated": rng.random(count) < 0.2,
        "successor_features": rng.normal(size=(count, features)),
    }


def check_lstd(module: ModuleType) -> None:
    """The matrix and the vector added up transition by transition."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        data, weight = transitions(rng, 40, 5), rng.uniform(0.1, 1.0, size=40)
        discount, ridge = rng.uniform(0.5, 1.0), rng.uniform(0.01, 0.1)
        matrix, vector = ridge * np.eye(5), np.zeros(5)
        for i in range(40):
            here, there = data["features"][i], data["successor_features"][i]
            follows = here if data["terminated"][i] else here - discount * there
            matrix += weight[i] / weight.sum() * np.outer(here, follows)
            vector += weight[i] / weight.sum() * data["reward"][i] * here
        with jax.enable_x64(True):
            ours = module.lstd(**jax.tree.map(jnp.asarray, data), discount=discount, weight=weight, ridge=ridge)
        np.testing.assert_allclose(ours, np.linalg.inv(matrix) @ vector, rtol=1e-9)


def check_lstdq(module: ModuleType) -> None:
    """Pairs of state and action as explicit rows; the successor's action averaged over the policy."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        data, action = transitions(rng, 60, 3), rng.integers(0, 2, 60)
        policy = rng.dirichlet(np.ones(2), size=60)
        here, there = np.zeros((60, 6)), np.zeros((60, 6))
        for i in range(60):
            here[i, 3 * action[i] : 3 * action[i] + 3] = data["features"][i]
            for a in range(2):
                there[i, 3 * a : 3 * a + 3] = policy[i, a] * data["successor_features"][i]
            if data["terminated"][i]:
                there[i] = 0
        expected = np.linalg.solve(here.T @ (here - 0.9 * there), here.T @ data["reward"])
        with jax.enable_x64(True):
            ours = module.lstdq(
                **jax.tree.map(jnp.asarray, data),
                action=jnp.asarray(action),
                successor_policy=jnp.asarray(policy),
                discount=0.9,
            )
        np.testing.assert_allclose(ours[:, 0], expected[:3], rtol=1e-8)
        np.testing.assert_allclose(ours[:, 1], expected[3:], rtol=1e-8)


def check_model_view(module: ModuleType) -> None:
    """A value by way of the linear model is LSTD's (Parr et al., 2008)."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        data = jax.tree.map(jnp.asarray, transitions(rng, 50, 6))
        weight = jnp.asarray(rng.uniform(size=50))
        through = module.model_value(module.linear_model(**data, weight=weight), 0.9)
        np.testing.assert_allclose(through, module.lstd(**data, discount=0.9, weight=weight), rtol=1e-9)


def check_linear_td_step(module: ModuleType) -> None:
    """Half the gradient of the squared error, whose target is held fixed, and nothing bootstrapped after the end."""
    rng = np.random.default_rng(0)
    for terminated in (True, False) * 3:
        weights, here, there = rng.normal(size=(3, 4)).astype(np.float32)
        reward, importance = np.float32(rng.normal()), np.float32(rng.uniform(0, 3))
        target = reward + 0.9 * (not terminated) * sum(there * weights)
        expected = [importance * (target - sum(here * weights)) * x for x in here]
        ours = module.linear_td_step(weights, here, reward, jnp.asarray(terminated), there, importance, 0.9)
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("check", [check_lstd, check_lstdq, check_model_view, check_linear_td_step])
def test_operator_equals_its_oracle(check):
    check(least_squares)  # asserts


def check_exact_values(module: ModuleType) -> None:
    """With a feature for every state, on every transition with its probability: V^pi and Q^pi to 1e-8."""
    with jax.enable_x64(True):
        for seed in range(3):
            mdp = garnet(jax.random.key(seed), states=8, actions=3, branching=3, terminal_states=1, discount=0.9)
            policy = jax.random.dirichlet(jax.random.key(seed + 1), jnp.ones(3), (8,))
            values = exact_policy_evaluation(mdp, policy)
            state, action, successor = (jnp.asarray(x.ravel()) for x in np.indices((8, 3, 8)))
            eye, chance = jnp.eye(8), mdp.transition[state, action, successor]
            alive = ~mdp.terminal[state]
            here, reward, ended = eye[state], mdp.reward[state, action, successor], mdp.terminal[successor]
            living = np.flatnonzero(~mdp.terminal)

            visited = chance * policy[state, action] * alive
            v = module.lstd(here[:, living], reward, ended, eye[successor][:, living], 0.9, visited)
            np.testing.assert_allclose(v, values[living], rtol=1e-8, atol=1e-8)

            q = module.lstdq(
                here[:, living],
                action,
                reward,
                ended,
                eye[successor][:, living],
                policy[successor],
                0.9,
                chance * alive,
            )
            np.testing.assert_allclose(q, action_values(mdp, values)[living], rtol=1e-8, atol=1e-8)


def test_tabular_features_give_exact_values():
    check_exact_values(least_squares)


def test_a_ridge_on_the_matrix_saves_a_singular_one():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        data = jax.tree.map(jnp.asarray, transitions(rng, 30, 3))
        twice = data | {name: jnp.tile(data[name], 2) for name in ("features", "successor_features")}
        assert not np.all(np.abs(least_squares.lstd(**twice, discount=0.9)) < 1e6)
        once, saved = (least_squares.lstd(**x, discount=0.9, ridge=1e-6) for x in (data, twice))
        np.testing.assert_allclose(saved[:3] + saved[3:], once, rtol=1e-4)  # the same function
        np.testing.assert_allclose(saved[:3], saved[3:], rtol=1e-6)


def test_ridge_regression_shrinks_and_ignores_rows_without_weight():
    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(2, 20, 2)).astype(np.float32)
    weight = (np.arange(20) < 12).astype(np.float32)
    ours = least_squares.ridge_regression(jnp.asarray(features), jnp.asarray(target), weight)
    expected, *_ = np.linalg.lstsq(features[:12], target[:12], rcond=None)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    shrunk = least_squares.ridge_regression(jnp.asarray(features), jnp.asarray(target), weight, ridge=10.0)
    assert np.linalg.norm(shrunk) < 0.2 * np.linalg.norm(expected)
    nothing = least_squares.ridge_regression(jnp.asarray(features), jnp.asarray(target), jnp.zeros(20), ridge=1e-6)
    np.testing.assert_array_equal(nothing, np.zeros((2, 2)))


def test_a_radial_basis_is_one_at_its_centres():
    centres = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    ours = least_squares.radial_basis(jnp.array([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]]), centres, 5.0)
    e = np.exp(-0.5)
    np.testing.assert_allclose(ours, [[1, 1, e], [1, e, 1], [1, np.exp(-9 / 50), np.exp(-16 / 50)]], rtol=1e-6)


def test_solutions_vmap_over_discounts_and_ridges():
    data = jax.tree.map(jnp.asarray, transitions(np.random.default_rng(0), 30, 3))
    discounts, ridges = jnp.array([0.5, 0.9]), jnp.array([0.1, 0.0])
    many = jax.jit(jax.vmap(lambda d, r: least_squares.lstd(**data, discount=d, ridge=r)))(discounts, ridges)
    for i in range(2):
        alone = least_squares.lstd(**data, discount=discounts[i], ridge=ridges[i])
        np.testing.assert_allclose(many[i], alone, rtol=1e-4)


def test_a_mask_that_is_no_mask_and_a_column_for_a_row_are_refused():
    data = jax.tree.map(jnp.asarray, transitions(np.random.default_rng(0), 10, 3))
    with pytest.raises(AssertionError):
        least_squares.lstd(**data | {"terminated": jnp.zeros(10)}, discount=0.9)
    with pytest.raises(AssertionError):
        least_squares.lstd(**data | {"reward": jnp.zeros((10, 1))}, discount=0.9)
