"""What the libraries are compared on: the same environment, network, batch, and number of updates for each of them."""

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """One training, in the words of purerl; the workers translate.

    Attributes:
        algorithm: of purerl's table.
        environment: of gymnax and of Gymnasium by the same name.
        steps: environment steps of each agent.
        fields: hyperparameters that every library has, by the names of purerl's Config.
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
            "widths": (64, 64),
            "activation": "relu",
        },
    ),
}
QUICK = {"ppo": 20_480, "dqn": 10_000, "sac": 2_000}  # steps
