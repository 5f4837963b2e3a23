"""TRPO keeps its two promises at every update, and where it cannot it leaves the policy alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import Time, make, train
from purerl.algorithms.policy_gradient import npg, trpo
from purerl.networks.heads import actor_critic, split_parameters
from purerl.rollout import collector

SMALL = {"num_envs": 4, "rollout_length": 64, "minibatches": 2, "epochs": 2, "widths": (16,)}
START = Time(jnp.int32(0), jnp.float32(0))


def check_promises(module, environment="Pendulum-v1") -> None:
    """Every accepted update stays in its region and gains; the others are none."""
    algorithm = module.make(make(environment), module.Config(**SMALL, damping=1e-3))
    keys = jax.random.split(jax.random.key(0), 3)
    metrics = jax.jit(jax.vmap(lambda key: train(algorithm, key, 25).metrics))(keys)
    accepted = np.asarray(metrics["accepted"], bool)
    assert accepted.mean() > 0.8
    assert np.all(metrics["kl"] <= algorithm.config.max_kl * (1 + 1e-3))
    assert np.all(metrics["surrogate_gain"] >= 0)
    assert np.median(np.asarray(metrics["kl"])[accepted]) > 0.3 * algorithm.config.max_kl  # the longest, not any
    np.testing.assert_array_equal(np.asarray(metrics["kl"])[~accepted], 0)


@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1"])
def test_every_accepted_update_stays_in_its_region_and_gains(environment):
    check_promises(trpo, environment)  # asserts


def one_step(module, **fields):
    algorithm = module.make(make("Pendulum-v1"), module.Config(**SMALL | fields))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    after, metrics = jax.jit(algorithm.step)(state, START)
    return split_parameters(state.params), split_parameters(after.params), metrics


def distance(a, b):
    return max(float(jnp.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_where_no_step_will_do_the_old_policy_stays():
    """A bound of five nats asks for a step so long that the quadratic model is worth nothing."""
    before, after, metrics = one_step(trpo, max_kl=5.0, backtracks=1, damping=1e-3)
    assert metrics["accepted"] == 0
    assert distance(before[0], after[0]) == 0.0
    assert distance(before[1], after[1]) > 0.0  # the value is fitted all the same


def test_the_natural_gradient_takes_the_step_that_trpo_refuses():
    before, after, metrics = one_step(npg, max_kl=5.0, damping=1e-3)
    assert metrics["accepted"] == 1
    assert distance(before[0], after[0]) > 0.1


def test_the_first_step_of_both_is_the_same_where_it_is_good():
    _, (trpo_actor, _), metrics = one_step(trpo, max_kl=1e-4)
    _, (npg_actor, _), other = one_step(npg, max_kl=1e-4)
    assert metrics["accepted"] == 1
    assert metrics["kl"] == other["kl"]
    assert distance(trpo_actor, npg_actor) == 0.0


def check_divergence(module) -> None:
    """What is reported, and bounded, is KL(pi_old || pi) on the rollout, and not the other way round."""
    environment = make("Pendulum-v1")
    config = module.Config(**SMALL, max_kl=0.5, damping=1e-3, line_search=False)
    algorithm = module.make(environment, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    after, metrics = jax.jit(algorithm.step)(state, START)
    network = actor_critic(environment, config)
    act_key, _ = jax.random.split(jax.random.fold_in(state.key, 0))
    actor = collector(environment, network, num_envs=4, rollout_length=64, discount=0.99)
    _, rollout = actor.collect(state.params, state.collector, act_key)
    old, new = (
        network.apply(params, rollout.observation, method=network.policy)[1] for params in (state.params, after.params)
    )
    np.testing.assert_allclose(metrics["kl"], old.kl(new).mean(), rtol=1e-3)
    assert abs(metrics["kl"] / new.kl(old).mean() - 1) > 0.05


def test_the_divergence_is_that_of_the_old_policy_from_the_new():
    check_divergence(trpo)  # asserts


@pytest.mark.parametrize(
    ("environment", "fields", "message"),
    [
        ("CartPole-v1", {"max_kl": 0.0}, "trpo: max_kl must be > 0"),
        ("CartPole-v1", {"backtrack_factor": 1.5}, r"backtrack_factor must be in \[0, 1\]"),
        ("CartPole-v1", {"minibatches": 5}, r"minibatches \(5\) must divide num_envs x rollout_length"),
        ("CartPole-v1", {"policy": "beta"}, "policy='beta' is for continuous actions"),
    ],
)
def test_what_does_not_fit_is_refused(environment, fields, message):
    with pytest.raises(ValueError, match=message):
        trpo.make(make(environment), trpo.Config(**SMALL | fields))
