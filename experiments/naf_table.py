"""The table of Gu et al. (2016): ten tasks, what random actions earn, and DDPG and NAF with the episodes they took.

    python experiments/naf_table.py                                    # two hours on one core
    python experiments/naf_table.py --quick                            # a minute or two; learns little
    python experiments/naf_table.py --tasks cartpole reacher           # a part; the table shows all that was measured

The study's claim is an order: on the precise tasks of arms NAF reaches more than DDPG and sooner, on locomotion DDPG is
level or ahead. Its models and rewards were not published, so the numbers beside ours are in other units, and only the
order can be compared. Both learners share the steps, one update per step, batches, widths, replay and noise. The best
return is that of the best evaluation, the mean over seeds of each one's best, and the episodes are those until then, in
units of the longest episode. Three seeds, with the mean of the best (and episodes):

                        random    DDPG          NAF           of the study: ahead
    cart-pole              4      426 (54)      327 (60)      level, NAF sooner
    reacher               17      151 (106)      93 (135)     NAF
    peg insertion          9      142 (173)     138 (160)     NAF
    gripper               12      113 (373)      47 (373)     NAF
    gripper, movable       5       51 (373)      36 (373)     NAF
    canada2d              14       34 (255)      38 (308)     NAF
    cheetah              -60     1533 (90)      775 (64)      DDPG
    swimmer6              -8      281 (167)     239 (173)     level, NAF sooner
    ant                 -284      653 (41)      635 (14)      level, NAF sooner
    walker2d             208      349 (77)      550 (24)      DDPG

So the order is not reproduced: no arm is better with NAF than with DDPG by more than seeds differ (intervals of three
seeds are wide: the script prints them), and on cart-pole, reacher and gripper, where NAF goes on hovering, it is worse.
Of the bodies DDPG is ahead on cheetah and swimmer. Ant and walker say little: on ant both lose what they have within
the first 61 of 100 episodes; on the walker DDPG ends below random actions, and NAF's mean is one seed's. The study's
runs were up to ten times longer; DDPG was still improving on the grippers here. (Measured in parts, with `--tasks`.)
"""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import evaluate, load, make
from purerl.data import random_policy
from purerl.host.compilation import compiler_options
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.report.statistics import Estimate, estimate, in_words
from purerl.train import EvaluationPlan, train


class Task(NamedTuple):
    """An environment here, and what the study has of its own: random, then return (episodes) of DDPG and of NAF."""

    environment: str
    published: tuple[float, tuple[float, int], tuple[float, int]]
    total_steps: int = 30_000
    discount: float = 0.98
    parameters: dict[str, Any] = {}


SPRING = {"backend": "spring"}
TASKS = {
    "cartpole": Task("mjx/cartpole_swingup", (-2.1, (-0.601, 420), (-0.604, 190)), discount=0.99),
    "reacher": Task("mjx/planar_reacher", (-2.3, (-0.509, 1370), (-0.331, 1260)), discount=0.95),
    "peg": Task("mjx/peg_insertion", (-11.0, (-0.950, 690), (-0.438, 130))),
    "gripper": Task("mjx/gripper", (-29.0, (1.03, 2420), (1.81, 1920)), 60_000),
    "gripper, movable": Task("mjx/movable_gripper", (-90.0, (-20.2, 1350), (-12.4, 730)), 60_000),
    "canada2d": Task("mjx/canada2d", (-12.0, (-4.64, 1040), (-4.21, 900)), 60_000),
    "cheetah": Task("brax/halfcheetah", (-0.3, (8.23, 1590), (7.91, 2390)), 100_000, 0.99, SPRING),
    "swimmer6": Task("mjx/swimmer6", (-325.0, (-174.0, 220), (-172.0, 190))),
    "ant": Task("brax/ant", (-4.8, (-2.54, 2450), (-2.58, 1350)), 100_000, 0.99, SPRING),
    "walker2d": Task("brax/walker2d", (0.3, (2.96, 850), (1.85, 1530)), 100_000, 0.99, SPRING),
}
SHARED: dict[str, Any] = {
    "num_envs": 8,
    "steps_per_iteration": 4,
    "batch_size": 128,
    "warm_up_steps": 1024,
    "learning_rate": 1e-3,
    "target_rate": 0.02,
    "noise_start": 0.3,
    "noise_end": 0.1,
    "normalize_observations": True,
}
LEARNERS: dict[str, dict[str, Any]] = {
    "ddpg": {"widths": (128, 128), "critic_widths": (128, 128), "critic_layer_norm": True},
    "naf": {"widths": (128, 128), "layer_norm": True},
}


