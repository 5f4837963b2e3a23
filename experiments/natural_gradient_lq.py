"""Where the gradient points and where the natural gradient points on a problem with two parameters, both exact.

    python experiments/natural_gradient_lq.py              # 20 seconds on one core
    python experiments/natural_gradient_lq.py --quick      # 10 seconds

The linear-quadratic problem of Peters & Schaal (2008): r = -s^2 - a^2, s' = s + a + 0.01 e, a ~ N(k s, sigma^2),
discount 0.95, s_0 ~ N(0, 0.1^2). Return, gradient and Fisher matrix are exact, so what differs is the direction and
nothing else. k* = -0.604 for every sigma, and sigma = 0 is best. Claim: the gradient shrinks sigma first, then stalls
in k, because only a state away from 0 tells gains apart; the natural gradient points at the optimum and needs a fifth
of the steps or less until |k - k*| < 0.05 for good.

32 starts (k from -1.5 to -0.1, sigma from 0.1 to 0.4), one step size for all of them, the best of 85 between 1e-5 and
100 for each method (0.056 for all four). Geometric means of the steps, at most 20,000: gradient by (k, sigma) 230 or
more (3 starts never arrive), natural gradient by (k, sigma) 25.8, a factor of 8.9. By (k, log sigma), which slows
sigma down as it falls, 58 or more (3 never arrive) against 18.5, a factor of 3.1: so the claim holds for the parameter
sigma, and not for log sigma. To first order the natural gradient is the same by both. With steps of the same KL
divergence, 0.01 and nothing tuned, until |k - k*| < 0.05 for the first time, it takes 10.7 steps by either; the
gradient takes 16.0 by log sigma, and by sigma none of the 32 starts arrives in 20,000 steps: sigma is below 1e-4 after
some 80 of them (its floor is 1e-6) and k creeps. Large steps leap across k* at first, as paths in the figure do.
"""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.types import Array, Key

DISCOUNT, NOISE, FIRST = 0.95, 0.01, 0.1  # deviation of the noise of the dynamics, and of the first state
TOLERANCE = 0.05
GAINS, DEVIATIONS = (-0.1, -0.2, -0.3, -0.4, -0.9, -1.1, -1.3, -1.5), (0.1, 0.2, 0.3, 0.4)
STARTS = np.array([[k, d] for k in GAINS for d in DEVIATIONS])  # gain, deviation sigma
METHODS = ("gradient by sigma", "gradient by log sigma", "natural gradient by sigma", "natural gradient by log sigma")
DRAWN = (METHODS[0], METHODS[1], METHODS[3])  # the two natural ones are the same to first order
SMALLEST = 1e-6  # of sigma: a step that would make it negative ends here


def cost_of_state(gain: Array) -> Array:
    """p in `V(s) = -(p s^2 + q)`: `p = 1 + k^2 + discount (1 + k)^2 p`, infinite where no positive p solves that."""
    rest = 1.0 - DISCOUNT * (1.0 + gain) ** 2
    return jnp.where(rest > 0, (1.0 + gain**2) / jnp.where(rest > 0, rest, 1.0), jnp.inf)


def expected_return(policy: Array) -> Array:
    """`J = E sum_t discount^t r_t` of `policy` = (k, sigma), with `s_0 ~ N(0, FIRST^2)`.

    J = -(p FIRST^2 + q),    q = (sigma^2 + discount p (sigma^2 + NOISE^2)) / (1 - discount)
    """
    p, variance = cost_of_state(policy[0]), policy[1] ** 2
    q = (variance + DISCOUNT * p * (variance + NOISE**2)) / (1.0 - DISCOUNT)
    return -(p * FIRST**2 + q)


def fisher(policy: Array) -> Array:
    """`E grad log pi grad log pi^T` by (k, sigma) over the discounted states, diagonal: `(E s^2, 2) / sigma^2`, `[2]`.

    E s^2 = (1 - discount) sum_t discount^t E s_t^2 follows from `s' = (1 + k) s + sigma e + NOISE e'`.
    """
    variance = policy[1] ** 2
    square = (1.0 - DISCOUNT) * FIRST**2 + DISCOUNT * (variance + NOISE**2)
    square = square / (1.0 - DISCOUNT * (1.0 + policy[0]) ** 2)
    return jnp.array([square, 2.0]) / variance


