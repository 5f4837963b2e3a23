"""Steps that a learned model saves: PETS against SAC on Pendulum, at an equal number of updates per step.

    python experiments/pets_sample_efficiency.py                    # a quarter of an hour on two busy cores
    python experiments/pets_sample_efficiency.py --quick            # two minutes; too short to reach anything
    python experiments/pets_sample_efficiency.py --learners PETS    # a part; the figure shows all parts

The claim of Chua et al. (2018): planning in an ensemble needs a fraction of the environment steps of model-free
learning. Here it shall be at most half, on 8 of 10 seeds, and not because SAC is given fewer updates. PETS fits its
ensemble after every 100 steps, in rounds of 80 updates until the held-out error stalls, at most ten of them: always ten
here, so 8 updates per step (every member takes part in each). SAC makes 8 updates of critics and actor per step, too,
after the same 200 random steps, and in a third run one, as is usual; its settings are those of update_to_data.py.

A learner has arrived at the first of two evaluations in a row, every 100 steps, whose mean is -200 or better. All
evaluations have the same four starts, from which iLQR with the true model earns -150. PETS learns the reward as well.

Ten seeds from 100, none of which was looked at before; steps until arrived, by seed:

    PETS                   300   300   400   300   300   500   400   500   400   300     median  350
    SAC, as many           900  1100  2000   700  1400  2000   900  1600  1200  1300     median 1250
    SAC, 1 update         4300  5400  5900  4400  5100  4400  4700  5200  5400  6200     median 5150

Every seed of PETS needs at most half of SAC's median, and at most half of what SAC needs with the same seed.
Four starts are few, so a single evaluation jumps by 30 when one more of them is swung up at once. What PETS saves in
steps it pays in planning: it took 4.5 times as long as SAC with as many updates.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import Algorithm, evaluate, make
from purerl.algorithms.continuous_control import sac
from purerl.algorithms.model_based import pets
from purerl.host.compilation import compiler_options
from purerl.report.pictures.learning_curve import COLOURS
from purerl.train import advance, start

THRESHOLD = -200.0
STARTS = 3  # seed of the starts of all evaluations: iLQR with the true model earns -150 from them, as on average
EVERY = 100  # environment steps between evaluations
PETS: dict[str, Any] = {
    "samples": 40,
    "elites": 6,
    "search_iterations": 4,
    "particles": 4,
    "widths": (64, 64),
    "learning_rate": 2e-3,
    "updates_per_round": 80,
    "max_rounds": 10,
    "steps_per_iteration": EVERY,
    "warm_up_steps": 200,
    "replay_capacity": 10_000,
}
SAC: dict[str, Any] = {
    "num_envs": 1,
    "steps_per_iteration": 4,
    "discount": 0.95,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "widths": (64, 64),
    "critic_widths": (64, 64),
    "warm_up_steps": 200,
    "replay_capacity": 20_000,
}


def main(
    quick: bool = False,
    learners: tuple[str, ...] = ("PETS", "SAC, as many updates", "SAC, 1 update"),
    ratio: int = 8,
    seeds: int = 10,
    first_seed: int = 100,
    episodes: int = 4,
    limits: tuple[int, int] = (1_200, 8_000),
    out: Path = Path("runs/experiments/pets_sample_efficiency"),
) -> None:
    """Train every learner until all seeds stay above the threshold, and draw their returns over steps.

    Args:
        quick: two seeds, short runs, two episodes.
        learners: which of the three; the figure shows all whose numbers are in `out`.
        ratio: updates per step of the second.
        seeds: agents of each learner, in one program.
        first_seed: of `jax.random.key`.
        episodes: of an evaluation, from the same starts for all.
        limits: environment steps after which PETS and SAC are given up.
        out: where the figure and the numbers go.
    """
    if quick:
        seeds, episodes, limits, out = 2, 2, (300, 600), out / "quick"
    out.mkdir(parents=True, exist_ok=True)
    environment = make("Pendulum-v1")
    algorithms: dict[str, Callable[[], Algorithm]] = {
        "PETS": lambda: pets.make(environment, pets.Config(**PETS)),
        "SAC, as many updates": lambda: sac.make(environment, sac.Config(**SAC, update_to_data=(ratio, 1))),
        "SAC, 1 update": lambda: sac.make(environment, sac.Config(**SAC)),
    }
    file = out / "numbers.json"
    numbers = json.loads(file.read_text(encoding="utf-8")).get("runs", {}) if file.exists() else {}
    for name in learners:
        limit = limits[name != "PETS"]
        numbers[name] = learn(algorithms[name](), range(first_seed, first_seed + seeds), episodes, limit)
        found = summary(numbers)
        file.write_text(json.dumps(found | {"runs": numbers}, indent=1) + "\n", encoding="utf-8")
        arrived = to_threshold(numbers[name]["steps"], numbers[name]["returns"])
        print(f"{name:22} {arrived}; {numbers[name]['seconds']:.0f} s", flush=True)
    print(json.dumps(summary(numbers), indent=1))
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def learn(algorithm: Algorithm, seeds: range, episodes: int, limit: int) -> dict[str, Any]:
    """Mean greedy returns at each evaluation `[evaluations][seeds]`, until all seeds stay above the threshold."""
    began, environment = time.perf_counter(), algorithm.environment
    assert environment is not None
    iterations = EVERY // algorithm.env_steps_per_iteration

    def go_on(training: Any, first: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
        training, metrics, _ = advance(algorithm, training, first, iterations=iterations, total_iterations=10**6)
        returns = evaluate(algorithm.policy(training.state), environment, jax.random.key(STARTS), episodes).returns
        return training, returns.mean(), metrics.get("fit_rounds", jnp.zeros(1)).sum()

    options = compiler_options()
    training = jax.jit(jax.vmap(lambda key: start(algorithm, key)), compiler_options=options)(
        jnp.stack([jax.random.key(seed) for seed in seeds])
    )
    go_on = jax.jit(jax.vmap(go_on, (0, None)), donate_argnums=0, compiler_options=options)
    steps, returns, rounds = [], [], []
    while not steps or (steps[-1] < limit and not np.all(np.isfinite(to_threshold(steps, returns)))):
        training, earned, fitted = go_on(training, jnp.int32(len(steps) * iterations))
        steps.append(algorithm.env_steps_of_init + (len(steps) + 1) * EVERY)
        returns.append(np.asarray(earned, float).round(1).tolist())
        rounds.append(np.asarray(fitted, float).tolist())
        print(f"    {steps[-1]:5} {np.round(returns[-1])}", flush=True)
    return {"steps": steps, "returns": returns, "rounds": rounds, "seconds": time.perf_counter() - began}


def to_threshold(steps: list[int], returns: list[list[float]]) -> np.ndarray:
    """Steps until the first of two evaluations in a row at or above the threshold, infinity if there is none."""
    above = np.array(returns) >= THRESHOLD
    stays = above[:-1] & above[1:]
    return np.array([steps[np.argmax(x)] if x.any() else np.inf for x in stays.T])


def summary(numbers: dict[str, Any]) -> dict[str, Any]:
    """Steps to the threshold, and in how many seeds PETS needs at most half of SAC's, median or same seed."""
    arrived = {name: to_threshold(found["steps"], found["returns"]) for name, found in numbers.items()}
    found: dict[str, Any] = {
        "steps to threshold": {
            name: [None if np.isinf(x) else int(x) for x in steps] for name, steps in arrived.items()
        },
        "median": {name: float(np.median(x)) if np.isfinite(np.median(x)) else None for name, x in arrived.items()},
    }
    for name, steps in arrived.items():
        if "PETS" in arrived and name != "PETS" and len(steps) == len(arrived["PETS"]):
            mine = arrived["PETS"]
            found[f"seeds of PETS with at most half the steps of {name}"] = {
                "its median": int(np.sum(np.isfinite(mine) & (2 * mine <= np.median(steps)))),
                "the same seed": int(np.sum(np.isfinite(mine) & (2 * mine <= steps))),
            }
    if "PETS" in numbers:
        rounds = np.array(numbers["PETS"]["rounds"])
        found["updates per step of PETS"] = float(rounds.mean() * PETS["updates_per_round"] / EVERY)
    return found


