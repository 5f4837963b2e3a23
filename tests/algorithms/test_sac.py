"""SAC: an iteration with exact sums against the equations; entropy and variance where their values are known."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purerl import Time, make, train
from purerl.algorithms.continuous_control import sac
from tests.algorithms.one_transition import (
    DISCRETE,
    ONE,
    REWARD,
    START,
    SUCCESSOR,
    critic,
    layers,
    one_step,
    one_transition,
)
from tests.algorithms.test_ddpg import close
from tests.compilation import AS_USERS

TIME = Time(jnp.int32(0), jnp.float32(0.5))


def check_iteration(module: ModuleType, terminated: bool = False) -> None:
    """Discrete actions, two critics, automatic temperature: nothing but the action taken is random."""
    config = module.Config(
        **ONE, temperature=0.3, learning_rate=0.02, critic_learning_rate=0.01, temperature_learning_rate=0.04
    )
    algorithm = module.make(one_transition(DISCRETE, terminated, not terminated), config)
    before = jax.jit(algorithm.init)(jax.random.key(3))
    before = before.replace(target_critics=jax.tree.map(lambda x: 1.5 * x + 0.1, before.critics))
    before = before.replace(actor=jax.tree.map(lambda x: 20.0 * x + 0.1, before.actor))  # far from uniform
    after, metrics = jax.jit(algorithm.step)(before, TIME)

    action = int(after.interaction.replay["uint32"][0, 2])
    log_pi = jax.nn.log_softmax(logits(before.actor, SUCCESSOR))
    least = jnp.minimum(*(layers(critic(before.target_critics, k), SUCCESSOR) for k in range(2)))
    y = REWARD + (0.0 if terminated else 0.9) * jnp.sum(jnp.exp(log_pi) * (least - 0.3 * log_pi))
    critics = []
    for k in range(2):
        params, optimizer = critic(before.critics, k), optax.adam(0.01)
        slope = jax.grad(lambda params: 0.5 * (layers(params, START)[action] - y) ** 2)(params)
        params = optax.apply_updates(params, optimizer.update(slope, optimizer.init(params))[0])
        close(critic(after.critics, k), params)
        target = critic(before.target_critics, k)
        close(critic(after.target_critics, k), jax.tree.map(lambda new, old: 0.3 * new + 0.7 * old, params, target))
        critics.append(params)

    def loss(actor):
        log_pi = jax.nn.log_softmax(logits(actor, START))
        least = jnp.minimum(*(layers(params, START) for params in critics))
        return jnp.sum(jnp.exp(log_pi) * (0.3 * log_pi - least))

    optimizer = optax.adam(0.02)
    updates, _ = optimizer.update(jax.grad(loss)(before.actor), optimizer.init(before.actor))
    close(after.actor, optax.apply_updates(before.actor, updates))
    log_pi = jax.nn.log_softmax(logits(before.actor, START))
    entropy = -jnp.sum(jnp.exp(log_pi) * log_pi)
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-4)
    wanted = 0.5 * np.log(3)
    step = 0.04 if entropy < wanted else -0.04  # Adam's first
    np.testing.assert_allclose(after.log_temperature, np.log(0.3) + step, rtol=1e-4)


def logits(actor, observation):
    params = actor["params"]
    hidden = jnp.maximum(observation @ params["MLP_0"]["Dense_0"]["kernel"] + params["MLP_0"]["Dense_0"]["bias"], 0.0)
    head = params["Actor_0"]["Dense_0"]
    return hidden @ head["kernel"] + head["bias"]


@pytest.mark.parametrize("terminated", [True, False])
def test_an_iteration_is_that_of_the_equations(terminated):
    check_iteration(sac, terminated)  # asserts


@pytest.mark.parametrize(("temperature", "curvature"), [(0.5, 2.0), (0.3, 0.5)])
def test_the_variance_of_the_best_policy_is_temperature_over_curvature(temperature, curvature):
    """maximise E[-c a^2 / 2] + alpha H: the best policy is normal and has variance alpha / c."""
    config = sac.Config(
        policy="gaussian",
        automatic_temperature=False,
        temperature=temperature,
        learning_rate=1e-2,
        critic_learning_rate=1e-2,
        anneal_learning_rate=True,
        num_envs=32,
        update_to_data=(1, 16),
        replay_capacity=16_384,
        batch_size=256,
        widths=(8,),
        critic_widths=(32, 32),
        activation="tanh",
        actor_climbs="mean",
    )
    algorithm = sac.make(one_step(lambda a: -curvature * a**2 / 2, np.inf), config)
    keys = jax.random.split(jax.random.key(0), 4)
    learn = jax.jit(jax.vmap(lambda key: train(algorithm, key, 1500).state), compiler_options=AS_USERS)
    states = learn(keys)
    deviation = np.exp(states.actor["params"]["Actor_0"]["log_deviation"])
    variance = float(np.mean(deviation**2))
    np.testing.assert_allclose(variance, temperature / curvature, rtol=0.05)


def test_the_temperature_brings_the_entropy_to_its_target():
    config = sac.Config(
        num_envs=4, batch_size=64, widths=(32,), critic_widths=(32,), replay_capacity=16_384, learning_rate=3e-3,
        temperature_learning_rate=1e-2, target_entropy=-0.5,
    )  # fmt: skip
    algorithm = sac.make(make("Pendulum-v1"), config)
    keys = jax.random.split(jax.random.key(0), 3)
    metrics = jax.jit(jax.vmap(lambda key: train(algorithm, key, 1000).metrics))(keys)
    np.testing.assert_allclose(metrics["entropy"][:, -100:].mean(-1), -0.5, atol=0.3)
    assert len(np.unique(metrics["temperature"][:, -1])) == 3


def test_several_choices_at_once_are_refused():
    with pytest.raises(TypeError, match="choices at once"):
        sac.make(make("probe/multi_discrete"), sac.Config())
