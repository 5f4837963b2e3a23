"""Policies trained in purerl earn in Gymnasium what they earn in purerl.

    python experiments/gymnasium_evaluation.py              # nine minutes on two busy cores
    python experiments/gymnasium_evaluation.py --quick      # three, most of it compiling

PPO is trained by its presets on gymnax's CartPole, Acrobot, MountainCar and Pendulum. After a twentieth and a quarter
of the training and at its end the greedy policy plays episodes in purerl, and as a plain function
(`purerl.export_policy`) in the environments of Gymnasium that gymnax re-implements, which compute in double precision
and draw starts of their own. Time limits and rewards are the same in both: 500 steps on CartPole and Acrobot, 200 on
the others; Gymnasium clips Pendulum's torque as purerl does.

Mean returns of 400 episodes with 95 % intervals:

purerl                      Gymnasium CartPole      1/20     476.6 [472.5, 480.5]       476.4 [472.0, 480.5] 1/4
500.0 [500.0, 500.0]       500.0 [500.0, 500.0] end      500.0 [500.0, 500.0]       500.0 [500.0, 500.0] Acrobot
1/20    -167.1 [-172.3, -162.0]    -164.4 [-168.5, -160.5] 1/4      -84.7 [-86.9, -82.8]       -88.4 [-92.8, -84.7] end
-84.0 [-85.8, -82.4]       -83.9 [-86.0, -82.1] MountainCar   1/20    -200.0 [-200.0, -200.0]    -200.0 [-200.0,
-200.0] 1/4     -114.2 [-116.5, -111.9]    -114.6 [-117.1, -112.2] end     -115.5 [-117.7, -113.2]    -113.4 [-115.6,
-111.2] Pendulum      1/20    -693.0 [-704.8, -680.4]    -696.2 [-708.2, -684.1] 1/4     -181.5 [-191.4, -171.9]
-182.6 [-192.8, -173.1] end     -193.3 [-204.0, -182.7]    -195.9 [-206.9, -185.5]  Gymnasium's mean is in purerl's
interval for 11 of the 12 policies, where ten or eleven are to be expected of equal worlds: three policies are constant
in both, and of the others both means are drawn. The interval of the difference (Welch) holds 0 for all 12. From the
same state with the same action, one step differs by at most 5e-7 in the observation and 4e-6 in the reward.
"""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from scipy import stats

from purerl import evaluate, evaluate_in_gymnasium, make, ppo, presets
from purerl.host.compilation import compiler_options
from purerl.report.pictures.style import look
from purerl.report.statistics import estimate, mean
from purerl.train import advance, start
from purerl.types import Algorithm, State

ENVIRONMENTS = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1")
PARTS = 20  # of the training
MOMENTS = {"after a twentieth": 0, "after a quarter": 4, "at the end": 19}


class Comparison(NamedTuple):
    """Mean returns with 95 % intervals, and of their difference (Welch)."""

    purerl: tuple[float, float, float]
    gymnasium: tuple[float, float, float]
    difference: tuple[float, float, float]

    @property
    def agrees(self) -> bool:
        """Whether the interval of the difference holds 0, as it does for 95 % of equal pairs."""
        return self.difference[1] <= 0 <= self.difference[2]

    @property
    def inside(self) -> bool:
        """Whether Gymnasium's mean is in the interval of purerl's, as it is for 83 % of equal pairs: both are drawn."""
        return self.purerl[1] <= self.gymnasium[0] <= self.purerl[2]


