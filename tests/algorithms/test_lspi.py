"""Least-squares policy iteration: exact with tabular features, across the four rooms with radial ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import EvaluationPlan, make, train
from purerl.algorithms.value_based import lspi
from purerl.data import Transitions, collect
from purerl.environments.finite import as_environment, garnet
from purerl.operators.least_squares import radial_basis
from purerl.planning import value_iteration

CENTRES = jnp.stack(jnp.meshgrid(*[jnp.linspace(1.0, 11.0, 6)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
CONFIG = lspi.Config(discount=0.95, ridge=1e-4)


def where_it_is(observation):
    """36 bumps over the position; the goal, which never moves, is not seen."""
    return radial_basis(observation[..., :2], CENTRES, 2.0)


def test_it_finds_the_optimal_policy_in_less_than_ten_iterations_whatever_it_starts_from():
    """Every transition of a random problem as often as it happens: the dataset is the model."""
    mdp = garnet(jax.random.key(0), states=12, actions=3, branching=2, terminal_states=1, discount=0.9)
    halves = mdp.replace(transition=jnp.where(mdp.transition > 0, 0.5, 0.0))  # both successors equally often
    halves = halves.replace(transition=halves.transition / halves.transition.sum(-1, keepdims=True))
    happens = np.asarray(halves.transition > 0) & ~np.asarray(halves.terminal)[:, None, None]
    s, a, after = (jnp.asarray(x) for x in np.nonzero(happens))
    reward, ends = halves.reward[s, a, after], halves.terminal[after]
    data = Transitions(s, a, reward, ends, jnp.zeros_like(ends), after)
    algorithm = lspi.make(as_environment(halves, "garnet", 10), data, lspi.Config(discount=0.9, ridge=1e-7))
    trained = jax.jit(jax.vmap(lambda key: train(algorithm, key, 9)))(jax.random.split(jax.random.key(1), 5))
    assert np.all(trained.metrics["policy_change"][:, -1] == 0)
    assert np.all(trained.metrics["policy_change"][:, 0] > 0)
    assert np.all(trained.state.iterations_changed < 9)
    optimal = value_iteration(halves, 1e-6)
    living = np.flatnonzero(~halves.terminal)
    for weights in trained.state.weights:
        np.testing.assert_allclose(weights[living], optimal.action_values[living], atol=2e-3)


def learned(environment, data, key):
    plan = EvaluationPlan(episodes=100)
    return train(lspi.make(environment, data, CONFIG, where_it_is), key, 10, evaluate_every=10, plan=plan)


def test_random_transitions_are_enough_for_four_rooms_and_those_of_one_policy_are_not():
    """5k transitions with 37 radial features: at least 90 % of the episodes end at the goal within 500 steps.

    The same number from the good policy itself, which takes one action per state, is worse data than random actions:
    what the others lead to is extrapolated.
    """
    environment = make("FourRooms-misc")

    def both(key):
        data_key, key, narrow_key, again_key = jax.random.split(key, 4)
        data = collect(environment, None, data_key, 5_000)
        wide = learned(environment, data, key)
        behaviour = lspi.make(environment, data, CONFIG, where_it_is).policy(wide.state)
        narrow = learned(environment, collect(environment, behaviour, narrow_key, 5_000), again_key)
        return wide.evaluations.returns.mean(), wide.metrics["policy_change"][-1], narrow.evaluations.returns.mean()

    wide, change, narrow = jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(0), 3))
    print(wide, change, narrow)
    assert wide.min() >= 0.9
    assert change.max() < 0.01
    assert narrow.mean() < wide.mean() - 0.2


def test_bad_arguments_are_refused():
    environment = make("FourRooms-misc")
    data = collect(environment, None, jax.random.key(0), 10)
    with pytest.raises(ValueError, match="ridge must be >= 0"):
        lspi.make(environment, data, lspi.Config(ridge=-1.0))
    with pytest.raises(TypeError, match="discrete actions"):
        lspi.make(make("Pendulum-v1"), data, lspi.Config())
