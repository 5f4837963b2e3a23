"""The spaces: what they draw and contain, and that every part takes several discrete actions or says that it cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import MultiDiscrete, make
from purerl.algorithms.config import require_discrete, require_vector_actions
from purerl.checkpoint import describe_environment
from purerl.data.transitions import check_transitions, collect
from purerl.environments import flatten_observation, frame_stack, rescale_actions, sticky_actions
from purerl.environments.finite import from_environment
from purerl.environments.wrappers import unscale_action
from purerl.networks.torsos import as_features

SPACE = MultiDiscrete((2, 3))


def test_draws_are_uniform_over_the_combinations():
    draws = jax.vmap(SPACE.sample)(jax.random.split(jax.random.key(0), 6000))
    assert (draws.shape, draws.dtype) == ((6000, 2), SPACE.dtype)
    assert jnp.all(jax.vmap(SPACE.contains)(draws))
    counts = np.bincount(np.asarray(draws[:, 0] * 3 + draws[:, 1]), minlength=6)
    assert np.all(np.abs(counts - 1000) < 150)


def test_contains_looks_at_every_component():
    for x, inside in [([1, 2], True), ([0, 0], True), ([2, 0], False), ([0, 3], False), ([-1, 0], False)]:
        assert bool(SPACE.contains(jnp.array(x))) == inside


def test_features_are_the_one_hot_codes_of_the_components():
    x = jnp.array([[1, 0], [0, 2]])
    assert as_features(x, SPACE).tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    environment = make("probe/multi_discrete")
    shown = environment._replace(observation_space=SPACE, reset=lambda key: (None, x[0]))
    assert flatten_observation(shown).reset(jax.random.key(0))[1].tolist() == [0, 1, 1, 0, 0]
    assert flatten_observation(shown).observation_space.shape == (5,)
    with pytest.raises(ValueError, match="array observations"):
        frame_stack(shown, 2)


def test_wrappers_of_actions_pass_several_choices_through():
    environment = make("probe/multi_discrete")
    action = jnp.array([1, 2])
    assert rescale_actions(environment) is environment
    assert unscale_action(SPACE, action) is action
    sticky = sticky_actions(environment)
    key = jax.random.key(0)
    assert sticky.step(key, sticky.reset(key)[0], action)[1].reward in (0.0, 0.5, 1.0)


def test_who_needs_one_discrete_action_says_so():
    environment = make("probe/multi_discrete")
    assert require_vector_actions("ppo", environment) == SPACE
    with pytest.raises(TypeError, match=r"2 choices at once \(sizes \(2, 3\)\)"):
        require_discrete("dqn", environment)
    with pytest.raises(TypeError, match="needs Discrete actions"):
        from_environment(environment, discount=0.9)


def test_an_environment_and_a_dataset_with_several_choices():
    environment = make("probe/multi_discrete")
    assert describe_environment(environment)["action_space"] == {"kind": "MultiDiscrete", "sizes": [2, 3]}
    dataset = collect(environment, None, jax.random.key(0), 20)
    check_transitions("learner", environment, dataset)
    wrong = dataset._replace(action=dataset.action.at[3, 0].set(2))  # allowed in the other component
    with pytest.raises(ValueError, match=r"in \[0, \[1 2\]\]"):
        check_transitions("learner", environment, wrong)
