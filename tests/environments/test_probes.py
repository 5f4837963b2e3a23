"""The answers that the docstrings of the probes promise, computed by playing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.environments import make, probes

DISCOUNT = 0.9


def play(environment, key, choose):
    """One episode: rewards, the flags of the last step, and all observations."""
    state, observation = environment.reset(key)
    rewards, observations = [], [np.asarray(observation)]
    for step in range(environment.max_steps):
        state, timestep = environment.step(jax.random.fold_in(key, step), state, choose(observations))
        rewards.append(float(timestep.reward))
        observations.append(np.asarray(timestep.observation))
        if timestep.terminated or timestep.truncated:
            break
    return rewards, bool(timestep.terminated), bool(timestep.truncated), observations


def value(rewards):
    return sum(DISCOUNT**t * reward for t, reward in enumerate(rewards))


def best_number(observations):
    return jnp.array([observations[-1][0] / 2])


def best_choices(observations):
    return jnp.array([1, 2]) if observations[-1][0] > 0 else jnp.array([0, 1])


ANSWERS = {  # name -> (policy of the observations so far, discounted return)
    "constant": (lambda seen: 0, 1.0),
    "discount": (lambda seen: 0, DISCOUNT),
    "action": (lambda seen: 1, 1.0),
    "observation_action": (lambda seen: int(seen[-1][0] > 0), 1.0),
    "memory": (lambda seen: int(seen[0][0] > 0), DISCOUNT**2),
    "continuous_action": (lambda seen: jnp.array([0.5]), 0.0),
    "continuous_observation_action": (best_number, 0.0),
    "multi_discrete": (best_choices, 1.0),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_best_policy_earns_the_promised_return_and_terminates(name):
    choose, answer = ANSWERS[name]
    environment = make(f"probe/{name}")
    for seed in range(4):
        rewards, terminated, truncated, observations = play(environment, jax.random.key(seed), choose)
        assert value(rewards) == pytest.approx(answer)
        assert (terminated, truncated) == (True, False)
        assert len(rewards) == environment.max_steps
        assert all(environment.observation_space.contains(x) for x in observations)


@pytest.mark.parametrize("name", ["action", "observation_action", "memory"])
def test_the_opposite_policy_earns_the_opposite(name):
    choose, answer = ANSWERS[name]
    for seed in range(4):
        rewards, *_ = play(make(f"probe/{name}"), jax.random.key(seed), lambda seen: 1 - choose(seen))
        assert value(rewards) == pytest.approx(-answer)


def test_the_observation_probe_pays_what_it_shows():
    shown = set()
    for seed in range(8):
        rewards, *_, observations = play(make("probe/observation"), jax.random.key(seed), lambda seen: 0)
        assert rewards == [observations[0][0]]
        shown.add(rewards[0])
    assert shown == {-1.0, 1.0}


def test_the_truncation_probe_is_cut_and_never_ends():
    rewards, terminated, truncated, observations = play(make("probe/truncation"), jax.random.key(0), lambda seen: 0)
    assert rewards == [1.0] * 5
    assert (terminated, truncated) == (False, True)
    assert np.all(np.asarray(observations) == 0)  # no time to be seen, so that one value must hold for all steps
    assert value(rewards) + DISCOUNT**5 / (1 - DISCOUNT) == pytest.approx(1 / (1 - DISCOUNT))


def test_the_observation_of_the_successor_probe_flips():
    rewards, terminated, truncated, observations = play(make("probe/successor"), jax.random.key(0), lambda seen: 0)
    assert (terminated, truncated) == (False, True)
    assert observations[1] == -observations[0]
    assert rewards == [observations[0][0]]


def test_the_cue_of_the_memory_probe_shows_once():
    *_, observations = play(make("probe/memory", steps=4), jax.random.key(0), lambda seen: 0)
    cues, lasts = np.stack(observations[:4]).T
    assert abs(cues[0]) == 1
    assert not np.any(cues[1:])
    np.testing.assert_array_equal(lasts, [0, 0, 0, 1])
    with pytest.raises(ValueError, match="at least 2"):
        make("probe/memory", steps=1)


def test_every_component_of_several_choices_counts():
    environment = make("probe/multi_discrete")
    for seed in range(4):
        for wrong, earned in [((0, 1), 0.5), ((1, 0), 0.5), ((1, 2), 0.0)]:
            rewards, *_ = play(
                environment,
                jax.random.key(seed),
                lambda seen, w=wrong: (best_choices(seen) + jnp.array(w)) % jnp.array([2, 3]),
            )
            assert rewards == [earned]


@pytest.mark.parametrize("name", ["constant", "discount", "observation", "truncation"])
def test_continuous_versions_take_a_number(name):
    environment = make(f"probe/{name}", continuous=True)
    assert environment.action_space.shape == (1,)
    rewards, *_ = play(environment, jax.random.key(0), lambda seen: jnp.zeros(1))
    assert rewards == play(make(f"probe/{name}"), jax.random.key(0), lambda seen: 0)[0]


def test_every_probe_is_strongly_typed():
    for name in probes.PROBES:
        environment = make(f"probe/{name}")
        state, observation = environment.reset(jax.random.key(0))
        after, timestep = environment.step(jax.random.key(0), state, environment.action_space.sample(jax.random.key(0)))
        assert not any(x.weak_type for x in jax.tree.leaves((state, observation, after, timestep)))
        assert timestep.reward.dtype == jnp.float32
