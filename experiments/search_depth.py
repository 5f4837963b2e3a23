"""What more simulations buy: UCT against a player who cannot lose, and towards the values of a lake that slips.

    python experiments/search_depth.py              # a quarter of an hour on two cores
    python experiments/search_depth.py --quick      # a minute, most of it compiling

Tic-tac-toe: how often UCT, with random playouts and as many simulations per move, loses against minimax; who begins is
a toss of a coin. FrozenLake with a discount of 0.99: the largest Q at the root, where dynamic programming knows V* =
0.542; positions are nodes wherever they are met. A walk averages everything it has earned, also what it earned while it
did not know better, which is why the value comes up from below.

With an exploration of 1.4 UCT loses 35, 24, 13, 0.9 and 0 % of 1000 games with 30, 100, 300, 1000 and 3000 simulations;
with 0.5 still 2.4 % at the end. On the lake the root is at 0.37 after 30,000 simulations (0.34 after 10,000); with
maximum backups (`backup="max"`) at 0.51 after 1000 and at 0.54 after 3000 and 10,000.
"""

import json
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import evaluate, make, use_all_cores
from purerl.environments.finite import frozen_lake
from purerl.environments.games import tic_tac_toe
from purerl.host.compilation import compiler_options
from purerl.planning import mpc, uct, uct_search, value_iteration
from purerl.planning.tree_search import Backup
from purerl.report.pictures.learning_curve import COLOURS

EXPLORATIONS = (0.5, 1.4, 2.8)


def main(
    quick: bool = False,
    simulations: tuple[int, ...] = (30, 100, 300, 1000, 3000),
    games: int = 1000,
    lake_simulations: tuple[int, ...] = (1000, 3000, 10_000, 30_000),
    maximum_simulations: tuple[int, ...] = (1000, 3000, 10_000),
    searches: int = 4,
    out: Path = Path("runs/experiments/search_depth"),
) -> None:
    """Play, search, and draw loss rates and root values against simulations.

    Args:
        quick: few simulations and games.
        simulations: of a move of tic-tac-toe.
        games: against the perfect player, per point.
        lake_simulations: of a search on FrozenLake.
        maximum_simulations: the same with maximum backups.
        searches: with different seeds, per point.
        out: where the figure and the numbers go.
    """
    use_all_cores()
    if quick:
        simulations, games, searches, out = (30, 100), 50, 2, out / "quick"
        lake_simulations = maximum_simulations = (300, 1000)
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {"simulations": list(simulations), "games": games}
    numbers["loss rates"] = {
        str(exploration): [loss_rate(count, exploration, games) for count in simulations]
        for exploration in EXPLORATIONS
    }
    for exploration, rates in numbers["loss rates"].items():
        print(f"tic-tac-toe, exploration {exploration}: lost", *(f"{rate:.3f}" for rate in rates))
    best = float(value_iteration(frozen_lake(discount=0.99)).values[0])
    numbers |= {"best value": best} | lake("mean", lake_simulations, searches)
    numbers |= lake("max", maximum_simulations, searches)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def loss_rate(simulations: int, exploration: float, games: int) -> float:
    """How often UCT loses against the perfect player."""
    environment = make("game/tic_tac_toe", opponent="perfect")
    planner = uct(tic_tac_toe(), simulations=simulations, exploration=exploration)
    policy = mpc(planner, state_of=lambda observation: observation)
    play = jax.jit(lambda key: evaluate(policy, environment, key, games).returns, compiler_options=compiler_options())
    return float(np.mean(np.asarray(play(jax.random.key(0))) < 0))


def lake(backup: Backup, simulations: tuple[int, ...], searches: int) -> dict[str, Any]:
    """The root values of FrozenLake with these numbers of simulations."""
    rows = [root_values(count, searches, backup) for count in simulations]
    for count, values in zip(simulations, rows, strict=True):
        print(f"FrozenLake, {count:7,} simulations, {backup} backups: {np.mean(values):.3f}", flush=True)
    prefix = "" if backup == "mean" else "maximum backups, "
    return {f"{prefix}lake simulations": list(simulations), f"{prefix}root values": rows}


def root_values(simulations: int, searches: int, backup: Backup) -> list[float]:
    """The largest Q at the start of FrozenLake, of every search."""
    environment = make("finite/frozen_lake")
    state, _ = environment.reset(jax.random.key(0))

    def search(key: jax.Array) -> jax.Array:
        found = uct_search(
            environment, key, state, simulations, exploration=1.0, discount=0.99, outcomes=4,
            identity=lambda state: state.position, backup=backup,
        )  # fmt: skip
        return found.values.max()

    program = jax.jit(jax.vmap(search), compiler_options=compiler_options())
    return np.asarray(program(jax.random.split(jax.random.key(0), searches))).round(4).tolist()


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Loss rates on the left, values on the right."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for i, (exploration, rates) in enumerate(numbers["loss rates"].items()):
        axes[0].plot(numbers["simulations"], rates, "o-", color=COLOURS[i], label=f"exploration {exploration}")
    axes[0].set(xlabel="simulations per move", ylabel="games lost", xscale="log")
    axes[0].set_title(f"tic-tac-toe against minimax, {numbers['games']} games")
    axes[0].legend(frameon=False)
    for i, (prefix, label) in enumerate((("", "means backed up"), ("maximum backups, ", "maxima backed up"))):
        simulations, values = numbers[f"{prefix}lake simulations"], np.array(numbers[f"{prefix}root values"])
        axes[1].fill_between(simulations, values.min(1), values.max(1), color=COLOURS[i], alpha=0.15, linewidth=0)
        axes[1].plot(simulations, values.mean(1), "o-", color=COLOURS[i], label=f"largest Q at the root, {label}")
    axes[1].axhline(numbers["best value"], color="0.5", linestyle=":", linewidth=0.8, label="V*")
    axes[1].set(xlabel="simulations", xscale="log")
    axes[1].set_title(f"FrozenLake, mean and range of {values.shape[1]} searches")
    axes[1].legend(frameon=False)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
