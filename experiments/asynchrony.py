"""What A3C pays for not waiting: return against the staleness of its gradients, step size by step size.

    python experiments/asynchrony.py              # seven minutes on two cores
    python experiments/asynchrony.py --quick      # a minute, most of it compiling; learns little

Sixteen workers take turns on CartPole-v1, each with one environment. Whoever acts and differentiates with parameters
that are d updates old changes the newest ones (Mnih et al., 2016); in the long run of sixteen asynchronous workers d is
15. Staleness and step size are numbers in one compiled program, so that every pair is an agent of one sweep.

After 150,000 steps, interquartile means of four seeds, with intervals too wide to rank neighbours: a step size of 0.003
bears a staleness of 0 to 15 (488 to 500) and not 63 (145); 0.01 learns 379 without staleness and 9 with 15.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro

import purerl
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.report.statistics import estimate, in_words

WORKERS = 16


def main(
    quick: bool = False,
    seeds: int = 4,
    total_steps: int = 150_000,
    out: Path = Path("runs/experiments/asynchrony"),
) -> None:
    """Sweep staleness and step size, then compare the final returns.

    Args:
        quick: two settings, few steps.
        seeds: agents of each setting.
        total_steps: environment steps of each agent.
        out: where the sweep, the figure and the numbers go; it must not exist yet.
    """
    purerl.use_all_cores()
    ages, rates = (0.0, 3.0, 15.0, 63.0), (1e-3, 3e-3, 1e-2)
    if quick:
        ages, rates, seeds, total_steps = (0.0, 15.0), (1e-3,), 2, 20_000
    space = {
        "algorithm": "a3c",
        "env": "CartPole-v1",
        "num_envs": WORKERS,
        "workers": WORKERS,
        "max_staleness": int(max(ages)),
        "staleness": list(ages),
        "learning_rate": list(rates),
    }
    results = purerl.sweep(
        space, seeds=seeds, total_steps=total_steps, evaluations=4, episodes=64, preset=False, directory=out / "sweep"
    )
    agents = results.agents()
    numbers: dict[str, list] = {"staleness": list(ages), "learning_rate": list(rates), "interquartile mean": []}
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for i, rate in enumerate(rates):
        found = []
        for age in ages:
            chosen = np.isclose(agents.staleness, age) & np.isclose(agents.learning_rate, rate)
            found.append(estimate(agents[chosen].final_return.to_numpy()[:, None]))
            print(f"step size {rate:g}, staleness {age:2.0f}: {in_words(found[-1], 1)}")
        numbers["interquartile mean"].append([[one.value, one.low, one.high] for one in found])
        middle, low, high = np.array(numbers["interquartile mean"][-1]).T
        axes.fill_between(ages, low, high, color=COLOURS[i], alpha=0.15, linewidth=0)
        axes.plot(ages, middle, DASHES[i], marker="o", color=COLOURS[i], label=f"{rate:g}")
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    axes.set_xscale("symlog", base=2, linthresh=1)
    axes.set_xticks(ages, [f"{age:.0f}" for age in ages])
    axes.set(xlabel="age of the parameters that act, in updates", ylabel="greedy return", ylim=(0, 510))
    axes.set_title(f"A3C on CartPole after {total_steps:,} steps: {seeds} seeds, interquartile mean, 95 %", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(title="step size", frameon=False)
    figure.savefig(out / "figure.png", dpi=110)
    print(f"figure: {out / 'figure.png'}")


if __name__ == "__main__":
    tyro.cli(main)
