"""Distributional operators against slow oracles. The guards take the module under test: a mutant fits in its place."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import distributional

TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}


def projection_oracle(support, probabilities, target_support):
    """Share the mass of one target atom after the other between its two neighbours; all of it where it meets one."""
    result, spacing = np.zeros(len(support)), support[1] - support[0]
    for mass, target in zip(probabilities, target_support, strict=True):
        position = (min(max(target, support[0]), support[-1]) - support[0]) / spacing
        lower, upper = int(np.floor(position + 1e-9)), int(np.ceil(position - 1e-9))
        if lower == upper:
            result[lower] += mass
        else:
            result[lower] += mass * (upper - position)
            result[upper] += mass * (position - lower)
    return result


def quantile_huber_oracle(prediction, levels, target, kappa):
    total = 0.0
    for theta, level in zip(prediction, levels, strict=True):
        for y in target:
            delta = y - theta
            weight = 1 - level if delta < 0 else level
            huber = delta**2 / 2 if abs(delta) <= kappa else kappa * (abs(delta) - kappa / 2)
            total += weight * huber / kappa / len(target)
    return total


def cvar_oracle(values, probabilities, level):
    """Take from the worst outcomes until `level` is reached."""
    total, taken = 0.0, 0.0
    for value, probability in sorted(zip(values, probabilities, strict=True)):
        share = min(probability, level - taken)
        total, taken = total + share * value, taken + share
        if taken >= level - 1e-12:
            break
    return total / level


def distribution(rng: np.random.Generator, atoms: int) -> np.ndarray:
    weight = rng.exponential(size=atoms) * (rng.random(atoms) < 0.7) + 1e-3
    return (weight / weight.sum()).astype(np.float32)


def projection(distributional: ModuleType) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        support = np.linspace(-rng.uniform(1, 5), rng.uniform(1, 5), 11).astype(np.float32)
        probabilities = distribution(rng, 11)
        discount = 0.0 if seed % 4 == 0 else rng.uniform(0.5, 1.0)  # every fourth one is terminal
        target = (rng.normal() * 2 + discount * support).astype(np.float32)
        ours = distributional.categorical_projection(support, probabilities, target)
        np.testing.assert_allclose(ours, projection_oracle(support, probabilities, target), **TOLERANCE)
        np.testing.assert_allclose(ours.sum(), 1.0, atol=1e-5)
        narrow = np.clip(target, support[0], support[-1])
        np.testing.assert_allclose(ours @ support, narrow @ probabilities, rtol=1e-4, atol=1e-5)


def projection_on_atoms(distributional: ModuleType) -> None:
    """Targets that meet the atoms keep all their mass: the case that code by floor and ceiling loses."""
    support, probabilities = jnp.arange(-2.0, 3.0), jnp.array([0.1, 0.2, 0.3, 0.25, 0.15])
    for shift, expected in ((0.0, [0.1, 0.2, 0.3, 0.25, 0.15]), (1.0, [0.0, 0.1, 0.2, 0.3, 0.4])):
        ours = distributional.categorical_projection(support, probabilities, support + shift)
        np.testing.assert_allclose(ours, expected, **TOLERANCE)
    terminal = distributional.categorical_projection(support, probabilities, jnp.full(5, 0.25))
    np.testing.assert_allclose(terminal, [0, 0, 0.75, 0.25, 0], **TOLERANCE)


def quantile_huber(distributional: ModuleType) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        prediction, levels = rng.normal(size=5).astype(np.float32), rng.random(5).astype(np.float32)
        target, kappa = rng.normal(size=7).astype(np.float32), rng.choice([0.1, 0.5, 1.0, 3.0])
        ours = distributional.quantile_huber(prediction, levels, target, kappa)
        np.testing.assert_allclose(ours, quantile_huber_oracle(prediction, levels, target, kappa), **TOLERANCE)


def quantile_minimiser(distributional: ModuleType) -> None:
    """As kappa goes to 0, the loss of a fixed sample is least at its empirical quantiles."""
    sample = jnp.asarray(np.random.default_rng(0).gamma(2.0, size=25), jnp.float32)
    levels = distributional.quantile_midpoints(5)
    slope = jax.grad(lambda theta: distributional.quantile_huber(theta, levels, sample, 1e-3))

    def descend(theta, rate):
        return theta - rate * slope(theta), None

    theta, _ = jax.lax.scan(descend, jnp.full(5, 2.0), jnp.geomspace(0.3, 1e-3, 1000))
    expected = np.quantile(sample, levels, method="inverted_cdf")  # levels x 25 is no integer: the quantile is unique
    np.testing.assert_allclose(theta, expected, atol=5e-3)


def conditional_value_at_risk(distributional: ModuleType) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values, probabilities = np.sort(rng.normal(size=9)).astype(np.float32), distribution(rng, 9)
        for level in (0.05, 0.25, 0.7, 1.0):
            ours = distributional.conditional_value_at_risk(values, probabilities, level)
            np.testing.assert_allclose(ours, cvar_oracle(values, probabilities, level), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ours, values @ probabilities, rtol=1e-4, atol=1e-5)


GUARDS = [projection, projection_on_atoms, quantile_huber, quantile_minimiser, conditional_value_at_risk]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
def test_operator_equals_its_oracle(guard):
    guard(distributional)  # asserts


def test_a_large_kappa_gives_expectiles():
    """Where every error is within kappa, the minimiser weighs squares: tau sum (y - e)+ = (1 - tau) sum (e - y)+."""
    sample = jnp.asarray(np.random.default_rng(1).normal(size=25), jnp.float32)
    levels = distributional.quantile_midpoints(4)
    slope = jax.grad(lambda theta: distributional.quantile_huber(theta, levels, sample, 100.0) * 100.0)
    theta, _ = jax.lax.scan(lambda theta, _: (theta - 0.5 * slope(theta), None), jnp.zeros(4), length=300)
    for expectile, level in zip(np.asarray(theta), np.asarray(levels), strict=True):
        error = np.asarray(sample) - expectile
        np.testing.assert_allclose(level * error[error > 0].sum(), -(1 - level) * error[error < 0].sum(), rtol=1e-3)


def test_batches_by_vmap_equal_one_by_one():
    rng = np.random.default_rng(0)
    prediction, levels, target = (jnp.asarray(rng.random((3, 5)), jnp.float32) for _ in range(3))
    batch = jax.vmap(distributional.quantile_huber)(prediction, levels, target)
    alone = [distributional.quantile_huber(*one) for one in zip(prediction, levels, target, strict=True)]
    np.testing.assert_allclose(batch, jnp.stack(alone), rtol=1e-6)


def test_batched_arguments_are_refused():
    with pytest.raises(AssertionError):
        distributional.categorical_projection(jnp.arange(3.0), jnp.ones((2, 3)) / 3, jnp.ones((2, 3)))
    with pytest.raises(AssertionError):
        distributional.quantile_huber(jnp.zeros(3), jnp.zeros(2), jnp.zeros(4))
    with pytest.raises(AssertionError):
        distributional.conditional_value_at_risk(jnp.zeros(3), jnp.ones((3, 1)), 0.5)
