"""What DQN owes to its replay and to its target network.

    python experiments/replay_and_target_ablation.py              # about six minutes on two cores
    python experiments/replay_and_target_ablation.py --quick      # a minute or two, most of it compiling

The claims of Mnih et al. (2015), on Breakout of MinAtar and on CartPole.

Replay: an update for every four steps of one environment learns faster from a replay than from these four steps alone
(a median return of 8.2 against 3.5 after 100k steps, 8.7 against 7.5 after 200k; after 5M steps Young & Tian, 2019,
have 10 against 4; medians of four seeds). The latest steps of 32 environments are less correlated, but there are fewer
updates, 1 for every 16 steps: 4.0 after 200k.

Target network: without one, and with a step size four times the usual, the mean value of CartPole, which is at most
1 / (1 - discount) = 100, reaches 7,000 to 55,000 in all of eight seeds. Both forms of a slow target, copied now and
then (at most 103) and averaged (Polyak; at most 99.9), hold it, and most of their seeds balance to the end.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

import purerl
from purerl.report.pictures.learning_curve import COLOURS

MINATAR = {
    "algorithm": "dqn",
    "env": "Breakout-MinAtar",
    "learning_rate": 2.5e-4,
    "adam_epsilon": 3.125e-4,
    "target_period": 1000,
    "exploration_fraction": 0.2,
    "widths": (128,),
}
ONE = {"num_envs": 1, "steps_per_iteration": 4}  # an update for every four steps
MANY = {"num_envs": 32, "steps_per_iteration": 4, "updates_per_iteration": 8, "batch_size": 64}
REPLAY = {
    "replay of 100k steps": ONE
    | {"batch_size": 32, "replay_capacity": 100_000, "warm_up_steps": 1_000, "share_observations": True},
    "only the latest 4 steps": ONE | {"batch_size": 4, "replay_capacity": 4, "warm_up_steps": 4},
    "only the latest 4 steps of 32 environments": MANY | {"replay_capacity": 128, "warm_up_steps": 128},
}
CARTPOLE = {"algorithm": "dqn", "env": "CartPole-v1", "learning_rate": 1e-3, "exploration_fraction": 0.2}
TARGET = {
    "copied every 500 steps": {"target_period": 500, "target_rate": 1.0},
    "averaged (rate 0.02)": {"target_period": 10, "target_rate": 0.02},
    "no target network": {"target_period": 10, "target_rate": 1.0},
}
BOUND = 100.0  # of CartPole's values at discount 0.99


def main(quick: bool = False, seeds: int = 8, out: Path = Path("runs/experiments/replay_and_target_ablation")) -> None:
    """Train with and without each, and draw returns and values.

    Args:
        quick: few steps, to show that everything works.
        seeds: agents of each kind on CartPole; half as many on MinAtar.
        out: where the sweeps, the figure and the numbers go; it must not exist yet.
    """
    purerl.use_all_cores()
    seeds = 2 if quick else seeds
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    budget = {"preset": False, "evaluations": 2 if quick else 10, "episodes": 8 if quick else 32}
    space = [MINATAR | variant for variant in REPLAY.values()]
    steps = 8_000 if quick else 200_000
    replay = purerl.sweep(space, seeds=max(1, seeds // 2), total_steps=steps, directory=out / "replay", **budget)
    space = [CARTPOLE | variant for variant in TARGET.values()]
    steps = 8_000 if quick else 200_000
    target = purerl.sweep(space, seeds=seeds, total_steps=steps, directory=out / "target", **budget)

    numbers: dict = {"replay, final return on Breakout": {}, "target, largest mean value on CartPole": {}}
    for i, (name, rows) in enumerate(by_variant(replay, REPLAY).items()):
        draw(panels[0], rows, "return", name, COLOURS[i])
        final = rows[rows.env_steps == rows.env_steps.max()]["return"].to_numpy()
        numbers["replay, final return on Breakout"][name] = final.round(2).tolist()
        print(f"{name}: return {np.mean(final):.1f}")
    for i, (name, rows) in enumerate(by_variant(target, TARGET).items()):
        draw(panels[1], rows, "return", name, COLOURS[i])
        draw(panels[2], rows, "q_value", name, COLOURS[i])
        largest = rows.groupby("agent")["q_value"].max().to_numpy()
        numbers["target, largest mean value on CartPole"][name] = largest.round(1).tolist()
        print(f"{name}: largest mean value {largest.min():.1f} to {largest.max():.1f} (bound {BOUND:g})")
    panels[2].axhline(BOUND, color="0.4", linestyle=":", label="bound")
    panels[2].set_yscale("symlog", linthresh=BOUND)
    for axes, title in zip(panels, ("Breakout: return", "CartPole: return", "CartPole: mean Q"), strict=True):
        axes.set(xlabel="environment steps", title=title)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.legend(fontsize=8)
    figure.savefig(out / "figure.png", dpi=110)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(f"figure: {out / 'figure.png'}")


def by_variant(result, variants: dict) -> dict:
    """The rows of each variant's agents: the space listed them one after another."""
    table = result.table()
    each = table["agent"].nunique() // len(variants)
    return {name: table[table["agent"] // each == i] for i, name in enumerate(variants)}


def draw(axes, rows, column: str, name: str, colour: str) -> None:
    """Median and range over seeds."""
    curves = rows.pivot_table(index="env_steps", columns="agent", values=column)
    axes.plot(curves.index, curves.median(axis=1), color=colour, label=name)
    axes.fill_between(curves.index, curves.min(axis=1), curves.max(axis=1), color=colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    tyro.cli(main)
