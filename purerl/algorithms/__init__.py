"""The table of algorithms. Every one of them is a module with a `Config` and a `make(environment, config)`."""

import importlib
from types import ModuleType

from purerl.configuration import nearest

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

VARIANTS = {
    "actor_critic": "a2c",
    "ddqn": "dqn double=True",
    "double_q_learning": "q_learning rule='double_q_learning'",
    "double_dqn": "dqn double=True",
    "dueling_dqn": "dqn dueling=True",
    "expected_sarsa": "q_learning rule='expected_sarsa'",
    "noisy_dqn": "dqn exploration='noisy'",
    "per": "dqn sampling='proportional'",
    "policy_gradient": "reinforce",
    "prioritized_dqn": "dqn sampling='proportional'",
    "rainbow_dqn": "rainbow",
    "recurrent_ppo": "ppo core='gru'",
    "sarsa": "q_learning rule='sarsa'",
    "vpg": "reinforce",
}  # names under which others have what is a setting here


def load(name: str) -> ModuleType:
    """The module of an algorithm in the table; ValueError with the nearest names if there is none of that name."""
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}; {_suggestion(name)}")
    return importlib.import_module(ALGORITHMS[name])


def _suggestion(name: str) -> str:
    folded = name.casefold().replace("-", "_")
    if folded in VARIANTS:
        algorithm, _, setting = VARIANTS[folded].partition(" ")
        return f"did you mean {algorithm}" + (f" with {setting}" if setting else "") + "?"
    return f"did you mean {folded}?" if folded in ALGORITHMS else nearest(folded, ALGORITHMS)
