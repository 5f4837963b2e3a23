"""Learning on real environments, over several seeds trained in one program.

The default tests are short; `pytest -m slow` trains with every preset of a claim for its whole budget.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest

from purerl import load, make, presets, run


class Claim(NamedTuple):
    """With the preset, `fields` changed, `passing` of eight seeds and their median return at least `threshold`."""

    algorithm: str
    environment: str
    threshold: float
    passing: int
    fields: dict[str, Any] = {}


DUELING = {"dueling": True, "double": True, "layer_norm": True}
CLAIMS = [
    Claim("ppo", "CartPole-v1", 475.0, 7),
    Claim("dqn", "CartPole-v1", 475.0, 7),
    Claim("dqn", "CartPole-v1", 475.0, 7, {"double": True}),
    Claim("dqn", "CartPole-v1", 475.0, 7, DUELING),
    Claim("dqn", "CartPole-v1", 475.0, 7, {"exploration": "noisy"}),
    Claim("c51", "CartPole-v1", 475.0, 7),
    Claim("qr_dqn", "CartPole-v1", 475.0, 7),
    Claim("iqn", "CartPole-v1", 475.0, 7),
    Claim("rainbow", "CartPole-v1", 475.0, 7),
    Claim("pqn", "CartPole-v1", 475.0, 7),
    Claim("reinforce", "CartPole-v1", 475.0, 7),
    Claim("a2c", "CartPole-v1", 475.0, 7),
    Claim("npg", "CartPole-v1", 475.0, 7),
    Claim("trpo", "CartPole-v1", 475.0, 7),
    Claim("ppo", "CartPole-v1", 475.0, 7, {"penalty": "dual"}),
    Claim("ppo", "Acrobot-v1", -90.0, 7),
    Claim("a2c", "Acrobot-v1", -90.0, 7),
    Claim("npg", "Acrobot-v1", -90.0, 7),
    Claim("trpo", "Acrobot-v1", -90.0, 7),
    Claim("dqn", "Acrobot-v1", -95.0, 7),
    Claim("pqn", "Acrobot-v1", -95.0, 7),
    Claim("ppo", "Pendulum-v1", -200.0, 7),
    Claim("trpo", "Pendulum-v1", -200.0, 7),
    *(Claim(name, "Pendulum-v1", -180.0, 8) for name in ("ddpg", "td3", "sac")),
    Claim("sac", "CartPole-v1", 450.0, 7),
    Claim("td3", "MountainCarContinuous-v0", 90.0, 7),
    Claim("naf", "Pendulum-v1", -180.0, 8),
    Claim("qt_opt", "Pendulum-v1", -180.0, 8),
    Claim("mbpo", "Pendulum-v1", -200.0, 8),
    Claim("ppo", "MountainCar-v0", -120.0, 7),
    Claim("dqn", "Catch-bsuite", 1.0, 8),
    Claim("dqn", "MountainCar-v0", -120.0, 7),
    Claim("ppo", "mjx/cartpole_swingup", 350.0, 6),
]


def final_returns(algorithm: str, environment: str, seeds: int, **fields: Any) -> np.ndarray:
    """The greedy return of every seed after training with the preset; `fields`, also `total_steps`, replace its own."""
    module, preset = load(algorithm), presets.load(algorithm, environment) | fields
    steps = preset.pop("total_steps")
    one = module.make(make(environment), module.Config(**preset))
    result = run(one, total_steps=steps, seeds=seeds, evaluations=5, sinks=())
    return np.asarray(result.summary["evaluation"]["return_per_seed"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "claim", CLAIMS, ids=lambda claim: "-".join((claim.algorithm, claim.environment, *claim.fields))
)
def test_a_preset_reaches_what_the_literature_reaches(claim):
    returns = final_returns(claim.algorithm, claim.environment, seeds=8, **claim.fields)
    print(np.sort(returns))
    assert np.sum(returns >= claim.threshold) >= claim.passing
    assert np.median(returns) >= claim.threshold
    assert len(np.unique(returns)) > 1 or claim.environment in ("Catch-bsuite", "CartPole-v1")  # seeds differ


# What DQN reached after 5M steps (Young & Tian, 2019): 10 and 50.
MINATAR = [
    ("dqn", "Breakout-MinAtar", 10.0, 1_500_000),
    ("dqn", "Freeway-MinAtar", 50.0, 750_000),
    ("rainbow", "Breakout-MinAtar", 10.0, 500_000),
    ("rainbow", "Freeway-MinAtar", 50.0, 1_000_000),
    ("pqn", "Breakout-MinAtar", 10.0, 500_000),
    ("pqn", "Freeway-MinAtar", 50.0, 1_000_000),
]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "environment", "published", "total_steps"), MINATAR)
def test_minatar_is_played_as_well_as_published_in_fewer_steps(algorithm, environment, published, total_steps):
    returns = final_returns(algorithm, environment, seeds=2, total_steps=total_steps)
    print(np.sort(returns))
    assert np.all(returns >= published)


def test_ppo_learns_to_balance_in_a_fifth_of_its_budget():
    returns = final_returns("ppo", "CartPole-v1", seeds=4, total_steps=100_000)
    assert np.median(returns) >= 400


def test_dqn_learns_to_catch():
    returns = final_returns("dqn", "Catch-bsuite", seeds=4, total_steps=30_000)
    assert np.all(returns >= 0.95)
