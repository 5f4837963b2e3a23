"""What the libraries are compared on: the same environment, networks, batches and number of updates for each of them.

What cannot be made equal:

- Loss: DQN's is Huber's in Stable-Baselines3 and sbx, with no choice. With it values of this setting grow far beyond
  100, the most there is, and the return is 9, in purerl as well (`"loss": "huber"` below shows it): the few ends of
  episodes pull no harder than every other step. The workers put the squared loss in its place, which costs the same.
  Critics minimise half of the squared error, but in Stable-Baselines3's TD3 all of it.
- Gradients: rejax clips them by value, purerl, Stable-Baselines3 and brax by their global norm, sbx's DQN not at all.
- Optimisers: Adam's epsilon is 1e-5 in PPO of purerl and Stable-Baselines3, 1e-8 in rejax and brax. purerl's PQN steps
  with RAdam, as its authors do, rejax's with Adam.
- Weights: orthogonal at first in purerl and in Stable-Baselines3's PPO, LeCun's normal ones in rejax, sbx and purerl's
  PPO on brax, LeCun's uniform ones in brax, PyTorch's in Stable-Baselines3's other algorithms.
- Values: rejax's PPO always clips their movement. rejax takes a time limit for the end of the problem.
- Exploration: rejax's SAC warms up with its policy, the others with uniform actions. purerl's epsilon begins to fall
  after the warm-up, that of the others at the first step. Stable-Baselines3 and sbx draw once whether all of their
  environments act at random, the others for each of them. Noise of TD3 is in units of the action in rejax, which is
  translated, and in units of its range elsewhere.
- TD3: purerl acts for two steps and then makes the two updates of the critics and the one of actor and targets that
  belong to them; the others act and learn in turn. sbx's targets move with every update, and its actor climbs the
  lesser value, rejax's the mean of both values, the others' the first. rejax's critics see actions in [-2, 2].
- Replay: rejax samples without replacement, which costs it time that grows with the capacity.
- brax: its PPO forms advantages anew for every minibatch, whose steps are whole rollouts of some environments; purerl
  forms them once, and its minibatches are steps drawn from all of them. brax goes on in one of the states that it
  started with when an episode has ended, purerl draws a new one. Before the tanh its actions deviate by
  0.7 at first, purerl's by 1. Its entropy bonus is estimated from a sample of the squashed action. Its SAC has the
  target entropy -1/2 per dimension and the step size 3e-4 for the temperature, which purerl is given here, too.
"""

import math
from typing import Any, NamedTuple


class Setting(NamedTuple):
    """One training, in the words of purerl; the workers translate.

    Attributes:
        algorithm: of purerl's table.
        environment: of gymnax and of Gymnasium by the same name, or one of brax's (spring backend).
        steps: environment steps of each agent.
        quick_steps: the same, for a look at whether everything works.
        fields: of purerl's Config; a worker passes on those that are not settled in its library.
    """

    algorithm: str
    environment: str
    steps: int
    quick_steps: int
    fields: dict[str, Any]