def draw(numbers: dict[str, Any], path: Path) -> None:
    """Returns over steps: every seed thin, the mean thick; and when each seed arrived."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for i, (name, found) in enumerate(numbers.items()):
        returns, steps = np.array(found["returns"]), found["steps"]
        axes.plot(steps, returns, color=COLOURS[i], alpha=0.22, linewidth=0.8)
        axes.plot(steps, returns.mean(axis=1), color=COLOURS[i], linewidth=2, label=name)
        arrived = to_threshold(steps, found["returns"])
        axes.plot(arrived, np.full(len(arrived), -60.0 + 45 * i), "|", color=COLOURS[i], markersize=9)
    axes.axhline(THRESHOLD, color="0.5", linewidth=0.8, linestyle=":")
    axes.text(3_000, THRESHOLD, f"{THRESHOLD:g}", va="bottom", fontsize=8, color="0.4")
    axes.set(xlabel="environment steps", ylabel="greedy return, four starts", xscale="log", ylim=(-1900, 80))
    ticks = [300, 500, 1_000, 2_000, 4_000, 6_000]
    axes.set_xticks(ticks, [str(x) for x in ticks])
    axes.set_xticks([], minor=True)
    axes.set_title("Pendulum: ten seeds, their means, and when each stays above -200 (ticks)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    tyro.cli(main)
