"""What each part of Rainbow is worth: the whole, the whole without one part, and DQN, on games of MinAtar.

    python experiments/rainbow_ablation.py                # three quarters of an hour on two CPU cores
    python experiments/rainbow_ablation.py --total-steps 2000000 --seeds 10   # for a GPU
    python experiments/rainbow_ablation.py --quick        # minutes, most of them compiling

The claims of Hessel et al. (2018), after 200M frames of Atari: the whole is better than DQN, and the replay's
priorities and the steps of the return are missed most. The replicate of Obando-Ceron and Castro (2021) has the games
and networks used here. Scores are normalised per game, 0 for a random policy and 1 for what DQN reached there after
5M steps (Young & Tian, 2019). Asterix is left out of the default: after 100k steps nobody plays it better than
chance.

After 100k steps, a fiftieth of what is published, with four seeds and interquartile means over both games, the claims
do not show. On Breakout the whole is ahead of DQN (0.50 against 0.38), on SpaceInvaders far behind (0.19 against
0.57), and there the distribution is to blame: without it 0.71. That variant, 0.57 [0.51, 0.71] over both games, is
the best of all, against 0.34 [0.27, 0.40] for the whole and 0.45 [0.31, 0.58] for DQN; no other part makes a
difference that four seeds could tell. Probabilities of 51 atoms take longer to learn than one expectation: with 500k
steps and epsilon-greedy exploration Rainbow plays Breakout at 25 and 27, more than twice what DQN is published with.
Adam's epsilon must suit it: with 3e-4, which suits DQN, Rainbow's score on SpaceInvaders is 4 instead of 15.
"""

import json
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro

import purerl
from purerl.environments import Environment, make, sticky_actions
from purerl.report.statistics import estimate, in_words, normalize_scores, probability_of_improvement

SCORES = {  # a random policy; DQN after 5M steps
    "Breakout-MinAtar": (0.4, 10.0),
    "Asterix-MinAtar": (0.45, 16.5),
    "SpaceInvaders-MinAtar": (4.15, 44.0),
}
SHARED = {
    "adam_epsilon": 1e-5,
    "num_envs": 16,
    "steps_per_iteration": 4,
    "updates_per_iteration": 4,
    "batch_size": 32,
    "share_observations": True,
    "warm_up_steps": 2048,
    "target_period": 4000,
    "widths": (128, 128),
}
DQN = {"algorithm": "dqn", "learning_rate": 5e-4, "exploration_fraction": 0.1}
RAINBOW = {"algorithm": "rainbow", "learning_rate": 5e-4, "support_low": 0.0, "support_high": 30.0}
WITHOUT = {
    "double": {"double": False},
    "dueling": {"dueling": False},
    "n-step returns": {"n_step": 1},
    "priorities": {"sampling": "uniform"},
    "the distribution": {"head": "expected"},
    "noisy layers": {"exploration": "epsilon", "exploration_fraction": 0.1},
}


def game(name: str) -> Environment:
    """With the randomness of its authors: one action in ten is the last one again."""
    return sticky_actions(make(name), 0.1)


def main(
    quick: bool = False,
    seeds: int = 4,
    total_steps: int = 100_000,
    games: tuple[str, ...] = ("Breakout-MinAtar", "SpaceInvaders-MinAtar"),
    out: Path = Path("runs/experiments/rainbow_ablation"),
) -> None:
    """Sweep the variants over the games, then compare their scores.

    Args:
        quick: two variants, one game, few steps.
        seeds: agents per variant and game.
        total_steps: environment steps per agent.
        games: of MinAtar.
        out: where the sweep, the figure and the numbers go; it must not exist yet.
    """
    purerl.use_all_cores()
    variants = {"Rainbow": RAINBOW} | {f"without {part}": RAINBOW | off for part, off in WITHOUT.items()}
    variants["DQN"] = DQN
    if quick:
        variants = {name: variants[name] for name in ("Rainbow", "DQN")}
        games, seeds, total_steps = games[:1], 2, 6_000
    capacity = min(102_400, total_steps // 64 * 64)
    shared = SHARED | {"replay_capacity": capacity, "env": list(games)}
    results = purerl.sweep(
        [shared | variant for variant in variants.values()],
        seeds=seeds,
        total_steps=total_steps,
        evaluations=2,
        episodes=8 if quick else 32,
        preset=False,
        environments={name: partial(game, name) for name in games},
        directory=out / "sweep",
    )
    agents = results.agents()
    scores = {}  # [seeds, games] of each variant, in the order in which the space lists them
    for name, (_, rows) in zip(variants, agents.groupby(agents.agent // (seeds * len(games))), strict=True):
        by_game = [rows[rows.env == name].final_return.to_numpy() for name in games]
        low, high = np.array([SCORES[name] for name in games]).T
        scores[name] = normalize_scores(np.stack(by_game, axis=1), low, high)
    numbers = {"steps": total_steps, "seeds": seeds, "games": list(games), "variants": compare(scores)}
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def compare(scores: dict[str, np.ndarray]) -> dict[str, dict]:
    """Interquartile means, and how often Rainbow is better; printed and returned."""
    numbers = {}
    for name, one in scores.items():
        found = estimate(one)
        better = probability_of_improvement(scores["Rainbow"], one)
        print(f"{name:26} {in_words(found, 2)}; Rainbow is better with probability {better.value:.2f}")
        numbers[name] = {
            "interquartile mean": [found.value, found.low, found.high],
            "Rainbow is better": [better.value, better.low, better.high],
            "scores": one.round(3).tolist(),
        }
    return numbers


def draw(numbers: dict, path: Path) -> None:
    """A point and its interval for every variant."""
    variants = numbers["variants"]
    figure, axes = plt.subplots(figsize=(6.5, 0.5 + 0.38 * len(variants)), layout="constrained")
    for row, one in enumerate(variants.values()):
        value, low, high = one["interquartile mean"]
        axes.errorbar([value], [row], xerr=[[value - low], [high - value]], fmt="o", color="C0", capsize=3)
    axes.set_yticks(range(len(variants)), list(variants))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    games = ", ".join(name.removesuffix("-MinAtar") for name in numbers["games"])
    axes.set_xlabel("normalised return, interquartile mean and 95 % interval")
    axes.set_title(f"{games}: {numbers['seeds']} seeds, {numbers['steps']:,} steps", fontsize=10)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
