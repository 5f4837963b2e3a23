"""The temperature of SAC: learned, it brings the policy's entropy to its target; fixed, it is one more hyperparameter.

    python experiments/sac_temperature.py              # ten minutes on one core
    python experiments/sac_temperature.py --quick      # a minute, most of it compiling; learns little

Pendulum-v1, with the preset. Haarnoja et al. (2018b) learn alpha so that the entropy is what was asked for, here -2, -1
(the default, minus the number of actions) and -0.5 nats; fixed temperatures from 0.001 to 3 are the alternative. All
targets are agents of one program, and all temperatures of another.

From 5,000 steps on the entropy is at its target, at the end within 0.06 nats in every agent, while the temperature
behind it goes on falling. It hardly matters here: fixed ones from 0.001 to 1 (entropies of -6.4 to 0.1) also end at
-128 or -129, 3 at -138.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import evaluate, make, presets, train, use_all_cores
from purerl.algorithms.continuous_control import sac
from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.statistics import estimate, in_words

TARGETS = (-2.0, -1.0, -0.5)
TEMPERATURES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def main(
    quick: bool = False,
    seeds: int = 5,
    total_steps: int = 20_000,
    out: Path = Path("runs/experiments/sac_temperature"),
) -> None:
    """Train with every target and every temperature, and draw entropies and returns.

    Args:
        quick: few steps, two seeds.
        seeds: agents of each setting.
        total_steps: environment steps of each agent.
        out: where the figure and the numbers go.
    """
    use_all_cores()
    seeds, total_steps = (2, 3_000) if quick else (seeds, total_steps)
    out.mkdir(parents=True, exist_ok=True)
    entropy, temperature, returns = learn("target_entropy", TARGETS, True, seeds, total_steps)
    fixed_entropy, _, fixed_returns = learn("temperature", TEMPERATURES, False, seeds, total_steps)
    numbers: dict[str, Any] = {"total_steps": total_steps, "seeds": seeds, "automatic": {}, "fixed": {}}
    last = slice(-max(1, entropy.shape[-1] // 10), None)  # the last tenth of the training
    for kind, values, entropies, earned in (
        ("automatic", TARGETS, entropy, returns),
        ("fixed", TEMPERATURES, fixed_entropy, fixed_returns),
    ):
        for value, one, score in zip(values, entropies, earned, strict=True):
            found = estimate(score[:, None])
            reached = one[:, last].mean(1)
            print(f"{kind} {value:6g}: entropy {reached.mean():.2f}, return {in_words(found, 1)}")
            numbers[kind][str(value)] = {
                "entropy": reached.round(3).tolist(),
                "return": [found.value, found.low, found.high],
            }
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(entropy, temperature, fixed_entropy[:, :, last].mean((1, 2)), numbers, total_steps, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def learn(
    field: str, values: tuple[float, ...], automatic: bool, seeds: int, total_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entropy and temperature `[values, seeds, iterations]` and final greedy returns `[values, seeds]`."""
    environment, preset = make("Pendulum-v1"), presets.load("sac", "Pendulum-v1")
    preset.pop("total_steps")

    def one(value: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        config = sac.Config(**preset | {"automatic_temperature": automatic, field: value})
        algorithm = sac.make(environment, config)
        steps = total_steps - algorithm.env_steps_of_init
        result = train(algorithm, key, steps // algorithm.env_steps_per_iteration)
        scores = evaluate(algorithm.policy(result.state), environment, jax.random.key(7), episodes=100)
        return result.metrics["entropy"], result.metrics["temperature"], jnp.mean(scores.returns)

    keys = jax.random.split(jax.random.key(0), seeds)
    program = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    return tuple(np.asarray(x) for x in program(jnp.asarray(values), keys))  # pyright: ignore[reportReturnType]


def draw(
    entropy: np.ndarray, temperature: np.ndarray, fixed: np.ndarray, numbers: dict, total_steps: int, path: Path
) -> None:
    """Entropies on their way to the targets, the temperatures behind them, and what fixed ones earn."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    steps = np.linspace(0, total_steps, entropy.shape[-1])
    for i, target in enumerate(TARGETS):
        colour = COLOURS[i]
        left.axhline(target, color=colour, linestyle=":", linewidth=1)
        smooth = np.stack([np.convolve(row, np.ones(200) / 200, "same") for row in entropy[i]])[:, 100:-100]
        left.plot(steps[100:-100], smooth.T, color=colour, alpha=0.6, linewidth=0.8)
        left.plot([], [], color=colour, label=f"target {target:g}")
        middle.plot(steps, temperature[i].T, color=colour, alpha=0.6, linewidth=0.8)
    left.set(xlabel="environment steps", ylabel="entropy, nats")
    left.legend(frameon=False)
    middle.set(xlabel="environment steps", ylabel="learned temperature", yscale="log")
    middle_value, low, high = np.array([one["return"] for one in numbers["fixed"].values()]).T
    right.errorbar(
        TEMPERATURES,
        middle_value,
        yerr=[middle_value - low, high - middle_value],
        fmt="o-",
        color=COLOURS[3],
        capsize=3,
    )
    best = numbers["automatic"]["-1.0"]["return"]
    right.axhspan(best[1], best[2], color=COLOURS[1], alpha=0.2, label="learned, target -1")
    for x, y, h in zip(TEMPERATURES, middle_value, fixed, strict=True):
        right.annotate(f"{h:.1f}", (x, y), textcoords="offset points", xytext=(0, 8), ha="center", fontsize=7)
    right.set(xlabel="fixed temperature (numbers: entropy)", ylabel="greedy return", xscale="log")
    right.legend(frameon=False)
    for axis in (left, middle):
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
