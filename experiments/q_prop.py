"""What a critic learned off policy saves of the variance of TRPO's gradient, what it costs in bias, what it brings.

    python experiments/q_prop.py              # about five minutes on one core
    python experiments/q_prop.py --quick      # one minute, most of it compiling; learns nothing

Q-Prop (Gu et al., 2017) subtracts A_bar = grad_a Q(s, mu) . (a - mu) from the advantage and adds its expectation back.
The claims: unbiased for any critic with eta = 1, less variance with a fitted one (below 0.7 of the plain gradient's),
and Pendulum-v1 with half of TRPO's samples at batches of 1000 steps. Only the first came out.

Gradients: 150 batches of five whole episodes of one policy (ten iterations old, deviation 0.96), critic and value as
they are then or fitted to it for 30,000 steps, lambda 0.97 unless said otherwise; total variance as a share of the
plain gradient's. Bias: none with eta = 1 or an eta of the batch (0.00 of the gradient, less than chance); 1.2 to 1.8
without the correction. The sign of each single sample's A_hat A_bar, which is what the paper's variants go by, depends
on the action, and that is a bias: 0.13 conservative, 0.25 aggressive with the fitted critic. Variance with it: 1.13
[1.03, 1.22] with eta = 1, 1.01 adaptive (no saving), 0.82 [0.75, 0.90] conservative, 0.69 [0.60, 0.77] aggressive.
Three things stand in the way of more:
  - Actions: with a deviation of 0.96 a third are beyond the bounds, where nothing rises, and the slope at the mean is
    too steep for the rest. With 0.3 eta = 1 has 0.98 [0.92, 1.05].
  - States: what they add to the variance stays. With the same five first states in all batches it is 0.94 [0.87, 1.01].
  - Time: with lambda 0.97 most of A_hat is chance of later steps (its correlation with A_bar is 0.27). With lambda 0 it
    is 0.62, and eta = 1 has 0.81 [0.69, 0.93], adaptive 0.74 [0.66, 0.82], conservative 0.63 [0.54, 0.72].

Learning: four seeds, steps until three evaluations in a row are above -250 on average: eta = 1 20,000, conservative and
adaptive 21,000 (16,000 to 28,000), TRPO (20,000 to 40,000) and aggressive 22,000: no gain beyond the noise. A step of
TRPO is as long as its bound allows, whatever the variance. Where noise does limit it, with batches of 200 steps, no
seed of any arrives in 50,000 steps; they end at -543 (conservative), -653 (adaptive) and -670 (TRPO). An earlier run of
the same command, on other code of the collection, had 19,000 for TRPO and 27,000 for aggressive.
"""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import EvaluationPlan, make, train
from purerl.algorithms.policy_gradient import q_prop, trpo
from purerl.host.compilation import compiler_options
from purerl.networks.critics import Critics
from purerl.networks.heads import actor_critic, join_parameters, split_parameters
from purerl.operators.control_variate import control_variate, controlled_surrogate
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.rollout import advantages, collector
from purerl.types import Array, Key, Time

ROLLOUT = {"num_envs": 5, "rollout_length": 200}  # batches of 1000 steps, five whole episodes
SETTINGS: dict[str, Any] = ROLLOUT | {
    "discount": 0.9,
    "damping": 0.01,
    "normalize_observations": True,
    "scale_rewards": True,
    "reward_clip": 10.0,
}
ESTIMATORS = {  # name -> kind, covariance, whether the correction is added
    "plain": ("none", "sample", True),
    "full": ("full", "sample", True),
    "conservative": ("conservative", "sample", True),
    "aggressive": ("aggressive", "sample", True),
    "conservative, of the batch": ("conservative", "batch", True),
    "adaptive, of the batch": ("adaptive", "batch", True),
    "full, uncorrected": ("full", "sample", False),
}
LEARNERS: dict[str, dict[str, Any]] = {
    "TRPO": {},
    "conservative": {"control_variate": "conservative"},
    "aggressive": {"control_variate": "aggressive"},
    "adaptive": {"control_variate": "adaptive"},
    "full": {"control_variate": "full"},
}
SMALL = {"rollout_length": 40}  # batches of 200 steps
LEARNERS |= {f"{name}, small batches": LEARNERS[name] | SMALL for name in ("TRPO", "conservative", "adaptive")}
EVERY = 2000  # environment steps from one evaluation to the next
NARROW = 0.3  # a deviation with which hardly an action is clipped
PLACES = (  # which critic and policy, lambda, whether all batches begin in the same states
    ("as in training", 0.97, False),
    ("fitted", 0.97, False),
    ("fitted, narrow", 0.97, False),
    ("fitted, narrow", 0.97, True),
    ("fitted, narrow", 0.0, True),
)
THRESHOLD = -250.0


