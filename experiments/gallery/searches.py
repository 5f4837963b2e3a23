"""Experiments on searches over hyperparameters."""

import numpy as np

from .entries import Entry, Measure, at, at_least, at_most, difference, over

SHARES = "share of the variance"
PBT, RANDOM, ANNEALED = "population-based training", "random search", "random search, annealed"


def member(search: str, which: str, bounds: tuple[float, float]) -> Measure:
    """Median over populations of what a member returns at the end."""
    return Measure(over(np.median, search, f"{which} member"), bounds)


ENTRIES = (
    Entry(
        "population_based_training",
        "letting the worst copy the best and perturb their hyperparameters beats drawing them once",
        "PPO on Pendulum, 8 populations of 16, medians of the last five evaluations: the best member of "
        "population-based training earns {pbt:.0f}, of random search {random:.0f}, with an annealed learning rate "
        "{annealed:.0f}; the median member {pbt_median:.0f}, {random_median:.0f} and {annealed_median:.0f}",
        {
            "pbt": member(PBT, "best", at_least(-175)),
            "random": member(RANDOM, "best", at_most(-175)),
            "annealed": member(ANNEALED, "best", at_most(-160)),
            "pbt_median": member(PBT, "median", at_least(-200)),
            "random_median": member(RANDOM, "median", at_most(-400)),
            "annealed_median": member(ANNEALED, "median", at_most(-400)),
            "ahead": Measure(
                difference(over(np.median, PBT, "best member"), over(np.median, ANNEALED, "best member")), at_least(0)
            ),
        },
        ("ppo",),
    ),
    Entry(
        "sensitivity_dqn",
        "one setting of DQN for all environments costs less than staying at the defaults, more than tuning for each",
        "normalised score over CartPole, Catch and Acrobot, {seeds:.0f} seeds, choices scored on seeds that did not "
        "make them: tuned for each {each:.2f}, one setting for all {all:.2f}, defaults {defaults:.2f}; of the variance "
        "on CartPole the learning rate makes {rate_cartpole:.0%} and the target rate {target_cartpole:.0%}, on Catch "
        "{rate_catch:.0%} and {target_catch:.0%}, on Acrobot {rate_acrobot:.0%} and {target_acrobot:.0%}",
        {
            "seeds": Measure(at("seeds")),
            "each": Measure(at("per_environment", 0), at_least(0.7)),
            "all": Measure(at("across", 0)),
            "defaults": Measure(at("untuned", 0)),
            "cost": Measure(difference(at("per_environment", 0), at("across", 0)), at_least(0)),
            "gain": Measure(difference(at("across", 0), at("untuned", 0)), at_least(0)),
        }
        | {
            f"{short}_{environment.split('-')[0].lower()}": Measure(at(environment, field))
            for environment in ("CartPole-v1", "Catch-bsuite", "Acrobot-v1")
            for short, field in (("rate", "learning_rate"), ("target", "target_rate"))
        },
        ("dqn",),
    ),
    Entry(
        "sweep_ppo",
        "a sweep says which field matters, how wide the basin of good settings is, and what the best one is worth",
        "PPO on CartPole, {settings:.0f} settings x {seeds:.0f} seeds x {steps:,.0f} steps in one program: of the "
        "variance of final returns the learning rate makes {rate:.0%}, lambda {trace:.0%}, the entropy bonus "
        "{entropy:.0%}; the best setting earns {best:.0f}, and {fresh:.0f} on seeds that did not choose it",
        {
            "settings": Measure(at("settings")),
            "seeds": Measure(at("seeds")),
            "steps": Measure(at("steps")),
            "rate": Measure(at(SHARES, "learning_rate"), at_least(0.3)),
            "trace": Measure(at(SHARES, "trace_decay")),
            "entropy": Measure(at(SHARES, "entropy_coefficient"), at_most(0.05)),
            "best": Measure(at("best", 0), at_least(475)),
            "fresh": Measure(at("the same on fresh seeds", 0), at_least(475)),
        },
        ("ppo",),
    ),
)
