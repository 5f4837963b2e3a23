"""What is particular to PPO: its first update, its statistics, its actions, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import EvaluationPlan, Time, make, ppo, train
from purerl.operators.policy_gradient import clipped_surrogate
from tests.compilation import AS_USERS

SMALL = {"num_envs": 4, "rollout_length": 16, "minibatches": 1, "epochs": 1, "widths": (8,)}
START = Time(jnp.int32(0), jnp.float32(0))


def first_step(environment: str, **fields):
    algorithm = ppo.make(make(environment), ppo.Config(**SMALL | fields))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    return algorithm, state, *jax.jit(algorithm.step)(state, START)


@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1"])
def test_the_first_minibatch_of_a_rollout_has_ratio_one(environment):
    *_, metrics = first_step(environment)
    assert metrics["clip_fraction"] == 0
    assert metrics["approximate_kl"] < 1e-6
    assert abs(metrics["policy_loss"]) < 1e-5  # the mean of standardised advantages


def test_a_second_epoch_moves_away():
    *_, metrics = first_step("CartPole-v1", epochs=10, learning_rate=0.01)
    assert metrics["approximate_kl"] > 1e-4


def test_updates_end_when_the_policy_has_moved_too_far():
    *_, once, _ = first_step("CartPole-v1", learning_rate=0.01)
    *_, stopped, metrics = first_step("CartPole-v1", learning_rate=0.01, epochs=5, stop_kl=1e-6)
    assert metrics["stopped"] == pytest.approx(0.8)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), once.params, stopped.params)


def settled_kl(seeds: int = 3, **fields) -> np.ndarray:
    """The divergence of an update, median over the second half of the training, of some seeds of CartPole."""
    fields |= {"kl_target": 0.01, "anneal_learning_rate": False, "num_envs": 8, "rollout_length": 128}
    fields |= {"epochs": 4, "minibatches": 4, "widths": (16,), "max_gradient_norm": float("inf")}
    algorithm = ppo.make(make("CartPole-v1"), ppo.Config(**fields))
    keys = jax.random.split(jax.random.key(0), seeds)
    training = jax.vmap(lambda key: train(algorithm, key, 60).metrics)
    metrics = jax.jit(training, compiler_options=AS_USERS)(keys)
    return np.median(np.asarray(metrics["kl"])[:, 30:], axis=1)


def test_advantages_are_computed_anew_before_every_epoch_but_the_first():
    for epochs, same in ((1, True), (2, False)):
        once, anew = (
            first_step("CartPole-v1", epochs=epochs, learning_rate=0.01, recompute_advantage=recompute)[2].params
            for recompute in (False, True)
        )
        gaps = [np.abs(x - y).max() for x, y in zip(jax.tree.leaves(once), jax.tree.leaves(anew), strict=True)]
        assert (max(gaps) < 1e-6) == same


def test_a_memory_cannot_be_valued_anew():
    with pytest.raises(ValueError, match=r"recompute_advantage .* core is 'gru'"):
        ppo.make(make("CartPole-v1"), ppo.Config(recompute_advantage=True, core="gru"))


@pytest.mark.parametrize("coefficient", [1e-3, 1e2])
def test_an_adaptive_penalty_brings_the_divergence_to_its_target(coefficient):
    """From a coefficient much too small and one much too large, with a step size that exceeds it without a penalty.

    (With 3e-3 some seeds hardly move for a while: the coefficient falls to its lower bound and a burst follows.)
    """
    settled = settled_kl(16, penalty="adaptive", kl_coefficient=coefficient, learning_rate=1e-2)
    assert np.all((settled >= 0.005) & (settled <= 0.02)), settled


def test_a_dual_penalty_keeps_the_divergence_within_its_bound():
    fields = {"kl_coefficient": 1e-3, "learning_rate": 1e-2, "dual_step_size": 100.0}
    assert np.all(settled_kl(penalty="fixed", **fields) > 0.02)
    assert np.all(settled_kl(penalty="dual", **fields) < 0.02)


def test_the_first_gradient_is_that_of_an_actor_critic():
    log_probability, advantage = jax.random.normal(jax.random.key(0), (2, 50))
    surrogate = jax.grad(lambda x: clipped_surrogate(x, log_probability, advantage, 0.2))(log_probability)
    np.testing.assert_allclose(surrogate, advantage / 50, rtol=1e-6)  # the gradient of mean log pi A


def test_observation_statistics_are_those_of_the_raw_observations_of_past_rollouts():
    _, before, after, _ = first_step("Pendulum-v1", normalize_observations=True, rollout_length=50, num_envs=40)
    assert before.collector.observation_statistics.count == 0
    statistics = after.collector.observation_statistics
    assert statistics.count == 2000
    x, y, _ = statistics.mean
    np.testing.assert_allclose(statistics.variance[:2].sum() + x**2 + y**2, 1.0, rtol=1e-3)  # cos^2 + sin^2
    assert statistics.variance[2] > 0.5  # the angular velocity, up to 8 rad/s


def test_a_policy_acts_in_the_range_of_its_environment():
    environment = make("Pendulum-v1")
    algorithm = ppo.make(environment, ppo.Config(**SMALL))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    policy = algorithm.policy(state, greedy=False)
    keys = jax.random.split(jax.random.key(1), 500)
    actions = jax.vmap(lambda key: policy.act(key, (), jnp.zeros(3))[1])(keys)
    assert actions.shape == (500, 1)
    assert actions.min() == -2.0
    assert actions.max() == 2.0
    assert 1.0 < actions.std() < 1.7


def test_best_parameters_are_those_of_the_best_evaluation():
    algorithm = ppo.make(make("CartPole-v1"), ppo.Config(**SMALL, learning_rate=0.03))
    plan = EvaluationPlan(algorithm.environment, episodes=16)
    result = jax.jit(lambda key: train(algorithm, key, 30, evaluate_every=3, plan=plan))(jax.random.key(0))
    means = result.evaluations.returns.mean(-1)
    assert result.best.score == means.max()
    assert result.best.iteration == 3 * (1 + int(means.argmax()))


@pytest.mark.parametrize(
    ("environment", "fields", "message"),
    [
        ("CartPole-v1", {"minibatches": 5}, r"minibatches \(5\) must divide num_envs x rollout_length \(4 x 16 = 64\)"),
        ("CartPole-v1", {"minibatches": 64}, "one advantage at a time cannot be standardised"),
        ("FrozenLake-misc", {"normalize_observations": True}, "normalize_observations needs real-valued observations"),
        ("CartPole-v1", {"trace_decay": 1.01}, r"trace_decay must be in \[0, 1\]"),
        ("CartPole-v1", {"clip": 0.0}, "clip must be > 0"),
        ("CartPole-v1", {"widths": (64.0,)}, "widths must be a tuple of int"),
        ("CartPole-v1", {"shared_torso": 1}, "shared_torso must be of type bool"),
    ],
)
def test_what_does_not_fit_is_refused(environment, fields, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ppo.make(make(environment), ppo.Config(**SMALL | fields))


@pytest.mark.parametrize("environment", ["FrozenLake-misc", "Breakout-MinAtar", "MountainCarContinuous-v0"])
def test_every_kind_of_observation_and_action(environment):
    *_, metrics = first_step(environment)
    assert all(np.isfinite(value) for value in metrics.values())
