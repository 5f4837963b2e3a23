"""The pure driver: what it refuses; evaluation plays first episodes, whole ones, with its own randomness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import EvaluationPlan, Policy, evaluate, make, ppo, train
from purerl.environments.wrappers import time_limit

ALGORITHM = ppo.make(make("CartPole-v1"), ppo.Config(num_envs=2, rollout_length=8, minibatches=1, widths=(4,)))
KEY = jax.random.key(0)


def constant_policy(action: int) -> Policy:
    return Policy(init=lambda key: (), act=lambda key, memory, observation: (memory, jnp.int32(action)))


def test_a_bad_plan_is_refused():
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        train(ALGORITHM, KEY, 0)
    with pytest.raises(ValueError, match=r"iterations \(10\) must be a multiple of evaluate_every \(3\)"):
        train(ALGORITHM, KEY, 10, evaluate_every=3)
    with pytest.raises(ValueError, match="pass plan"):
        train(ALGORITHM._replace(environment=None), KEY, 10, evaluate_every=5)
    for episodes, max_steps in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="episodes >= 1 and max_steps >= 1"):
            evaluate(constant_policy(0), make("CartPole-v1"), KEY, episodes=episodes, max_steps=max_steps)


def test_progress_and_iteration_are_told_and_never_batched():
    seen = ALGORITHM._replace(
        init=lambda key: {"key": key},
        step=lambda state, time: (state, {"iteration": time.iteration, "progress": time.progress}),
        snapshot=lambda state: {},
    )
    result = jax.vmap(lambda key: train(seen, key, 8))(jax.random.split(KEY, 3))
    assert result.metrics["iteration"].shape == (3, 8)
    np.testing.assert_allclose(result.metrics["progress"][0], np.arange(8) / 8)
    assert result.metrics["iteration"][2].tolist() == list(range(8))


def test_evaluation_equals_playing_the_episodes_by_hand():
    """Pushing left always: every CartPole episode ends by falling, at a time that depends on its start."""
    environment = make("CartPole-v1")
    result = jax.jit(lambda key: evaluate(constant_policy(0), environment, key, episodes=64))(KEY)
    assert np.array_equal(result.returns, result.lengths)
    assert set(result.lengths.tolist()) <= set(range(7, 13))
    reset_key = jax.random.split(KEY, 3)[0]
    for i in (0, 17, 63):
        state, _ = environment.reset(jax.random.split(reset_key, 64)[i])
        length, done = 0, False
        while not done:
            state, timestep = environment.step(KEY, state, jnp.int32(0))
            length, done = length + 1, bool(timestep.terminated | timestep.truncated)
        assert result.lengths[i] == length


def test_evaluation_is_cut_at_its_bound_and_at_truncation():
    endless = make("probe/truncation", steps=7)
    assert evaluate(constant_policy(0), endless, KEY, episodes=3).lengths.tolist() == [7, 7, 7]
    assert evaluate(constant_policy(0), endless, KEY, episodes=3, max_steps=4).returns.tolist() == [4, 4, 4]
    shorter = time_limit(endless, 5)
    assert evaluate(constant_policy(0), shorter, KEY, episodes=2).lengths.tolist() == [5, 5]


def test_the_evaluation_plan_may_be_another_environment_and_sampled():
    plan = EvaluationPlan(make("CartPole-v1", gravity=0.1), episodes=4, max_steps=30, greedy=False)
    result = jax.jit(lambda key: train(ALGORITHM, key, 4, evaluate_every=2, plan=plan))(KEY)
    assert result.evaluations.lengths.shape == (2, 4)
    assert result.evaluations.lengths.max() <= 30