class Place(NamedTuple):
    """Where gradients are taken: a state of the learner, whose policy and critic stay as they are."""

    state: q_prop.State
    config: q_prop.Config


def places(iterations: int, fitting: int) -> dict[str, Place]:
    """A policy after some iterations: with the critic and the value it has then, with better fitted ones, and narrower.

    They are fitted by the learner itself with a trust region in which the policy does not move.
    """
    environment = make("Pendulum-v1")
    config = q_prop.Config(**SETTINGS, control_variate="full", replay_capacity=64_000)

    @partial(jax.jit, compiler_options=compiler_options())
    def advance(state: q_prop.State, max_kl: Array, first: Array, count: Array) -> q_prop.State:
        one = q_prop.make(environment, dataclasses.replace(config, max_kl=max_kl))

        def body(i: Array, state: q_prop.State) -> q_prop.State:
            return one.step(state, Time(first + i, jnp.float32(0)))[0]

        return jax.lax.fori_loop(0, count, body, state)

    def fit(state: q_prop.State) -> q_prop.State:
        return advance(state, jnp.float32(1e-12), jnp.int32(iterations), jnp.int32(fitting))

    init = jax.jit(q_prop.make(environment, config).init, compiler_options=compiler_options())
    state = init(jax.random.key(0))
    state = advance(state, jnp.float32(config.max_kl), jnp.int32(0), jnp.int32(iterations))
    actor, value = split_parameters(state.params)
    print(f"deviation of the policy after {iterations} iterations: {jnp.exp(actor['actor']['log_deviation'])[0]:.2f}")
    actor = actor | {"actor": actor["actor"] | {"log_deviation": jnp.log(jnp.full(1, NARROW))}}
    narrow = fit(state.replace(params=join_parameters(actor, value)))
    found = {"as in training": state, "fitted": fit(state), "fitted, narrow": narrow}
    return {label: Place(state, config) for label, state in found.items()}


def estimates(at: Place, trace_decay: float, same_starts: bool, key: Key) -> dict[str, Array]:
    """The gradient `[P]` by every estimator from one batch of five episodes of the policy.

    With `same_starts` they begin in the same five states in every batch: what varies then is chance along the way.
    """
    state, config = at
    environment = make("Pendulum-v1")
    network = actor_critic(environment, config)
    critic = Critics(
        environment.observation_space, 1, config.critic_widths, config.critic_activation, config.critic_layer_norm
    )
    actor = collector(
        environment,
        network,
        **ROLLOUT,
        discount=config.discount,
        normalize_observations=True,
        scale_rewards=True,
        reward_clip=config.reward_clip,
    )
    restart_key, collect_key = jax.random.split(key)
    restart_key = jax.random.key(3) if same_starts else restart_key
    _, rollout = actor.collect(state.params, actor.restart(restart_key, state.collector), collect_key)
    advantage = advantages(rollout, config.discount, trace_decay).ravel()
    advantage = advantage - jnp.mean(advantage)
    observation, action = (x.reshape(-1, x.shape[-1]) for x in (rollout.observation, rollout.action))
    actor_params = split_parameters(state.params)[0]

    def policy(params: Any) -> Any:
        return network.apply(join_parameters(params, {}), observation, method=network.policy)[1]

    def value(action: Array) -> Array:
        return jnp.sum(critic.apply(state.learner.critic, observation, action))

    mean = policy(actor_params).mean
    slope = jax.grad(value)(mean)

    def estimate(kind: str, covariance: str, corrected: bool) -> Array:
        control = control_variate(slope, action, mean, advantage, kind, covariance)

        def objective(params: Any) -> Array:
            new = policy(params)
            log_probability, moved = new.log_probability(action), new.mean if corrected else mean
            old = rollout.log_probability.ravel()
            return controlled_surrogate(log_probability, old, advantage, control, moved)

        return jax.flatten_util.ravel_pytree(jax.grad(objective)(actor_params))[0]

    correlation = jnp.corrcoef(advantage, jnp.sum(slope * (action - mean), axis=-1))[0, 1]
    return {name: estimate(*how) for name, how in ESTIMATORS.items()} | {"correlation": correlation}


