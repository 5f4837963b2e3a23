"""Distributions against scipy, on batches, under vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from purerl.distributions import Categorical, DiagonalGaussian


def test_categorical_against_scipy():
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    distribution = Categorical(jnp.asarray(logits))
    for action in range(4):
        expected = [scipy.stats.multinomial(1, p).logpmf(np.eye(4)[action]) for p in probabilities]
        ours = distribution.log_probability(jnp.full(6, action))
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), scipy.stats.entropy(probabilities, axis=1), rtol=1e-5)
    assert distribution.mode().tolist() == logits.argmax(1).tolist()


def test_categorical_samples_have_its_probabilities():
    logits = jnp.log(jnp.array([0.1, 0.6, 0.3]))
    samples = jax.vmap(Categorical(logits).sample)(jax.random.split(jax.random.key(0), 20_000))
    counts = np.bincount(samples, minlength=3)
    assert scipy.stats.chisquare(counts, 20_000 * np.array([0.1, 0.6, 0.3])).pvalue > 1e-3


def test_categorical_with_a_forbidden_action():
    distribution = Categorical(jnp.array([0.0, -jnp.inf, 0.0]))
    np.testing.assert_allclose(distribution.entropy(), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(distribution.log_probability(jnp.array(0)), np.log(0.5), rtol=1e-6)
    assert distribution.log_probability(jnp.array(1)) == -jnp.inf


def test_gaussian_against_scipy():
    rng = np.random.default_rng(0)
    mean, action = rng.normal(size=(2, 5, 3)).astype(np.float32)
    log_deviation = np.array([-1.0, 0.0, 0.5], np.float32)
    distribution = DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_deviation))
    normal = scipy.stats.norm(mean, np.exp(log_deviation))
    ours = distribution.log_probability(action)
    np.testing.assert_allclose(ours, normal.logpdf(action).sum(-1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), normal.entropy().sum(-1), rtol=1e-5)
    samples = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(samples.std(0), np.broadcast_to(np.exp(log_deviation), (5, 3)), rtol=0.03)
