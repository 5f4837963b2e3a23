"""What the libraries are compared on: the same environment, networks, batches and number of updates for each of them.

What cannot be made equal: rejax clips gradients by value, purerl and Stable-Baselines3 by their global norm, sbx's DQN
not at all. rejax's PPO always clips the value's movement and begins with LeCun's normal weights (purerl and
Stable-Baselines3: orthogonal ones). DQN's loss is squared in purerl and rejax, Huber's in the others. rejax takes a
time limit for the end of the problem. Its SAC warms up with its policy, the others with uniform actions. purerl's
epsilon begins to fall after the warm-up, that of the others at the first step. Adam's epsilon is 1e-5 in PPO of purerl
and Stable-Baselines3, 1e-8 in rejax. rejax samples its replay without replacement, which costs it time.
"""

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """One training, in the words of purerl; the workers translate.

    Attributes:
        algorithm: of purerl's table.
        environment: of gymnax and of Gymnasium by the same name.
        steps: environment steps of each agent.
        fields: of purerl's Config; a worker passes on those that are not settled in its library.
    """

    algorithm: str
    environment: str
    steps: int
    fields: dict[str, Any]


SETTINGS = {
    "ppo": Setting(
        "ppo",
        "CartPole-v1",
        262_144,
        {
            "learning_rate": 2.5e-4,
            "anneal_learning_rate": False,
            "discount": 0.99,
            "trace_decay": 0.95,
            "clip": 0.2,
            "value_coefficient": 0.5,
            "entropy_coefficient": 0.01,
            "max_gradient_norm": 0.5,
            "num_envs": 8,
            "rollout_length": 128,
            "epochs": 4,
            "minibatches": 4,
            "widths": (64, 64),
            "activation": "tanh",
        },
    ),
    "dqn": Setting(
        "dqn",
        "CartPole-v1",
        100_000,
        {
            "learning_rate": 2.5e-4,
            "discount": 0.99,
            "num_envs": 10,
            "batch_size": 128,
            "replay_capacity": 10_000,
            "warm_up_steps": 1_000,
            "target_period": 500,
            "epsilon_start": 1.0,
            "epsilon_end": 0.05,
            "exploration_fraction": 0.5,
            "max_gradient_norm": 10.0,
            "widths": (64, 64),
            "activation": "relu",
        },
    ),
    "sac": Setting(
        "sac",
        "Pendulum-v1",
        10_000,
        {
            "learning_rate": 3e-4,
            "discount": 0.99,
            "num_envs": 1,
            "batch_size": 256,
            "replay_capacity": 10_000,
            "warm_up_steps": 1_000,
            "target_rate": 0.005,
            "steps_per_iteration": 1,
            "critic_learning_rate": 3e-4,
            "temperature_learning_rate": 3e-4,
            "temperature": 1.0,
            "widths": (64, 64),
            "critic_widths": (64, 64),
            "activation": "relu",
        },
    ),
}
QUICK = {"ppo": 20_480, "dqn": 10_000, "sac": 2_000}  # steps
