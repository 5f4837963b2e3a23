"""How much does DQN hang on its hyperparameters, and does one setting serve all environments?

    python experiments/sensitivity_dqn.py              # about ten minutes on two cores
    python experiments/sensitivity_dqn.py --quick      # a minute, learns little

Learning rate x how far the target moves x 8 seeds on three environments: three programs. Printed, following Adkins et
al. (2024): what one gets by tuning for each environment, with the one setting that is best on average, and with the
defaults; each choice is made on half of the seeds and scored on the other half. Scores are normalised per environment,
0 for a random policy and 1 for a solved task.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import purerl
from purerl.report.pictures.sweep_plots import draw_sweep
from purerl.report.sensitivity import importance, tuning_gain
from purerl.report.statistics import in_words, normalize_scores

RANDOM_AND_SOLVED = {"CartPole-v1": (22.0, 500.0), "Catch-bsuite": (-0.6, 1.0), "Acrobot-v1": (-500.0, -80.0)}
DEFAULT = {"learning_rate": 2.5e-4, "target_rate": 1.0}  # of dqn.Config


def main(quick: bool = False, out: Path = Path("runs/experiments/sensitivity_dqn")) -> None:
    """Sweep all environments, then compare the ways of tuning.

    Args:
        quick: few agents and steps, to show that everything works.
        out: where the sweep and the figures go; it must not exist yet.
    """
    purerl.use_all_cores()
    environments = list(RANDOM_AND_SOLVED)
    rates = [2.5e-4, 1e-3] if quick else [2.5e-5, 2.5e-4, 1e-3, 2.5e-3, 1e-2]
    space = {
        "algorithm": "dqn",
        "env": environments,
        "learning_rate": rates,
        "target_rate": [0.1, 1.0] if quick else [0.01, 0.1, 0.5, 1.0],
    }
    budget = {"total_steps": 5_000 if quick else 60_000, "evaluations": 1 if quick else 6, "episodes": 32}
    result = purerl.sweep(space, seeds=4 if quick else 8, preset=False, directory=out / "sweep", **budget)

    agents = result.agents()
    by = ["learning_rate", "target_rate"]
    table = agents.pivot_table(index=by, columns=["env", "seed"], values="final_return")
    scores = np.stack([table[environment].to_numpy() for environment in environments], axis=1)  # [settings, env, seeds]
    low, high = np.array(list(RANDOM_AND_SOLVED.values())).T
    scores = np.stack([normalize_scores(setting.T, low, high).T for setting in scores])
    default = table.index.get_loc(tuple(DEFAULT.values()))
    found = tuning_gain(scores, default=default)
    print(f"tuned for each environment:  {in_words(found.per_environment, 2)}")
    chosen = ", ".join(f"{name}={value:g}" for name, value in zip(by, table.index[found.best_across], strict=True))
    print(f"one setting for all:         {in_words(found.across, 2)} ({chosen})")
    print(f"the defaults:                {in_words(found.untuned, 2)}")
    numbers: dict[str, Any] = {"steps": budget["total_steps"], "seeds": len(result.seeds), "best setting": chosen}
    numbers |= {
        name: list(getattr(found, name))[:3] for name in ("per_environment", "across", "untuned", "sensitivity")
    }
    print(f"sensitivity (first - second): {in_words(found.sensitivity, 2)}")
    for environment in environments:
        of = agents[agents.env == environment]
        if of.final_return.nunique() == 1:
            print(f"{environment}: every agent ends at {of.final_return.iloc[0]:g}")
            continue
        shares = importance({name: of[name].to_numpy() for name in by}, of.final_return.to_numpy())
        numbers[environment] = {name: round(float(share), 4) for name, share in shares.main.items()}
        words = ", ".join(f"{name} {share:.0%}" for name, share in shares.main.items())
        print(f"{environment}: {words}, together {shares.interactions:.0%}, seeds {shares.noise:.0%}")
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    for path in draw_sweep(result, out):
        print(path)
    shutil.copy(out / "figures" / "return_over_learning_rate_and_target_rate.png", out / "figure.png")


if __name__ == "__main__":
    tyro.cli(main)
