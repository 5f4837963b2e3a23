"""Imagined episodes and their two gradients: against finite differences, exact moments and an obvious loop."""

from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import make
from purerl.distributions import DiagonalGaussian
from purerl.environments.wrappers import rescale_actions
from purerl.models import imagined_episodes
from purerl.models.ensemble import EnsembleConfig, make_ensemble
from purerl.models.learned_environment import imagine_from, learned_environment
from purerl.networks.heads import PolicyNetwork
from purerl.operators.returns import generalized_advantage
from purerl.types import Array, Box, Environment, Timestep

UNBOUNDED = Box(-jnp.inf, jnp.inf, (1,))
A, B, NOISE, DEVIATION, DISCOUNT = 1.1, 0.5, 0.3, 0.4, 0.9


def linear(ends_after: int = 99, terminates: bool = True) -> Environment:
    """x' = A x + B a + NOISE w, reward -(x'^2 + a^2 / 10); over after so many steps."""

    def reset(key):
        return (jnp.ones(1), jnp.zeros((), jnp.int32)), jnp.ones(1)

    def step(key, state, action):
        x, time = state
        after = A * x + B * action + NOISE * jax.random.normal(key, (1,))
        over = time + 1 >= ends_after
        ends = (over, jnp.zeros_like(over)) if terminates else (jnp.zeros_like(over), over)
        return (after, time + 1), Timestep(after, -jnp.sum(after**2 + 0.1 * action**2), *ends, {})

    return Environment("linear", reset, step, UNBOUNDED, UNBOUNDED, ends_after)


def gaussian(params: Array):
    """N(gain x + bias, DEVIATION)."""
    return lambda x: DiagonalGaussian(params[0] * x + params[1], jnp.log(jnp.full_like(x, DEVIATION)))


def quadratic(x: Array) -> Array:
    """A V that is not the right one."""
    return -0.7 * x[..., 0] ** 2 + 0.2 * x[..., 0]


def exact_gradient(params: Array, starts: Array, horizon: int) -> Array:
    """Of J by the moments of the linear-Gaussian system."""

    def from_one(params: Array, start: Array) -> Array:
        mean, variance, total = start, 0.0, 0.0
        for t in range(horizon):
            a_mean, a_variance = params[0] * mean + params[1], params[0] ** 2 * variance + DEVIATION**2
            covariance = params[0] * variance
            mean, variance = (
                A * mean + B * a_mean,
                A**2 * variance + B**2 * a_variance + 2 * A * B * covariance + NOISE**2,
            )
            total -= DISCOUNT**t * (mean**2 + variance + 0.1 * (a_mean**2 + a_variance))
        return total + DISCOUNT**horizon * (-0.7 * (mean**2 + variance) + 0.2 * mean)

    return jax.grad(lambda p: jnp.mean(jax.vmap(from_one, (None, 0))(p, starts)))(params)


class Gradients(NamedTuple):
    """`[batches, 2]` each."""

    pathwise: Array
    likelihood_ratio: Array
    leave_one_out: Array


def gradients(module: ModuleType, params: Array, starts: Array, horizon: int, batches: int) -> Gradients:
    """Many estimates of each kind."""
    environment, count = linear(), len(starts)
    begin = (starts[:, None], jnp.zeros(count, jnp.int32))

    def episodes(params: Array, key: Array):
        return module.imagine(environment, gaussian(params), begin, starts[:, None], key, horizon)

    def pathwise(params: Array, key: Array) -> Array:
        found = episodes(params, key)
        return module.pathwise_surrogate(found, quadratic(found.successor), DISCOUNT)

    def likelihood_ratio(params: Array, key: Array, leave_one_out: bool) -> Array:
        found = jax.lax.stop_gradient(episodes(params, key))
        v, after = quadratic(found.observation), quadratic(found.successor)
        ends = found.terminated, found.truncated
        advantage = generalized_advantage(found.reward, v, after, *ends, DISCOUNT, 1.0)
        if leave_one_out:
            advantage = module.leave_one_out_advantage(advantage + v)
        log_probability = gaussian(params)(found.observation).log_probability(found.action)
        return module.likelihood_ratio_surrogate(log_probability, advantage, found.alive, DISCOUNT)

    keys = jax.random.split(jax.random.key(0), batches)
    run = jax.jit(lambda f, k: jax.vmap(jax.grad(f), (None, 0))(params, k), static_argnums=0)
    return Gradients(
        run(pathwise, keys),
        run(lambda p, k: likelihood_ratio(p, k, False), keys),
        run(lambda p, k: likelihood_ratio(p, k, True), keys),
    )


