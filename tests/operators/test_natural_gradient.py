"""Fisher products against the explicit matrix, conjugate gradients against a direct solution, and invariant steps."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from purerl.distributions import Categorical, DiagonalGaussian
from purerl.operators.natural_gradient import conjugate_gradient, fisher_vector_product, natural_step

STATES = jnp.asarray(np.random.default_rng(0).normal(size=(7, 2)), jnp.float32)


def network(params, states):
    return jnp.tanh(states @ params["in"]) @ params["out"]


def categorical(params, states):
    return Categorical(network(params, states))


def gaussian(params, states):
    return DiagonalGaussian(network(params, states), params["log_deviation"])


def parameters(outputs):
    rng = np.random.default_rng(1)
    shapes = {"in": (2, 4), "out": (4, outputs), "log_deviation": (outputs,)}
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def weighted_actions(distribution):
    """Actions `[N, ...]` and weights that integrate polynomials of degree 9 exactly over one state's distribution."""
    if isinstance(distribution, Categorical):
        return jnp.arange(distribution.logits.shape[-1]), jax.nn.softmax(distribution.logits)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    z = np.array(list(itertools.product(nodes, repeat=2)))
    weight = np.array([a * b for a, b in itertools.product(weights, repeat=2)])
    return distribution.mean + jnp.exp(distribution.log_deviation) * z, weight / weight.sum()


def explicit_fisher(policy, params):
    """The mean over states of `sum_a pi(a) score(a) score(a)^T`, in double precision."""
    flat, unravel = ravel_pytree(params)
    fisher = np.zeros((flat.size, flat.size))

    def log_probability(flat, action, state):
        return policy(unravel(flat), state).log_probability(action)

    score = jax.jit(jax.vmap(jax.grad(log_probability), (None, 0, None)))
    for state in STATES:
        actions, weights = weighted_actions(policy(params, state))
        scores = np.asarray(score(flat, actions, state), float)
        fisher += (scores * np.asarray(weights, float)[:, None]).T @ scores / len(STATES)
    return fisher


def kl_to(policy, params):
    old = policy(params, STATES)
    return lambda new: jnp.mean(old.kl(policy(new, STATES)))


@pytest.mark.parametrize(("policy", "outputs"), [(categorical, 3), (gaussian, 2)])
def test_fisher_product_is_that_of_the_explicit_matrix(policy, outputs):
    params = parameters(outputs)
    flat, unravel = ravel_pytree(params)
    product = jax.jit(partial(fisher_vector_product, kl_to(policy, params), params))
    matrix = jax.vmap(lambda v: ravel_pytree(product(unravel(v)))[0])(jnp.eye(flat.size))
    expected = explicit_fisher(policy, params)
    assert np.abs(matrix - expected).max() < 1e-4 * np.abs(expected).max()
    vector = unravel(jnp.asarray(np.random.default_rng(2).normal(size=flat.size), jnp.float32))
    damped = ravel_pytree(product(vector, damping=0.1))[0]
    whole = (expected + 0.1 * np.eye(flat.size)) @ np.asarray(ravel_pytree(vector)[0], float)
    assert np.linalg.norm(damped - whole) < 1e-4 * np.linalg.norm(whole)


def system(seed, size=6):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    return jnp.asarray(root @ root.T + np.eye(size), jnp.float32), jnp.asarray(rng.normal(size=size), jnp.float32)


@partial(jax.jit, static_argnums=2)
def solve(matrix, b, iterations):
    return conjugate_gradient(lambda x: matrix @ x, b, iterations)


def test_conjugate_gradient_is_a_direct_solution():
    for seed in range(5):
        matrix, b = system(seed)
        expected = np.linalg.solve(np.asarray(matrix, float), np.asarray(b, float))
        np.testing.assert_allclose(solve(matrix, b, 12), expected, rtol=1e-3, atol=1e-4)
    tree = conjugate_gradient(lambda x: {"a": 2.0 * x["a"], "b": 4.0 * x["b"]}, {"a": b[:2], "b": b[2:]}, 5)
    np.testing.assert_allclose(jnp.concatenate([tree["a"], tree["b"]]), b / np.array([2, 2, 4, 4, 4, 4]), rtol=1e-5)


