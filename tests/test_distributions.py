"""Distributions against scipy and against averages over many draws of NumPy, on batches, under jit, vmap and grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from purerl.distributions import (
    Beta,
    Categorical,
    DiagonalGaussian,
    GaussianMixture,
    MultiCategorical,
    TanhGaussian,
    bounded,
)


def categorical(rng):
    return Categorical(jnp.asarray(rng.normal(size=(5, 4)), jnp.float32))


def multi_categorical(rng):
    return MultiCategorical(jnp.asarray(rng.normal(size=(5, 5)), jnp.float32), (2, 3))


def of_two(kind):
    def build(rng):
        mean, log_deviation = jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)
        return kind(mean, log_deviation)

    return build


def beta(rng):
    return Beta(*jnp.asarray(rng.uniform(0.5, 5.0, size=(2, 5, 3)), jnp.float32))


def mixture(rng):
    logits = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    mean, log_deviation = jnp.asarray(rng.normal(size=(2, 5, 3, 2)), jnp.float32)
    return GaussianMixture(logits, mean, log_deviation)


BUILD = {
    "Categorical": categorical,
    "MultiCategorical": multi_categorical,
    "DiagonalGaussian": of_two(DiagonalGaussian),
    "TanhGaussian": of_two(TanhGaussian),
    "Beta": beta,
    "GaussianMixture": mixture,
}
EXACT = [name for name in BUILD if name != "GaussianMixture"]  # whose entropy and divergence are not bounds


def draws(distribution, number):
    keys = jax.random.split(jax.random.key(0), number)
    return jax.jit(lambda distribution, keys: jax.vmap(distribution.sample)(keys))(distribution, keys)


def averages(distribution, other):
    """Monte Carlo: the entropy, the divergence from `other`, and the standard errors of both."""
    x = draws(distribution, 50_000)
    densities = jax.jit(lambda one, x: jax.vmap(one.log_probability)(x))
    log_p = np.asarray(densities(distribution, x), np.float64)
    log_ratio = log_p - np.asarray(densities(other, x), np.float64)
    errors = log_p.std(0) / np.sqrt(len(x)), log_ratio.std(0) / np.sqrt(len(x))
    return -log_p.mean(0), log_ratio.mean(0), *errors


@pytest.mark.parametrize("name", EXACT)
def test_entropy_and_divergence_are_those_of_its_draws(name):
    rng = np.random.default_rng(0)
    distribution, other = BUILD[name](rng), BUILD[name](rng)
    entropy, divergence, entropy_error, divergence_error = averages(distribution, other)
    assert np.all(np.abs(distribution.entropy() - entropy) < 5 * entropy_error + 1e-3)
    assert np.all(np.abs(distribution.kl(other) - divergence) < 5 * divergence_error + 1e-3)
    np.testing.assert_allclose(distribution.kl(distribution), 0.0, atol=1e-5)


@pytest.mark.parametrize("name", BUILD)
def test_one_row_of_a_batch_alone_and_under_vmap_is_the_same(name):
    rng = np.random.default_rng(1)
    distribution, other = BUILD[name](rng), BUILD[name](rng)
    x = distribution.sample(jax.random.key(0))
    assert x.shape == distribution.mode().shape == distribution.action(x).shape

    @jax.jit
    def everything(distribution, other, x):
        numbers = distribution.log_probability(x), distribution.entropy(), distribution.kl(other)
        return *numbers, distribution.mode(), distribution.action(x)

    whole = everything(distribution, other, x)
    for ours, expected in zip(jax.vmap(everything)(distribution, other, x), whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    row = jax.tree.map(lambda leaf: leaf[2], (distribution, other, x))
    for ours, expected in zip(everything(*row), whole, strict=True):
        np.testing.assert_allclose(ours, expected[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BUILD)
def test_the_divergence_from_itself_has_no_slope(name):
    distribution = BUILD[name](np.random.default_rng(2))
    gradient = jax.jit(jax.grad(lambda other: jnp.sum(distribution.kl(other))))(distribution)
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0.0, atol=2e-5)


INF = jnp.inf
EXTREMES = [
    Categorical(jnp.array([0.0, -INF, 1e4])),
    Categorical(jnp.array([-1e9, 0.0, -80.0])),
    MultiCategorical(jnp.array([0.0, -INF, 1e4, 0.0, -INF]), (2, 3)),
    DiagonalGaussian(jnp.array([1e4, 0.0]), jnp.array([-20.0, 10.0])),
    TanhGaussian(jnp.array([100.0, -100.0, 0.0]), jnp.array([-10.0, 3.0, 10.0])),
    Beta(jnp.array([1e-3, 1.0, 1e3, 1e4]), jnp.array([1e-3, 1.0, 1e-3, 1e4])),
    GaussianMixture(
        jnp.array([0.0, -INF, 50.0]), jnp.array([[0.0], [1e3], [1e3]]), jnp.array([[-20.0], [-20.0], [5.0]])
    ),
]


@pytest.mark.parametrize("distribution", EXTREMES, ids=lambda one: type(one).__name__)
def test_values_and_gradients_at_the_extremes_are_numbers(distribution):
    points = [*draws(distribution, 3), distribution.mode()]
    other = jax.tree.map(lambda leaf: 0.9 * leaf, distribution)

    def everything(distribution):
        densities = [distribution.log_probability(jax.lax.stop_gradient(x)) for x in points]
        return jnp.stack([*densities, distribution.entropy(), distribution.kl(other), other.kl(distribution)])

    assert np.all(np.isfinite(jax.jit(everything)(distribution)))
    for leaf in jax.tree.leaves(jax.jit(jax.jacobian(everything))(distribution)):
        assert np.all(np.isfinite(leaf))


def test_categorical_against_scipy():
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    distribution = Categorical(jnp.asarray(logits))
    for action in range(4):
        expected = [scipy.stats.multinomial(1, p).logpmf(np.eye(4)[action]) for p in probabilities]
        ours = distribution.log_probability(jnp.full(6, action))
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), scipy.stats.entropy(probabilities, axis=1), rtol=1e-5)
    divergence = distribution.kl(Categorical(jnp.asarray(logits[::-1])))
    expected = scipy.stats.entropy(probabilities, probabilities[::-1], axis=1)
    np.testing.assert_allclose(divergence, expected, rtol=1e-4, atol=1e-6)
    assert distribution.mode().tolist() == logits.argmax(1).tolist()


def test_categorical_samples_have_its_probabilities():
    logits = jnp.log(jnp.array([0.1, 0.6, 0.3]))
    counts = np.bincount(draws(Categorical(logits), 20_000), minlength=3)
    assert scipy.stats.chisquare(counts, 20_000 * np.array([0.1, 0.6, 0.3])).pvalue > 1e-3


def test_categorical_with_a_forbidden_action():
    distribution = Categorical(jnp.array([0.0, -jnp.inf, 0.0]))
    np.testing.assert_allclose(distribution.entropy(), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(distribution.log_probability(jnp.array(0)), np.log(0.5), rtol=1e-6)
    assert distribution.log_probability(jnp.array(1)) == -jnp.inf
    free = Categorical(jnp.zeros(3))
    np.testing.assert_allclose(distribution.kl(free), np.log(1.5), rtol=1e-6)
    assert free.kl(distribution) == jnp.inf  # it takes an action that the other never takes
    assert distribution.kl(distribution) == 0


def test_several_choices_are_independent():
    distribution = multi_categorical(np.random.default_rng(0))
    first, second = Categorical(distribution.logits[:, :2]), Categorical(distribution.logits[:, 2:])
    joint = np.exp(jax.nn.log_softmax(first.logits))[:, :, None] * np.exp(jax.nn.log_softmax(second.logits))[:, None]
    for i in range(2):
        for j in range(3):
            ours = distribution.log_probability(jnp.tile(jnp.array([i, j]), (5, 1)))
            np.testing.assert_allclose(ours, np.log(joint[:, i, j]), rtol=1e-4)
    np.testing.assert_allclose(distribution.entropy(), scipy.stats.entropy(joint.reshape(5, 6), axis=1), rtol=1e-5)
    x = np.asarray(draws(distribution, 50_000))
    found = np.stack([np.bincount(3 * x[:, b, 0] + x[:, b, 1], minlength=6) for b in range(5)]) / len(x)
    np.testing.assert_allclose(found, joint.reshape(5, 6), atol=0.01)
    np.testing.assert_array_equal(distribution.mode(), np.stack([first.mode(), second.mode()], 1))


def test_gaussian_against_scipy():
    rng = np.random.default_rng(0)
    mean, action = rng.normal(size=(2, 5, 3)).astype(np.float32)
    log_deviation = np.array([-1.0, 0.0, 0.5], np.float32)
    distribution = DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_deviation))
    normal = scipy.stats.norm(mean, np.exp(log_deviation))
    ours = distribution.log_probability(action)
    np.testing.assert_allclose(ours, normal.logpdf(action).sum(-1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), normal.entropy().sum(-1), rtol=1e-5)
    samples = draws(distribution, 20_000)
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(samples.std(0), np.broadcast_to(np.exp(log_deviation), (5, 3)), rtol=0.03)


def test_divergence_of_gaussians_that_are_almost_the_same():
    """Second order in the difference: d^2 for a log-deviation, half of z^2 for a mean."""
    distribution = DiagonalGaussian(jnp.zeros(1), jnp.zeros(1))
    np.testing.assert_allclose(distribution.kl(DiagonalGaussian(jnp.full(1, 1e-3), jnp.zeros(1))), 5e-7, rtol=1e-3)
    np.testing.assert_allclose(distribution.kl(DiagonalGaussian(jnp.zeros(1), jnp.full(1, 1e-2))), 1e-4, rtol=2e-2)


def check_tanh_density(bounded) -> None:
    """The density of the action, written with the action: N(artanh a) / (1 - a^2), in double precision."""
    action = np.linspace(-0.99, 0.99, 41)
    mean, deviation = 0.3, 0.8
    expected = scipy.stats.norm(mean, deviation).logpdf(np.arctanh(action)) - np.log1p(-(action**2))
    one = bounded.TanhGaussian(jnp.full((41, 1), mean), jnp.log(jnp.full(1, deviation)))
    ours = one.log_probability(jnp.asarray(np.arctanh(action)[:, None], jnp.float32))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one.action(one.mode()), np.tanh(mean), rtol=1e-5)


def check_tanh_entropy(bounded) -> None:
    """The differential entropy of the action, integrated over u in double precision."""
    for log_deviation in (-5, -1, 0, 0.5, 1, 1.5, 2):
        z = np.linspace(-10, 10, 20_001)
        weight = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
        means = np.linspace(-5, 5, 21)
        u = means[:, None] + np.exp(log_deviation) * z
        squash = 2 * (np.log(2) - u - np.logaddexp(0, -2 * u))
        expected = scipy.stats.norm(0, np.exp(log_deviation)).entropy() + squash @ weight
        ours = bounded.TanhGaussian(jnp.asarray(means[:, None], jnp.float32), jnp.full(1, log_deviation, jnp.float32))
        np.testing.assert_allclose(ours.entropy(), expected, atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize("check", [check_tanh_density, check_tanh_entropy])
def test_tanh_gaussian_equals_its_oracle(check):
    check(bounded)  # asserts


def test_the_entropy_of_a_tanh_gaussian_falls_again_where_it_is_wide():
    deviations = jnp.linspace(-3.0, 2.0, 30)
    entropies = jax.vmap(lambda x: TanhGaussian(jnp.zeros(1), x[None]).entropy())(deviations)
    assert np.all(entropies < np.log(2))
    assert 0 < np.argmax(entropies) < 29  # a bonus for it does not push the actions into the corners


def test_beta_against_scipy():
    distribution = beta(np.random.default_rng(0))
    a, b = np.asarray(distribution.alpha, float), np.asarray(distribution.beta, float)
    truth = scipy.stats.beta(a, b)
    x = distribution.sample(jax.random.key(0))
    ours = distribution.log_probability(x)
    np.testing.assert_allclose(ours, truth.logpdf(np.asarray(x, float)).sum(-1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(distribution.entropy(), truth.entropy().sum(-1), rtol=1e-4, atol=1e-5)
    samples = np.asarray(draws(distribution, 20_000))
    np.testing.assert_allclose(samples.mean(0), truth.mean(), atol=0.01)
    np.testing.assert_allclose(samples.std(0), truth.std(), rtol=0.03)


def test_beta_stays_inside_and_its_mode_exists():
    distribution = Beta(jnp.array([1e-3, 1.0, 3.0, 0.5, 2.0]), jnp.array([1e-3, 1.0, 2.0, 4.0, 1.0]))
    samples = draws(distribution, 5000)
    assert np.float32(1e-6) <= samples.min() < 1e-5
    assert 1 - 1e-5 < samples.max() <= np.float32(1 - 1e-6)
    np.testing.assert_allclose(distribution.mode(), [0.5, 0.5, 2 / 3, 1 / 9, 2 / 3], rtol=1e-5)
    np.testing.assert_allclose(distribution.action(distribution.mode())[:2], 0.0, atol=1e-6)
    at_ends = jax.grad(lambda x: jnp.sum(distribution.log_probability(x)))(jnp.array([0.0, 1.0, 0.0, 1.0, 0.5]))
    assert np.all(np.isfinite(at_ends))


def mixture_log_density(one, x):
    """`[N, B]` for `x` `[N, B, D]`, in double precision."""
    logits, mean, deviation = (np.asarray(leaf, float) for leaf in (one.logits, one.mean, np.exp(one.log_deviation)))
    weights = logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    densities = scipy.stats.norm(mean, deviation).logpdf(np.asarray(x, float)[..., None, :]).sum(-1)
    return scipy.special.logsumexp(weights + densities, axis=-1)


def test_mixture_against_scipy():
    distribution = mixture(np.random.default_rng(0))
    x = draws(distribution, 50_000)
    ours = jax.vmap(distribution.log_probability)(x[:100])
    np.testing.assert_allclose(ours, mixture_log_density(distribution, x[:100]), rtol=1e-4, atol=1e-4)
    weights = np.asarray(jax.nn.softmax(distribution.logits))[..., None]
    mean = (weights * distribution.mean).sum(1)
    second = (weights * (np.exp(2 * distribution.log_deviation) + distribution.mean**2)).sum(1)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(x.var(0), second - mean**2, rtol=0.06)
    likeliest = np.asarray(distribution.logits).argmax(1)
    np.testing.assert_array_equal(distribution.mode(), distribution.mean[np.arange(5), likeliest])


def test_bounds_of_a_mixture_err_on_their_side():
    rng = np.random.default_rng(3)
    for _ in range(4):
        distribution, other = mixture(rng), mixture(rng)
        entropy, divergence, entropy_error, divergence_error = averages(distribution, other)
        assert np.all(distribution.entropy() < entropy + 5 * entropy_error)
        assert np.all(distribution.entropy() > entropy - np.log(3))
        assert np.all(distribution.kl(other) > divergence - 5 * divergence_error)


def test_bounds_of_a_mixture_are_exact_where_they_should_be():
    one = DiagonalGaussian(jnp.array([0.3, -0.5]), jnp.array([-0.2, 0.4]))
    logits = jnp.array([0.2, -1.0, 0.5])
    same = GaussianMixture(logits, jnp.tile(one.mean, (3, 1)), jnp.tile(one.log_deviation, (3, 1)))
    np.testing.assert_allclose(same.entropy(), one.entropy(), rtol=1e-5)
    apart = same.replace(mean=same.mean + 1000.0 * jnp.arange(3)[:, None])
    np.testing.assert_allclose(apart.entropy(), one.entropy() + Categorical(logits).entropy(), rtol=1e-5)
    moved = apart.replace(logits=jnp.zeros(3), mean=apart.mean + 1.0)
    expected = Categorical(logits).kl(Categorical(jnp.zeros(3))) + one.kl(one.replace(mean=one.mean + 1.0))
    np.testing.assert_allclose(apart.kl(moved), expected, rtol=1e-4)
