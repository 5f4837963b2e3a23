"""Transitions read from the experience, against trajectories kept in lists and the definition of their target."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import experience as experience_module
from purerl.experience import Step

ENVS, PERIOD, CAPACITY, DISCOUNT = 3, 2, 24, 0.9
NOT = jnp.zeros((), bool)


def example(shared: bool) -> Step:
    one = jnp.zeros((2,))
    return Step(one, jnp.zeros((), jnp.int32), jnp.zeros(()), NOT, NOT, successor=None if shared else one)


class Log:
    """What really happened: an observation is (environment, serial number), so that every one is unique."""

    def __init__(self, seed: int):
        self.random, self.serial = np.random.default_rng(seed), 0
        self.steps = [[] for _ in range(ENVS)]  # per environment: (o, a, r, terminated, truncated, o')
        self.current = [self.fresh(e) for e in range(ENVS)]

    def fresh(self, environment: int) -> tuple[int, int]:
        self.serial += 1
        return environment, self.serial

    def block(self, shared: bool) -> Step:
        rows = []
        for _ in range(PERIOD):
            for e in range(ENVS):
                o, after = self.current[e], self.fresh(e)
                terminated, truncated = self.random.random(2) < 0.25
                step = (
                    o,
                    self.random.integers(5),
                    self.random.normal(),
                    terminated,
                    truncated and not terminated,
                    after,
                )
                self.steps[e].append(step)
                self.current[e] = self.fresh(e) if terminated or truncated else after
                rows.append(step)
        o, a, r, terminated, truncated, after = (np.array(column) for column in zip(*rows, strict=True))
        observations = {"observation": jnp.asarray(o, jnp.float32)}
        observations["successor"] = None if shared else jnp.asarray(after, jnp.float32)
        flags = {"terminated": jnp.asarray(terminated, bool), "truncated": jnp.asarray(truncated, bool)}
        return Step(action=jnp.asarray(a, jnp.int32), reward=jnp.asarray(r, jnp.float32), **observations, **flags)

    def transition(self, observation, n: int, shared: bool):
        """(reward, discount, successor, weight) of the transition that begins with `observation`."""
        environment = int(observation[0])
        steps = self.steps[environment]
        first = next(i for i, step in enumerate(steps) if step[0][1] == int(observation[1]))
        reward, weight = 0.0, 1.0
        for k in range(n):
            o, _, r, terminated, truncated, after = steps[first + k]
            if shared and truncated:
                return reward, DISCOUNT**k, o, float(k > 0)
            reward += DISCOUNT**k * r
            if terminated:
                return reward, 0.0, None, weight
            if truncated or k == n - 1:
                return reward, DISCOUNT ** (k + 1), after, weight
        raise AssertionError


CASES = [(1, False, "uniform"), (4, False, "uniform"), (1, True, "uniform"), (4, True, "uniform")]
CASES += [(2, False, "proportional"), (2, True, "proportional"), (2, True, "rank")]


@pytest.mark.parametrize(("n", "shared", "sampling"), CASES)
def test_transitions_are_what_happened(n, shared, sampling):
    check_transitions(experience_module, n, shared, sampling)  # asserts


def check_transitions(module: ModuleType, n: int, shared: bool, sampling: str) -> None:
    memory = module.experience(
        example(shared),
        capacity=CAPACITY,
        block=ENVS * PERIOD,
        num_envs=ENVS,
        discount=DISCOUNT,
        n_step=n,
        sampling=sampling,
    )
    log = Log(seed=n)
    replay, priorities = memory.init()
    add = jax.jit(memory.add)
    sample = jax.jit(lambda replay, priorities, key, written: memory.sample(replay, priorities, key, written, 200))
    ahead = n - 1 + shared
    for number in range(9):
        replay, priorities = add(replay, priorities, log.block(shared), jnp.int32(number))
        times = min(PERIOD * (number + 1), CAPACITY // ENVS)
        if times <= ahead:
            continue
        batch = jax.device_get(sample(replay, priorities, jax.random.key(number), jnp.int32(number + 1)))
        possible = {s[0] for steps in log.steps for s in steps[len(steps) - times : len(steps) - ahead]}
        assert {tuple(int(x) for x in o) for o in batch.observation} == possible
        for i in range(200):
            reward, discount, successor, weight = log.transition(batch.observation[i], n, shared)
            assert batch.weight is None or (batch.weight[i] > 0) == (weight > 0)
            if weight == 0.0:
                continue
            np.testing.assert_allclose(batch.reward[i], reward, atol=1e-6)
            np.testing.assert_allclose(batch.discount[i], discount, atol=1e-6)
            if discount > 0.0:
                np.testing.assert_array_equal(batch.successor[i], successor)


def test_what_is_too_long_for_the_replay_is_refused():
    with pytest.raises(ValueError, match="raise its capacity or lower n_step"):
        experience_module.experience(example(False), capacity=6, block=6, num_envs=3, discount=0.9, n_step=3)
