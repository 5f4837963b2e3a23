"""How far one update moves the policy, and what comes of moving too far.

    python experiments/trust_regions.py              # about four minutes on two cores
    python experiments/trust_regions.py --quick      # two minutes, most of them compiling; learns little

Seven learners on CartPole-v1 with the same rollouts (8 environments, 128 steps): vanilla policy gradient by Adam, the
natural gradient, TRPO, and PPO with ten epochs at a large step size, clipped, with an adaptive or a dual KL penalty, or
with nothing that holds it. After every update the mean KL(pi_old || pi) is measured on states of a fresh rollout of the
old policy. The claims: TRPO's updates stay near their bound; what clips or penalises stays close without one; without
either the same ten epochs move the policy ten times as far, and returns collapse (Schulman et al., 2015, 2017).

Eight seeds, 200k steps: median divergence of an update 0.0075 (TRPO, bound 0.01), 0.0033 (clipped), 0.32 (unclipped,
with a twentieth of the updates above 4 nats). Clipped PPO ends at 500 on all seeds, unclipped at 399 [203, 489], its
worst seed at 9; vanilla steps by Adam are small on the median and now and then not (0.08), and end at 148 [61, 288].
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

from purerl import make
from purerl.algorithms import load
from purerl.evaluate import evaluate
from purerl.host.compilation import compiler_options
from purerl.networks.heads import ActorCritic
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.report.statistics import estimate, in_words
from purerl.rollout import collector
from purerl.types import Time

ROLLOUT = {"num_envs": 8, "rollout_length": 128}
TEN_EPOCHS = {"epochs": 10, "learning_rate": 1e-3, "anneal_learning_rate": False, "entropy_coefficient": 0.0}
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "vanilla gradient": (
        "a2c",
        {"optimizer": "adam", "learning_rate": 1e-2, "anneal_learning_rate": False, "trace_decay": 0.95}
        | {"entropy_coefficient": 0.0, "standardize_advantage": True},
    ),
    "natural gradient": ("npg", {"minibatches": 4}),
    "TRPO": ("trpo", {"minibatches": 4}),
    "PPO, clipped": ("ppo", TEN_EPOCHS),
    "PPO, adaptive penalty": ("ppo", TEN_EPOCHS | {"penalty": "adaptive"}),
    "PPO, dual penalty": ("ppo", TEN_EPOCHS | {"penalty": "dual"}),
    "PPO, unclipped": ("ppo", TEN_EPOCHS | {"clip": float("inf")}),
}


def main(
    quick: bool = False,
    seeds: int = 8,
    total_steps: int = 200_000,
    out: Path = Path("runs/experiments/trust_regions"),
) -> None:
    """Train the learners, measure every update, and draw divergences and returns.

    Args:
        quick: three learners, few steps.
        seeds: agents of each learner, trained in one program.
        total_steps: environment steps of each agent.
        out: where the figure and the numbers go.
    """
    learners = LEARNERS
    if quick:
        learners = {name: LEARNERS[name] for name in ("TRPO", "PPO, clipped", "PPO, unclipped")}
        seeds, total_steps = 2, 20_000
    out.mkdir(parents=True, exist_ok=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    numbers: dict[str, Any] = {"total_steps": total_steps, "seeds": seeds}
    for i, (name, (algorithm, fields)) in enumerate(learners.items()):
        kl, returns = measure(algorithm, fields, seeds, total_steps)  # [seeds, updates]
        last = returns[:, -max(1, returns.shape[1] // 5) :].mean(1)  # the last fifth, over which a collapse shows
        final = estimate(last[:, None])
        median, high = np.median(kl), np.quantile(kl, 0.95)
        print(f"{name:24} KL median {median:.4f}, 95 % {high:.4f}; return {in_words(final, 1)}, worst {last.min():.0f}")
        numbers[name] = {
            "kl": {"median": float(median), "95 %": float(high), "largest": float(kl.max())},
            "interquartile mean": [final.value, final.low, final.high],
            "return of each seed": np.sort(last).round(1).tolist(),
        }
        style = {"color": COLOURS[i % len(COLOURS)], "ls": DASHES[i % len(DASHES)]}
        steps = total_steps * np.arange(1, kl.shape[1] + 1) / kl.shape[1]
        left.plot(steps, smooth(np.median(kl, 0)), label=name, **style)
        right.plot(steps, smooth(returns.mean(0)), **style)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    left.set(yscale="log", ylabel="KL(old || new) of an update, nats", title="how far an update moves")
    right.set(ylabel="greedy return", title="CartPole-v1")
    for axes in (left, right):
        axes.set_xlabel("environment steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(out / "figure.png", dpi=110)
    print(f"figure: {out / 'figure.png'}")


def measure(algorithm: str, fields: dict[str, Any], seeds: int, total_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The realised divergence of every update and the greedy return after it, `[seeds, updates]` each."""
    environment, module = make("CartPole-v1"), load(algorithm)
    one = module.make(environment, module.Config(**ROLLOUT | fields))
    network = ActorCritic(environment.observation_space, environment.action_space, one.config.widths)
    probe = collector(environment, network, num_envs=8, rollout_length=64, discount=0.99)
    updates = total_steps // one.env_steps_per_iteration

    def policy(params: Any, observation: jax.Array) -> Any:
        return network.apply(params, observation, method=network.policy)[1]

    def train(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        init_key, probe_key, collect_key, evaluate_key = jax.random.split(key, 4)
        probe_states = probe.init(probe_key)[1]

        def step(carry: tuple, i: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
            state, probe_states = carry
            new, _ = one.step(state, Time(i, i / updates))
            probe_states, seen = probe.collect(state.params, probe_states, jax.random.fold_in(collect_key, i))
            kl = jnp.mean(policy(state.params, seen.observation).kl(policy(new.params, seen.observation)))
            returns = evaluate(one.policy(new), environment, jax.random.fold_in(evaluate_key, i), episodes=4).returns
            return (new, probe_states), (kl, returns.mean())

        return jax.lax.scan(step, (one.init(init_key), probe_states), jnp.arange(updates))[1]

    program = jax.jit(jax.vmap(train), compiler_options=compiler_options())
    kl, returns = program(jax.random.split(jax.random.key(0), seeds))
    return np.asarray(kl, float), np.asarray(returns, float)


def smooth(curve: np.ndarray, width: int = 9) -> np.ndarray:
    """The median over a sliding window; what is drawn, not what is reported."""
    padded = np.pad(curve, width // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=-1)


if __name__ == "__main__":
    tyro.cli(main)
