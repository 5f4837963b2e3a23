"""Updates per environment step: learning from fewer steps, until the critics believe too much; ensembles go on longer.

    python experiments/update_to_data.py                   # three quarters of an hour on one core
    python experiments/update_to_data.py --quick           # a minute, most of it compiling; learns little
    python experiments/update_to_data.py --tasks Pendulum-v1 --ratios 1 4  # a part; the figure shows all parts

The claim of Chen et al. (2021): SAC learns from fewer environment steps when every step is followed by several updates,
but its critics' bias grows and varies with them, most without the minimum of two; with an ensemble of ten critics whose
targets take the minimum of two drawn at random, and an actor that climbs the mean of all (REDQ), twenty updates per
step are of use. LayerNorm in the critics is the other cure (Hiraoka et al., 2022, who combine it with dropout), and
costs less.

All variants are one Config of SAC. The bias is Q(s, a), of the first critic, less what the policy earns from there:
discounted rewards and, as SAC's values count it, the entropy of the policy at all later states, times the temperature.

On Pendulum (five seeds; REDQ with 1 and 4 updates, LayerNorm up to 4) more updates are what counts: a return of -200
takes 3700 (LayerNorm) to 5600 steps with one update per step, 1400 to 2100 with four, 1400 with eight; with a quarter
it is not reached in 8000. Of a growing bias nothing is seen, with one critic at eight updates it is 0.6 on values of
-150, and REDQ is no better than two critics, nor one worse: Pendulum is too easy to need the cure. The cart-pole was
not run in full. These numbers are of runs in parts with `--evaluations 28`.
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
from matplotlib.ticker import FixedLocator, NullLocator
from td3_ablation import believed_and_earned

from purerl import Algorithm, Environment, make
from purerl.algorithms.continuous_control import sac
from purerl.environments.wrappers import rescale_actions
from purerl.host.compilation import compiler_options
from purerl.networks.heads import PolicyNetwork
from purerl.report.pictures.style import look
from purerl.report.statistics import Estimate, estimate, in_words
from purerl.train import EvaluationPlan, advance, start


class Task(NamedTuple):
    """What to train on, for how long, and what counts as solved."""

    total_steps: int
    threshold: float  # of the mean greedy return
    episodes: int  # of an evaluation
    ratios: tuple[float, ...]  # updates per environment step
    settings: dict[str, Any]


TASKS = {
    "Pendulum-v1": Task(7_000, -200.0, 48, (0.25, 1, 4, 8), {"num_envs": 1, "discount": 0.95, "warm_up_steps": 500}),
    "mjx/cartpole_swingup": Task(
        20_000, 200.0, 6, (0.25, 1, 4), {"num_envs": 4, "discount": 0.99, "target_rate": 0.01, "warm_up_steps": 1_000}
    ),
}
SHARED: dict[str, Any] = {
    "steps_per_iteration": 4,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "widths": (64, 64),
    "critic_widths": (64, 64),
}
LEARNERS: dict[str, dict[str, Any]] = {
    "one critic": {"critics": 1},
    "two critics": {},
    "two critics, LayerNorm": {"critic_layer_norm": True},
    "REDQ": {"critics": 10, "subset": 2, "actor_climbs": "mean"},
}


def main(
    quick: bool = False,
    tasks: tuple[str, ...] = tuple(TASKS),
    ratios: tuple[float, ...] = (0.25, 1, 4, 8),
    learners: tuple[str, ...] = tuple(LEARNERS),
    seeds: int = 5,
    evaluations: int = 14,
    out: Path = Path("runs/experiments/update_to_data"),
) -> None:
    """Train SAC with every ratio and every kind of critics, and draw what has been measured so far.

    Args:
        quick: one task, two ratios, two kinds of critics, few steps.
        tasks: names of environments, some of `TASKS`.
        ratios: updates per environment step; of those, a task has the ones in `TASKS`.
        learners: kinds of critics, some of `LEARNERS`.
        seeds: agents of each setting, in one program.
        evaluations: of greedy episodes and of the critics' bias, over each run.
        out: where the numbers of every part, all of them together and the figure go.
    """
    total_steps = None
    if quick:
        tasks, ratios, learners = ("Pendulum-v1",), (0.25, 1), ("two critics", "REDQ")
        seeds, evaluations, total_steps = 2, 2, 1_500
        out = out / "quick"  # beside what was measured in full
    out.mkdir(parents=True, exist_ok=True)
    for name in tasks:
        for learner in learners:
            for ratio in (x for x in ratios if x in TASKS[name].ratios):
                part = learn(name, learner, ratio, seeds, evaluations, total_steps or TASKS[name].total_steps)
                file = out / f"{name.replace('/', '_')}-{learner.replace(', ', '_').replace(' ', '_')}-{ratio:g}.json"
                file.write_text(json.dumps(part, indent=1) + "\n", encoding="utf-8")
                print(f"{name:20} {learner:22} {ratio:4g} {summary(part)}; {part['seconds']:.0f} s", flush=True)
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(out.glob("*-*-*.json"))]
    (out / "numbers.json").write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    draw(parts, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def learn(name: str, learner: str, ratio: float, seeds: int, evaluations: int, total_steps: int) -> dict[str, Any]:
    """Greedy returns and bias of all seeds, which are one program, over a training, and the steps to the threshold."""
    began, task = time.perf_counter(), TASKS[name]
    environment, fields = make(name), SHARED | task.settings | LEARNERS[learner]
    block = fields["num_envs"] * fields["steps_per_iteration"]
    config = sac.Config(
        **fields, update_to_data=float(ratio).as_integer_ratio(), replay_capacity=-(-total_steps // block) * block
    )
    one = sac.make(environment, config)
    every = max(1, (total_steps - one.env_steps_of_init) // block // evaluations)

    def group(training: Any, first: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        plan, total = EvaluationPlan(episodes=task.episodes), every * evaluations
        training, _, evaluation = advance(one, training, first, iterations=every, total_iterations=total, plan=plan)
        assert evaluation is not None
        key = jax.random.fold_in(jax.random.key(7), first)
        believed, earned, _ = believed_and_earned(paid_for_entropy(one, training.state), training.state, key)
        return training, (jnp.mean(evaluation.returns), believed - earned)

    def trained(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.lax.scan(group, start(one, key), every * jnp.arange(evaluations))[1]

    program = jax.jit(jax.vmap(trained), compiler_options=compiler_options())
    returns, bias = (np.asarray(x, float) for x in program(jax.random.split(jax.random.key(0), seeds)))
    steps = one.env_steps_of_init + every * block * np.arange(1, evaluations + 1)
    half = slice(evaluations // 2, None)  # the second half of the training
    return {
        "task": name,
        "learner": learner,
        "ratio": ratio,
        "threshold": task.threshold,
        "steps": steps.tolist(),
        "returns": returns.round(1).tolist(),
        "bias": bias.round(3).tolist(),
        "steps to threshold": [
            int(steps[np.argmax(reached)]) if reached.any() else None for reached in returns >= task.threshold
        ],
        "final return": estimate(returns[:, -1:])._asdict(),
        "bias, second half": estimate(bias[:, half].mean(1)[:, None])._asdict(),
        "seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
    }


def paid_for_entropy(one: Algorithm, state: sac.State) -> Algorithm:
    """SAC's policy with its noise, where the discounted rewards sum up to what its critics should believe."""
    environment: Environment = one.environment  # pyright: ignore[reportAssignmentType]
    config, actions = one.config, rescale_actions(environment).action_space
    network = PolicyNetwork(
        environment.observation_space, actions, config.widths, config.activation, config.layer_norm, config.policy
    )

    def step(key: Any, env_state: Any, action: Any) -> Any:
        env_state, timestep = environment.step(key, env_state, action)
        policy: Any = network.apply(state.actor, timestep.observation)
        paid = config.discount * jnp.exp(state.log_temperature) * policy.entropy()
        return env_state, timestep._replace(reward=timestep.reward + jnp.where(timestep.terminated, 0.0, paid))

    return one._replace(environment=environment._replace(step=step), policy=lambda state: one.policy(state, False))


