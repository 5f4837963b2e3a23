"""Does imagination make NAF faster: real steps to a threshold with and without a model, at equal numbers of updates.

    python experiments/naf_model_based_acceleration.py            # an hour on one core
    python experiments/naf_model_based_acceleration.py --quick    # two minutes, most of it compiling; learns little
    python experiments/naf_model_based_acceleration.py --tasks mjx/cartpole_swingup --variants "NAF, 5 updates"  # part

The claims of Gu et al. (2016), section 6.2: NAF that also learns from short futures imagined under time-varying linear
models, which are fitted again and again to the last episodes, needs fewer real steps; networks in their place help less
or not at all; exploring with the iLQG controller of these models brings little; and imagination that is never switched
off ends lower. Five updates are made for every real step, and with imagination five more on what was imagined, so the
baseline to beat is NAF with ten. A seed has solved a task at the first evaluation whose mean greedy return is at least
the threshold. Everything else is shared: networks, batches, noise, warm-up.

Measured so far are three variants on two tasks, five seeds each: seeds that solve it, and the median of their steps,

                          peg insertion     cart-pole swing-up
    NAF, 10 updates       5    1900         3   11900
    + true model          5    1400         4    7900
    + linear models       5    2400         0       -

so a perfect model makes NAF 1.4 and 1.5 times as fast and the linear models do not: on the peg they cost steps, and on
the cart-pole they are ahead after 5000 steps (a median return of 110 against 36) and get no further, as imagination
that is never switched off is said to. Nothing was tuned for imagination.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import load, make
from purerl.host.compilation import compiler_options
from purerl.report.pictures.learning_curve import COLOURS
from purerl.report.statistics import Estimate, estimate, final_score, in_words
from purerl.train import EvaluationPlan, train


class Task(NamedTuple):
    """What all variants share on one environment, and what counts as solved."""

    total_steps: int
    threshold: float  # of the mean greedy return
    episodes: int  # of an evaluation
    shared: dict[str, Any]
    termination: Callable | None = None  # of (o, a, o'), where episodes end early


TASKS = {
    "mjx/cartpole_swingup": Task(12_400, 300.0, 6, {"discount": 0.99}, lambda o, a, after: jnp.abs(after[0]) > 2.4),
    "mjx/peg_insertion": Task(12_400, 100.0, 12, {"discount": 0.95}),
    "mjx/planar_reacher": Task(12_400, 80.0, 12, {"discount": 0.95}),
}
SHARED: dict[str, Any] = {
    "batch_size": 64,
    "warm_up_steps": 400,
    "steps_per_iteration": 20,
    "learning_rate": 1e-3,
    "target_rate": 0.01,
    "layer_norm": True,
    "widths": (64, 64),
}
IMAGINATION: dict[str, Any] = {"rollouts_per_step": 4, "rollout_length": 5, "members": 3}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPG, 5 updates": ("ddpg", {"update_to_data": (5, 1)}),
    "NAF, 5 updates": ("naf", {"update_to_data": (5, 1)}),
    "NAF, 10 updates": ("naf", {"update_to_data": (10, 1)}),
    "+ true model": ("mba", IMAGINATION | {"model": "true"}),
    "+ linear models": ("mba", IMAGINATION | {"model": "linear"}),
    "+ linear, switched off": ("mba", IMAGINATION | {"model": "linear", "imagination_steps": 5_000}),
    "+ linear, iLQG": ("mba", IMAGINATION | {"model": "linear", "control_iterations": 5, "control_temperature": 0.1}),
    "+ networks": ("mba", IMAGINATION | {"model": "ensemble"}),
}


def main(
    quick: bool = False,
    tasks: tuple[str, ...] = tuple(TASKS),
    variants: tuple[str, ...] = tuple(VARIANTS),
    seeds: int = 5,
    evaluations: int = 24,
    out: Path = Path("runs/experiments/naf_model_based_acceleration"),
) -> None:
    """Train every variant on every task, count steps until it is solved, and draw what has been measured so far.

    Args:
        quick: one task, two variants, few steps.
        tasks: names of environments, some of `TASKS`.
        variants: some of `VARIANTS`.
        seeds: agents of each variant on each task, in one program.
        evaluations: of greedy episodes, over each run.
        out: where the numbers and the figure go; what is there of other parts is kept.
    """
    total_steps = None
    if quick:
        tasks, variants = ("mjx/cartpole_swingup",), ("NAF, 10 updates", "+ linear models")
        seeds, evaluations, total_steps, out = 2, 2, 1_000, out / "quick"  # beside what was measured in full
    out.mkdir(parents=True, exist_ok=True)
    file = out / "numbers.json"
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in tasks:
        for variant in variants:
            part = learn(name, variant, seeds, evaluations, total_steps or TASKS[name].total_steps)
            numbers.setdefault(name, {})[variant] = part
            print(f"{name:22} {variant:24} {summary(part)}; {part['seconds']:.0f} s", flush=True)
            file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def learn(name: str, variant: str, seeds: int, evaluations: int, total_steps: int) -> dict[str, Any]:
    """Greedy returns of all seeds, which are one program, over a training, and the steps to the threshold."""
    began, task = time.perf_counter(), TASKS[name]
    environment = make(name)
    one = learner(environment, variant, task, total_steps)
    every = max(1, (total_steps - one.env_steps_of_init) // one.env_steps_per_iteration // evaluations)

    def returns(key: jax.Array) -> jax.Array:
        plan = EvaluationPlan(episodes=task.episodes)
        result = train(one, key, every * evaluations, evaluate_every=every, plan=plan)
        assert result.evaluations is not None
        return result.evaluations.returns

    keys = jax.random.split(jax.random.key(0), seeds)
    earned = np.asarray(jax.jit(jax.vmap(returns), compiler_options=compiler_options())(keys))
    steps = one.env_steps_of_init + every * one.env_steps_per_iteration * np.arange(1, evaluations + 1)
    curves, final = earned.mean(axis=-1), estimate(final_score(earned)[:, None])
    return {
        "threshold": task.threshold,
        "steps": steps.tolist(),
        "returns": curves.round(1).tolist(),
        "steps to threshold": [
            int(steps[np.argmax(reached)]) if reached.any() else None for reached in curves >= task.threshold
        ],
        "final return": final._asdict(),
        "seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
    }


def learner(environment: Any, variant: str, task: Task, total_steps: int) -> Any:
    """The algorithm of a variant on a task."""
    kind, settings = VARIANTS[variant]
    module, block = load(kind), SHARED["steps_per_iteration"]
    fields = SHARED | task.shared | settings | {"replay_capacity": -(-total_steps // block) * block}
    if kind == "ddpg":
        fields["critic_layer_norm"] = fields.pop("layer_norm")
        return module.make(environment, module.Config(**fields, critic_widths=SHARED["widths"], noise_start=0.3))
    if kind == "mba":
        fields["model_period"] = environment.max_steps
        return module.make(environment, module.Config(**fields), termination=task.termination)
    return module.make(environment, module.Config(**fields))


def until_solved(part: dict[str, Any]) -> np.ndarray:
    """Steps that each seed needed, infinity for those that never solved the task."""
    return np.array([np.inf if x is None else x for x in part["steps to threshold"]])


def summary(part: dict[str, Any]) -> str:
    """'5 of 5 solve it, median after 1500 steps; final return ...'."""
    steps = until_solved(part)
    solved = f"{np.isfinite(steps).sum()} of {len(steps)} solve it, median after {np.median(steps):.0f} steps"
    return f"{solved}; final return {in_words(Estimate(**part['final return']), 1)}"


def draw(numbers: dict[str, Any], path: Path) -> None:
    """One panel per task: the median over seeds and their middle half, against environment steps."""
    figure, panels = plt.subplots(
        1, len(numbers), figsize=(4.6 * len(numbers), 4.2), layout="constrained", squeeze=False
    )
    handles: dict[str, Any] = {}
    for panel, (name, parts) in zip(panels[0], numbers.items(), strict=True):
        for i, variant in enumerate(VARIANTS):
            if variant not in parts:
                continue
            part = parts[variant]
            low, middle, high = np.percentile(np.array(part["returns"]), [25, 50, 75], axis=0)
            panel.fill_between(part["steps"], low, high, color=COLOURS[i % len(COLOURS)], alpha=0.12, linewidth=0)
            dash = "-" if variant.startswith("+") else "--"
            (handles[variant],) = panel.plot(part["steps"], middle, color=COLOURS[i % len(COLOURS)], linestyle=dash)
        panel.axhline(TASKS[name].threshold, color="0.4", linestyle=":", linewidth=1)
        panel.set(title=name, xlabel="environment steps")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6)
    panels[0, 0].set_ylabel("greedy return")
    order = [variant for variant in VARIANTS if variant in handles]
    seeds = len(next(iter(next(iter(numbers.values())).values()))["returns"])
    figure.legend(
        [handles[variant] for variant in order], order, loc="outside lower center", ncols=4, frameon=False,
        title=f"median and middle half of {seeds} seeds; dotted: solved",
    )  # fmt: skip
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
