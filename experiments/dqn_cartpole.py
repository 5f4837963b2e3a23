"""DQN learns to balance a pole: eight agents in one program, compared with the same agents without a target network.

    python experiments/dqn_cartpole.py              # about five minutes on two cores
    python experiments/dqn_cartpole.py --quick      # seconds, learns little

The claim of Mnih et al. (2015): a slowly moving target keeps bootstrapping stable. The figure shows the greedy return
of both during training, median and interquartile range over seeds.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import dqn, make, run


def main(quick: bool = False, seeds: int = 8, out: Path = Path("runs/experiments/dqn_cartpole")) -> None:
    """Train with and without a target network and draw both curves.

    Args:
        quick: a short run that shows that everything works.
        seeds: agents per variant, trained in one program.
        out: where the runs and the figure go; it must not exist yet.
    """
    environment = make("CartPole-v1")
    total_steps = 10_000 if quick else 500_000
    variants = {
        "target network (copied every 500 steps)": dqn.Config(loss="squared", anneal_learning_rate=True),
        "no target network": dqn.Config(loss="squared", anneal_learning_rate=True, target_period=1),
    }
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for i, (name, config) in enumerate(variants.items()):
        algorithm = dqn.make(environment, config)
        result = run(algorithm, total_steps=total_steps, seeds=seeds, directory=out / f"variant_{i}")
        returns = result.evaluations.returns.mean(-1)  # [seeds, evaluations]
        steps = np.linspace(total_steps / returns.shape[1], total_steps, returns.shape[1])
        low, median, high = np.percentile(returns, [25, 50, 75], axis=0)
        axes.plot(steps, median, label=name)
        axes.fill_between(steps, low, high, alpha=0.2)
        print(f"{name}: final returns {np.sort(returns[:, -1]).round(1).tolist()}")
    axes.set(xlabel="environment steps", ylabel="greedy return", title=f"DQN on CartPole-v1, {seeds} seeds")
    axes.legend()
    figure.savefig(out / "figure.png", dpi=120)
    print(f"figure: {out / 'figure.png'}")


if __name__ == "__main__":
    tyro.cli(main)