def test_conjugate_gradient_of_every_agent_is_its_own():
    """Also beside agents that stop at once, or long before: and more steps than dimensions do no harm."""
    systems = [system(seed) for seed in range(4)]
    systems += [(jnp.eye(6), systems[0][1]), (systems[1][0], jnp.zeros(6)), (jnp.eye(6) * 1e-6, 1e-12 * jnp.ones(6))]
    matrices, rights = map(jnp.stack, zip(*systems, strict=True))
    for iterations in (1, 3, 10, 40):
        together = jax.vmap(solve, (0, 0, None))(matrices, rights, iterations)
        alone = jnp.stack([solve(*one, iterations) for one in systems])
        assert np.all(np.isfinite(together))
        np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(together[5], 0.0)
    np.testing.assert_allclose(together[6], 1e-6, rtol=1e-5)


def test_a_step_has_the_divergence_it_was_given():
    params = parameters(2)
    kl_at = kl_to(gaussian, params)
    away = jax.tree.map(jnp.ones_like, params)
    gradient = fisher_vector_product(kl_at, params, away)  # as those of objectives of the policy, in the range of F
    product = partial(fisher_vector_product, kl_at, params, damping=1e-3)
    direction = jax.jit(lambda gradient: conjugate_gradient(product, gradient, 20))(gradient)
    for delta in (1e-4, 1e-3):
        step = natural_step(gradient, direction, fisher_vector_product(kl_at, params, direction), delta)
        np.testing.assert_allclose(kl_at(jax.tree.map(jnp.add, params, step)), delta, rtol=0.1)


def test_a_gradient_of_zero_gives_no_step_and_one_that_is_no_number_shows():
    matrix, _ = system(0)

    def step(gradient):
        direction = solve(matrix, gradient, 10)
        return natural_step(gradient, direction, matrix @ direction, 0.01)

    np.testing.assert_array_equal(step(jnp.zeros(6)), 0.0)
    np.testing.assert_array_equal(step(jnp.full(6, 1e-30)), 0.0)
    assert np.all(np.isfinite(step(jnp.full(6, 1e-15))))
    assert np.any(np.isnan(step(jnp.full(6, jnp.nan))))
    slope = jax.grad(lambda scale: jnp.sum(step(scale * jnp.zeros(6))))(1.0)
    assert np.isfinite(slope)


def test_a_natural_step_does_not_depend_on_how_the_policy_is_written():
    """Actions N(k s, sigma^2) with reward -s^2 - a^2 (Peters & Schaal, 2008), by sigma and by its logarithm."""
    rng = np.random.default_rng(0)
    states = jnp.asarray(rng.normal(size=(200, 1)), jnp.float32)
    k, sigma = jnp.float32(0.5), jnp.float32(0.7)
    actions = k * states + sigma * jnp.asarray(rng.normal(size=(200, 1)), jnp.float32)
    reward = -jnp.sum(jnp.square(states) + jnp.square(actions), axis=-1)

    @partial(jax.jit, static_argnums=(0, 3))
    def moved(to_log_deviation, params, delta, natural):
        def policy(params):
            return DiagonalGaussian(params[0] * states, jnp.full((1,), to_log_deviation(params[1])))

        old = policy(params)
        gradient = jax.grad(lambda new: jnp.mean(policy(new).log_probability(actions) * reward))(params)
        product = partial(fisher_vector_product, lambda new: jnp.mean(old.kl(policy(new))), params)
        direction = conjugate_gradient(product, gradient, 2) if natural else gradient
        new = params + natural_step(gradient, direction, product(direction), delta)
        return jnp.stack([new[0], jnp.exp(to_log_deviation(new[1]))])

    def same(x):
        return x

    def differences(delta, natural):
        by_deviation = moved(jnp.log, jnp.stack([k, sigma]), delta, natural)
        by_logarithm = moved(same, jnp.stack([k, jnp.log(sigma)]), delta, natural)
        return np.abs(by_deviation - by_logarithm).max() / np.abs(by_deviation - np.array([k, sigma])).max()

    assert differences(1e-4, natural=True) < 0.02
    assert differences(1e-2, natural=True) < 0.2  # ten times larger steps: what is left is of second order
    assert differences(1e-4, natural=False) > 0.1
