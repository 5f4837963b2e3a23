"""On the blind cliff walk, replaying what surprises needs ten times fewer updates than replaying at random.

    python experiments/prioritised_cliffwalk.py              # a minute and a half on one idle core
    python experiments/prioritised_cliffwalk.py --quick      # short walks, most of it compiling

The claim of Schaul et al. (2016). In each of N states one action goes on and the other ends the episode with reward 0;
only the last right one is rewarded, with 1. The replay holds the transitions of all 2^N sequences of actions,
2^(N+1) - 2 of them, a single one with a reward. Tabular Q-learning (step size 1/4, discount 1 - 1/N, values begin at
N(0, 0.1^2)) replays one at a time until the mean squared error of the 2N values is below 0.001.

An oracle replays what reduces that error most. "Shared" is a replay in which all copies of a transition have one
priority, the last error of any of them, so that replaying one tells about all; the medians that this experiment is
held against (crosses in the figure) agree with that. In a real replay every copy has to be found anew.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl.replay import Priorities, proportional, rank_based
from purerl.report.pictures.style import look
from purerl.types import Array, Key

STEP_SIZE = 0.25
GOAL = 1e-3  # mean squared error
CHUNK = 256  # updates per call, and between two sorts of the ranks
EXPECTED = {  # medians of another implementation, uniform / proportional / oracle
    4: (320, 130, 100),
    6: (1630, 320, 190),
    8: (6440, 700, 320),
    10: (26940, 1360, 480),
    12: (113410, 3730, 670),
}
COMPARED = {"uniform": 0, "proportional, shared": 1, "oracle": 2}


class Walk(NamedTuple):
    """One cliff walk. Transition 2 k + a is action a (1 goes on) in state k, of which the replay holds copies."""

    length: int

    @property
    def discount(self) -> float:
        return 1 - 1 / self.length

    def solution(self) -> np.ndarray:
        """Q*, `[2 N]`."""
        return np.outer(self.discount ** np.arange(self.length)[::-1], [0.0, 1.0]).ravel()

    def copies(self) -> np.ndarray:
        """How often the replay holds each transition, `[2 N]`."""
        return np.repeat(2 ** np.arange(self.length)[::-1], 2)

    def errors(self, values: Array) -> Array:
        """TD errors of all transitions, `[2 N]`."""
        best_next = jnp.max(values.reshape(-1, 2), axis=1)[1:]
        onward = jnp.append(self.discount * best_next, 1.0)
        return jnp.stack([jnp.zeros(self.length), onward], axis=1).ravel() - values


class Chooser(NamedTuple):
    """A way to choose what to replay: `init()`, `choose(state, key, values)`, `update(state, place, error)`, `sort`."""

    init: Callable[[], Any]
    choose: Callable[[Any, Key, Array], Array]
    transition: Callable[[Array], Array]  # which of the 2N lies at a place
    update: Callable[[Any, Array, Array], Any]
    sort: Callable[[Any], Any] = lambda state: state


def choosers(walk: Walk, exponent: float, epsilon: float) -> dict[str, Chooser]:
    """What is compared."""
    copies, solution = jnp.asarray(walk.copies()), jnp.asarray(walk.solution())
    stored = jnp.asarray(np.repeat(np.arange(2 * walk.length), walk.copies()))
    count = stored.size

    def prioritised(priorities: Priorities) -> Chooser:
        return Chooser(
            init=lambda: priorities.enter(priorities.init(), jnp.int32(0)),
            choose=lambda state, key, values: priorities.sample(state, key, 1)[0][0],
            transition=lambda place: stored[place],
            update=lambda state, place, error: priorities.update(state, place[None], error[None]),
            sort=priorities.sort,
        )

    def best(state: Any, key: Key, values: Array) -> Array:
        after = values + STEP_SIZE * walk.errors(values)
        return jnp.argmax(jnp.square(values - solution) - jnp.square(after - solution))

    def by_shared_priority(priority: Array, key: Key, values: Array) -> Array:
        return jax.random.categorical(key, jnp.log(copies) + exponent * jnp.log(priority))

    return {
        "uniform": Chooser(
            init=lambda: jnp.zeros(()),
            choose=lambda state, key, values: jax.random.randint(key, (), 0, count),
            transition=lambda place: stored[place],
            update=lambda state, place, error: state,
        ),
        "rank-based": prioritised(rank_based(count, count, exponent)),
        "proportional": prioritised(proportional(count, count, exponent, epsilon)),
        "proportional, shared": Chooser(
            init=lambda: jnp.ones(2 * walk.length),
            choose=by_shared_priority,
            transition=lambda place: place,
            update=lambda priority, place, error: priority.at[place].set(jnp.abs(error) + epsilon),
        ),
        "oracle": Chooser(lambda: jnp.zeros(()), best, lambda place: place, lambda state, place, error: state),
    }


def updates_needed(walk: Walk, chooser: Chooser, seeds: int) -> np.ndarray:
    """Updates until the goal is reached, `[seeds]`; all seeds are one program."""
    solution = jnp.asarray(walk.solution(), jnp.float32)
    keys = jax.random.split(jax.random.key(walk.length), seeds)

    def init(key: Key) -> tuple[Array, Any, Array]:
        return 0.1 * jax.random.normal(key, (2 * walk.length,)), chooser.init(), jnp.int32(-1)

    def update(carry: tuple[Array, Any, Array], inputs: tuple[Array, Key]) -> tuple[tuple[Array, Any, Array], None]:
        (values, state, needed), (number, key) = carry, inputs
        done = jnp.mean(jnp.square(values - solution)) < GOAL
        needed = jnp.where((needed < 0) & done, number, needed)
        place = chooser.choose(state, key, values)
        transition = chooser.transition(place)
        error = walk.errors(values)[transition]
        values = values.at[transition].add(STEP_SIZE * error)
        return (values, chooser.update(state, place, error), needed), None

    @partial(jax.jit, donate_argnums=0)
    @partial(jax.vmap, in_axes=(0, 0, None))
    def advance(carry: tuple[Array, Any, Array], key: Key, first: Array) -> tuple[Array, Any, Array]:
        values, state, needed = carry
        numbers = first + jnp.arange(CHUNK)
        inputs = numbers, jax.random.split(jax.random.fold_in(key, first), CHUNK)
        return jax.lax.scan(update, (values, chooser.sort(state), needed), inputs)[0]

    carry = jax.jit(jax.vmap(init))(keys)
    first = 0
    while np.any(np.asarray(carry[2]) < 0):
        carry = advance(carry, keys, jnp.int32(first))
        first += CHUNK
    return np.asarray(carry[2])


def draw(results: dict[str, dict[int, np.ndarray]], path: Path) -> None:
    """Updates against the length of the walk, and how many times fewer they are than with uniform replay."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    lengths = list(results["uniform"])
    uniform = np.array([np.median(results["uniform"][n]) for n in lengths])
    for i, (name, by_length) in enumerate(results.items()):
        low, middle, high = np.array([np.percentile(by_length[n], [25, 50, 75]) for n in lengths]).T
        left.plot(lengths, middle, label=name, **look(i))
        left.fill_between(lengths, low, high, color=look(i)["color"], alpha=0.2, linewidth=0)
        if name in COMPARED:
            expected = {n: EXPECTED[n][COMPARED[name]] for n in lengths if n in EXPECTED}
            left.plot(list(expected), list(expected.values()), "x", color="black", markersize=7, zorder=3)
        if name != "uniform":
            right.plot(lengths, uniform / middle, **look(i))
    left.plot([], [], "x", color="black", markersize=7, label="expected medians")
    right.axhline(10, color="0.4", linewidth=1, linestyle=":")
    right.text(lengths[0], 10.7, "ten times fewer", color="0.3", fontsize=9)
    left.set(yscale="log", ylabel="updates", title="Updates to a mean squared error of 0.001")
    right.set(yscale="log", ylabel="times fewer updates", title="Compared with uniform replay")
    for axes in (left, right):
        axes.set(xlabel="states N (the replay holds 2^(N+1) - 2 transitions)", xticks=lengths)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    seeds = len(results["uniform"][lengths[0]])
    title = f"median and quartiles over {seeds} seeds"
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, title=title, fontsize=9
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    quick: bool = False,
    seeds: int = 40,
    lengths: tuple[int, ...] = (4, 6, 8, 10, 12, 13),
    exponent: float = 0.7,
    epsilon: float = 1e-4,
    out: Path = Path("runs/experiments/prioritised_cliffwalk"),
) -> None:
    """Count the updates, print them beside the expected ones, and draw them.

    Args:
        quick: short walks and few seeds.
        seeds: Q-learners per walk, each with values and draws of its own.
        lengths: N.
        exponent: alpha, of p^alpha.
        epsilon: added to the error to make p.
        out: where the figure and numbers.json go.
    """
    seeds, lengths = (8, (4, 6)) if quick else (seeds, lengths)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[int, np.ndarray]] = {}
    for length in lengths:
        for name, chooser in choosers(Walk(length), exponent, epsilon).items():
            needed = updates_needed(Walk(length), chooser, seeds)
            results.setdefault(name, {})[length] = needed
            known = name in COMPARED and length in EXPECTED
            words = f" (expected {EXPECTED[length][COMPARED[name]]})" if known else ""
            print(f"N = {length}, {name}: median {np.median(needed):,.0f} updates{words}", flush=True)
    medians = {name: {n: float(np.median(x)) for n, x in by.items()} for name, by in results.items()}
    longest = max(lengths)
    for name in medians:
        ratio = medians["uniform"][longest] / medians[name][longest]
        print(f"{name}: {ratio:.1f} times fewer updates than uniform at N = {longest}")
    numbers = {
        "claim": "prioritised replay needs at least 10x fewer updates than uniform replay at N = 13",
        "seeds": seeds,
        "median_updates": medians,
        "quartiles": {
            name: {n: np.percentile(x, [25, 75]).tolist() for n, x in by.items()} for name, by in results.items()
        },
        "uniform_over_proportional": medians["uniform"][longest] / medians["proportional"][longest],
        "expected": {name: {n: row[i] for n, row in EXPECTED.items()} for name, i in COMPARED.items()},
    }
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    draw(results, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


if __name__ == "__main__":
    tyro.cli(main)