def measure(at: Place, trace_decay: float, same_starts: bool, batches: int) -> dict[str, Any]:
    """Total variance of every estimator as a share of the plain one's, and its bias against it, of the same batches."""
    keys = jax.random.split(jax.random.key(1), batches)

    def program(state: q_prop.State, keys: Key) -> dict[str, Array]:
        return jax.lax.map(partial(estimates, Place(state, at.config), trace_decay, same_starts), keys)

    found = {
        name: np.asarray(x, np.float64)
        for name, x in jax.jit(program, compiler_options=compiler_options())(at.state, keys).items()
    }
    rows: dict[str, Any] = {"correlation of A_hat and A_bar": float(found.pop("correlation").mean())}
    plain = found["plain"]
    noise = np.sum((plain - plain.mean(0)) ** 2, axis=1)
    length = np.sqrt(square_of_mean(plain))
    for name, x in ((name, found[name]) for name in ESTIMATORS):
        squares = np.sum((x - x.mean(0)) ** 2, axis=1)
        share = squares.mean() / noise.mean()
        half = 1.96 * np.std(squares - share * noise) / noise.mean() / np.sqrt(batches)
        rows[name] = {"variance": [share, share - half, share + half]}
        if name != "plain":
            rows[name]["bias"], rows[name]["bias_by_chance_95"] = bias(x - plain, length)
    return rows


def square_of_mean(x: np.ndarray) -> float:
    """|E x|^2 without the bias that the noise of the mean brings; it may be negative."""
    count = len(x)
    return max(0.0, float((np.sum(x.sum(0) ** 2) - np.sum(x**2)) / (count * (count - 1))))


def bias(difference: np.ndarray, length: float) -> tuple[float, float]:
    """|E difference| / length, and what chance alone would make of it, in 95 of 100 cases, were the expectation 0."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(400, len(difference)))
    count = len(difference)
    flipped = (np.sum((signs @ difference) ** 2, axis=1) - np.sum(difference**2)) / (count * (count - 1))
    limit = np.sqrt(max(0.0, float(np.quantile(flipped, 0.95))))
    return float(np.sqrt(square_of_mean(difference)) / length), float(limit / length)


def learn(name: str, seeds: int, steps: int) -> np.ndarray:
    """Greedy returns while learning, `[seeds, evaluations]`."""
    environment, fields = make("Pendulum-v1"), SETTINGS | LEARNERS[name]
    if "control_variate" in fields:
        one = q_prop.make(environment, q_prop.Config(**fields, replay_capacity=64_000))
    else:
        one = trpo.make(environment, trpo.Config(**fields))
    iterations, every = steps // one.env_steps_per_iteration, EVERY // one.env_steps_per_iteration
    plan = EvaluationPlan(environment, episodes=10)
    program = jax.jit(
        jax.vmap(lambda key: train(one, key, iterations, evaluate_every=every, plan=plan).evaluations.returns),
        compiler_options=compiler_options(),
    )
    return np.asarray(program(jax.random.split(jax.random.key(0), seeds))).mean(-1)


def steps_to(returns: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Environment steps of each seed until the mean of three evaluations is above the threshold; inf if it never is."""
    smooth = np.stack([np.convolve(x, np.ones(3) / 3, mode="valid") for x in returns])
    return np.array([steps[2:][np.argmax(x >= THRESHOLD)] if (x >= THRESHOLD).any() else np.inf for x in smooth])


def main(
    quick: bool = False,
    batches: int = 150,
    seeds: int = 4,
    out: Path = Path("runs/experiments/q_prop"),
) -> None:
    """Measure the estimators, train the learners, and draw both.

    Args:
        quick: few batches, two learners, few steps.
        batches: of 1000 steps, for each estimator.
        seeds: agents of each learner, trained in one program.
        out: where the figure and the numbers go.
    """
    names, steps = list(LEARNERS), 50_000
    if quick:
        batches, seeds, names, steps = 20, 2, names[:2], 10_000
    out.mkdir(parents=True, exist_ok=True)
    gradients = measure_gradients(batches, quick)
    curves = {}
    for name in names:
        curves[name] = learn(name, seeds, steps)
        print(f"{name}: {np.median(curves[name], 0).round().astype(int).tolist()}")
    finish(gradients, curves, out)


