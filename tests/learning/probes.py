"""What a learner must have learned from each probe environment, as functions of its module: mutants fit there too."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purerl.algorithms.value_based import dqn
from purerl.environments import make
from purerl.evaluate import evaluate
from purerl.networks.critics import critics
from purerl.networks.heads import ActorCritic
from purerl.networks.recurrent import RecurrentQNetwork
from purerl.train import train
from purerl.types import Algorithm

SEEDS, DISCOUNT = 3, 0.9

DQN: dict[str, Any] = {
    "learning_rate": 2e-2,
    "anneal_learning_rate": True,
    "num_envs": 4,
    "steps_per_iteration": 2,
    "updates_per_iteration": 4,
    "batch_size": 32,
    "replay_capacity": 512,
    "warm_up_steps": 64,
    "target_period": 40,
    "widths": (32,),
    "discount": DISCOUNT,
}
OFF_POLICY: dict[str, Any] = {
    "learning_rate": 5e-3,
    "critic_learning_rate": 1e-2,
    "anneal_learning_rate": True,
    "num_envs": 4,
    "steps_per_iteration": 2,
    "update_to_data": (1, 2),
    "batch_size": 32,
    "replay_capacity": 512,
    "warm_up_steps": 64,
    "target_rate": 0.05,
    "widths": (32,),
    "critic_widths": (32,),
    "discount": DISCOUNT,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "dqn": DQN,
    "c51": DQN | {"support_low": -2.0, "support_high": 14.0, "atoms": 33},
    "qr_dqn": DQN | {"atoms": 8},
    "iqn": DQN | {"atoms": 8},
    "rainbow": DQN | {"support_low": -2.0, "support_high": 14.0, "atoms": 33, "widths": (32, 32)},
    "pqn": {
        "learning_rate": 3e-2,
        "num_envs": 8,
        "rollout_length": 10,
        "epochs": 2,
        "minibatches": 4,
        "widths": (32,),
        "discount": DISCOUNT,
        "exploration_fraction": 0.5,
    },
    "ppo": {
        "learning_rate": 3e-3,
        "num_envs": 8,
        "rollout_length": 10,
        "minibatches": 2,
        "entropy_coefficient": 0.001,
        "widths": (32,),
        "discount": DISCOUNT,
    },
    "a2c": {
        "learning_rate": 1e-2,
        "optimizer": "adam",
        "num_envs": 8,
        "rollout_length": 10,
        "entropy_coefficient": 0.001,
        "widths": (32,),
        "discount": DISCOUNT,
    },
    "trpo": {
        "value_learning_rate": 3e-3,
        "epochs": 4,
        "minibatches": 2,
        "num_envs": 8,
        "rollout_length": 10,
        "max_kl": 0.05,
        "widths": (32,),
        "discount": DISCOUNT,
    },
    "reinforce": {
        "learning_rate": 3e-3,
        "num_envs": 8,
        "value_updates": 10,
        "widths": (32,),
        "discount": DISCOUNT,
    },
    "ddpg": OFF_POLICY,
    "td3": OFF_POLICY,
    "sac": OFF_POLICY | {"automatic_temperature": False, "temperature": 1e-3},
    "soft_q": OFF_POLICY | {"temperature": 1e-2},
}
OFF_POLICY_CONTINUOUS = ("ddpg", "td3", "sac")  # to which the values of policies are Q(s, mu(s))
ITERATIONS = dict.fromkeys(("dqn", "c51", "qr_dqn", "iqn", "rainbow", *OFF_POLICY_CONTINUOUS), 600) | dict.fromkeys(
    ("ppo", "pqn", "a2c", "trpo", "reinforce", "soft_q"), 300
)
VALUES: dict[str, list[tuple[float, float]]] = {  # observation -> value
    "probe/constant": [(0.0, 1.0)],
    "probe/discount": [(0.0, DISCOUNT), (1.0, 1.0)],
    "probe/observation": [(-1.0, -1.0), (1.0, 1.0)],
    "probe/truncation": [(0.0, 1 / (1 - DISCOUNT))],
    "probe/successor": [(-1.0, -1 / (1 + DISCOUNT)), (1.0, 1 / (1 + DISCOUNT))],
}
SAME_BUT_FOR_THE_HEAD = ("c51", "qr_dqn", "iqn", "rainbow")  # for which the probes of the head are enough
RETURNS = {"probe/action": 1.0, "probe/observation_action": 1.0}
CONTINUOUS_RETURNS = {"probe/continuous_action": 0.0, "probe/continuous_observation_action": 0.0}


def learn(module: ModuleType, algorithm: str, probe: str, **overrides: Any) -> tuple[Algorithm, Any]:
    """The algorithm and its states `[SEEDS]` after training on the probe."""
    parameters = {"continuous": True} if algorithm in OFF_POLICY_CONTINUOUS and probe in VALUES else {}
    one = module.make(make(probe, **parameters), module.Config(**CONFIGS[algorithm] | overrides))
    keys = jax.random.split(jax.random.key(0), SEEDS)
    return one, jax.jit(jax.vmap(lambda key: train(one, key, ITERATIONS[algorithm]).state))(keys)


def state_value(one: Algorithm, state: Any, observation: jax.Array) -> jax.Array:
    """V(observation) as the learner sees it."""
    config, environment = one.config, one.environment
    if one.name in ("dqn", *SAME_BUT_FOR_THE_HEAD):
        return jnp.max(dqn.q_function(environment, config).apply(state.params, observation).mean())
    if one.name == "pqn":
        network = RecurrentQNetwork(
            environment.observation_space,
            environment.action_space.n,
            config.widths,
            config.activation,
            config.layer_norm,
            config.core,
            config.core_width,
        )
        resets = jnp.zeros(1, bool)
        return jnp.max(network.apply(state.params, network.initial_memory(()), observation[None], resets)[1])
    if one.name in OFF_POLICY_CONTINUOUS:
        _, action = one.policy(state).act(jax.random.key(0), (), observation)  # from bound to bound is -1 to 1 here
        return jnp.mean(critics(environment, config).apply(state.critics, observation, action))
    network = ActorCritic(environment.observation_space, environment.action_space, config.widths)
    assert config.core == "none"
    return network.apply(state.params, observation, method=network.value)


def check_values(module: ModuleType, algorithm: str, probe: str, **overrides: Any) -> None:
    one, states = learn(module, algorithm, probe, **overrides)
    for observation, expected in VALUES[probe]:
        values = jax.vmap(lambda state, o=observation: state_value(one, state, jnp.array([o])))(states)
        np.testing.assert_allclose(values, expected, atol=0.05 * max(1.0, abs(expected)))


def check_return(module: ModuleType, algorithm: str, probe: str, expected: float, **overrides: Any) -> None:
    one, states = learn(module, algorithm, probe, **overrides)
    key = jax.random.key(1)
    returns = jax.vmap(lambda state: evaluate(one.policy(state), one.environment, key, episodes=32).returns)(states)
    np.testing.assert_allclose(returns.mean(-1), expected, atol=0.02)