def until_solved(part: dict[str, Any]) -> np.ndarray:
    """Steps that each seed needed, infinity for those that never solved the task."""
    return np.array([np.inf if x is None else x for x in part["steps to threshold"]])


def summary(part: dict[str, Any]) -> str:
    """'4 of 5 solve it, median after 3500 steps; final return ...; bias ...'."""
    steps = until_solved(part)
    solved = f"{np.isfinite(steps).sum()} of {len(steps)} solve it, median after {np.median(steps):.0f} steps"
    final, bias = (in_words(Estimate(**part[name]), 1) for name in ("final return", "bias, second half"))
    return f"{solved}; final return {final}; bias {bias}"


def draw(parts: list[dict[str, Any]], path: Path) -> None:
    """One row per task: steps to the threshold, final returns and bias against the ratio."""
    tasks = [name for name in TASKS if any(part["task"] == name for part in parts)]
    figure, panels = plt.subplots(
        len(tasks), 3, figsize=(11, 3.1 * len(tasks) + 0.5), layout="constrained", squeeze=False
    )
    for name, row in zip(tasks, panels, strict=True):
        never = TASKS[name].total_steps * 1.15
        for i, learner in enumerate(LEARNERS):
            mine = [part for part in parts if (part["task"], part["learner"]) == (name, learner)]
            mine.sort(key=lambda part: part["ratio"])
            places = np.array([part["ratio"] for part in mine]) * 1.06 ** (i - 1.5)  # side by side
            steps = [np.minimum(until_solved(part), never) for part in mine]
            row[0].plot(places, [np.median(x) for x in steps], label=learner, **look(i))
            row[0].vlines(places, [x.min() for x in steps], [x.max() for x in steps], color=look(i)["color"], alpha=0.5)
            for panel, quantity in zip(row[1:], ("final return", "bias, second half"), strict=True):
                found = [part[quantity] for part in mine]
                panel.plot(places, [x["value"] for x in found], **look(i))
                panel.vlines(places, *([x[end] for x in found] for end in ("low", "high")), color=look(i)["color"])
        row[0].axhline(never, color="0.4", linestyle=":", linewidth=1)
        row[0].text(0.02, never, "never", va="bottom", fontsize=8, color="0.4", transform=row[0].get_yaxis_transform())
        row[2].axhline(0.0, color="0.6", linewidth=0.8)
        row[0].set(ylabel=f"steps to a return of {TASKS[name].threshold:g}", title=name, ylim=(0, 1.1 * never))
        row[1].set(ylabel="final greedy return")
        row[2].set(ylabel="believed less earned, second half")
        for panel in row:
            ratios = TASKS[name].ratios
            panel.set(xlabel="updates per environment step", xscale="log", xlim=(0.75 * ratios[0], 1.35 * ratios[-1]))
            panel.xaxis.set_major_locator(FixedLocator(ratios))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(alpha=0.25, linewidth=0.6)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
