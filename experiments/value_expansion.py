"""Targets that look some imagined steps ahead: DDPG with value expansion, by horizon and by model.

    python experiments/value_expansion.py            # fifteen minutes of one core
    python experiments/value_expansion.py --quick    # a minute, most of it compiling; learns little
    python experiments/value_expansion.py --conditions "fast targets"  # a part

The claims of Feinberg et al. (2018) and Buckman et al. (2018): targets that follow the policy for a few imagined steps
before they bootstrap learn faster than those of one step; long horizons in a learned model do harm, all the more if
values learn at real states only (without the TD-k trick); and weighting the horizons by their variance over models and
critics does as well as the best horizon without choosing it.

All share networks, twin critics, batches, replay, noise and one update per step. Rewards are multiplied by 0.03 and
targets follow at the rate of 0.005. The area is the mean of all evaluations, from the first one on, and a seed has
solved the task at the first one of at least -200. Mean area, median steps, their intervals, and seeds of eight that
solve it:

    DDPG                                           -715 [ -739,  -669]   3750 [3250, 4250]   8
    DDPG, 3 real steps                             -403 [ -460,  -378]   2250 [1750, 2750]   8
    3 steps of the true model                      -421 [ -478,  -367]   2500 [1500, 3000]   8
    the same, learning at imagined states (TD-k)  -1303 [-1422, -1167]      -                0
    the same, target policy with noise of 0.3      -531 [ -586,  -480]   2500 [2000, 3000]   8
    3 steps of an ensemble                         -436 [ -601,  -338]   2250 [1750, 3500]   7
    10 steps of an ensemble                        -569 [ -770,  -416]   3750 [3000, 4750]   7
    STEVE, 0 to 5 steps of an ensemble             -539 [ -708,  -465]   3125 [2250, 4250]   7

So three imagined steps need two thirds of DDPG's steps or less, as claimed, with the true model and with a learned one;
ten steps of a learned model lose that again, and STEVE is between the two. Three real steps do as well here, though
their actions were not the target policy's. TD-k, which is to save long horizons, does harm: at imagined states the
target policy has always acted, so they say nothing about other actions; noise on its actions mends most of it.

What it depends on, areas of DDPG and of three steps of the true model:

    targets at the rate of                              0.005             0.02
    rewards times 0.03                              -715    -421      -433    -393
    rewards as they are                             -937    -798      -581    -911

Looking ahead replaces fast targets: DDPG with targets four times as fast gains as much, and then looking ahead adds
little. And it needs small values: with rewards as they are it gains little or does harm. A likely reason is that those
values lie at some -300, which targets of one step approach slowly and targets that look ahead demand at once; errors of
the critics that are small beside them are large beside what one action is worth more than another.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from mbpo_rollout_length import draw, measure, summary

from purerl import load, make
from purerl.environments import multiply_rewards
from purerl.report.statistics import Estimate, estimate, in_words

ENVIRONMENT, THRESHOLD = "Pendulum-v1", -200.0
SHARED: dict[str, Any] = {
    "critics": 2,
    "steps_per_iteration": 10,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "widths": (64, 64),
    "critic_widths": (64, 64),
    "warm_up_steps": 500,
}
FACTOR = 0.03  # of the rewards, whose discounted sums are then -49 at worst
SLOW, FAST = 0.005, 0.02  # target rates; the first is the usual one
TRUE: dict[str, Any] = {"horizon": 3, "model": "true", "learn_imagined": False}
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPG": ("ddpg", {}),
    "DDPG, 3 real steps": ("ddpg", {"n_step": 3}),
    "true model, 3 steps": ("mve", TRUE),
    "true model, 3 steps, TD-k": ("mve", TRUE | {"learn_imagined": True}),
    "ensemble, 3 steps": ("mve", {"horizon": 3, "learn_imagined": False}),
    "ensemble, 10 steps": ("mve", {"horizon": 10, "learn_imagined": False}),
    "STEVE, 0 to 5 steps": ("mve", {"horizon": 5, "weighting": "inverse_variance"}),
    "true model, 3 steps, TD-k, noise": ("mve", TRUE | {"learn_imagined": True, "target_noise": 0.3}),
}


class Condition(NamedTuple):
    """What a comparison is made under."""

    factor: float
    target_rate: float
    learners: tuple[str, ...] = ("DDPG", "true model, 3 steps")


CONDITIONS = {
    "slow targets": Condition(FACTOR, SLOW, tuple(LEARNERS)),
    "fast targets": Condition(FACTOR, FAST),
    "slow targets, rewards as they are": Condition(1.0, SLOW),
    "fast targets, rewards as they are": Condition(1.0, FAST),
}


def main(
    quick: bool = False,
    conditions: tuple[str, ...] = tuple(CONDITIONS),
    learners: tuple[str, ...] = tuple(LEARNERS),
    seeds: int = 8,
    total_steps: int = 5_000,
    every: int = 250,
    episodes: int = 16,
    out: Path = Path("runs/experiments/value_expansion"),
) -> None:
    """Train every learner under every condition and draw what has been measured so far.

    Args:
        quick: two learners under one condition, few steps.
        conditions: some of `CONDITIONS`.
        learners: some of `LEARNERS`.
        seeds: agents of each, in one program.
        total_steps: environment steps of each.
        every: of them between two evaluations of greedy episodes.
        episodes: of an evaluation.
        out: where the numbers and the figure go; what is there of other parts is kept.
    """
    if quick:
        conditions, learners, seeds, total_steps = ("slow targets",), ("DDPG", "ensemble, 3 steps"), 2, 1_000
        out = out / "quick"  # beside what was measured in full
    out.mkdir(parents=True, exist_ok=True)
    file = out / "numbers.json"
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in conditions:
        condition = CONDITIONS[name]
        for learner in [learner for learner in learners if learner in condition.learners]:
            part = learn(learner, condition, seeds, total_steps, every, episodes)
            part["area"] = estimate(np.array(part["returns"]).mean(axis=1)[:, None])._asdict()
            numbers.setdefault(name, {})[learner] = part
            print(f"{name}: {learner:32} area {area(part)}; {summary(part)}; {part['seconds']:.0f} s", flush=True)
            file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    dashed = [name for name in LEARNERS if "true" in name or "real" in name]
    shown = {name: numbers[name] for name in CONDITIONS if name in numbers}
    draw(shown, tuple(LEARNERS), dashed, out / "figure.png", scale="linear", bands=False)
    print(f"figure: {out / 'figure.png'}")


def learn(
    learner: str, condition: Condition, seeds: int, total_steps: int, every: int, episodes: int
) -> dict[str, Any]:
    """A learner under a condition, evaluated on the rewards as they are."""
    kind, settings = LEARNERS[learner]
    module, environment = load(kind), make(ENVIRONMENT)
    fields = SHARED | settings | {"target_rate": condition.target_rate, "replay_capacity": total_steps}
    one = module.make(multiply_rewards(environment, condition.factor), module.Config(**fields))
    evaluations = (total_steps - one.env_steps_of_init) // every
    keys = jax.random.split(jax.random.key(100), seeds)
    return measure(one, keys, every // SHARED["steps_per_iteration"], evaluations, episodes, THRESHOLD, environment)


def area(part: dict[str, Any]) -> str:
    """The mean of all evaluations with its interval over seeds, in words."""
    return in_words(Estimate(**part["area"]), 0)


if __name__ == "__main__":
    tyro.cli(main)
