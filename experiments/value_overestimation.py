"""Double DQN believes less of what is not there: estimated against true values, and the law behind it.

    python experiments/value_overestimation.py              # about ten minutes on two cores
    python experiments/value_overestimation.py --quick      # a minute, most of it compiling

The claims of van Hasselt et al. (2016). The maximum of m noisy estimates of equal values is too large on average: by
0.565, 1.16, 1.54 and 2.25 deviations of the noise for m = 2, 5, 10 and 50. DQN bootstraps from such maxima and believes
too much; Double DQN, which lets one network choose and the other value, believes much less at equal steps. What the
agent believes is max_a Q(s, a), what it gets the discounted return of the greedy policy from the same states. Measured
on a walk whose 10 actions are all equally bad (reward -0.1, noise of deviation 1, so that every state is worth exactly
-0.1 / (1 - discount)) and on Breakout.

What Double DQN needs is that the errors of its two networks differ. On the walk, with a target network older than
anything in the replay, they have learned from other samples: Double DQN believes 0.36 too much where DQN believes 1.18
too much (means of ten seeds over the second half of the training; at most half on nine of ten). With a target younger
than the replay both have fitted the same noise, and little is gained: 0.90 against 1.04. On Breakout, in the 150k steps
trained here, nothing is overestimated: values lag behind a policy that improves, those of Double DQN (-1.09) a little
more than those of DQN (-0.86).
"""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import EngFormatter

from purerl import Algorithm, Box, Discrete, Environment, Timestep, dqn, make, use_all_cores, vectorize
from purerl.devices import over_agents
from purerl.report.pictures.learning_curve import COLOURS
from purerl.train import advance, start

ACTIONS = (2, 5, 10, 50)
LAW = {2: 0.565, 5: 1.162, 10: 1.538, 50: 2.248}  # E max of m standard normals
STEPS = 200  # of an episode of the walk


WALK = dqn.Config(
    discount=0.9,
    learning_rate=1e-3,
    num_envs=8,
    steps_per_iteration=4,
    updates_per_iteration=8,
    batch_size=32,
    replay_capacity=3_200,
    warm_up_steps=512,
    epsilon_end=1.0,
    widths=(64, 64),
)
BREAKOUT = dqn.Config(
    learning_rate=2.5e-4,
    adam_epsilon=3.1e-4,
    num_envs=8,
    steps_per_iteration=8,
    updates_per_iteration=16,
    batch_size=32,
    replay_capacity=64_000,
    share_observations=True,
    warm_up_steps=2_048,
    target_period=4_000,
    exploration_fraction=0.5,
    widths=(128,),
)


class Task(NamedTuple):
    """What to train on, for how long, and how often to look."""

    name: str
    environment: Environment
    config: dqn.Config
    iterations: int
    checkpoints: int


def tasks(quick: bool) -> list[Task]:
    """The walk with a target network older than the replay's oldest step and with a younger one, and a game."""
    walk, length = noisy_walk(10), (100, 5) if quick else (6_000, 10)
    young, old = (dataclasses.replace(WALK, target_period=period) for period in (1_000, 6_400))
    return [
        Task("10 equal actions, target older than the replay", walk, old, *length),
        Task("10 equal actions, target younger than the replay", walk, young, *length),
        Task("Breakout (MinAtar)", make("Breakout-MinAtar"), BREAKOUT, *((16, 2) if quick else (2_400, 8))),
    ]


def noisy_walk(actions: int = 10) -> Environment:
    """A point that circles; every action has the same effect and a reward of -0.1 with noise of deviation 1."""

    def observe(angle: jax.Array) -> jax.Array:
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    def reset(key: jax.Array):
        angle = jax.random.uniform(key, maxval=2 * jnp.pi)
        return {"angle": angle, "time": jnp.int32(0)}, observe(angle)

    def step(key: jax.Array, state: dict, action: jax.Array):
        angle, time = state["angle"] + 0.3, state["time"] + 1
        reward = -0.1 + jax.random.normal(key)
        over = time >= STEPS
        state = {"angle": angle, "time": time}
        return state, Timestep(observe(angle), reward, terminated=jnp.zeros_like(over), truncated=over, info={})

    space = Box(-1.0, 1.0, (2,))
    return Environment("noisy walk", reset, step, space, Discrete(actions), max_steps=STEPS)


def believed_and_real(algorithm: Algorithm, state, key: jax.Array, envs: int = 8, steps: int = 1200):
    """Mean max_a Q over the states of greedy play, and the mean discounted return from the same states.

    A return is real if its episode ends, or if it is so long that the rest weighs less than 0.01.
    """
    config = algorithm.config
    tail = int(np.ceil(np.log(0.01) / np.log(config.discount)))
    environments = vectorize(algorithm.environment, envs)
    network = dqn.q_function(algorithm.environment, config)

    def body(environment_state, key):
        values = network.apply(state.params, environment_state.observation).mean()
        environment_state, timestep = environments.step(key, environment_state, jnp.argmax(values, -1))
        return environment_state, (jnp.max(values, -1), timestep.reward, timestep.terminated, timestep.truncated)

    reset_key, step_key = jax.random.split(key)
    _, (believed, reward, terminated, truncated) = jax.lax.scan(
        body, environments.reset(reset_key), jax.random.split(step_key, steps)
    )

    def backward(carry, step):
        total, length = carry
        reward, terminated, truncated = step
        total = reward + config.discount * jnp.where(terminated | truncated, 0.0, total)
        length = jnp.where(terminated, tail, jnp.where(truncated, 0, length + 1))
        return (total, length), (total, length >= tail)

    start_of = (jnp.zeros(envs), jnp.zeros(envs, jnp.int32))
    _, (real, counts) = jax.lax.scan(backward, start_of, (reward, terminated, truncated), reverse=True)
    counts = counts.astype(jnp.float32)
    total = jnp.maximum(jnp.sum(counts), 1.0)
    return jnp.sum(believed * counts) / total, jnp.sum(real * counts) / total


