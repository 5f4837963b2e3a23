"""How well a search finds the best action, and what it costs: the maximisers of QT-Opt on functions that are known.

    python experiments/nuts_and_bolts_of_max_q.py              # 7 minutes on one core
    python experiments/nuts_and_bolts_of_max_q.py --quick      # 1 minute on one core

QT-Opt (Kalashnikov et al., 2018) searches for the best action with 64 samples and two iterations of the cross-entropy
method; uniform samples are simpler, gradients another way. Here Q is a smooth random function of the action in
[-1, 1]^A with many peaks, whose maximum is known: 1024 starts of a long ascent, made twice, agree to 1e-6. A search is
charged for the values it asks for, a value with its gradient as three. 64 functions, 16 searches on each; gaps to the
maximum are in deviations of Q. Everything but the budget is fixed: a tenth of the samples are elites, their fitted
deviation is at least 0.05.

    gap with so many values:      1 dimension              2 dimensions             6 dimensions
                                  16     64     128        16     64     128        64     128    256    1024
    uniform                       0.100  0.019  0.011      0.373  0.150  0.090      1.29   1.10   0.96   0.69
    Gaussian                      0.061  0.005  0.001      0.310  0.089  0.048      1.17   0.96   0.79   0.49
    cross-entropy, 2 iterations   0.125  0.002  0.0002     0.439  0.062  0.019      1.01   0.82   0.66   0.44
    cross-entropy, 4 iterations   0.282  0.006  0.0004     0.627  0.092  0.026      1.03   0.66   0.46   0.31
    gradient, 5 steps             0.374  0.043  0.011      0.638  0.130  0.043      0.91   0.64   0.45   0.19
    gradient, 21 steps                   0.321  0.127             0.448  0.171      0.65   0.34   0.16   0.015

With one or two actions, samples are enough: of 16 values plain ones make most, of 64 or 128 two iterations of the
cross-entropy method. With six, uniform samples hardly improve (a gap of 1.3 with 64, 0.7 with 1024), and QT-Opt's 2 x
64 leave 0.82: less than 128 uniform ones (1.10), but far from the maximum; more iterations with fewer samples each are
better. What pays there are gradients, and few starts with many steps rather than the opposite. In one dimension it is
the other way round: their starts are too few to hit the right peak. Of the maxima 27, 41 and 95 % have a coordinate on
a bound, where clipped Gaussian samples fall and uniform ones never do, so that the former are better.
"""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl.operators.maximization import cross_entropy_search, gaussian_search, gradient_search, uniform_search
from purerl.report.pictures.learning_curve import COLOURS
from purerl.types import Array, Key

SIZES = (1, 2, 6)  # dimensions of the action
FEATURES = 256  # waves of which a function is made
GRADIENT_COST = 3  # a value with its gradient, in values: one pass forwards, and one back that costs two


class Search(NamedTuple):
    """One way to search, at several budgets."""

    name: str
    find: dict[int, partial]  # cost in values -> find(key, q, size)
    rounds: int  # evaluations that have to wait for one another


def elites_of(samples: int) -> int:
    """A tenth of them, as in QT-Opt (6 of 64), and at least one."""
    return max(1, round(samples / 10))


def cross_entropy(samples: int, iterations: int) -> partial:
    return partial(cross_entropy_search, samples=samples, elites=elites_of(samples), iterations=iterations)


