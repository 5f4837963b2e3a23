"""What a planner makes of its budget: return of Pendulum against steps of the true model per action.

    python experiments/planners_compared.py              # a quarter of an hour on two cores
    python experiments/planners_compared.py --quick      # a minute, most of it compiling

Six planners with the true model plan 20 steps ahead at every one of 200 steps, with three budgets each. The best known
mean over all starts is -142.4 (standard error 2.8); all planners face the same 100 starts, from which none earns more
than -147. A derivative of a step is counted as five steps: one, and one more per direction (three numbers of state, one
action). iLQR also tries ten step lengths per recursion.

Returns (standard errors are 8 to 10 of those above -200):

    iLQR                 -154, -149, -150 with 300, 1500, 6000 steps of the model per action
    gradient ascent      -147, -150, -148 with 1000, 4000, 16,000
    cross-entropy method -160, -157, -153 with 2000, 5000, 20,000
    MPPI                 -171, -164, -157 with 1000, 5000, 20,000
    random shooting      -290, -235, -223 with 1000, 5000, 20,000
    collocation          -1098, -993, -439 with 300, 1500, 6000

Collocation finds the swing when it may search long (tests/planning), but with few recursions per action it repairs the
dynamics of its last plan before it looks for a better one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import Environment, evaluate, make, use_all_cores
from purerl.host.compilation import compiler_options
from purerl.planning import (
    cem,
    collocation_planner,
    gradient_shooting,
    ilqr_planner,
    mpc,
    mppi,
    random_shooting,
    reveal_state,
)
from purerl.report.pictures.learning_curve import COLOURS
from purerl.types import Planner

HORIZON, DERIVATIVE = 20, 5
BEST_KNOWN = -142.4


class Budget(NamedTuple):
    """A planner with one of its budgets."""

    make: Callable[[Environment, int], Planner]  # of an environment and the horizon
    steps: int  # of the model per action and step of the horizon


PLANNERS: dict[str, list[Budget]] = {
    "random shooting": [Budget(lambda e, h, n=n: random_shooting(e, h, n), n) for n in (50, 250, 1000)],
    "cross-entropy method": [Budget(lambda e, h, n=n: cem(e, h, n, n // 10), 5 * n) for n in (20, 50, 200)],
    "MPPI": [Budget(lambda e, h, n=n: mppi(e, h, n, temperature=1.0), n) for n in (50, 250, 1000)],
    "gradient ascent": [
        Budget(lambda e, h, n=n, i=i: gradient_shooting(e, h, n, i), n * (i * DERIVATIVE + 1))
        for n, i in ((1, 10), (4, 10), (8, 20))
    ],
    "iLQR": [Budget(lambda e, h, i=i: ilqr_planner(e, h, i), i * (DERIVATIVE + 10)) for i in (1, 5, 20)],
    "collocation": [
        Budget(lambda e, h, i=i: collocation_planner(e, h, i, penalty=100.0), i * (DERIVATIVE + 10)) for i in (1, 5, 20)
    ],
}


def main(quick: bool = False, episodes: int = 100, out: Path = Path("runs/experiments/planners_compared")) -> None:
    """Play with every planner and every budget, and draw returns against steps of the model.

    Args:
        quick: two planners, the smaller budgets, few episodes.
        episodes: starts, the same for all.
        out: where the figure and the numbers go.
    """
    use_all_cores()
    planners = PLANNERS
    if quick:
        planners = {name: PLANNERS[name][:2] for name in ("cross-entropy method", "iLQR")}
        episodes, out = 8, out / "quick"
    out.mkdir(parents=True, exist_ok=True)
    environment, numbers = make("Pendulum-v1"), {"episodes": episodes, "horizon": HORIZON}
    for name, budgets in planners.items():
        numbers[name] = [played(environment, budget, episodes) for budget in budgets]
        for one in numbers[name]:
            error = one["standard error"]
            print(
                f"{name:22} {one['model steps per action']:6,} model steps: {one['return']:.1f} ({error:.1f})",
                flush=True,
            )
        (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def played(environment: Environment, budget: Budget, episodes: int) -> dict[str, float]:
    """What the planner earns on the true model."""
    policy, revealed = mpc(budget.make(environment, HORIZON)), reveal_state(environment)
    play = jax.jit(lambda key: evaluate(policy, revealed, key, episodes).returns, compiler_options=compiler_options())
    returns = np.asarray(play(jax.random.key(0)))
    return {
        "model steps per action": budget.steps * HORIZON,
        "return": float(returns.mean()),
        "standard error": float(returns.std() / np.sqrt(episodes)),
        "worst": float(returns.min()),
    }


def draw(numbers: dict[str, Any], path: Path) -> None:
    """A line per planner."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for i, name in enumerate(name for name in PLANNERS if name in numbers):
        rows = numbers[name]
        axes.errorbar(
            [row["model steps per action"] for row in rows],
            [row["return"] for row in rows],
            [row["standard error"] for row in rows],
            fmt="o-", color=COLOURS[i % len(COLOURS)], capsize=2, label=name,
        )  # fmt: skip
    axes.axhline(BEST_KNOWN, color="0.5", linewidth=0.8, linestyle=":", label="best known, all starts")
    axes.set(xlabel="steps of the model per action", ylabel="return", xscale="log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title(f"Pendulum, {numbers['horizon']} steps ahead, {numbers['episodes']} episodes (standard errors)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
