"""What a planner makes of its budget: return of Pendulum against steps of the true model per action.

    python experiments/planners_compared.py              # a quarter of an hour on two cores
    python experiments/planners_compared.py --quick      # a minute, most of it compiling

Six planners with the true model plan 20 steps ahead at every one of 200 steps, with three budgets each. All face the
same 100 starts. What can be earned from these is known: dynamic programming on a grid of angles and speeds (`optimal`)
earns -137.8, and -136.8 (standard error 0.5) from 20,000 starts. A derivative of a step is counted as five steps: one,
and one more per direction (three numbers of state, one action). iLQR also tries ten step lengths per recursion.

Returns:

    iLQR                 -154, -149, -150 with 300, 1500, 6000 steps of the model per action
    gradient ascent      -147, -150, -148 with 1000, 4000, 16,000
    cross-entropy method -160, -157, -153 with 2000, 5000, 20,000
    MPPI                 -171, -164, -157 with 1000, 5000, 20,000
    random shooting      -290, -235, -223 with 1000, 5000, 20,000
    collocation          -1098, -993, -439 with 300, 1500, 6000

Of the optimum, gradient ascent loses 9 to 12 (standard error 2), iLQR with 1500 steps 11, the cross-entropy method with
20,000 steps 15 (3) and MPPI 19 (3): from half of the starts 2 to 3, but more than 22 to 70 from one in ten. There they
swing once more than they must; twenty steps do not see a whole swing. With 22 steps iLQR, the cross-entropy method and
MPPI with smooth noise lose 10 to 11 from a thousand starts (tests/planning).

Collocation finds the swing when it may search long (tests/planning), but with few recursions per action it repairs the
dynamics of its last plan before it looks for a better one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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
from purerl.types import Planner, Policy

HORIZON, DERIVATIVE = 20, 5
ANGLES, SPEEDS, TORQUES = 300, 301, 33  # of the grid


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
    environment = make("Pendulum-v1")
    best = optimal(environment)
    highest = returns_of(best, environment, jax.random.key(0), episodes)
    anywhere = returns_of(best, environment, jax.random.key(0), 1_000 if quick else 20_000)
    numbers: dict[str, Any] = {
        "episodes": episodes,
        "horizon": HORIZON,
        "optimal": {"return": float(highest.mean()), "from anywhere": with_error(anywhere)},
    }
    value, error = with_error(anywhere)
    print(f"dynamic programming: {highest.mean():.1f}, from anywhere {value:.1f} ({error:.1f})", flush=True)
    for name, budgets in planners.items():
        numbers[name] = [played(environment, budget, highest) for budget in budgets]
        for one in numbers[name]:
            steps, (lost, error) = one["model steps per action"], one["lost to the optimum"]
            print(
                f"{name:22} {steps:6,} model steps: {one['return']:.1f}, loses {lost:.1f} ({error:.1f}): "
                f"half less than {one['half lose less than']:.1f}, one in ten more than {one['one in ten loses']:.1f}",
                flush=True,
            )
        (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def played(environment: Environment, budget: Budget, highest: np.ndarray) -> dict[str, Any]:
    """What the planner earns on the true model, and how far below the `highest` returns from the same starts."""
    policy = mpc(budget.make(environment, HORIZON))
    returns = returns_of(policy, environment, jax.random.key(0), len(highest))
    half, most = np.percentile(highest - returns, [50, 90])
    return {
        "model steps per action": budget.steps * HORIZON,
        "return": float(returns.mean()),
        "worst": float(returns.min()),
        "lost to the optimum": with_error(highest - returns),
        "half lose less than": float(half),
        "one in ten loses": float(most),
    }


def with_error(values: np.ndarray) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


def returns_of(policy: Policy, environment: Environment, key: jax.Array, episodes: int) -> np.ndarray:
    """The returns of a policy that sees the state, from starts that depend on the key alone."""
    play = jax.jit(
        lambda key: evaluate(policy, reveal_state(environment), key, episodes).returns,
        compiler_options=compiler_options(),
    )
    return np.asarray(play(key))


def optimal(environment: Environment, angles: int = ANGLES, speeds: int = SPEEDS, torques: int = TORQUES) -> Policy:
    """The best that can be done in Pendulum: backward induction over its 200 steps, on a grid.

        V_t(s) = max_u r(s, u) + V_{t+1}(s'),   V_200 = 0

    with V between the points of the grid interpolated linearly, and one step of the same maximum to act. It sees the
    state. 200 tables of angles x speeds values are kept (72 MB).
    """
    template, _ = environment.reset(jax.random.key(0))
    choices = jnp.linspace(-2.0, 2.0, torques)
    grid = jnp.meshgrid(
        jnp.linspace(-jnp.pi, jnp.pi, angles, endpoint=False), jnp.linspace(-8.0, 8.0, speeds), indexing="ij"
    )

    def between(values: jax.Array, angle: jax.Array, speed: jax.Array) -> jax.Array:
        x = (angle + jnp.pi) % (2 * jnp.pi) * angles / (2 * jnp.pi)
        y = (speed + 8.0) * (speeds - 1) / 16.0
        i, j = jnp.floor(x).astype(int), jnp.clip(jnp.floor(y).astype(int), 0, speeds - 2)
        f, g, i, after = x - i, y - j, i % angles, (i + 1) % angles
        here = (1 - g) * values[i, j] + g * values[i, j + 1]
        return (1 - f) * here + f * ((1 - g) * values[after, j] + g * values[after, j + 1])

    def action_values(values: jax.Array, angle: jax.Array, speed: jax.Array) -> jax.Array:
        """`[torques, ...]`."""

        def of(torque: jax.Array) -> jax.Array:
            state = template.replace(theta=angle, theta_dot=speed)
            after, timestep = environment.step(jax.random.key(0), state, torque[None])
            return timestep.reward + between(values, after.theta, after.theta_dot)

        return jax.lax.map(of, choices)

    def sweep(values: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        return jnp.max(jax.vmap(jax.vmap(action_values, (None, 0, 0), 1), (None, 0, 0), 1)(values, *grid), 0), values

    horizon = environment.max_steps
    tables = jax.jit(lambda: jax.lax.scan(sweep, jnp.zeros((angles, speeds)), None, length=horizon)[1])()

    def act(key: jax.Array, memory: tuple, observation: Any) -> tuple[tuple, jax.Array]:
        state = observation.state
        left = horizon - 1 - jnp.minimum(state.time, horizon - 1)
        return memory, choices[jnp.argmax(action_values(tables[left], state.theta, state.theta_dot))][None]

    return Policy(init=lambda key: (), act=act)


def draw(numbers: dict[str, Any], path: Path) -> None:
    """A line per planner: how far it stays behind the optimum from the same starts."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for i, name in enumerate(name for name in PLANNERS if name in numbers):
        rows = numbers[name]
        lost, errors = np.array([row["lost to the optimum"] for row in rows]).T
        steps = [row["model steps per action"] for row in rows]
        axes.errorbar(steps, lost, errors, fmt="o-", color=COLOURS[i % len(COLOURS)], capsize=2, label=name)
    axes.set(xlabel="steps of the model per action", ylabel="return lost to the optimum", xscale="log", yscale="log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title(
        f"Pendulum, {numbers['horizon']} steps ahead, the same {numbers['episodes']} starts (standard errors)"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
