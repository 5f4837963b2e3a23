"""Bootstrapping, approximation and off-policy data together diverge on Baird's star; a LayerNorm network does not.

    python experiments/divergence.py              # seconds on one core
    python experiments/divergence.py --quick      # the same with fewer seeds

The counterexample of Baird (1995), as in Sutton & Barto (2018, section 11.2): seven states, all rewards 0, and features
that can represent V = 0. The behaviour visits all states equally often; the policy to be evaluated always goes to the
seventh. Semi-gradient TD(0) (step size 0.01, discount 0.99) with importance weights takes the largest weight from 10 to
some hundreds within 1000 steps, and on without bound: the expected updates to 335, sampled ones to 308 in the median,
between 249 and 371 in eight runs of ten. On the policy's own states the same rule stays bounded.

A network with one hidden layer that begins near Baird's function diverges too under the expected updates, with and
without L2. With LayerNorm in front of the nonlinearity what the last layer sees cannot grow, and the values stay
bounded; a little L2 holds the last layer as well (Gallici et al., 2024).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl.operators.least_squares import linear_td_step
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.types import Array, Key

DISCOUNT, STEP_SIZE, NETWORK_STEP_SIZE = 0.99, 0.01, 0.001  # gradients of the network begin ten times as long
L2 = 0.01
UPPER, LOWER = 6, 6  # six upper states, 0 to 5, and the lower one, state 6
FEATURES = np.zeros((7, 8), np.float32)
FEATURES[np.arange(UPPER), np.arange(UPPER)], FEATURES[:UPPER, 7] = 2, 1  # V(i) = 2 w_i + w_7
FEATURES[LOWER, 6], FEATURES[LOWER, 7] = 1, 2  # V(6) = w_6 + 2 w_7
WEIGHTS = np.array([1, 1, 1, 1, 1, 1, 10, 1], np.float32)


class Stream(NamedTuple):
    """Transitions as the behaviour meets them, `[T]`; all rewards are 0 and nothing ends."""

    state: Array
    successor: Array
    importance: Array  # pi(a | s) / behaviour(a | s)


def off_policy(key: Key, steps: int) -> Stream:
    """The behaviour goes to an upper state with probability 6/7 and to the lower one with 1/7, the policy's choice."""
    state_key, successor_key = jax.random.split(key)
    state = jax.random.randint(state_key, (), 0, 7)
    successor = jax.random.randint(successor_key, (steps,), 0, 7)
    return Stream(jnp.append(state, successor[:-1]), successor, jnp.where(successor == LOWER, 7.0, 0.0))


def on_policy(key: Key, steps: int) -> Stream:
    """The policy's own states: anywhere first, in the lower one from then on."""
    state = jnp.append(jax.random.randint(key, (), 0, 7), jnp.full(steps - 1, LOWER))
    return Stream(state, jnp.full(steps, LOWER), jnp.ones(steps))


def linear_weights(stream: Stream) -> Array:
    """The largest weight after every step of semi-gradient TD(0), `[T]`."""
    features = jnp.asarray(FEATURES)

    def body(weights: Array, transition: Stream) -> tuple[Array, Array]:
        here, there = features[transition.state], features[transition.successor]
        direction = linear_td_step(
            weights, here, jnp.zeros(()), jnp.zeros((), bool), there, transition.importance, DISCOUNT
        )
        weights = weights + STEP_SIZE * direction
        return weights, jnp.max(jnp.abs(weights))

    return jax.lax.scan(body, jnp.asarray(WEIGHTS), stream)[1]


def expected_weights(steps: int) -> Array:
    """The same with the expected update, all states visited equally often: `[T]`."""
    features = jnp.asarray(FEATURES)
    directions = jax.vmap(linear_td_step, in_axes=(None, 0, None, None, None, None, None))

    def body(weights: Array, _: None) -> tuple[Array, Array]:
        all_states = directions(
            weights, features, jnp.zeros(()), jnp.zeros((), bool), features[LOWER], jnp.ones(()), DISCOUNT
        )
        weights = weights + STEP_SIZE * jnp.mean(all_states, axis=0)
        return weights, jnp.max(jnp.abs(weights))

    return jax.lax.scan(body, jnp.asarray(WEIGHTS), None, length=steps)[1]


def network_values(key: Key, steps: int, layer_norm: bool, l2: float) -> Array:
    """The largest |V| over the states after every expected step of semi-gradient TD(0) with a network, `[T]`.

    V(s) = w . relu(LayerNorm(W phi(s))). W begins near the identity and w as Baird's weights: without the LayerNorm
    nearly as the function of the linear case.
    """
    features = jnp.asarray(FEATURES)

    def values(params: dict[str, Array]) -> Array:
        hidden = features @ params["hidden"]
        if layer_norm:
            hidden = jax.nn.standardize(hidden, axis=-1, epsilon=1e-5)
        return jax.nn.relu(hidden) @ params["last"]

    def body(params: dict[str, Array], _: None) -> tuple[dict[str, Array], Array]:
        current, gradient = jax.vjp(values, params)
        error = DISCOUNT * current[LOWER] - current
        (direction,) = gradient(error / len(error))
        params = jax.tree.map(lambda p, d: p + NETWORK_STEP_SIZE * (d - l2 * p), params, direction)
        return params, jnp.max(jnp.abs(values(params)))

    hidden = jnp.eye(8) + 0.1 * jax.random.normal(key, (8, 8))
    return jax.lax.scan(body, {"hidden": hidden, "last": jnp.asarray(WEIGHTS)}, None, length=steps)[1]


