"""With rewards that hardly ever come, DDPG learns to reach goals in hindsight, and hardly at all without.

    python experiments/hindsight.py              # four minutes on one core
    python experiments/hindsight.py --quick      # a minute, most of it compiling; learns little

The claim of Andrychowicz et al. (2017): where the reward is 0 at the goal and -1 elsewhere, an episode that missed its
goal says nothing, and says all about the goals that it did reach. A share of k / (k + 1) = 0.8 of the transitions is
learned from with a goal that the same episode achieved later on. The dense reward, minus the distance to the goal, is
what hindsight does without.

Success (at the goal, within the tolerance, at the end of an episode of 50 steps) after 16,000 steps, median and range
of five seeds; in hindsight, without it, and without it by the dense reward:

    point robot                  1.00 [1.00, 1.00]    0.00 [0.00, 0.01]    1.00 [0.98, 1.00]
    planar arm, within 10 cm     0.94 [0.94, 0.99]    0.07 [0.05, 0.19]    0.45 [0.26, 0.55]
    planar arm, within 5 cm      0.68 [0.31, 0.83]    0.01 [0.00, 0.01]    0.14 [0.08, 0.27]

The arm began with 5 cm and got its 10 cm when hindsight had not learned it in a pilot; learning rate and ratio of
updates were then chosen by pilots of hindsight, and the others learn with the same: what is said of them is said of
these settings. The share is a float: shares and seeds are one program, and a share of 0 is DDPG itself.
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter, PercentFormatter

from purerl import make, presets
from purerl.algorithms.continuous_control import ddpg
from purerl.host.compilation import compiler_options
from purerl.report.pictures.style import look
from purerl.train import EvaluationPlan, train
from purerl.types import Action, Array, Environment, EnvState, Key, Timestep

ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "point robot": ("goal/point_robot", {}),
    "planar arm, within 10 cm": ("goal/planar_arm", {}),
    "planar arm, within 5 cm": ("goal/planar_arm", {"tolerance": 0.05}),
}
SHARES = {"in hindsight": 0.8, "without": 0.0}
DENSE = "without, dense reward"


def successes(environment: Environment) -> Environment:
    """The environment with a reward of 1 for being at the goal at the end: its mean return is the success rate."""

    def step(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        state, timestep = environment.step(key, state, action)
        return state, timestep._replace(reward=(timestep.truncated & (timestep.reward == 0)).astype(jnp.float32))

    return environment._replace(step=step)


def success_rates(
    task: str, dense: bool, shares: tuple[float, ...], seeds: int, steps: int, evaluations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps `[E]` and success rates `[shares, seeds, E]` of DDPG with these shares in hindsight."""
    name, parameters = ENVIRONMENTS[task]
    environment = make(name, dense=dense, **parameters)
    plan = EvaluationPlan(successes(make(name, **parameters)), episodes=100)
    settings = presets.load("ddpg", name) | {"hindsight": True}
    settings.pop("total_steps")

    def algorithm(share: float | Array):
        return ddpg.make(environment, ddpg.Config(**settings | {"hindsight_fraction": share}))

    one = algorithm(0.0)
    every = max(1, (steps - one.env_steps_of_init) // one.env_steps_per_iteration // evaluations)

    def trained(share: Array, key: Key) -> Array:
        result = train(algorithm(share), key, every * evaluations, evaluate_every=every, plan=plan)
        assert result.evaluations is not None
        return result.evaluations.returns.mean(axis=-1)

    over_agents = jax.vmap(jax.vmap(trained, in_axes=(None, 0)), in_axes=(0, None))
    rates = jax.jit(over_agents, compiler_options=compiler_options())(
        jnp.array(shares), jax.random.split(jax.random.key(0), seeds)
    )
    seen = one.env_steps_of_init + every * one.env_steps_per_iteration * np.arange(1, evaluations + 1)
    return seen, np.asarray(rates)


def main(
    quick: bool = False,
    seeds: int = 5,
    steps: int = 16_000,
    evaluations: int = 12,
    tasks: tuple[str, ...] = tuple(ENVIRONMENTS),
    out: Path = Path("runs/experiments/hindsight"),
) -> None:
    """Train DDPG with and without hindsight on all tasks, print success rates and draw them.

    Args:
        quick: a short run that shows that everything works.
        seeds: agents of each kind.
        steps: environment steps of each, those of the warm-up included.
        evaluations: of 100 greedy episodes, over the run.
        tasks: some of `ENVIRONMENTS`.
        out: where the figure and the numbers go.
    """
    seeds, steps, evaluations = (2, 3_000, 2) if quick else (seeds, steps, evaluations)
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {"seeds": seeds, "success_rate": {}}
    curves: dict[str, dict[str, np.ndarray]] = {}
    env_steps = np.array([])
    for name in tasks:
        began = time.perf_counter()
        env_steps, sparse = success_rates(name, False, tuple(SHARES.values()), seeds, steps, evaluations)
        _, dense = success_rates(name, True, (0.0,), seeds, steps, evaluations)
        curves[name] = dict(zip((*SHARES, DENSE), (*sparse, *dense), strict=True))
        print(f"{name}: success rates after {env_steps[-1]} steps ({time.perf_counter() - began:.0f} s)")
        for label, rates in curves[name].items():
            low, middle, high = np.percentile(rates[:, -1], [0, 50, 100])
            print(f"  {label:<24} median {middle:.2f}, worst {low:.2f}, best {high:.2f}", flush=True)
        numbers["success_rate"][name] = {label: x.round(3).tolist() for label, x in curves[name].items()}
    numbers["env_steps"] = env_steps.tolist()
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(curves, env_steps, seeds, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def draw(curves: dict[str, dict[str, np.ndarray]], env_steps: np.ndarray, seeds: int, file: Path) -> None:
    """Success rate against environment steps, one panel per environment."""
    figure, panels = plt.subplots(
        1, len(curves), figsize=(4 * len(curves), 4), layout="constrained", sharey=True, squeeze=False
    )
    for axes, (name, by_label) in zip(panels[0], curves.items(), strict=True):
        for i, (label, rates) in enumerate(by_label.items()):
            axes.fill_between(env_steps, rates.min(0), rates.max(0), color=look(i)["color"], alpha=0.2, linewidth=0)
            axes.plot(env_steps, np.median(rates, axis=0), label=label, **look(i))
        axes.set(title=name, xlabel="environment steps", ylim=(-0.02, 1.02), xlim=(0, env_steps[-1]))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    panels[0, 0].set_ylabel("success rate, greedy")
    title = f"DDPG, median and range of {seeds} seeds"
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, title=title
    )
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