def direction(policy: Array, method: str) -> Array:
    """grad J, or F^{-1} grad J, by the parameters of the method: (k, sigma) or (k, log sigma)."""
    scale = jnp.array([1.0, policy[1]]) if "log sigma" in method else jnp.ones(2)  # d (k, sigma) / d parameters
    gradient = scale * jax.grad(expected_return)(policy)
    return gradient / (scale**2 * fisher(policy)) if "natural" in method else gradient


def moved(policy: Array, change: Array, method: str) -> Array:
    """(k, sigma) after a change of the parameters of the method."""
    sigma = policy[1] * jnp.exp(change[1]) if "log sigma" in method else policy[1] + change[1]
    return jnp.array([policy[0] + change[0], jnp.maximum(sigma, SMALLEST)])


def path(start: Array, size: Array, method: str, budget: bool, steps: int) -> Array:
    """Policies `[steps + 1, 2]`. `size` is the step size or, with `budget`, the KL divergence of every step.

    The latter scales the direction d to `d^T F d / 2 = size`, which for the natural gradient is the normalised step
    `sqrt(2 size / (g^T F^{-1} g))`.
    """

    def step(policy: Array, _: None) -> tuple[Array, Array]:
        towards = direction(policy, method)
        scale = jnp.array([1.0, policy[1]]) if "log sigma" in method else jnp.ones(2)
        length = jnp.sum((scale * towards) ** 2 * fisher(policy))
        factor = jnp.sqrt(2.0 * size / jnp.maximum(length, 1e-30)) if budget else size
        policy = moved(policy, factor * towards, method)
        return policy, policy

    return jnp.concatenate([start[None], jax.lax.scan(step, start, length=steps)[1]])


def steps_until_near(found: Array, best: float, stay: bool) -> Array:
    """Steps until `|k - k*| < 0.05`, with `stay` for good (a leap across k* does not count); all steps if never.

    A path that leaves the gains whose return is finite has failed, too.
    """
    near = (jnp.abs(found[:, 0] - best) < TOLERANCE) & jnp.isfinite(jax.vmap(expected_return)(found))
    stable = jnp.all(jnp.isfinite(jax.vmap(expected_return)(found)))
    last_away = len(found) - 1 - jnp.argmax(~near[::-1])
    reached = (
        jnp.where(jnp.all(near), 0, last_away + 1) if stay else jnp.where(jnp.any(near), jnp.argmax(near), len(found))
    )
    return jnp.where(stable, jnp.minimum(reached, len(found) - 1), len(found) - 1)


def best_gain() -> float:
    """k*, which is the same for every deviation: the least p on a fine grid."""
    grid = np.linspace(-1.9, -0.05, 1_000_001)
    return float(grid[np.argmin((1 + grid**2) / (1 - DISCOUNT * (1 + grid) ** 2))])


def simulated_return(policy: Array, key: Key, episodes: int = 100_000, steps: int = 300) -> tuple[float, float]:
    """The mean discounted return of simulated episodes and its standard error: a check of the closed form."""
    first_key, step_key = jax.random.split(key)

    def step(carry: tuple[Array, Array, Array], key: Key) -> tuple[tuple[Array, Array, Array], None]:
        state, total, weight = carry
        own, other = jax.random.normal(key, (2, episodes))
        action = policy[0] * state + policy[1] * own
        total = total - weight * (state**2 + action**2)
        return (state + action + NOISE * other, total, weight * DISCOUNT), None

    start = FIRST * jax.random.normal(first_key, (episodes,)), jnp.zeros(episodes), jnp.ones(())
    (_, total, _), _ = jax.lax.scan(step, start, jax.random.split(step_key, steps))
    return float(total.mean()), float(total.std() / np.sqrt(episodes))


def tune(method: str, budget: bool, sizes: np.ndarray, steps: int, best: float) -> dict:
    """Steps from every start at the size that is best for all of them: that of the least geometric mean.

    With one size for all starts, no size is the best because a leap happens to end at k*.
    """

    def one(start: Array, size: Array) -> Array:
        return steps_until_near(path(start, size, method, budget, steps), best, stay=not budget)

    grid = jax.jit(jax.vmap(jax.vmap(one, (0, None)), (None, 0)))(jnp.asarray(STARTS, jnp.float32), jnp.asarray(sizes))
    grid = np.maximum(np.asarray(grid), 1)  # [sizes, starts]
    chosen = int(np.argmin(np.log(grid).mean(1)))
    return {
        "size": float(sizes[chosen]),
        "geometric_mean": float(np.exp(np.log(grid[chosen]).mean())),
        "median": float(np.median(grid[chosen])),
        "failed": int(np.sum(grid[chosen] >= steps)),
        "steps": grid[chosen].tolist(),
    }


