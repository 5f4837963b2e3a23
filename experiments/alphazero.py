"""What a search adds to what it has taught: AlphaZero with and without its search, on CartPole, on Catch and in games.

    python experiments/alphazero.py              # ten minutes on two busy cores
    python experiments/alphazero.py --quick      # a minute or two, most of it compiling

The prior is trained to predict what the search prefers, so the search should be ahead of it, most of all early in
training. On CartPole and Catch one player is alone with the exact model, 32 and 25 simulations per move. Tic-tac-toe is
learned by self-play, and played against a player who cannot be beaten, who begins being a toss of a coin: what is lost
is lost by a mistake.

Two seeds. Tic-tac-toe: after 20,480 moves of both sides the search loses 0 and 4 of 200 games and the prior 64 and 88;
from 61,440 moves on the search loses none, from 81,920 on the prior neither. Catch: the search has 1.0 from the first
evaluation after 2,560 steps on, the prior 0.44 and -0.06 then and 1.0 at the end. CartPole: both seeds end at 500 with
the search and at 500 and 478 without it, and four more have 500 twice (`pytest -m slow tests/algorithms`). Before that
the search is not ahead of the prior here, which is taught by it at once.

On CartPole it matters that the search scales values by the whole tree: scaled among siblings, actions that are equally
good are told apart by the noise of their values, and the prior is taught noise. In a trial with the preset's step size
half of the seeds then ended below 200.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import evaluate, make, presets
from purerl.algorithms.model_based import alphazero
from purerl.host.compilation import compiler_options
from purerl.planning import reveal_state
from purerl.report.pictures.learning_curve import COLOURS
from purerl.train import advance, start

TITLES = {
    "CartPole-v1": "CartPole: return",
    "Catch-bsuite": "Catch: return",
    "game/tic_tac_toe": "tic-tac-toe by self-play: games lost to a perfect player",
}
PLAYED = {"game/tic_tac_toe": {"opponent": "perfect"}}
NAMES = {"search": "search policy", "prior": "prior alone"}


def main(
    quick: bool = False,
    names: tuple[str, ...] = tuple(TITLES),
    seeds: int = 2,
    points: int = 10,
    episodes: tuple[int, ...] = (16, 64, 200),
    out: Path = Path("runs/experiments/alphazero"),
) -> None:
    """Train by the presets, play with and without the search on the way, and draw both.

    Args:
        quick: Catch alone, a third of its steps.
        names: what to learn.
        seeds: agents, in one program.
        points: evaluations over training.
        episodes: of an evaluation, for every name.
        out: where the figure and the numbers go.
    """
    if quick:
        names, seeds, points, out = ("Catch-bsuite",), 2, 3, out / "quick"
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {"seeds": seeds}
    for name in names:
        count = dict(zip(TITLES, episodes, strict=True))[name]
        numbers[name] = curves(name, seeds, points, count, share=0.3 if quick else 1.0)
        for kind in NAMES:
            rows = np.array(numbers[name][kind])
            print(f"{name:17} {kind:7}", *(f"{row.mean():7.2f}" for row in rows), " final:", *rows[-1], flush=True)
        (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def curves(name: str, seeds: int, points: int, episodes: int, share: float) -> dict[str, Any]:
    """Steps, and per point and seed the mean return of the search and of the prior; of games how many were lost."""
    preset = presets.load("alphazero", name)
    steps = preset.pop("total_steps")
    environment, config = make(name, **PLAYED.get(name, {})), alphazero.Config(**preset)
    algorithm = alphazero.make(environment, config)
    each = max(1, round(share * steps / algorithm.env_steps_per_iteration / points))
    score = (lambda returns: jnp.sum(returns < 0)) if name in PLAYED else jnp.mean

    def train_and_play(carry: tuple[Any, jax.Array], first: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        training, key = carry
        training, *_ = advance(algorithm, training, first, iterations=each, total_iterations=each * points)
        searching = alphazero.search_policy(environment, config, training.state)
        found = {
            "search": evaluate(searching, reveal_state(environment), key, episodes),
            "prior": evaluate(algorithm.policy(training.state), environment, key, episodes),
        }
        return (training, key), {kind: score(played.returns) for kind, played in found.items()}

    def agent(key: jax.Array) -> dict[str, jax.Array]:
        begin = start(algorithm, key), jax.random.fold_in(key, 1)
        return jax.lax.scan(train_and_play, begin, each * jnp.arange(points, dtype=jnp.int32))[1]

    program = jax.jit(jax.vmap(agent, out_axes=1), compiler_options=compiler_options())
    found = program(jax.random.split(jax.random.key(0), seeds))
    spent = [(i + 1) * each * algorithm.env_steps_per_iteration for i in range(points)]
    return {"steps": spent, "episodes": episodes} | {
        kind: np.asarray(rows, float).round(2).tolist() for kind, rows in found.items()
    }


def draw(numbers: dict[str, Any], path: Path) -> None:
    """One panel per problem: mean over the seeds, and their range."""
    names = [name for name in TITLES if name in numbers]
    figure, axes = plt.subplots(1, len(names), figsize=(4.6 * len(names), 3.8), layout="constrained", squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        steps = np.array(numbers[name]["steps"]) / 1000
        for i, (kind, label) in enumerate(NAMES.items()):
            rows = np.array(numbers[name][kind])
            if name in PLAYED:
                rows = 100 * rows / numbers[name]["episodes"]
            axis.fill_between(steps, rows.min(1), rows.max(1), color=COLOURS[i], alpha=0.15, linewidth=0)
            axis.plot(steps, rows.mean(1), "o-", markersize=3.5, color=COLOURS[i], label=label)
        axis.set_title(TITLES[name] + (" (%)" if name in PLAYED else ""), fontsize=10)
        axis.set(xlabel="thousand " + ("moves of both sides" if name in PLAYED else "environment steps"))
        axis.set_ylim(bottom=0 if name != "Catch-bsuite" else None)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
