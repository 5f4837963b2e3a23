"""How far to imagine: MBPO with futures of different lengths, beside SAC with one and with as many updates per step.

    python experiments/mbpo_rollout_length.py            # an hour on one core
    python experiments/mbpo_rollout_length.py --quick    # two minutes, most of it compiling; learns little
    python experiments/mbpo_rollout_length.py --tasks Pendulum-v1 --variants "SAC, 1 update"  # a part

The claims of Janner et al. (2019): one imagined step is enough to learn several times faster than SAC, many imagined
steps are worse while the model is young, and the gain is not that of making more updates, which SAC with as many per
step shows. A seed has solved a task at the first evaluation whose mean greedy return is at least the threshold; steps
count those of the warm-up. All share networks, batches, replay and warm-up; MBPO's termination and reward are learned.

Steps until it is solved, median and range of five seeds, all of which solve it:

                          inverted pendulum        Pendulum
    SAC, 1 update         4750 (4500 to 5750)      3000 (2250 to 4250)
    SAC, 10 updates       1000 (1000 to 1250)      1250 (1000 to 1250)
    MBPO, 1 step          1250 (1250 to 1500)      1750 (750 to 2750)
    MBPO, 5 steps         1250 (1250 to 1500)      1250 (750 to 1500)
    MBPO, 1 to 5 steps    1250 (1250 to 1500)      1750 (750 to 2250)
    MBPO, 25 steps        1000 (1000 to 4000)       750 (750 to 1750)

MBPO needs 3.8 times fewer steps than SAC with one update per step on the inverted pendulum and, with 25 steps, four
times fewer on Pendulum. Most of that is the updates: SAC with as many is as fast on the first, and only long futures
are faster on the second. That long futures are worse is not seen here. The dynamics must be seen: on the spring
backend, whose state is more than what is observed, the ensemble leaves a quarter of the changes unexplained, and
neither MBPO nor SAC solved it in 4000 and 12,000 steps.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from scipy.stats import quantile_test

from purerl import Algorithm, Environment, load, make
from purerl.host.compilation import compiler_options
from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.statistics import Estimate, estimate, final_score, in_words
from purerl.train import EvaluationPlan, train


class Task(NamedTuple):
    """An environment, and what counts as solved."""

    total_steps: dict[str, int]  # of MBPO and of SAC
    threshold: float  # of the mean greedy return
    episodes: int  # of an evaluation
    shared: dict[str, Any]
    parameters: dict[str, Any] = {}  # of the environment


TASKS = {
    "brax/inverted_pendulum": Task({"mbpo": 4_000, "sac": 12_000}, 900.0, 4, {}, {"backend": "generalized"}),
    "Pendulum-v1": Task({"mbpo": 4_000, "sac": 12_000}, -200.0, 32, {}),
}
SHARED: dict[str, Any] = {
    "steps_per_iteration": 25,
    "batch_size": 128,
    "warm_up_steps": 500,
    "widths": (64, 64),
    "critic_widths": (64, 64),
    "learning_rate": 1e-3,
    "target_rate": 0.02,
}
MODEL: dict[str, Any] = {"rollouts": 500, "members": 5, "elites": 4, "model_widths": (64, 64)}
MANY = {"update_to_data": (10, 1)}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "SAC, 1 update": ("sac", {"update_to_data": (1, 1)}),
    "SAC, 10 updates": ("sac", MANY),
    "MBPO, 1 step": ("mbpo", MODEL | MANY),
    "MBPO, 5 steps": ("mbpo", MODEL | MANY | {"rollout_length": 5}),
    "MBPO, 1 to 5 steps": ("mbpo", MODEL | MANY | {"rollout_length": 5, "first_rollout_length": 1}),
    "MBPO, 25 steps": ("mbpo", MODEL | MANY | {"rollout_length": 25, "rollouts": 100}),
}


def main(
    quick: bool = False,
    tasks: tuple[str, ...] = tuple(TASKS),
    variants: tuple[str, ...] = tuple(VARIANTS),
    seeds: int = 5,
    every: int = 250,
    out: Path = Path("runs/experiments/mbpo_rollout_length"),
) -> None:
    """Train every variant on every task, count steps until it is solved, and draw what has been measured so far.

    Args:
        quick: one task, two variants, few steps.
        tasks: names of environments, some of `TASKS`.
        variants: some of `VARIANTS`.
        seeds: agents of each variant on each task, in one program.
        every: environment steps between two evaluations of greedy episodes.
        out: where the numbers of every part, all of them together and the figure go.
    """
    total_steps = None
    if quick:
        tasks, variants, seeds, total_steps = ("Pendulum-v1",), ("SAC, 10 updates", "MBPO, 1 step"), 2, 1_000
        out = out / "quick"  # beside what was measured in full
    out.mkdir(parents=True, exist_ok=True)
    file = out / "numbers.json"
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in tasks:
        for variant in variants:
            part = learn(name, variant, seeds, every, total_steps or TASKS[name].total_steps[VARIANTS[variant][0]])
            numbers.setdefault(name, {})[variant] = part
            print(f"{name:22} {variant:20} {summary(part)}; {part['seconds']:.0f} s", flush=True)
            file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    dashed = [variant for variant in VARIANTS if variant.startswith("SAC")]
    draw(numbers, tuple(VARIANTS), dashed, out / "figure.png", scale="log")
    print(f"figure: {out / 'figure.png'}")


def learn(name: str, variant: str, seeds: int, every: int, total_steps: int) -> dict[str, Any]:
    """A variant on a task."""
    task, (learner, settings) = TASKS[name], VARIANTS[variant]
    module, environment = load(learner), make(name, **task.parameters)
    fields = SHARED | task.shared | settings
    block = fields["steps_per_iteration"]
    one = module.make(environment, module.Config(**fields, replay_capacity=-(-total_steps // block) * block))
    evaluations = (total_steps - one.env_steps_of_init) // every
    keys = jax.random.split(jax.random.key(100), seeds)
    return measure(one, keys, every // block, evaluations, task.episodes, task.threshold)


def measure(
    one: Algorithm,
    keys: jax.Array,
    every: int,
    evaluations: int,
    episodes: int,
    threshold: float,
    environment: Environment | None = None,
) -> dict[str, Any]:
    """Greedy returns of all seeds, which are one program, every so many iterations, and steps to the threshold.

    They are earned on `environment`, if that is not the learner's own.
    """
    began = time.perf_counter()

    def returns(key: jax.Array) -> jax.Array:
        plan = EvaluationPlan(environment, episodes)
        result = train(one, key, every * evaluations, evaluate_every=every, plan=plan)
        assert result.evaluations is not None
        return result.evaluations.returns

    earned = np.asarray(jax.jit(jax.vmap(returns), compiler_options=compiler_options())(keys))
    steps = one.env_steps_of_init + every * one.env_steps_per_iteration * np.arange(1, evaluations + 1)
    curves, final = earned.mean(axis=-1), estimate(final_score(earned)[:, None])
    return {
        "threshold": threshold,
        "steps": steps.tolist(),
        "returns": curves.round(1).tolist(),
        "steps to threshold": [
            int(steps[np.argmax(reached)]) if reached.any() else None for reached in curves >= threshold
        ],
        "final return": final._asdict(),
        "seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
    }


def summary(part: dict[str, Any]) -> str:
    """'5 of 5 solve it, median after 1500 [1250, 2000] steps; final return ...', with an interval of at least 90 %."""
    steps = np.array([np.inf if x is None else x for x in part["steps to threshold"]])
    low, high = quantile_test(steps, p=0.5).confidence_interval(0.9)
    median = f"{np.median(steps):.0f} [{low:.0f}, {high:.0f}]"
    solved = f"{np.isfinite(steps).sum()} of {len(steps)} solve it, median after {median} steps"
    return f"{solved}; final return {in_words(Estimate(**part['final return']), 1)}"


def draw(
    numbers: dict[str, Any],
    variants: Sequence[str],
    dashed: Sequence[str],
    path: Path,
    scale: str,
    bands: bool = True,
) -> None:
    """One panel per task: the median over seeds and, with `bands`, their middle half, against environment steps."""
    figure, panels = plt.subplots(
        1, len(numbers), figsize=(4.8 * len(numbers), 4.2), layout="constrained", squeeze=False
    )
    handles: dict[str, Any] = {}
    for panel, (name, parts) in zip(panels[0], numbers.items(), strict=True):
        for variant in (variant for variant in variants if variant in parts):
            part, colour = parts[variant], COLOURS[variants.index(variant) % len(COLOURS)]
            low, middle, high = np.percentile(np.array(part["returns"]), [25, 50, 75], axis=0)
            if bands:
                panel.fill_between(part["steps"], low, high, color=colour, alpha=0.15, linewidth=0)
            dash = (0, (4, 3)) if variant in dashed else "-"
            (handles[variant],) = panel.plot(part["steps"], middle, color=colour, linestyle=dash)
        panel.axhline(next(iter(parts.values()))["threshold"], color="0.4", linestyle=":", linewidth=1)
        panel.set(title=name, xlabel="environment steps", ylabel="greedy return", xscale=scale)
        if scale == "log":
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6)
    order = [variant for variant in variants if variant in handles]
    seeds = len(next(iter(next(iter(numbers.values())).values()))["returns"])
    figure.legend(
        [handles[variant] for variant in order], order, loc="outside lower center", ncols=2 * len(numbers),
        frameon=False, title=f"median {'and middle half ' if bands else ''}of {seeds} seeds; dotted: solved",
    )  # fmt: skip
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
