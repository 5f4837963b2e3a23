"""Policies and targets of action values in tables, against sums over actions written out.

The checks take the module under test: a mutant can be put in its place.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl.operators import tabular

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def random_row(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values of few levels, so that ties are common, and which actions exist (at least one)."""
    values = rng.integers(-2, 3, size=5).astype(np.float32)
    available = rng.random(5) < 0.7
    available[rng.integers(5)] = True
    return values, available


def check_policies(module: ModuleType) -> None:
    """Each probability from the definition, action by action."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        values, available = random_row(rng)
        row = module.available_values(jnp.asarray(values), jnp.asarray(available))
        greedy = module.greedy_probabilities(row)
        near = module.greedy_probabilities(row, 1.5)
        uniform = module.uniform_probabilities(row)
        mixed = module.mix_with_uniform(greedy, row, 0.3)
        existing = [a for a in range(5) if available[a]]
        largest = max(values[a] for a in existing)
        best = [a for a in existing if values[a] == largest]
        nearly_best = [a for a in existing if values[a] >= largest - 1]
        for a in range(5):
            exploring = 1 / len(existing) if a in existing else 0.0
            exploiting = 1 / len(best) if a in best else 0.0
            np.testing.assert_allclose(uniform[a], exploring, **CLOSE)
            np.testing.assert_allclose(greedy[a], exploiting, **CLOSE)
            np.testing.assert_allclose(near[a], 1 / len(nearly_best) if a in nearly_best else 0.0, **CLOSE)
            np.testing.assert_allclose(mixed[a], 0.3 * exploring + 0.7 * exploiting, **CLOSE)
        expected = sum((0.3 / len(existing) + 0.7 * (a in best) / len(best)) * values[a] for a in existing)
        np.testing.assert_allclose(module.expected_value(mixed, row), expected, **CLOSE)


def check_target(module: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for terminated in (True, False) * 5:
        reward, value = rng.normal(size=2).astype(np.float32)
        ours = module.bootstrapped_target(jnp.asarray(reward), jnp.asarray(terminated), jnp.asarray(value), 0.9)
        np.testing.assert_allclose(ours, reward if terminated else reward + 0.9 * value, **CLOSE)


def check_bonus(module: ModuleType) -> None:
    elapsed = np.array([0, 1, 4, 100, -3], np.int32)
    np.testing.assert_allclose(module.exploration_bonus(elapsed, 0.5), [0.0, 0.5, 1.0, 5.0, 0.0], **CLOSE)


@pytest.mark.parametrize("check", [check_policies, check_target, check_bonus], ids=lambda x: x.__name__)
def test_operator_equals_its_definition(check):
    check(tabular)  # asserts


def test_actions_are_drawn_with_their_probabilities_and_never_where_there_is_none():
    probabilities = jnp.array([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    draws = jax.random.uniform(jax.random.key(0), (20_000,))
    actions = tabular.choose(draws, jnp.broadcast_to(probabilities, (20_000, 6)))
    assert actions.dtype == jnp.int32
    counts = np.bincount(actions, minlength=6)
    assert counts[[0, 2, 5]].tolist() == [0, 0, 0]
    assert scipy.stats.chisquare(counts[[1, 3, 4]], 20_000 * np.array([0.2, 0.5, 0.3])).pvalue > 1e-3
    for extreme in (0.0, float(np.nextafter(np.float32(1), np.float32(0)))):
        assert int(tabular.choose(jnp.float32(extreme), probabilities)) in (1, 4)


def test_greedy_ties_are_broken_at_random():
    values = tabular.available_values(jnp.array([1.0, 1.0, 0.0, 1.0]), jnp.array([True, True, True, False]))
    draws = jax.random.uniform(jax.random.key(1), (10_000,))
    greedy = tabular.greedy_probabilities(values)
    counts = np.bincount(jax.vmap(tabular.choose, (0, None))(draws, greedy), minlength=4)
    assert counts[2:].tolist() == [0, 0]
    assert scipy.stats.chisquare(counts[:2]).pvalue > 1e-3


def test_marked_elements_are_drawn_uniformly():
    marked = jnp.array([False, True, True, False, True, False])
    drawn = tabular.choose_marked(jax.random.uniform(jax.random.key(2), (9_000,)), marked)
    counts = np.bincount(drawn, minlength=6)
    assert counts[[0, 3, 5]].tolist() == [0, 0, 0]
    assert scipy.stats.chisquare(counts[[1, 2, 4]]).pvalue > 1e-3


def test_what_follows_a_terminal_state_is_not_looked_at():
    for nothing in (-jnp.inf, jnp.nan):
        target = tabular.bootstrapped_target(jnp.float32(2.0), jnp.asarray(True), jnp.float32(nothing), 0.9)
        assert float(target) == 2.0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        tabular.bootstrapped_target(jnp.zeros(3), jnp.zeros(3, bool), jnp.zeros((3, 1)), 0.9)
    with pytest.raises(AssertionError):
        tabular.bootstrapped_target(jnp.zeros(3), jnp.zeros(3), jnp.zeros(3), 0.9)
    with pytest.raises(AssertionError):
        tabular.available_values(jnp.zeros((2, 3)), jnp.ones(3, bool))
