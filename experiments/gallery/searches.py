"""Experiments on searches over hyperparameters."""

import numpy as np

from .entries import Entry, Measure, at_least, at_most, difference, over

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
)