def trained(algorithm: Algorithm, steps: int, seed: int) -> list[State]:
    """Snapshots after every part of a training of so many environment steps."""
    part = -(-steps // algorithm.env_steps_per_iteration // PARTS)
    compile_ = partial(jax.jit, compiler_options=compiler_options())

    @compile_
    def one_part(training: Any, first: jax.Array) -> Any:
        return advance(algorithm, training, first, iterations=part, total_iterations=part * PARTS)[0]

    training, snapshots = compile_(partial(start, algorithm))(jax.random.key(seed)), []
    for number in range(PARTS):
        training = one_part(training, jnp.int32(number * part))
        snapshots.append(algorithm.snapshot(training.state))
    return snapshots


def compared(algorithm: Algorithm, name: str, state: State, episodes: int, seed: int) -> Comparison:
    """The same policy in both worlds."""
    environment = algorithm.environment
    assert environment is not None
    policy = algorithm.policy(state)
    play = jax.jit(partial(evaluate, policy, environment, episodes=episodes), compiler_options=compiler_options())
    here = np.asarray(play(jax.random.key(seed)).returns, np.float64)
    there = np.asarray(evaluate_in_gymnasium(policy, environment, name, episodes=episodes, seed=seed).returns)
    return Comparison(_interval(here), _interval(there), _difference(here, there))


def _interval(returns: np.ndarray) -> tuple[float, float, float]:
    found = estimate(returns[:, None], aggregate=mean)
    return found.value, found.low, found.high


def _difference(here: np.ndarray, there: np.ndarray) -> tuple[float, float, float]:
    value = float(there.mean() - here.mean())
    if np.ptp(here) == np.ptp(there) == 0:
        return value, value, value
    low, high = stats.ttest_ind(there, here, equal_var=False).confidence_interval()
    return value, float(low), float(high)


def one_step_apart(name: str, steps: int = 500) -> tuple[float, float]:
    """Largest differences of observation and reward after one step from the same state with the same random action."""
    environment, simulator = make(name), gymnasium.make(name)
    simulator.action_space.seed(0)
    inside: Any = simulator.unwrapped
    step, (state, _) = jax.jit(environment.step), environment.reset(jax.random.key(0))
    apart = np.zeros((steps, 2))
    for number in range(steps):
        simulator.reset()
        inside.state = np.array([float(x) for field, x in vars(state).items() if field not in ("time", "last_u")])
        action = simulator.action_space.sample()
        after, reward, *_ = inside.step(action)
        state, timestep = step(jax.random.key(number), state, jnp.asarray(action))
        apart[number] = np.abs(np.asarray(timestep.observation) - after).max(), abs(float(timestep.reward - reward))
        if timestep.terminated:
            state, _ = environment.reset(jax.random.key(number))
    observation, reward = apart.max(axis=0).tolist()
    return observation, reward


def main(
    quick: bool = False,
    episodes: int = 400,
    seed: int = 0,
    environments: tuple[str, ...] = ENVIRONMENTS,
    out: Path = Path("runs/experiments/gymnasium_evaluation"),
) -> None:
    """Train, play in both worlds and print the returns side by side.

    Args:
        quick: a hundredth of the training, 50 episodes: shows that everything works.
        episodes: in each world, of each policy.
        seed: of training and episodes.
        environments: some of `ENVIRONMENTS`.
        out: where the numbers go.
    """
    episodes = 50 if quick else episodes
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {"episodes": episodes, "seed": seed, "one_step_apart": {}, "returns": {}}
    comparisons = []
    for name in environments:
        began = time.perf_counter()
        settings = presets.load("ppo", name)
        steps = settings.pop("total_steps") // (100 if quick else 1)
        algorithm = ppo.make(make(name), ppo.Config(**settings))
        snapshots = trained(algorithm, steps, seed)
        observation, reward = numbers["one_step_apart"][name] = one_step_apart(name, 50 if quick else 500)
        print(f"{name}: one step differs by {observation:.1e} (observation), {reward:.1e} (reward)")
        numbers["returns"][name] = {}
        for label, part in MOMENTS.items():
            found = compared(algorithm, name, snapshots[part], episodes, seed + 1)
            comparisons.append(found)
            numbers["returns"][name][label] = found._asdict() | {"agrees": found.agrees, "inside": found.inside}
            here, there, apart = ("{:8.2f} [{:.2f}, {:.2f}]".format(*interval) for interval in found)
            print(f"  {label:<17} purerl {here}   Gymnasium {there}   difference {apart}", flush=True)
        print(f"  ({time.perf_counter() - began:.0f} s)", flush=True)
    inside, agree = sum(found.inside for found in comparisons), sum(found.agrees for found in comparisons)
    numbers |= {"policies": len(comparisons), "inside": inside, "agree": agree}
    print(f"Gymnasium's mean is in the 95 % interval of purerl's for {inside} of {len(comparisons)} policies,")
    print(f"and that of the difference holds 0 for {agree}")
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers["returns"], episodes, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def draw(returns: dict[str, Any], episodes: int, file: Path) -> None:
    """Mean returns with their intervals, one panel per environment."""
    figure, panels = plt.subplots(1, len(returns), figsize=(3 * len(returns), 3), layout="constrained", squeeze=False)
    for axes, (name, moments) in zip(panels[0], returns.items(), strict=True):
        for i, world in enumerate(("purerl", "gymnasium")):
            value, low, high = np.array([found[world] for found in moments.values()]).T
            x = np.arange(len(moments)) + (i - 0.5) * 0.2
            style = {"color": look(i)["color"], "marker": "os"[i], "linestyle": "", "capsize": 3}
            label = world.replace("gym", "Gym")
            axes.errorbar(x, value, np.stack([value - low, high - value]), label=label, **style)
        axes.set(title=name, xlim=(-0.5, len(moments) - 0.5))
        axes.set_xticks(
            np.arange(len(moments)), [label.replace(" a ", "\na ").replace("at ", "at\n") for label in moments]
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    panels[0, 0].set_ylabel("mean return, greedy")
    title = f"the same policies of PPO, {episodes} episodes each, 95 % intervals"
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False, title=title)
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