def gaps(environment: Environment, config: dqn.Config, seeds: int, iterations: int, checkpoints: int):
    """Believed and real values `[seeds, checkpoints]` of agents trained in one program."""
    algorithm = dqn.make(environment, config)
    group = iterations // checkpoints

    def one(key: jax.Array):
        train_key, measure_key = jax.random.split(key)

        def body(training, first):
            training = advance(algorithm, training, first, iterations=group, total_iterations=iterations)[0]
            key = jax.random.fold_in(measure_key, first)
            return training, believed_and_real(algorithm, training.state, key)

        firsts = jnp.arange(checkpoints, dtype=jnp.int32) * group
        return jax.lax.scan(body, start(algorithm, train_key), firsts)[1]

    layout = over_agents(seeds)
    keys = layout.put(jax.random.split(jax.random.key(0), seeds))
    program = jax.jit(layout.vmap(one, in_axes=(0,)), compiler_options={"xla_backend_optimization_level": 1})
    believed, real = program(keys)
    steps = algorithm.env_steps_of_init + algorithm.env_steps_per_iteration * group * np.arange(1, checkpoints + 1)
    return steps, np.asarray(believed), np.asarray(real)


def order_statistics(quick: bool) -> dict[int, dict[str, float]]:
    """E max of m equal values, each estimated with standard normal errors: measured, and the law."""
    draws = 10_000 if quick else 400_000
    measured = {}
    for m in ACTIONS:
        errors = jax.random.normal(jax.random.fold_in(jax.random.key(0), m), (draws, m))
        measured[m] = {"measured": float(jnp.mean(jnp.max(errors, -1))), "law": LAW[m]}
    return measured


def main(quick: bool = False, seeds: int = 10, out: Path = Path("runs/experiments/value_overestimation")) -> None:
    """Train DQN and Double DQN, measure what they believe and what they get, and draw both.

    Args:
        quick: few steps, to show that everything works.
        seeds: agents of each kind, trained in one program.
        out: where figure and numbers go; it must not exist yet.
    """
    out.mkdir(parents=True)
    use_all_cores()
    seeds = 2 if quick else seeds
    numbers: dict = {"order statistics": order_statistics(quick)}
    figure, panels = plt.subplots(1, 4, figsize=(15, 3.8), layout="constrained")
    draw_law(panels[0], numbers["order statistics"])
    for axes, task in zip(panels[1:], tasks(quick), strict=True):
        over = {}
        for i, double in enumerate((False, True)):
            name = "Double DQN" if double else "DQN"
            config = dataclasses.replace(task.config, double=double)
            steps, believed, real = gaps(task.environment, config, seeds, task.iterations, task.checkpoints)
            over[name] = believed - real
            draw_gap(axes, steps, believed, real, name, COLOURS[i])
        axes.set_xlabel("environment steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_title(task.name, fontsize=10)
        axes.legend(fontsize=8)
        numbers[task.name] = compare(task.name, over)
        numbers[task.name]["steps"] = steps.tolist()
    panels[1].set_ylabel("value")
    figure.savefig(out / "figure.png", dpi=110)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(f"figure: {out / 'figure.png'}")


def compare(task: str, over: dict[str, np.ndarray]) -> dict:
    """Overestimation over the second half of the checkpoints, per seed; printed and returned."""
    over = {name: gap.astype(float) for name, gap in over.items()}
    late = {name: gap[:, gap.shape[1] // 2 :].mean(1) for name, gap in over.items()}
    positive, seeds = late["DQN"] > 0, len(late["DQN"])
    half = int(np.sum(positive & (late["Double DQN"] <= 0.5 * late["DQN"])))
    print(f"{task}: overestimation {', '.join(f'{name} {gap.mean():.2f}' for name, gap in late.items())};")
    print(f"    positive for DQN on {positive.sum()}, at most half of that with Double DQN on {half} of {seeds} seeds")
    return {
        "overestimation per seed": {name: gap.round(4).tolist() for name, gap in late.items()},
        "overestimation": {name: gap.mean(0).round(4).tolist() for name, gap in over.items()},
        "seeds on which DQN overestimates": int(positive.sum()),
        "seeds on which it does and Double DQN's is at most half": half,
    }


def draw_law(axes, law: dict[int, dict[str, float]]) -> None:
    """The mean of the maximum against the number of actions."""
    axes.plot(law.keys(), [x["law"] for x in law.values()], color="0.6", label="law")
    axes.plot(law.keys(), [x["measured"] for x in law.values()], "o", color=COLOURS[0], label="measured")
    axes.set(xscale="log", xlabel="actions of equal value", ylabel="overestimation / deviation of the noise")
    axes.set_xticks(ACTIONS, [str(m) for m in ACTIONS])
    axes.minorticks_off()
    axes.set_title("maximum of noisy estimates")
    axes.legend(fontsize=8)


def draw_gap(axes, steps, believed, real, name: str, colour: str) -> None:
    """Believed (solid) and real (dashed) values: median and range over seeds."""
    axes.plot(steps, np.median(believed, 0), color=colour, label=f"{name}: believed")
    axes.fill_between(steps, believed.min(0), believed.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, np.median(real, 0), "--", color=colour, label=f"{name}: real")


if __name__ == "__main__":
    tyro.cli(main)