def main(
    quick: bool = False,
    tasks: tuple[str, ...] = tuple(TASKS),
    learners: tuple[str, ...] = tuple(LEARNERS),
    seeds: int = 3,
    evaluations: int = 10,
    episodes: int = 8,
    out: Path = Path("runs/experiments/naf_table"),
) -> None:
    """Measure both learners and random actions on every task, and print the table of what has been measured so far.

    Args:
        quick: one task, few steps.
        tasks: some of `TASKS`.
        learners: some of ddpg, naf.
        seeds: agents of each learner on each task, in one program.
        evaluations: of greedy episodes, over each run.
        episodes: of an evaluation.
        out: where the numbers and the figure go; what is there of other tasks and learners is kept.
    """
    total_steps = None
    if quick:
        tasks, seeds, evaluations, total_steps, out = ("peg",), 2, 2, 3_000, out / "quick"
    out.mkdir(parents=True, exist_ok=True)
    file = out / "numbers.json"
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in tasks:
        task = TASKS[name]
        row = numbers.setdefault(name, {})
        row["random"] = at_random(task, 32)
        for learner in learners:
            row[learner] = learn(task, learner, seeds, evaluations, episodes, total_steps or task.total_steps)
            print(f"{name:18} {learner:5} {row[learner]['seconds']:.0f} s", flush=True)
            file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(table(numbers))
    draw(measured(numbers), out / "figure.png")


def at_random(task: Task, episodes: int) -> float:
    """The mean return of uniform actions."""
    environment = make(task.environment, **task.parameters)
    policy = random_policy(environment)
    returns = jax.jit(lambda key: evaluate(policy, environment, key, episodes=episodes).returns)(jax.random.key(0))
    return round(float(jnp.mean(returns)), 2)


def learn(task: Task, learner: str, seeds: int, evaluations: int, episodes: int, total_steps: int) -> dict[str, Any]:
    """The curves of all seeds, which are one program, and of each its best evaluation and when that was."""
    began, module = time.perf_counter(), load(learner)
    environment = make(task.environment, **task.parameters)
    fields = SHARED | LEARNERS[learner] | {"discount": task.discount}
    block = fields["num_envs"] * fields["steps_per_iteration"]
    one = module.make(environment, module.Config(**fields, replay_capacity=-(-total_steps // block) * block))
    every = max(1, (total_steps - one.env_steps_of_init) // block // evaluations)

    def returns(key: jax.Array) -> jax.Array:
        plan = EvaluationPlan(episodes=episodes)
        result = train(one, key, every * evaluations, evaluate_every=every, plan=plan)
        assert result.evaluations is not None
        return jnp.mean(result.evaluations.returns, axis=-1)

    keys = jax.random.split(jax.random.key(0), seeds)
    curves = np.asarray(jax.jit(jax.vmap(returns), compiler_options=compiler_options())(keys))
    steps = one.env_steps_of_init + every * block * np.arange(1, evaluations + 1)
    best = estimate(curves.max(axis=1)[:, None])
    return {
        "steps": steps.tolist(),
        "returns": curves.astype(float).round(2).tolist(),
        "best": best._asdict(),
        "episodes": (steps[curves.argmax(axis=1)] / environment.max_steps).round(1).tolist(),
        "seconds": round(time.perf_counter() - began, 1),
    }


def measured(numbers: dict[str, Any]) -> dict[str, Any]:
    """The rows that have both learners, in the order of `TASKS`."""
    return {name: numbers[name] for name in TASKS if all(learner in numbers.get(name, {}) for learner in LEARNERS)}


def table(numbers: dict[str, Any]) -> str:
    """One row per task: random, DDPG, NAF, and the same of the study."""
    head = (
        f"{'task':18} {'random':>8}  {'DDPG: best (episodes)':42} {'NAF: best (episodes)':42} study: random, DDPG, NAF"
    )
    lines = [head]
    for name, row in measured(numbers).items():
        words = [
            f"{in_words(Estimate(**row[learner]['best']), 1)} ({np.mean(row[learner]['episodes']):.0f})"
            for learner in LEARNERS
        ]
        random, (ddpg, ddpg_episodes), (naf, naf_episodes) = TASKS[name].published
        study = f"{random:g}, {ddpg:g} ({ddpg_episodes}), {naf:g} ({naf_episodes})"
        lines.append(f"{name:18} {row['random']:8.1f}  {words[0]:42} {words[1]:42} {study}")
    return "\n".join(lines)


def draw(numbers: dict[str, Any], file: Path) -> None:
    """A panel per task: every seed of both learners and their mean, and what random actions earn."""
    columns = min(5, len(numbers))
    rows = -(-len(numbers) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(2.6 * columns + 0.4, 2.4 * rows + 0.4), squeeze=False, layout="constrained"
    )
    for panel in panels.flat[len(numbers) :]:
        panel.set_visible(False)
    for panel, (name, row) in zip(panels.flat, numbers.items(), strict=False):
        for learner, colour, dashes in zip(LEARNERS, COLOURS, DASHES, strict=False):
            steps, curves = row[learner]["steps"], np.array(row[learner]["returns"])
            panel.plot(steps, curves.T, color=colour, linewidth=0.7, alpha=0.5)
            panel.plot(steps, curves.mean(axis=0), color=colour, linestyle=dashes, label=learner.upper())
        panel.axhline(row["random"], color="0.4", linewidth=1, linestyle=":", label="random")
        panel.set(title=name, xlabel="environment steps")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("greedy return")
    panels[0, 0].legend(frameon=False)
    figure.savefig(file, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