def main(quick: bool = False, out: Path = Path("runs/experiments/natural_gradient_lq")) -> None:
    """Tune both methods, count their steps and draw where they go.

    Args:
        quick: a coarse grid of step sizes and short paths.
        out: where the figure and the numbers go.
    """
    steps, per_decade = (2_000, 4) if quick else (20_000, 12)
    best = best_gain()
    numbers: dict = {
        "best_gain": best,
        "starts_gain_deviation": STARTS.tolist(),
        "most_steps": steps,
    }
    policy = jnp.array([-0.4, 0.5])
    mean, error = simulated_return(policy, jax.random.key(0))
    closed = float(expected_return(policy))
    numbers["return_closed_simulated_error"] = [closed, mean, error]
    print(f"return of k = -0.4, sigma = 0.5: {closed:.3f}, simulated {mean:.3f} +- {1.96 * error:.3f}; k* = {best:.4f}")
    constant = 10.0 ** np.linspace(-5, 2, per_decade * 7 + 1).astype(np.float32)
    for name, budget, sizes in (
        ("constant step size", False, constant),
        ("KL divergence of 0.01 per step", True, [0.01]),
    ):
        rows = {method: tune(method, budget, np.asarray(sizes, np.float32), steps, best) for method in METHODS}
        numbers[name] = rows
        print(name)
        for method, row in rows.items():
            print(f"    {method}: {row}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, best, steps, out / "figure.png")


def draw(numbers: dict, best: float, steps: int, file: Path) -> None:
    """Directions and paths of the methods, and the distance to the best gain against the steps."""
    figure, panels = plt.subplots(1, 4, figsize=(15, 3.9), layout="constrained")
    gain, deviation = np.meshgrid(np.linspace(-1.6, -0.1, 13), np.linspace(-4, -0.6, 11))
    points = jnp.asarray(np.stack([gain.ravel(), np.exp(deviation.ravel())], -1), jnp.float32)
    for i, method in enumerate(DRAWN):
        arrows = np.array(jax.vmap(partial(direction, method=method))(points))
        if "log sigma" not in method:
            arrows[:, 1] /= np.asarray(points)[:, 1]  # the change of log sigma that it makes
        arrows /= np.linalg.norm(arrows, axis=1, keepdims=True)
        title = "natural gradient" if "natural" in method else method
        panel, size = panels[i], numbers["constant step size"][method]["size"]
        panel.quiver(gain.ravel(), deviation.ravel(), *arrows.T, color="0.6", angles="xy", scale=22, width=0.004)
        for j, start in enumerate([[-0.1, 0.2], [-0.3, 0.4], [-1.5, 0.2], [-1.1, 0.4]]):
            found = np.asarray(path(jnp.asarray(start, jnp.float32), jnp.float32(size), method, False, steps))
            panel.plot(found[:, 0], np.log(found[:, 1]), color=COLOURS[i], linewidth=1.2)
            panel.plot(start[0], np.log(start[1]), "o", color=COLOURS[i], markersize=4)
            panels[3].plot(
                np.arange(len(found)) + 1,
                np.abs(found[:, 0] - best),
                color=COLOURS[i],
                linestyle=DASHES[i],
                label=title if j == 0 else None,
                linewidth=1.2,
            )
        panel.axvline(best, color="black", linewidth=0.8, linestyle=":")
        panel.set_xticks([-1.5, -1.0, -0.5, 0.0])
        panel.set(xlim=(-1.75, 0.0), ylim=(-4.3, -0.4), xlabel="gain k", ylabel="log sigma" if i == 0 else None)
        panel.set_title(f"{title}, step size {size:.2g}", fontsize=10)
    panels[3].axhline(TOLERANCE, color="black", linewidth=0.8, linestyle=":")
    panels[3].set(xscale="log", yscale="log", xlim=(0.8, 2e4), ylim=(1e-3, 6), xlabel="steps + 1", ylabel="|k - k*|")
    panels[3].set_title("distance to the best gain, the same paths", fontsize=10)
    panels[3].legend(frameon=False, fontsize=8, loc="upper right")
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)
    print(f"figure: {file}")


if __name__ == "__main__":
    tyro.cli(main)
