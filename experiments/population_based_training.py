"""Population-based training finds a schedule of hyperparameters where random search finds, at best, a setting.

    python experiments/population_based_training.py              # about five minutes on one core
    python experiments/population_based_training.py --quick      # a minute, most of it compiling; learns little

The claim of Jaderberg et al. (2017): with the same members and the same budget, letting the worst copy the best and
perturb their hyperparameters beats drawing them once. PPO swings up a pendulum; learning rate, entropy bonus, discount
and lambda start anywhere in wide ranges, and all searches start from the same members. Since what a population finds
looks like an annealed learning rate, random search is also given one that falls linearly to 0. That closes a third
of the gap between the best members (medians over populations of the last five evaluations: -206, annealed -188,
population-based -155) and nothing of the gap between the median ones (-674, -729, -157).
"""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import make, ppo, run
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.sweeps import population
from purerl.sweeps.space import log_uniform, uniform

SPACE = {
    "learning_rate": log_uniform(1e-5, 1e-1),
    "entropy_coefficient": log_uniform(1e-5, 1e-1),
    "discount": uniform(0.8, 1.0),
    "trace_decay": uniform(0.5, 1.0),
}
SEARCHES = {  # share of the members that copy, and whether the learning rate falls
    "population-based training": (0.2, False),
    "random search": (0.0, False),
    "random search, annealed": (0.0, True),
}


def main(
    quick: bool = False,
    seeds: int = 8,
    rounds: int = 40,
    out: Path = Path("runs/experiments/population_based_training"),
) -> None:
    """Train populations with and without exploit and explore, and draw their returns and learning rates.

    Args:
        quick: a short run that shows that everything works.
        seeds: populations of each kind, trained in one program.
        rounds: of exploit and explore.
        out: where the runs and the figure go; it must not exist yet.
    """
    environment = make("Pendulum-v1")
    size, seeds, rounds = (4, 2, 4) if quick else (16, seeds, rounds)
    shared: dict[str, Any] = {"num_envs": 4, "minibatches": 8, "widths": (32, 32)}
    shared |= {"normalize_observations": True, "scale_rewards": True, "reward_clip": 10.0}
    numbers: dict[str, Any] = {"seeds": seeds, "members": size, "rounds": rounds}
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for i, (name, (fraction, anneal)) in enumerate(SEARCHES.items()):
        fixed = shared | {"anneal_learning_rate": anneal}
        algorithm = population.make(
            lambda fixed=fixed, **floats: ppo.make(environment, ppo.Config(**fixed, **floats)),
            SPACE,
            population.Config(population=size, ready_after=8, exploit_fraction=fraction),
        )
        result = run(algorithm, iterations=rounds, evaluations=rounds, seeds=seeds, directory=out / f"search_{i}")
        steps = algorithm.env_steps_per_iteration * np.arange(1, rounds + 1)
        best, median = result.evaluations.returns.mean(-1), result.metrics["median_score"]
        rates = result.metrics["learning_rate_best"] * (np.linspace(1, 0, rounds, endpoint=False) if anneal else 1)
        for axes, curves in zip(panels, (best, median, rates), strict=True):
            low, middle, high = np.percentile(curves, [25, 50, 75], axis=0)
            axes.plot(steps, middle, DASHES[i], color=COLOURS[i], label=name)
            axes.fill_between(steps, low, high, color=COLOURS[i], alpha=0.2, linewidth=0)
            axes.set_xlabel("environment steps (all members)")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25, linewidth=0.6)
        last = {"best member": best[:, -5:].mean(axis=1), "median member": median[:, -5:].mean(axis=1)}
        numbers[name] = {member: np.sort(returns).round(1).tolist() for member, returns in last.items()}
        print(f"{name}, mean return of the last five evaluations, populations in order: {numbers[name]}")
    panels[0].set(
        ylabel="greedy return", title="PPO on Pendulum-v1: the best member", ylim=None if quick else (-600, -100)
    )
    panels[1].set(ylabel="greedy return", title="The median member")
    panels[2].set(ylabel="step size of Adam", title="Learning rate of the best member", yscale="log")
    title = f"median and quartiles over {seeds} populations of {size}"
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, title=title
    )
    figure.savefig(out / "figure.png", dpi=120)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(f"figure: {out / 'figure.png'}")


if __name__ == "__main__":
    tyro.cli(main)