def searches(budgets: tuple[int, ...]) -> list[Search]:
    """All of them; gradient ascent has a start for every 16 or 64 values of its budget."""
    result = [
        Search("uniform", {n: partial(uniform_search, samples=n) for n in budgets}, 1),
        Search("Gaussian", {n: partial(gaussian_search, samples=n) for n in budgets}, 1),
    ]
    for iterations in (2, 4):
        find = {n: cross_entropy(n // iterations, iterations) for n in budgets if n >= 2 * iterations}
        result.append(Search(f"cross-entropy, {iterations} iterations", find, iterations))
    for steps in (5, 21):
        cost = GRADIENT_COST * steps + 1
        find = {n: partial(gradient_search, samples=n // cost, iterations=steps) for n in budgets if n >= cost}
        result.append(Search(f"gradient, {steps} steps", find, steps + 1))
    return result


def random_function(key: Key, size: int) -> tuple[Array, Array]:
    """Frequencies `[F, A]` and phases `[F]` of a smooth random function, a draw of a Gaussian process (see `value`).

    Its deviation is 1 and its correlation `exp(-|a - b|^2 / (2 l^2))` with l = 0.4 sqrt(A): from corner to corner of
    the box there are five such lengths whatever the dimension.
    """
    frequency_key, phase_key = jax.random.split(key)
    frequencies = jax.random.normal(frequency_key, (FEATURES, size)) / (0.4 * jnp.sqrt(size))
    return frequencies, jax.random.uniform(phase_key, (FEATURES,), maxval=2 * jnp.pi)


def value(function: tuple[Array, Array], actions: Array) -> Array:
    """`q(a) = sqrt(2 / F) sum_i cos(w_i . a + b_i)` of actions `[M, A]` (Rahimi & Recht, 2007)."""
    frequencies, phases = function
    return jnp.sqrt(2.0 / FEATURES) * jnp.sum(jnp.cos(actions @ frequencies.T + phases), axis=-1)


def maximum(key: Key, function: tuple[Array, Array], size: int, starts: int) -> Array:
    """The largest value, from the best of many starts, climbed for 100 steps that end small."""
    best = gradient_search(key, partial(value, function), size, samples=starts, iterations=100, step_size=0.1)
    return value(function, best[None])[0]


def gaps(find: partial, functions: tuple[Array, Array], maxima: Array, size: int, repeats: int, key: Key) -> np.ndarray:
    """max q - q(a found), `[functions, repeats]`."""

    def one(function: tuple[Array, Array], largest: Array, key: Key) -> Array:
        action = find(key, partial(value, function), size)
        return largest - value(function, action[None])[0]

    def of_function(inputs: tuple[tuple[Array, Array], Array, Key]) -> Array:
        function, largest, keys = inputs
        return jax.vmap(lambda key: one(function, largest, key))(keys)

    keys = jax.random.split(key, (len(maxima), repeats))
    return np.asarray(jax.jit(partial(jax.lax.map, of_function))((functions, maxima, keys)))


def measure(size: int, functions: int, repeats: int, budgets: tuple[int, ...], starts: int) -> dict[str, list[dict]]:
    """For every search its rows: cost, mean gap, half of its 95 % interval over functions, share near the peak."""
    function_key, maximum_key, check_key, search_key = jax.random.split(jax.random.key(size), 4)
    drawn = jax.vmap(partial(random_function, size=size))(jax.random.split(function_key, functions))

    def largest(key: Key) -> Array:
        keys = jax.random.split(key, functions)
        return jax.jit(partial(jax.lax.map, lambda x: maximum(x[0], x[1], size, starts)))((keys, drawn))

    maxima, again = largest(maximum_key), largest(check_key)
    agree = np.abs(np.asarray(maxima - again))
    print(f"dimensions: {size}; two searches for the maximum differ by at most {agree.max():.1e}")
    maxima = jnp.maximum(maxima, again)
    rows: dict[str, list[dict]] = {}
    for search in searches(budgets):
        rows[search.name] = []
        for cost, find in search.find.items():
            found = gaps(find, drawn, maxima, size, repeats, jax.random.fold_in(search_key, cost))
            means = found.mean(1)
            rows[search.name].append(
                {
                    "cost": cost,
                    "rounds": search.rounds,
                    "gap": float(means.mean()),
                    "half_interval": float(1.96 * means.std(ddof=1) / np.sqrt(functions)),
                    "within_0.1": float(np.mean(found < 0.1)),
                }
            )
    return rows


def main(
    quick: bool = False,
    functions: int = 64,
    repeats: int = 16,
    out: Path = Path("runs/experiments/nuts_and_bolts_of_max_q"),
) -> None:
    """Measure the gap of every search at every budget, print it and draw it.

    Args:
        quick: few functions and small budgets.
        functions: random functions per dimension.
        repeats: searches on each of them.
        out: where the figure and the numbers go.
    """
    functions, repeats = (8, 4) if quick else (functions, repeats)
    budgets = (2, 16, 64, 256) if quick else (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    starts = 256 if quick else 1024
    results = {size: measure(size, functions, repeats, budgets, starts) for size in SIZES}
    shown = (2, 16, 64, 128, 256, 1024)
    for size, rows in results.items():
        print(f"\nmean gap to the maximum, in deviations of the function; dimensions: {size}")
        print(f"{'':28}" + "".join(f"{n:>8}" for n in shown) + "   values")
        for name, points in rows.items():
            gap = {point["cost"]: point["gap"] for point in points}
            print(f"{name:28}" + "".join(f"{gap[n]:8.3f}" if n in gap else f"{'':>8}" for n in shown))
    numbers = {
        "functions": functions,
        "repeats": repeats,
        "values_per_gradient": GRADIENT_COST,
        "rows_by_dimension": results,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(results, out / "figure.png")


def draw(results: dict[int, dict[str, list[dict]]], path: Path) -> None:
    """The gap against the cost, a panel per dimension."""
    figure, panels = plt.subplots(1, len(results), figsize=(13, 4.3), layout="constrained", sharey=True)
    for panel, (size, rows) in zip(panels, results.items(), strict=True):
        for i, (name, points) in enumerate(rows.items()):
            cost, gap, half = (np.array([point[key] for point in points]) for key in ("cost", "gap", "half_interval"))
            style = "--" if i % 2 else "-"
            panel.plot(cost, gap, style, marker="o", markersize=3.5, color=COLOURS[i], label=name)
            panel.fill_between(cost, np.maximum(gap - half, 1e-5), gap + half, color=COLOURS[i], alpha=0.15, lw=0)
        panel.set(xscale="log", yscale="log", xlabel="cost of a search, in values of Q", ylim=(1e-4, 4.0))
        panel.set_title(f"{size} dimension{'s' if size > 1 else ''}", fontsize=10)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean gap to the maximum, in deviations of Q")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    print(f"figure: {path}")


if __name__ == "__main__":
    tyro.cli(main)