def measure_gradients(batches: int, quick: bool) -> dict[str, dict]:
    """All measurements at the fixed policy, printed."""
    at, result = places(10, 2 if quick else 30), {}
    for label, decay, same_starts in PLACES:
        where = f"{label}, {decay}" + (", same starts" if same_starts else "")
        rows = result[where] = measure(at[label], decay, same_starts, batches)
        print(f"{where}: correlation {rows['correlation of A_hat and A_bar']:.2f}")
        for name, row in rows.items():
            if name in ESTIMATORS:
                share, low, high = row["variance"]
                text = f"  {name:28s} variance {share:.2f} [{low:.2f}, {high:.2f}]"
                if name != "plain":
                    text += (
                        f", bias {row['bias']:.2f} of the gradient (by chance: up to {row['bias_by_chance_95']:.2f})"
                    )
                print(text)
    return result


def finish(gradients: dict[str, dict], curves: dict[str, np.ndarray], out: Path) -> None:
    """Print, save and draw what came out."""
    steps = EVERY * np.arange(1, 1 + next(iter(curves.values())).shape[1])
    learning = {}
    for name, returns in curves.items():
        reached, last = steps_to(returns, steps), returns[:, -5:].mean(1)
        learning[name] = {
            "steps_to_threshold": [float(x) if np.isfinite(x) else None for x in np.sort(reached)],
            "mean_return": np.sort(returns.mean(1)).round(1).tolist(),
            "last_return": np.sort(last).round(1).tolist(),
            "median_curve": np.median(returns, 0).round(1).tolist(),
        }
        middle, end = np.median(reached), np.median(last)
        print(f"{name:28s} {THRESHOLD:.0f} after {middle:.0f} steps {np.sort(reached)}, ends at {end:.0f}")
    numbers = {
        "threshold": THRESHOLD,
        "steps": steps.tolist(),
        "gradients": gradients,
        "learning": learning,
    }
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(gradients, curves, steps, out / "figure.png")


def draw(gradients: dict[str, dict], curves: dict[str, np.ndarray], steps: np.ndarray, path: Path) -> None:
    """Variance and bias of the estimators, then the learning curves: medians over seeds."""
    figure, panels = plt.subplots(1, 4, figsize=(16, 4.4), layout="constrained", width_ratios=(1.2, 0.8, 1.1, 1.1))
    names = list(ESTIMATORS)
    for i, (label, rows) in enumerate(gradients.items()):
        offset = -np.arange(len(names)) + 0.13 * (2 - i)
        middle, low, high = np.array([rows[name]["variance"] for name in names]).T
        style = {"fmt": "o", "color": COLOURS[i], "markersize": 4, "capsize": 2}
        panels[0].errorbar(middle, offset, xerr=[middle - low, high - middle], label=label, **style)
        biases = [rows[name].get("bias", 0.0) for name in names]
        significant = [rows[name].get("bias", 0.0) > rows[name].get("bias_by_chance_95", 0.0) for name in names]
        for x, y, real in zip(biases, offset, significant, strict=True):
            panels[1].plot(x, y, "o", color=COLOURS[i], markersize=4, markerfacecolor=COLOURS[i] if real else "white")
    panels[0].set_yticks(-np.arange(len(names)), names, fontsize=9)
    panels[0].axvline(1.0, color="grey", linewidth=0.8)
    panels[0].set(xlabel="total variance, plain gradient = 1", title="Variance, at a fixed policy")
    panels[0].legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.4, -0.16))
    panels[1].set_yticks(-np.arange(len(names)), [])
    panels[1].set(xlabel="bias, |gradient| = 1", title="Bias (hollow: chance)")
    large = [name for name in curves if "small" not in name]
    for panel, names, size in ((panels[2], large, 1000), (panels[3], [x for x in curves if x not in large], 200)):
        for name in names:
            label = name.removesuffix(", small batches")
            i, returns = large.index(label), curves[name]
            panel.plot(steps, np.median(returns, 0), DASHES[i % len(DASHES)], color=COLOURS[i], label=label)
        panel.axhline(THRESHOLD, color="grey", linewidth=0.8)
        panel.set(xlabel="environment steps", ylabel="greedy return", ylim=(-1500, 0))
        panel.set_title(f"Pendulum-v1, batches of {size} steps", fontsize=11)
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        if names:
            panel.legend(frameon=False, fontsize=8, loc="lower right")
    for panel in panels:
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=70)
    print(f"figure: {path}")


if __name__ == "__main__":
    tyro.cli(main)
