"""Does imagination make NAF faster: real steps to a threshold with and without a model, at equal numbers of updates.

    python experiments/naf_model_based_acceleration.py            # an hour and a quarter of one core
    python experiments/naf_model_based_acceleration.py --quick    # two minutes, most of it compiling; learns little
    python experiments/naf_model_based_acceleration.py --tasks mjx/canada2d --variants "NAF, 5 updates"  # a part

The claims of Gu et al. (2016), section 6.2: NAF that also learns from short futures imagined under time-varying linear
models, which are fitted again and again to the last episodes, needs fewer real steps; networks in their place help less
or not at all; exploring with the iLQG controller of these models brings little; and imagination that is never switched
off ends lower. As in the study the reward is known and every episode begins in the same state with the same target.
Five updates are made for every real step, and with imagination five more on what was imagined, so the baseline to beat
is NAF with ten. A seed has solved a task at the first evaluation whose greedy return is at least the threshold.
Everything else is shared: networks with LayerNorm, batches, noise, warm-up.

Median of the steps until it is solved, its interval of at least 90 %, and how many of eight seeds solve it:

                              reacher                peg insertion          canada2d               cart-pole
    DDPG, 5 updates           1500 [1050, 2100] 8    1425 [ 900, 1650] 7    2860 [1580, 7980] 7   10300 [8300,    -] 6
    NAF, 5 updates            1575 [1200, 3300] 8    1200 [1050, 1650] 7    2700 [1900, 4780] 7       - [   -,    -] 1
    NAF, 10 updates           1350 [1050, 1650] 7    1275 [ 750, 2250] 8    5580 [3180,    -] 5       - [10300,   -] 3
    + true model              1425 [ 900, 1650] 7    1200 [1050, 2400] 7    4620 [1900,    -] 5    7300 [4800, 9300] 7
    + linear models           1650 [1050, 3750] 7    2100 [1500, 3150] 7       - [   -,    -] 1       - [   -,    -] 0
    + linear, switched off    1650 [1050, 3750] 7    2850 [1500,    -] 5    5100 [2540,    -] 6       - [9800,    -] 2
    + linear, iLQG            1875 [ 900, 3000] 7    2850 [2100,    -] 5       - [2860,    -] 4       - [   -,    -] 0
    + networks                1275 [ 900, 1650] 8    1275 [1050, 1800] 8       - [2540,    -] 3    8300 [6800, 9300] 7

The cart-pole, which swings up, was added to the other three: there imagination helps. At equal updates seven of eight
seeds find the swing with the true model and with networks, three without, and the medians are 1.7 and 1.5 times less
than the 12,400 steps within which NAF's does not end. On the other tasks the first claim is not reproduced: the true
model is nowhere 1.5 times as fast, and most intervals overlap. NAF solves reacher and peg within ten episodes, and
neither more updates (ten for five) nor perfect data help it there.

Linear models are later than NAF on all four tasks, and networks, against the second claim, nowhere later than they. On
the cart-pole, whose pole turns over, no seed learns with them, and they cannot be fitted before five episodes, half of
what NAF takes for reacher and peg. With the study's target networks, ten times as slow, all are level on the reacher
(`--seeds 8 --tasks mjx/planar_reacher --target-rate 0.001 --out runs/experiments/slow_targets`): 2025 [1350, 3150] for
NAF with ten updates, 1800 [1050, 2250] with the true and 1800 [1200, 2700] with linear models.

iLQG brought no benefit (third claim). Imagination that never ends did harm on canada2d, where seven of eight seeds fail
with linear models and two if these are dropped after 1500 steps, but not on the peg (fourth claim).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from mbpo_rollout_length import draw, measure, summary

from purerl import Algorithm, Environment, load, make
from purerl.environments.manipulation import bell, effort, near

length = jnp.linalg.norm


class Task(NamedTuple):
    """How long to learn on one environment, and what counts as solved."""

    total_steps: int
    threshold: float  # of the greedy return
    reward: Callable  # of (o, a, o'), which the study knows as well
    termination: Callable | None = None  # of (o, a, o'); None: nothing ends
    discount: float = 0.97


def reach(before: jax.Array, action: jax.Array, after: jax.Array) -> jax.Array:
    """The reward of `mjx/planar_reacher`."""
    return near(length(after[11:13]), 0.2) - effort(action)


def insert(before: jax.Array, action: jax.Array, after: jax.Array) -> jax.Array:
    """The reward of `mjx/peg_insertion`."""
    distance = (length(after[15:17]) + length(after[17:19])) / 2
    return (near(distance, 0.3) + bell(distance, 0.06)) / 2 - effort(action)


def shoot(before: jax.Array, action: jax.Array, after: jax.Array) -> jax.Array:
    """The reward of `mjx/canada2d`."""
    at, by = near(length(after[21:23]), 0.2), near(length(after[19:21]), 0.2)
    return at + 0.2 * (1 - at) * by - effort(action)


def swing(before: jax.Array, action: jax.Array, after: jax.Array) -> jax.Array:
    """The reward of `mjx/cartpole_swingup`."""
    position, cosine, _, _, turning = after
    small_control = (4 + 1 - jnp.square(jnp.clip(action[0], -1.0, 1.0))) / 5
    return (1 + cosine) / 2 * (1 + bell(position, 2.0)) / 2 * small_control * (1 + bell(turning, 5.0)) / 2


def off_the_rail(before: jax.Array, action: jax.Array, after: jax.Array) -> jax.Array:
    """Where `mjx/cartpole_swingup` terminates."""
    return jnp.abs(after[0]) > 2.4


TASKS = {
    "mjx/planar_reacher": Task(4_000, 150.0, reach),
    "mjx/peg_insertion": Task(4_000, 100.0, insert),
    "mjx/canada2d": Task(8_000, 75.0, shoot),
    "mjx/cartpole_swingup": Task(12_400, 300.0, swing, off_the_rail, discount=0.99),
}
SHARED: dict[str, Any] = {
    "batch_size": 64,
    "warm_up_steps": 300,
    "steps_per_iteration": 10,
    "learning_rate": 1e-3,
    "target_rate": 0.01,
    "layer_norm": True,
    "widths": (64, 64),
}
IMAGINATION: dict[str, Any] = {"rollouts_per_step": 4, "rollout_length": 5, "remembered_iterations": 30, "members": 3}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPG, 5 updates": ("ddpg", {"update_to_data": (5, 1)}),
    "NAF, 5 updates": ("naf", {"update_to_data": (5, 1)}),
    "NAF, 10 updates": ("naf", {"update_to_data": (10, 1)}),
    "+ true model": ("mba", IMAGINATION | {"model": "true"}),
    "+ linear models": ("mba", IMAGINATION | {"model": "linear"}),
    "+ linear, switched off": ("mba", IMAGINATION | {"model": "linear", "imagination_steps": 1_500}),
    "+ linear, iLQG": ("mba", IMAGINATION | {"model": "linear", "control_iterations": 5, "control_temperature": 0.1}),
    "+ networks": ("mba", IMAGINATION | {"model": "ensemble"}),
}


def main(
    quick: bool = False,
    tasks: tuple[str, ...] = tuple(TASKS),
    variants: tuple[str, ...] = tuple(VARIANTS),
    seeds: int = 5,
    evaluations: int = 24,
    target_rate: float = SHARED["target_rate"],
    out: Path = Path("runs/experiments/naf_model_based_acceleration"),
) -> None:
    """Train every variant on every task, count steps until it is solved, and draw what has been measured so far.

    Args:
        quick: one task, two variants, few steps.
        tasks: names of environments, some of `TASKS`.
        variants: some of `VARIANTS`.
        seeds: agents of each variant on each task, in one program.
        evaluations: of greedy episodes, over each run.
        target_rate: of the target networks.
        out: where the numbers and the figure go; what is there of other parts is kept.
    """
    total_steps = None
    if quick:
        tasks, variants = ("mjx/planar_reacher",), ("NAF, 10 updates", "+ linear models")
        seeds, evaluations, total_steps, out = 2, 2, 1_000, out / "quick"  # beside what was measured in full
    out.mkdir(parents=True, exist_ok=True)
    file = out / "numbers.json"
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in tasks:
        for variant in variants:
            part = learn(name, variant, seeds, evaluations, total_steps or TASKS[name].total_steps, target_rate)
            numbers.setdefault(name, {})[variant] = part
            print(f"{name:22} {variant:24} {summary(part)}; {part['seconds']:.0f} s", flush=True)
            file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    dashed = [variant for variant in VARIANTS if not variant.startswith("+")]
    draw(numbers, tuple(VARIANTS), dashed, out / "figure.png", scale="linear", bands=False)
    print(f"figure: {out / 'figure.png'}")


def learn(
    name: str, variant: str, seeds: int, evaluations: int, total_steps: int, target_rate: float
) -> dict[str, Any]:
    """A variant on a task."""
    task = TASKS[name]
    environment = make(name)
    first = environment.reset(jax.random.key(0))
    one = learner(environment._replace(reset=lambda key: first), variant, task, total_steps, target_rate)
    every = max(1, (total_steps - one.env_steps_of_init) // one.env_steps_per_iteration // evaluations)
    keys = jax.random.split(jax.random.key(0), seeds)
    return measure(one, keys, every, evaluations, episodes=1, threshold=task.threshold)


def learner(environment: Environment, variant: str, task: Task, total_steps: int, target_rate: float) -> Algorithm:
    """The algorithm of a variant on the environment of a task, whose reward and ends are known."""
    kind, settings = VARIANTS[variant]
    module, block = load(kind), SHARED["steps_per_iteration"]
    fields = SHARED | settings | {"discount": task.discount, "target_rate": target_rate}
    fields["replay_capacity"] = -(-total_steps // block) * block
    if kind == "ddpg":
        fields["critic_layer_norm"] = fields.pop("layer_norm")
        return module.make(environment, module.Config(**fields, critic_widths=SHARED["widths"], noise_start=0.3))
    if kind == "mba":
        fields["model_period"] = environment.max_steps
        return module.make(environment, module.Config(**fields), task.reward, task.termination)
    return module.make(environment, module.Config(**fields))


if __name__ == "__main__":
    tyro.cli(main)
