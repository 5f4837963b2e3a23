"""One small case per algorithm: the contracts run over every name in the table."""

import dataclasses
from typing import Any, NamedTuple

from purerl.algorithms import ALGORITHMS, load
from purerl.environments import make
from purerl.types import Algorithm


class Case(NamedTuple):
    """What the contracts need to know of an algorithm."""

    environment: str  # something it can be made for
    config: dict[str, Any]  # fields that make it small
    wrong_environment: str | None = None  # something it must refuse
    iterations: int = 4


CASES: dict[str, Case] = {
    "dqn": Case(
        "CartPole-v1",
        {
            "num_envs": 4,
            "steps_per_iteration": 4,
            "updates_per_iteration": 2,
            "batch_size": 16,
            "replay_capacity": 64,
            "warm_up_steps": 32,
            "target_period": 32,
            "target_rate": 0.5,
            "normalize_observations": True,
            "max_gradient_norm": 0.05,
            "widths": (16,),
        },
        wrong_environment="Pendulum-v1",
    ),
    "ppo": Case(
        "CartPole-v1",
        {
            "num_envs": 4,
            "rollout_length": 16,
            "epochs": 2,
            "minibatches": 2,
            "normalize_observations": True,
            "scale_rewards": True,
            "clip_value": True,
            "max_gradient_norm": 0.05,
            "clip": 0.001,
            "widths": (16,),
        },
    ),
}
assert set(CASES) == set(ALGORITHMS), "every algorithm in the table needs a case here"


def algorithm(name: str, **floats: Any) -> Algorithm:
    """The algorithm of a case, with some float fields replaced (they may be traced)."""
    case, module = CASES[name], load(name)
    return module.make(make(case.environment), module.Config(**case.config | floats))


def float_fields(name: str) -> dict[str, float]:
    """The hyperparameters that one program sweeps, with their values in the case."""
    config = algorithm(name).config
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.type in (float, "float")}
