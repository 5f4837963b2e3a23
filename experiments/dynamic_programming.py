"""Dynamic programming on grids: what its values look like, how fast it contracts, and where optimism goes wrong.

    python experiments/dynamic_programming.py              # half a minute on one core
    python experiments/dynamic_programming.py --quick      # the same with fewer random problems

Three claims of the textbooks (Puterman, 1994; Sutton & Barto, 2018; Levine, 2018), in float64. One: a sweep of value
iteration contracts at least by the discount, and on problems without an end hardly by more, so that the error after k
sweeps follows `discount^k` closely; policy iteration needs a handful of improvements, modified policy iteration trades
one for the other. Two: soft values exceed hard ones by what entropy is worth, and approach them as the temperature
falls. Three: control as exact inference is optimistic; it takes the outcome of a slip for a matter of choice, promises
what no policy can earn and walks along the holes.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from purerl import planning
from purerl.environments import finite
from purerl.environments.finite import problems
from purerl.environments.finite.grids import DIRECTIONS
from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.pictures.style import DASHES
from purerl.types import Array

DISCOUNT, START = 0.99, 8  # of the frozen lake, and the start of the corridor
TEMPERATURES = (0.1, 0.01, 0.001)
EVALUATION_SWEEPS = (1, 5, 20, 100)  # of modified policy iteration; 1 is value iteration
IMPROVEMENTS = np.unique(np.geomspace(1, 1_000, 60).astype(int))  # after which to look
GARNET_DISCOUNT, GARNET_SWEEPS = 0.9, 100
ROUNDING = 1e-13


def draw_grid(axes: Axes, rows: tuple[str, ...], values: Array, policy: Array | None, title: str) -> None:
    """Values by colour and number, the policy by arrows as bright as it is probable; holes are dark."""
    kinds = np.array([list(row) for row in rows])
    shown = np.ma.array(np.reshape(values, kinds.shape), mask=np.isin(kinds, list("HG")))
    low, range_ = shown.min(), np.ptp(shown.compressed())
    axes.imshow(shown, cmap="viridis", vmin=low - 0.4 * range_, vmax=low + 1.6 * range_)
    axes.set(xticks=[], yticks=[], title=title)
    for (row, column), kind in np.ndenumerate(kinds):
        if kind in "HG":
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="0.25" if kind == "H" else "0.9"))
            axes.text(column, row, "goal" * (kind == "G"), ha="center", va="center", size=8)
            continue
        raised = 0.0 if policy is None else 0.3
        axes.text(column, row - raised, f"{shown[row, column]:.3g}", ha="center", va="center", color="white", size=8)
        if policy is not None:
            draw_arrows(axes, row + 0.1, column, policy[row * kinds.shape[1] + column])


def draw_arrows(axes: Axes, row: float, column: float, chances: Array) -> None:
    """One arrow for each direction, as visible as the action is probable."""
    for chance, (down, right) in zip(np.asarray(chances), DIRECTIONS, strict=True):
        arrow = {"arrowstyle": "->", "color": "white", "alpha": float(chance), "shrinkA": 0, "shrinkB": 0}
        start, tip = ((column + reach * right, row + reach * down) for reach in (0.05, 0.32))
        axes.annotate("", tip, start, arrowprops=arrow)


def errors_of_sweeps(mdp: finite.FiniteMDP) -> Array:
    """Largest errors of value iteration from V = 0, relative to the first: `[sweeps + 1]`."""
    best = planning.policy_iteration(mdp, tolerance=1e-12).values
    path = planning.iterates(lambda v: planning.optimal_backup(mdp, v), jnp.zeros_like(best), GARNET_SWEEPS)
    distance = jnp.max(jnp.abs(path - best), axis=-1)
    return distance / distance[0]


def contraction_on_random_problems(seeds: int) -> np.ndarray:
    """Those errors on problems that do not end, `[seeds, sweeps + 1]`."""
    keys = jax.random.split(jax.random.key(0), seeds)
    return np.asarray(jax.jit(jax.vmap(lambda k: errors_of_sweeps(problems.garnet(k, discount=GARNET_DISCOUNT))))(keys))


def contraction_of_improvements(mdp: finite.FiniteMDP) -> dict[str, np.ndarray]:
    """Largest error after every improvement of the policy, of each way to improve and evaluate."""
    best = planning.policy_iteration(mdp, tolerance=1e-12).values
    counts = jnp.asarray(IMPROVEMENTS)

    def distance(values: Array) -> Array:
        return jnp.max(jnp.abs(values - best))

    def modified(sweeps: int) -> np.ndarray:
        def after(count: Array) -> Array:
            return distance(planning.modified_policy_iteration(mdp, sweeps, 0.0, count).values)

        return np.asarray(jax.jit(jax.vmap(after))(counts))

    def exact(count: Array) -> Array:
        return distance(planning.policy_iteration(mdp, None, 1e-12, count).values)

    errors = {f"{k}": modified(k) for k in EVALUATION_SWEEPS}
    errors["until exact"] = np.asarray(jax.jit(jax.vmap(exact))(counts))
    return errors


def promised_and_earned(success_rate: Array) -> Array:
    """Of the corridor, `[backup, 2]`: the value of the start, and what the policy of that value earns there."""
    mdp, rows = problems.slippery_corridor(success_rate), []
    for optimistic in (False, True):
        found = planning.soft_value_iteration(mdp, 0.1, optimistic)
        rows.append([found.values[START], planning.exact_policy_evaluation(mdp, found.policy)[START]])
    return jnp.array(rows)


def main(quick: bool = False, seeds: int = 200, out: Path = Path("runs/experiments/dynamic_programming")) -> None:
    """Solve, measure and draw.

    Args:
        quick: fewer random problems.
        seeds: random problems of which the contraction is measured.
        out: where the figure and the numbers go.
    """
    out.mkdir(parents=True, exist_ok=True)
    with jax.enable_x64(True):
        report(out, 20 if quick else seeds)


def report(out: Path, seeds: int) -> None:
    """Everything, in the float type of the context."""
    lake, grid = problems.frozen_lake(discount=DISCOUNT), problems.gridworld()
    equiprobable = planning.exact_policy_evaluation(grid, planning.uniform_policy(grid))
    swept = planning.value_iteration(lake, tolerance=1e-12 * 2 * DISCOUNT / (1 - DISCOUNT))  # stops at changes of 1e-12
    improved = planning.policy_iteration(lake, tolerance=1e-12)
    soft = jax.vmap(lambda alpha: planning.soft_value_iteration(lake, alpha, tolerance=1e-10))(jnp.array(TEMPERATURES))
    sweeps, improvements = contraction_on_random_problems(seeds), contraction_of_improvements(lake)
    ending = np.asarray(errors_of_sweeps(problems.frozen_lake(discount=GARNET_DISCOUNT)))
    bound = GARNET_DISCOUNT ** np.arange(GARNET_SWEEPS + 1)
    rates = np.linspace(0.6, 1.0, 21)
    corridor = np.asarray(jax.jit(jax.vmap(promised_and_earned))(jnp.asarray(rates)))  # [rates, backup, 2]
    at = int(np.argmin(np.abs(rates - 0.8)))

    numbers = {
        "equiprobable gridworld values": np.round(equiprobable, 6).reshape(4, 4).tolist(),
        "frozen lake": {
            f"discount {d:g}": float(planning.value_iteration(problems.frozen_lake(discount=d), 1e-12).values[0])
            for d in (1.0, 0.99, 0.95)
        },
        "frozen lake, best success in 100 steps": float(
            planning.finite_horizon(problems.frozen_lake(discount=1.0), 100).values[0, 0]
        ),
        "frozen lake, random success in 100 steps": float(
            planning.finite_horizon(
                problems.frozen_lake(discount=1.0), 100, policy=planning.uniform_policy(lake)
            ).values[0, 0]
        ),
        "frozen lake, sweeps of value iteration to 1e-12": int(swept.iterations),
        "frozen lake, improvements of policy iteration": int(improved.iterations),
        "frozen lake, soft values": dict(zip(map(str, TEMPERATURES), soft.values[:, 0].tolist(), strict=True)),
        "largest error / bound over all sweeps and problems": float(np.max(sweeps / bound)),
        "median contraction per sweep": float(np.median((sweeps[:, -1] / sweeps[:, 0]) ** (1 / GARNET_SWEEPS))),
        "random problems": seeds,
        "corridor, variational: promised, earned": corridor[at, 0].tolist(),
        "corridor, optimistic: promised, earned": corridor[at, 1].tolist(),
    }
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")

    plt.rcParams["axes.titlesize"] = 10
    figure, panels = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
    draw_grid(panels[0, 0], problems.GRIDWORLD, equiprobable, None, "Gridworld: the equiprobable policy")
    ice = problems.FROZEN_LAKES[4]
    draw_grid(panels[0, 1], ice, swept.values, swept.policy, f"FrozenLake: the best policy, discount {DISCOUNT}")
    title = f"FrozenLake: soft, temperature {TEMPERATURES[0]}"
    draw_grid(panels[0, 2], ice, soft.values[0], soft.policy[0], title)
    draw_sweeps(panels[1, 0], sweeps, ending, bound)
    draw_improvements(panels[1, 1], improvements)
    draw_corridor(panels[1, 2], rates, corridor)
    for axes in panels[1]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    figure.savefig(out / "figure.png", dpi=90)
    say(numbers)
    print(f"figure: {out / 'figure.png'}")


def draw_sweeps(axes: Axes, sweeps: np.ndarray, ending: np.ndarray, bound: np.ndarray) -> None:
    """The error of value iteration by the sweep, and what it may be at most."""
    k = np.arange(len(bound))
    axes.plot(k, bound, linestyle=DASHES[1], color="0.25", label=f"bound ${GARNET_DISCOUNT}^k$")
    axes.plot(k, np.median(sweeps, axis=0), color=COLOURS[0], label=f"{len(sweeps)} random problems, median")
    axes.fill_between(k, sweeps.min(0), sweeps.max(0), color=COLOURS[0], alpha=0.25, linewidth=0, label="all of them")
    axes.plot(k, ending, linestyle=DASHES[2], color=COLOURS[1], label="FrozenLake, which ends")
    axes.set(yscale="log", ylim=(1e-8, 2), xlabel="sweep k", ylabel="largest error / first error")
    axes.set_title("Value iteration contracts")
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def draw_improvements(axes: Axes, improvements: dict[str, np.ndarray]) -> None:
    """The error by the improvement of the policy, until only rounding is left."""
    for i, (name, errors) in enumerate(improvements.items()):
        count = int(np.argmax(errors < ROUNDING)) + 1 if np.any(errors < ROUNDING) else len(errors)
        shown = np.maximum(errors[:count], ROUNDING)
        look = {"linestyle": DASHES[i], "color": COLOURS[i], "marker": "."}
        axes.plot(IMPROVEMENTS[:count], shown, label=name, **look)
    axes.set(xscale="log", yscale="log", xlim=(0.8, 5e4), xlabel="improvements of the policy", ylabel="largest error")
    axes.legend(frameon=False, fontsize=8, title="sweeps of evaluation", title_fontsize=8, loc="upper right")
    axes.set_title(f"FrozenLake, discount {DISCOUNT}: policy iteration")


def draw_corridor(axes: Axes, rates: np.ndarray, corridor: np.ndarray) -> None:
    """What either backup promises (lines) and earns (broken lines)."""
    for i, name in enumerate(("variational", "optimistic")):
        axes.plot(rates, corridor[:, i, 0], "-", color=COLOURS[i], label=f"{name}: promised")
        axes.plot(rates, corridor[:, i, 1], "--", color=COLOURS[i], label=f"{name}: earned")
    title = "Slippery corridor, temperature 0.1"
    axes.set(ylim=(-36, -5), xlabel="probability that a move succeeds", ylabel="return", title=title)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def say(numbers: dict) -> None:
    """The claims with their numbers."""
    values = ", ".join(f"{value:.4f} ({name})" for name, value in numbers["frozen lake"].items())
    soft = ", ".join(f"{value:.4f} (alpha {name})" for name, value in numbers["frozen lake, soft values"].items())
    best, random = (numbers[f"frozen lake, {who} success in 100 steps"] for who in ("best", "random"))
    (safe, safe_earned), (bold, bold_earned) = (
        numbers[f"corridor, {backup}: promised, earned"] for backup in ("variational", "optimistic")
    )
    print(f"FrozenLake, best value of the start: {values}; within 100 steps {best:.4f}, at random {random:.4f}")
    print(f"FrozenLake, soft value of the start: {soft}")
    print(
        f"value iteration needs {numbers['frozen lake, sweeps of value iteration to 1e-12']} sweeps to changes of "
        f"1e-12, policy iteration {numbers['frozen lake, improvements of policy iteration']} improvements"
    )
    print(
        f"over {numbers['random problems']} random problems, the error is never more than "
        f"{numbers['largest error / bound over all sweeps and problems']:.6f} times its bound; "
        f"it falls by {numbers['median contraction per sweep']:.4f} per sweep (discount {GARNET_DISCOUNT})"
    )
    print(
        f"corridor with success 0.8: the optimistic backup promises {bold:.2f} and earns {bold_earned:.2f}, "
        f"the variational one promises {safe:.2f} and earns {safe_earned:.2f}"
    )


if __name__ == "__main__":
    tyro.cli(main)
