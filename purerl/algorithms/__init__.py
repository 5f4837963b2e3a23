"""The table of algorithms. Every one of them is a module with a `Config` and a `make(environment, config)`."""

import difflib
import importlib
from types import ModuleType

ALGORITHMS: dict[str, str] = {
    "a2c": "purerl.algorithms.policy_gradient.a2c",
    "a3c": "purerl.algorithms.policy_gradient.a3c",
    "alphazero": "purerl.algorithms.model_based.alphazero",
    "apg": "purerl.algorithms.policy_gradient.apg",
    "c51": "purerl.algorithms.value_based.c51",
    "ddpg": "purerl.algorithms.continuous_control.ddpg",
    "dqn": "purerl.algorithms.value_based.dqn",
    "dyna_q": "purerl.algorithms.tabular.dyna_q",
    "iqn": "purerl.algorithms.value_based.iqn",
    "mba": "purerl.algorithms.model_based.mba",
    "mbpo": "purerl.algorithms.model_based.mbpo",
    "model_policy_gradient": "purerl.algorithms.model_based.model_policy_gradient",
    "mve": "purerl.algorithms.model_based.mve",
    "naf": "purerl.algorithms.continuous_control.naf",
    "npg": "purerl.algorithms.policy_gradient.npg",
    "pets": "purerl.algorithms.model_based.pets",
    "ppo": "purerl.algorithms.policy_gradient.ppo",
    "pqn": "purerl.algorithms.value_based.pqn",
    "q_learning": "purerl.algorithms.tabular.q_learning",
    "q_prop": "purerl.algorithms.policy_gradient.q_prop",
    "qr_dqn": "purerl.algorithms.value_based.qr_dqn",
    "qt_opt": "purerl.algorithms.continuous_control.qt_opt",
    "r2d2": "purerl.algorithms.value_based.r2d2",
    "rainbow": "purerl.algorithms.value_based.rainbow",
    "reinforce": "purerl.algorithms.policy_gradient.reinforce",
    "sac": "purerl.algorithms.continuous_control.sac",
    "soft_q": "purerl.algorithms.continuous_control.soft_q",
    "td3": "purerl.algorithms.continuous_control.td3",
    "trpo": "purerl.algorithms.policy_gradient.trpo",
}


def load(name: str) -> ModuleType:
    """The module of an algorithm in the table; ValueError with the nearest names if there is none of that name."""
    if name not in ALGORITHMS:
        near = difflib.get_close_matches(name.lower(), ALGORITHMS, n=3, cutoff=0.3) or list(ALGORITHMS)
        raise ValueError(f"unknown algorithm {name!r}; did you mean {' or '.join(near)}?")
    return importlib.import_module(ALGORITHMS[name])