PPO_ON_BRAX = {
    "learning_rate": 3e-4,
    "anneal_learning_rate": False,
    "adam_epsilon": 1e-8,
    "discount": 0.97,
    "trace_decay": 0.95,
    "clip": 0.3,
    "value_coefficient": 0.5,
    "entropy_coefficient": 1e-3,
    "max_gradient_norm": 0.5,
    "num_envs": 128,
    "rollout_length": 16,
    "epochs": 8,
    "minibatches": 16,
    "normalize_observations": True,
    "widths": (64, 64),
    "activation": "swish",
    "policy": "tanh_gaussian",
    "orthogonal_init": False,
}
SAC_ON_BRAX = {
    "learning_rate": 6e-4,
    "critic_learning_rate": 6e-4,
    "temperature_learning_rate": 3e-4,
    "temperature": 1.0,
    "target_entropy": -0.5,
    "discount": 0.99,
    "num_envs": 128,
    "steps_per_iteration": 1,
    "update_to_data": (32, 128),
    "batch_size": 256,
    "replay_capacity": 65_536,
    "warm_up_steps": 1_024,
    "target_rate": 0.005,
    "normalize_observations": True,
    "widths": (256, 256),
    "critic_widths": (256, 256),
    "activation": "relu",
}
BODIES = ("inverted_pendulum", "hopper", "halfcheetah")
SETTINGS = {
    "ppo": Setting(
        "ppo",
        "CartPole-v1",
        262_144,
        20_480,
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
        10_000,
        {
            "learning_rate": 2.5e-4,
            "discount": 0.99,
            "loss": "squared",
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
    "pqn": Setting(
        "pqn",
        "CartPole-v1",
        262_144,
        20_480,
        {
            "learning_rate": 2.5e-4,
            "anneal_learning_rate": False,
            "discount": 0.99,
            "trace_decay": 0.95,
            "max_gradient_norm": 10.0,
            "num_envs": 32,
            "rollout_length": 64,
            "epochs": 4,
            "minibatches": 16,
            "epsilon_start": 1.0,
            "epsilon_end": 0.05,
            "exploration_fraction": 0.2,
            "widths": (64, 64),
            "activation": "relu",
        },
    ),
    "sac": Setting(
        "sac",
        "Pendulum-v1",
        10_000,
        2_000,
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
    "td3": Setting(
        "td3",
        "Pendulum-v1",
        10_000,
        2_000,
        {
            "learning_rate": 1e-3,
            "critic_learning_rate": 1e-3,
            "discount": 0.99,
            "num_envs": 1,
            "steps_per_iteration": 2,
            "batch_size": 256,
            "replay_capacity": 10_000,
            "warm_up_steps": 1_000,
            "target_rate": 0.005,
            "policy_delay": 2,
            "target_noise": 0.2,
            "target_noise_clip": 0.5,
            "noise_start": 0.1,
            "noise_end": 0.1,
            "widths": (64, 64),
            "critic_widths": (64, 64),
            "activation": "relu",
        },
    ),
    **{f"ppo_{body}": Setting("ppo", f"brax/{body}", 524_288, 16_384, PPO_ON_BRAX) for body in BODIES},
    **{f"sac_{body}": Setting("sac", f"brax/{body}", 50_176, 2_048, SAC_ON_BRAX) for body in BODIES},
}
CLASSIC = tuple(name for name, setting in SETTINGS.items() if not setting.environment.startswith("brax/"))


def updates_of(setting: Setting) -> int:
    """How many minibatches each agent learns from in a training (of TD3: its critics; the actor learns from half)."""
    fields = setting.fields
    if "epochs" in fields:
        rollouts = setting.steps // (fields["num_envs"] * fields["rollout_length"])
        return rollouts * fields["epochs"] * fields["minibatches"]
    per_step = (1, fields["num_envs"]) if setting.algorithm == "dqn" else fields.get("update_to_data", (1, 1))
    return (setting.steps - fields["warm_up_steps"]) * per_step[0] // per_step[1]


def overridden(name: str, steps: int | None = None, replay_capacity: int | None = None, quick: bool = False) -> Setting:
    """The setting of that name with other steps, and another capacity where it has a replay.

    Raises ValueError for a capacity that is not a multiple of the block that is written at once or holds no warm-up,
    and for steps that are too few for an update.
    """
    setting = SETTINGS[name]
    setting = setting._replace(steps=steps or (setting.quick_steps if quick else setting.steps))
    if updates_of(setting) < 1:
        raise ValueError(f"{name}: {setting.steps:,} steps are too few for an update")
    if replay_capacity is None or "replay_capacity" not in setting.fields:
        return setting
    block = setting.fields["num_envs"] * setting.fields.get("steps_per_iteration", 1)
    least = setting.fields["warm_up_steps"]
    if replay_capacity % block or replay_capacity < least:
        nearest = max(round(replay_capacity / block), math.ceil(least / block)) * block
        raise ValueError(
            f"{name}: a replay of {replay_capacity:,} steps must be a multiple of {block} and hold the {least:,} of "
            f"the warm-up; {nearest:,} would do"
        )
    return setting._replace(fields=setting.fields | {"replay_capacity": replay_capacity})
