"""Q(lambda) against sums over its mixture, its two ends, and shapes that must be refused."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import q_lambda, returns

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def trajectory(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random rewards and values with terminations, truncations and steps that are both."""
    return {
        "reward": rng.normal(size=shape).astype(np.float32),
        "successor_value": rng.normal(size=shape).astype(np.float32),
        "terminated": rng.random(shape) < 0.15,
        "truncated": rng.random(shape) < 0.2,
    }


def oracle(reward, successor_value, terminated, truncated, discount, trace_decay):
    """The mixture of n-step targets, one start at a time: weight (1 - lambda) lambda^(n - 1), the rest on the last."""
    targets = []
    for start in range(len(reward)):
        n_step = []  # r_t + ... + discount^(n - 1) r + discount^n max Q, n = 1, 2, ... until episode or rollout ends
        total, weight = 0.0, 1.0
        for t in range(start, len(reward)):
            total += weight * reward[t]
            weight *= discount
            n_step.append(total if terminated[t] else total + weight * successor_value[t])
            if terminated[t] or truncated[t]:
                break
        mixture = sum((1 - trace_decay) * trace_decay**i * target for i, target in enumerate(n_step[:-1]))
        targets.append(mixture + trace_decay ** (len(n_step) - 1) * n_step[-1])
    return np.array(targets)


def check(module: ModuleType) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        one, discount, trace_decay = trajectory(rng, (15, 2)), rng.uniform(0.5, 1), rng.uniform(0, 1)
        ours = module.q_lambda_return(**one, discount=discount, trace_decay=trace_decay)
        for b in range(2):
            column = {name: array[:, b] for name, array in one.items()}
            np.testing.assert_allclose(
                ours[:, b], oracle(**column, discount=discount, trace_decay=trace_decay), **TOLERANCE
            )
            alone = module.q_lambda_return(**column, discount=discount, trace_decay=trace_decay)
            np.testing.assert_allclose(ours[:, b], alone, **TOLERANCE)


def test_targets_equal_the_mixture_of_n_step_targets():
    check(q_lambda)  # asserts


def test_without_trace_they_are_the_targets_of_q_learning():
    one = trajectory(np.random.default_rng(0), (20,))
    ours = q_lambda.q_lambda_return(**one, discount=0.9, trace_decay=0.0)
    expected = one["reward"] + 0.9 * np.where(one["terminated"], 0, one["successor_value"])
    np.testing.assert_allclose(ours, expected, **TOLERANCE)


def test_with_values_of_the_policy_itself_they_are_advantages_plus_values():
    """Where V(s'_t) is V(s_{t+1}) within episodes, as along a rollout, GAE's targets are the same mixture."""
    one = trajectory(np.random.default_rng(1), (20,))
    value = np.append(np.float32(0.3), one["successor_value"][:-1])
    advantage = returns.generalized_advantage(value=value, **one, discount=0.9, trace_decay=0.7)
    ours = q_lambda.q_lambda_return(**one, discount=0.9, trace_decay=0.7)
    np.testing.assert_allclose(ours, advantage + value, **TOLERANCE)


def test_nothing_of_the_next_episode_enters():
    one = {name: jnp.asarray(array) for name, array in trajectory(np.random.default_rng(2), (10,)).items()}
    one |= {"terminated": jnp.arange(10) == 2, "truncated": jnp.arange(10) == 6}

    def first_episodes(reward):
        return jnp.sum(q_lambda.q_lambda_return(**one | {"reward": reward}, discount=0.9, trace_decay=0.9)[:7])

    gradient = jax.grad(first_episodes)(one["reward"])
    assert (gradient != 0).tolist() == [True] * 7 + [False] * 3


def test_wrong_shapes_and_types_are_refused():
    one = trajectory(np.random.default_rng(0), (5, 2))
    with pytest.raises(AssertionError):
        q_lambda.q_lambda_return(**one | {"reward": one["reward"][:, 0]}, discount=0.9, trace_decay=0.9)
    floats = {"terminated": one["terminated"].astype(np.float32)}
    with pytest.raises(AssertionError):
        q_lambda.q_lambda_return(**one | floats, discount=0.9, trace_decay=0.9)
