"""Without replay and without a target network, Q-learning needs LayerNorm: half of the return is lost without it.

    python experiments/pqn_layernorm.py              # about five minutes on one core
    python experiments/pqn_layernorm.py --quick      # under a minute, most of it compiling; learns little

The claim of Gallici et al. (2024): LayerNorm before every activation is what stands in for the target network, and at
the step size of the paper (5e-4) the agents without it either lose at least half of the return on MinAtar or see their
values diverge. Everything but LayerNorm is the preset of PQN, seeds included; only the run is shorter than the paper's
10M steps. On Breakout, after 500k steps and over three seeds, the first of the two happens: the median greedy return is
15.2 with and 6.4 without LayerNorm (12.5 to 15.7 against 6.3 to 6.5); the values stay bounded in both.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import make, presets, run
from purerl.algorithms.value_based import pqn
from purerl.report.pictures.learning_curve import COLOURS, DASHES


def main(
    env: str = "Breakout-MinAtar",
    quick: bool = False,
    seeds: int = 3,
    total_steps: int = 500_000,
    learning_rate: float = 5e-4,
    out: Path = Path("runs/experiments/pqn_layernorm"),
) -> None:
    """Train PQN with and without LayerNorm and draw returns and values.

    Args:
        env: an environment with a preset of PQN.
        quick: a short run that shows that everything works.
        seeds: agents of each kind, trained in one program.
        total_steps: environment steps of each agent.
        learning_rate: of both.
        out: where the figure and the numbers go.
    """
    seeds, total_steps = (2, 20_000) if quick else (seeds, total_steps)
    preset = presets.load("pqn", env) | {"learning_rate": learning_rate}
    preset.pop("total_steps", None)
    out.mkdir(parents=True, exist_ok=True)
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    numbers: dict[str, dict[str, list[float]]] = {}
    for i, layer_norm in enumerate((True, False)):
        name = "with LayerNorm" if layer_norm else "without LayerNorm"
        algorithm = pqn.make(make(env), pqn.Config(**preset | {"layer_norm": layer_norm}))
        groups = 4 if quick else 10
        result = run(algorithm, total_steps=total_steps, seeds=seeds, evaluations=groups, episodes=64, sinks=())
        returns = result.evaluations.returns.mean(-1)  # [seeds, evaluations]
        values = np.abs(result.metrics["q_value"])  # [seeds, iterations]
        numbers[name] = {
            "final_return": rounded(returns[:, -3:].mean(-1)),
            "final_value": rounded(values[:, -1]),
            "largest_value": rounded(np.nanmax(values, axis=-1)),
        }
        steps = [total_steps * np.arange(1, n + 1) / n for n in (returns.shape[1], values.shape[1])]
        for axes, x, curves in zip(panels, steps, (returns, values), strict=True):
            axes.fill_between(x, curves.min(0), curves.max(0), color=COLOURS[i], alpha=0.2, linewidth=0)
            axes.plot(x, np.median(curves, axis=0), DASHES[i], color=COLOURS[i], label=name)

    with_it, without = (np.median(numbers[name]["final_return"]) for name in ("with LayerNorm", "without LayerNorm"))
    largest, bounded = (max(numbers[name]["largest_value"]) for name in ("without LayerNorm", "with LayerNorm"))
    print("The claim: without LayerNorm the return falls by at least half, or the values diverge.")
    print(f"Median greedy return over the last three evaluations: {with_it:.2f} with, {without:.2f} without LayerNorm.")
    print(f"Largest mean value of any seed: {bounded:.3g} with, {largest:.3g} without LayerNorm.")
    summary = {"environment": env, "total_steps": total_steps, "seeds": seeds, "learning_rate": learning_rate}
    (out / "numbers.json").write_text(json.dumps(summary | numbers, indent=2) + "\n", encoding="utf-8")

    for axes in panels:
        axes.set_xlabel("environment steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    panels[0].set(ylabel="greedy return", title=f"PQN on {env}: return")
    panels[1].set(ylabel="|mean Q(s, a)| of a rollout", title="Values", yscale="log")
    title = f"median and range of {seeds} seeds, step size {learning_rate:g}"
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, title=title
    )
    figure.savefig(out / "figure.png", dpi=120)
    print(f"figure: {out / 'figure.png'}")


def rounded(numbers: np.ndarray) -> list[float]:
    """One number per seed, in order of size."""
    return np.sort(np.asarray(numbers, np.float64)).round(3).tolist()


if __name__ == "__main__":
    tyro.cli(main)