def check_expectations(module: ModuleType) -> None:
    """All three estimate the exact gradient; the pathwise one has the least variance."""
    params, starts = jnp.array([-0.8, 0.3]), jnp.linspace(-1.0, 1.5, 8)
    exact = np.asarray(exact_gradient(params, starts, 4))
    found = gradients(module, params, starts, 4, batches=4000)
    for estimate in found:
        error = np.asarray(estimate).std(0) / np.sqrt(len(estimate))
        assert np.all(np.abs(np.asarray(estimate).mean(0) - exact) < 4.5 * error)
    assert np.all(np.std(found.pathwise, 0) < 0.5 * np.std(found.likelihood_ratio, 0))


def check_masks(module: ModuleType) -> None:
    """Episodes that end after 2 of 5 steps against a loop; at a truncation V stands for the rest, else nothing does."""
    params, starts, horizon = jnp.array([-0.8, 0.3]), jnp.array([0.5, -1.0, 2.0]), 5
    for terminates in (True, False):
        environment = linear(2, terminates)
        begin = (starts[:, None], jnp.array([0, 1, -7]))  # two steps left, one, and all

        def surrogate(params: Array, environment=environment, begin=begin):
            found = module.imagine(environment, gaussian(params), begin, starts[:, None], jax.random.key(3), horizon)
            return module.pathwise_surrogate(found, 10.0 + quadratic(found.successor), DISCOUNT), found

        (earned, found), slope = jax.value_and_grad(surrogate, has_aux=True)(params)
        lengths, total, log_slope = [2, 1, 5], 0.0, 0.0
        for n, length in enumerate(lengths):
            np.testing.assert_array_equal(found.alive[:, n], np.arange(horizon) < length)
            np.testing.assert_array_equal(found.reward[length:, n], 0.0)
            stood_still = found.successor[length:, n] == found.successor[length - 1, n]
            assert np.all(stood_still)
            ended_by_limit = n < 2 and not terminates
            np.testing.assert_array_equal(found.truncated[:, n], (np.arange(horizon) == length - 1) & ended_by_limit)
            np.testing.assert_array_equal(found.terminated[length:, n], True)
            total += sum(DISCOUNT**t * float(found.reward[t, n]) for t in range(length))
            if n == 2 or ended_by_limit:
                total += DISCOUNT**length * float(10.0 + quadratic(found.successor[length - 1, n]))
            log_slope += sum(DISCOUNT**t * float(found.observation[t, n, 0]) for t in range(length))
        np.testing.assert_allclose(earned, total / 3, rtol=1e-5)
        assert np.all(np.isfinite(slope))
        ratio = module.likelihood_ratio_surrogate(
            found.observation[..., 0], jnp.ones((horizon, 3)), found.alive, DISCOUNT
        )
        np.testing.assert_allclose(ratio, log_slope / 3, rtol=1e-5)


def test_both_gradients_have_the_expectation_of_the_moments():
    check_expectations(imagined_episodes)


def test_after_an_end_nothing_counts():
    check_masks(imagined_episodes)


@pytest.mark.parametrize("propagation", ["ts1", "ts_infinity", "mean"])
def test_the_pathwise_gradient_is_that_of_finite_differences(propagation):
    """Through a policy, a network that models the pendulum with noise, its reward, and a value, five steps ahead."""
    environment = make("Pendulum-v1")
    ensemble = make_ensemble(environment, EnsembleConfig(members=3, widths=(16,)))
    model, count = ensemble.init(jax.random.key(0)), 32
    starts = jax.random.normal(jax.random.key(1), (count, 3))
    believed = rescale_actions(learned_environment(environment, ensemble, model, starts, propagation=propagation))
    network = PolicyNetwork(
        environment.observation_space, environment.action_space, (16,), "tanh", False, "tanh_gaussian"
    )
    params = network.init(jax.random.key(2), starts)
    leaves, structure = jax.tree.flatten(params)
    noises = [jax.random.normal(k, x.shape) for k, x in zip(jax.random.split(jax.random.key(3), len(leaves)), leaves)]  # noqa: B905
    params = jax.tree.unflatten(structure, [x + 0.5 * noise for x, noise in zip(leaves, noises, strict=True)])

    @jax.jit
    def objective(params):
        policy = lambda observation: network.apply(params, observation)  # noqa: E731
        begin = jax.vmap(imagine_from)(starts)
        found = imagined_episodes.imagine(believed, policy, begin, starts, jax.random.key(4), 5)
        return imagined_episodes.pathwise_surrogate(found, jnp.sin(found.successor[..., 0]), 0.97)

    gradient = jax.grad(objective)(params)
    size = jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(gradient)))
    assert size > 1e-2
    moved = lambda epsilon: jax.tree.map(lambda x, g: x + epsilon * g / size, params, gradient)  # noqa: E731
    for epsilon in (0.01, 0.02):
        slope = (objective(moved(epsilon)) - objective(moved(-epsilon))) / (2 * epsilon)
        np.testing.assert_allclose(slope, size, rtol=1e-3)