def measure(seeds: int, steps: int, network_steps: int) -> dict[str, np.ndarray]:
    """Every variant's curve for every seed, `[seeds, T]`."""
    keys = jax.random.split(jax.random.key(0), seeds)

    def linear(stream: Callable[[Key, int], Stream]) -> np.ndarray:
        return np.asarray(jax.jit(jax.vmap(lambda key: linear_weights(stream(key, steps))))(keys))

    def network(layer_norm: bool, l2: float) -> np.ndarray:
        return np.asarray(jax.jit(jax.vmap(lambda key: network_values(key, network_steps, layer_norm, l2)))(keys))

    return {
        "linear, off-policy": linear(off_policy),
        "linear, off-policy, expected updates": np.asarray(jax.jit(expected_weights, static_argnums=0)(steps))[None],
        "linear, on-policy": linear(on_policy),
        "network": network(layer_norm=False, l2=0.0),
        "network, L2": network(layer_norm=False, l2=L2),
        "network, LayerNorm": network(layer_norm=True, l2=0.0),
        "network, LayerNorm, L2": network(layer_norm=True, l2=L2),
    }


def main(quick: bool = False, seeds: int = 32, out: Path = Path("runs/experiments/divergence")) -> None:
    """Measure every variant and draw it.

    Args:
        quick: fewer seeds and steps.
        seeds: streams of transitions, or initial networks, per variant.
        out: where the figure and the numbers go.
    """
    seeds, network_steps = (4, 5_000) if quick else (seeds, 30_000)
    curves = measure(seeds, 1_000, network_steps)
    final = {name: np.where(np.isfinite(curve[:, -1]), curve[:, -1], np.inf) for name, curve in curves.items()}
    summary = {
        name: {
            "final_percentiles_10_50_90": [float(x) for x in np.percentile(last, [10, 50, 90], method="nearest")],
            "largest": float(np.max(np.nan_to_num(curves[name], nan=np.inf))),
            "diverged_seeds": int(np.sum(~np.isfinite(last))),
            "seeds": len(last),
        }
        for name, last in final.items()
    }
    print(
        "Claim: off-policy semi-gradient TD(0) diverges on Baird's star; LayerNorm with a little L2 keeps it bounded."
    )
    for name, row in summary.items():
        low, median, high = row["final_percentiles_10_50_90"]
        what = "largest weight" if name.startswith("linear") else "largest |V|"
        print(
            f"{name}: {what} in the end {median:.4g} (10 to 90 %: {low:.4g} to {high:.4g}), at most "
            f"{row['largest']:.4g} on the way; {row['diverged_seeds']} of {row['seeds']} left float32"
        )

    out.mkdir(parents=True, exist_ok=True)
    # JSON knows no infinity: a seed that left float32 is null.
    text = json.dumps(summary, indent=2).replace("Infinity", "null")
    (out / "numbers.json").write_text(text + "\n")
    draw(curves, seeds, out / "figure.png")


def draw(curves: dict[str, np.ndarray], seeds: int, path: Path) -> None:
    """Two panels: the linear case, and networks on the same transitions."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    panels[0].set(ylabel="largest |weight|", title="Linear in the features")
    panels[1].set(ylabel="largest |V(s)|", title="One hidden layer", ylim=(1e-3, 1e4))
    for panel, kind in zip(panels, ("linear", "network"), strict=True):
        chosen = {name: curve for name, curve in curves.items() if name.startswith(kind)}
        for i, (name, curve) in enumerate(chosen.items()):
            steps = np.arange(1, curve.shape[1] + 1)[:: max(1, curve.shape[1] // 500)]
            gone = np.where(np.isfinite(curve), curve, 1e30)[:, steps - 1]
            low, median, high = np.percentile(gone, [10, 50, 90], axis=0)
            panel.plot(steps, median, linestyle=DASHES[i], color=COLOURS[i], label=name)
            panel.fill_between(steps, low, high, color=COLOURS[i], alpha=0.15, linewidth=0)
        panel.set(xlabel="steps of TD(0)", yscale="log")
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8, loc="upper left" if kind == "linear" else "lower left")
    panels[1].set(xscale="log", xlabel="steps of TD(0), expected updates")
    figure.suptitle(f"Baird's star: median and 10 to 90 % over {seeds} seeds", fontsize=11)
    figure.savefig(path, dpi=110)
    print(f"figure: {path}")


if __name__ == "__main__":
    tyro.cli(main)
