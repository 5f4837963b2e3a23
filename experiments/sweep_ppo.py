"""Learning rate x entropy bonus x GAE lambda x 16 seeds of PPO: 864 agents in one program.

    python experiments/sweep_ppo.py              # about ten minutes on two cores
    python experiments/sweep_ppo.py --quick      # a minute, learns little

What such a sweep is for: it says how wide the basin of good settings is, which field matters, and what the best setting
is worth on seeds that did not choose it.
"""

import json
import shutil
from pathlib import Path

import tyro

import purerl
from purerl.report.pictures.sweep_plots import draw_sweep
from purerl.report.sensitivity import importance
from purerl.report.statistics import in_words

FRESH_SEEDS = 16


def main(quick: bool = False, env: str = "CartPole-v1", out: Path = Path("runs/experiments/sweep_ppo")) -> None:
    """Sweep, say what matters, draw, and train the best setting once more on fresh seeds.

    Args:
        quick: few agents and steps, to show that everything works.
        env: the environment.
        out: where the sweeps and the figures go; it must not exist yet.
    """
    purerl.use_all_cores()
    space = {
        "algorithm": "ppo",
        "env": env,
        "learning_rate": [1e-3, 3e-3] if quick else [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
        "entropy_coefficient": [0.0, 0.01] if quick else [0.0, 0.01, 0.1],
        "trace_decay": [0.95] if quick else [0.8, 0.95, 1.0],
    }
    budget = {"total_steps": 10_000 if quick else 100_000, "evaluations": 2 if quick else 10, "episodes": 32}
    seeds = 4 if quick else 16
    result = purerl.sweep(space, seeds=seeds, preset=False, directory=out / "sweep", **budget)

    agents = result.agents()
    fields = [name for name in ("learning_rate", "entropy_coefficient", "trace_decay") if agents[name].nunique() > 1]
    shares = importance({name: agents[name].to_numpy() for name in fields}, agents.final_return.to_numpy())
    print("share of the variance of final returns:", {name: f"{share:.0%}" for name, share in shares.main.items()})
    print(f"  interactions {shares.interactions:.0%}, seeds {shares.noise:.0%}")

    best = result.best()
    chosen = {name: best.trial.value(name) for name in space}
    again = purerl.sweep(chosen, seeds=FRESH_SEEDS, seed=1000, preset=False, directory=out / "best_again", **budget)
    print(f"best of {len(result.trials)} settings: {in_words(best.estimate)}")
    print(f"the same on seeds that did not choose it: {in_words(again.best().estimate)}")
    numbers = {
        "steps": budget["total_steps"],
        "settings": len(result.trials),
        "seeds": seeds,
        "share of the variance": {name: round(float(share), 4) for name, share in shares.main.items()},
        "interactions": round(float(shares.interactions), 4),
        "best setting": {name: chosen[name] for name in fields},
        "best": list(result.best().estimate)[:3],
        "the same on fresh seeds": list(again.best().estimate)[:3],
    }
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    for path in draw_sweep(result, out):
        print(path)
    shutil.copy(out / "figures" / "learning_curves_by_learning_rate.png", out / "figure.png")


if __name__ == "__main__":
    tyro.cli(main)
