"""DDPG and TD3: an iteration against the equations, written out critic by critic; targets, delay and noise."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purerl import Time, load, make, train
from purerl.algorithms.continuous_control import ddpg, td3
from tests.algorithms.one_transition import (
    CONTINUOUS,
    ONE,
    REWARD,
    START,
    SUCCESSOR,
    critic,
    layers,
    one_transition,
)

TIME = Time(jnp.int32(0), jnp.float32(0.5))


def check_iteration(module: ModuleType, terminated: bool = False, truncated: bool = True, minimum: bool = True) -> None:
    """Two updates of two critics, one of the actor, then the targets move; weight decay and annealing are on."""
    config = module.Config(
        **ONE,
        critics=2,
        minimum=minimum,
        policy_delay=2,
        update_to_data=(2, 1),
        weight_decay=0.1,
        learning_rate=0.02,
        critic_learning_rate=0.01,
        anneal_learning_rate=True,
    )
    algorithm = module.make(one_transition(CONTINUOUS, terminated, truncated), config)
    before = jax.jit(algorithm.init)(jax.random.key(3))
    before = before.replace(target_actor=jax.tree.map(lambda x: 1.5 * x, before.actor))  # or they would be the same
    before = before.replace(target_critics=jax.tree.map(lambda x: 1.5 * x + 0.1, before.critics))
    after, metrics = jax.jit(algorithm.step)(before, TIME)

    action = jax.lax.bitcast_convert_type(after.interaction.replay["uint32"][0], jnp.float32)[2:3]  # as it was taken
    mu = jnp.tanh(layers(before.target_actor, SUCCESSOR))
    ahead = [layers(critic(before.target_critics, k), jnp.concatenate([SUCCESSOR, mu]))[0] for k in range(2)]
    y = REWARD + (0.0 if terminated else 0.9) * (min(ahead) if minimum else sum(ahead) / 2)
    rate, seen = 0.5, jnp.concatenate([START, action])  # half of the run is over
    for k in range(2):
        params, optimizer = critic(before.critics, k), optax.adam(0.01 * rate)
        state = optimizer.init(params)
        for _ in range(2):

            def loss(params):
                penalty = sum(jnp.sum(x**2) for x in jax.tree.leaves(params))
                return 0.5 * (layers(params, seen)[0] - y) ** 2 + 0.05 * penalty

            updates, state = optimizer.update(jax.grad(loss)(params), state)
            params = optax.apply_updates(params, updates)
        close(critic(after.critics, k), params)
        target = critic(before.target_critics, k)
        close(critic(after.target_critics, k), jax.tree.map(lambda new, old: 0.3 * new + 0.7 * old, params, target))
        if k == 0:
            first = params

    def value(actor):
        return layers(first, jnp.concatenate([START, jnp.tanh(layers(actor, START))]))[0]

    optimizer = optax.adam(0.02 * rate)
    ascent = jax.tree.map(jnp.negative, jax.grad(value)(before.actor))
    updates, _ = optimizer.update(ascent, optimizer.init(before.actor))
    actor = optax.apply_updates(before.actor, updates)
    close(after.actor, actor)
    close(after.target_actor, jax.tree.map(lambda new, old: 0.3 * new + 0.7 * old, actor, before.target_actor))
    np.testing.assert_allclose(metrics["actor_value"], value(before.actor), rtol=1e-4)


def close(found, expected) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (False, True)])
def test_an_iteration_is_that_of_the_equations(terminated, truncated):
    check_iteration(ddpg, terminated, truncated)  # asserts


def test_without_the_minimum_targets_are_the_mean():
    check_iteration(ddpg, minimum=False)  # asserts


def test_td3_without_its_tricks_is_ddpg():
    plain = {"critics": 1, "policy_delay": 1, "target_noise": 0.0}
    small = ONE | {"replay_capacity": 64, "warm_up_steps": 16, "batch_size": 16}
    states = [
        jax.jit(lambda key, m=module, f=fields: train(m.make(make("Pendulum-v1"), m.Config(**small | f)), key, 3))(
            jax.random.key(0)
        )
        for module, fields in ((td3, plain), (ddpg, {}))
    ]
    np.testing.assert_array_equal(*(jax.flatten_util.ravel_pytree(one.state.actor)[0] for one in states))


def test_an_update_to_data_ratio_counts_updates():
    """Counted by Adam: 20 updates for each of 3 x 2 steps, and one of the actor in ten."""
    config = ddpg.Config(
        num_envs=2, update_to_data=(20, 1), policy_delay=10, warm_up_steps=16, batch_size=16, replay_capacity=64
    )
    algorithm = ddpg.make(make("Pendulum-v1"), config)
    state = jax.jit(lambda key: train(algorithm, key, 3).state)(jax.random.key(0))
    assert optax.tree.get(state.critic_optimizer, "count") == 3 * 4 * 20
    assert optax.tree.get(state.actor_optimizer, "count") == 3 * 4 * 2


def test_noise_begins_at_nothing_in_every_episode():
    """With a reversion of 0 and no end of an episode it would only ever grow."""
    config = ddpg.Config(
        num_envs=3,
        noise_reversion=0.0,
        noise_start=0.5,
        noise_end=0.5,
        warm_up_steps=12,
        batch_size=4,
        replay_capacity=60,
    )
    algorithm = ddpg.make(make("Pendulum-v1"), config)
    state = jax.jit(lambda key: train(algorithm, key, 50).state)(jax.random.key(0))
    assert np.all(np.abs(state.interaction.noise) > 0.0)
    short = ddpg.make(one_transition(CONTINUOUS, False, True), config)
    state = jax.jit(lambda key: train(short, key, 3).state)(jax.random.key(0))
    np.testing.assert_array_equal(state.interaction.noise, 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policy_delay": 3}, "policy_delay .3. must divide the 2 updates"),
        ({"update_to_data": (1, 3)}, "whole number of updates"),
        ({"update_to_data": (1,)}, "two positive numbers"),
        ({"subset": 2}, "between 0 .all. and critics .1."),
        ({"batch_size": 2000}, "raise warm_up_steps"),
        ({"warm_up_steps": 2_000_000}, "overwritten before it is used"),
        ({"n_step": 900}, "complete transitions"),
        ({"replay_capacity": 999_999}, "multiple of the block"),
    ],
)
def test_mistakes_are_said_before_anything_is_compiled(fields, message):
    with pytest.raises(ValueError, match=message):
        ddpg.make(make("Pendulum-v1"), ddpg.Config(**fields))


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac"])
def test_unbounded_actions_are_refused(name):
    unbounded = make("Pendulum-v1")._replace(action_space=CONTINUOUS._replace(low=-np.inf))
    with pytest.raises(ValueError, match="need finite bounds"):
        load(name).make(unbounded, load(name).Config())


def test_discrete_actions_are_refused():
    with pytest.raises(TypeError, match="continuous actions"):
        ddpg.make(make("CartPole-v1"), ddpg.Config())
