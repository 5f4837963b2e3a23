"""SAC and TD3 of purerl and brax's own SAC, side by side: the same environments, steps, updates and batches.

    python experiments/sac_against_brax.py            # an hour on a GPU; its MJX tasks an hour on one core
    python experiments/sac_against_brax.py --quick    # three minutes on one core, most of it compiling
    python experiments/sac_against_brax.py --tasks brax/hopper --learners brax    # a part; the figure shows all parts

Environments of brax (spring backend) and two of our own in MJX, which brax's learner plays through an adapter below.
All learn from the same number of environment steps, with the same ratio of updates to steps, batch, discount, networks
and normalised observations; other settings are those of each library, of purerl the ones below. A point of a curve is
the mean of whole episodes of up to 1000 steps by the action of the mode, purerl's in `purerl.evaluate`, brax's in its
own evaluator; brax's last policy is judged by both. Agents of purerl with different seeds are one program. The seconds
are without judging, and those of purerl also without compiling; brax does not tell them apart.

Every part keeps what it has measured after every point, so a run that is cut off loses nothing.

Measured so far, last points, means and ranges of four (halfcheetah, on an H200) or two seeds (`--seeds 2`), brax's one:

                           purerl, SAC           purerl, TD3           brax, SAC
    brax/hopper            499 [491, 507]        379 [352, 406]        440         300,000 steps
    brax/halfcheetah       2329 [2237, 2463]     2354 [2176, 2537]     1875        1,000,000 steps (SAC: 899,840)
    mjx/planar_reacher     119 [114, 124]        126 [119, 133]        103         100,000 steps
    mjx/cartpole_swingup   423 [412, 434]        278 [208, 349]        429         100,000 steps

No setting was tuned. Hopper was run with `--total-steps 300000` on one core. Of ant only brax's SAC was measured: 5243
after 1,000,000 steps, on an H200.
"""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro
from benchmarks.workers.replicated import restore_device_put_replicated
from brax import envs
from matplotlib.ticker import EngFormatter

from purerl import evaluate, load, make
from purerl.host.compilation import compiler_options
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.train import advance, start
from purerl.types import Environment, Policy


class Task(NamedTuple):
    """One environment and what all learners share on it."""

    total_steps: int
    updates: int  # per `STEPS` environment steps
    num_envs: int = 128
    batch_size: int = 256
    warm_up_steps: int = 8192
    widths: tuple[int, ...] = (256, 256)


STEPS, DISCOUNT = 128, 0.99
TASKS = {
    "brax/hopper": Task(1_000_000, 32),
    "brax/halfcheetah": Task(1_000_000, 32),
    "brax/ant": Task(1_000_000, 32),
    "mjx/planar_reacher": Task(100_000, 64, num_envs=16, warm_up_steps=2048, widths=(128, 128)),
    "mjx/cartpole_swingup": Task(100_000, 64, num_envs=16, warm_up_steps=2048, widths=(128, 128)),
}
LEARNERS: dict[str, dict[str, Any]] = {
    "sac": {"learning_rate": 6e-4, "critic_learning_rate": 6e-4, "temperature_learning_rate": 6e-4},
    "td3": {"learning_rate": 6e-4, "critic_learning_rate": 6e-4, "noise_start": 0.2, "noise_end": 0.2},
    "brax": {"learning_rate": 6e-4},
}
NAMES = {"sac": "purerl, SAC", "td3": "purerl, TD3", "brax": "brax, SAC"}


def main(
    quick: bool = False,
    tasks: tuple[str, ...] = tuple(TASKS),
    learners: tuple[str, ...] = tuple(LEARNERS),
    seeds: int = 4,
    brax_seeds: int = 1,
    total_steps: int | None = None,
    points: int = 10,
    episodes: int = 16,
    out: Path = Path("runs/experiments/sac_against_brax"),
) -> None:
    """Train, judge the policies on the way, and draw what has been measured so far.

    Args:
        quick: one task, few steps.
        tasks: names of environments, some of `TASKS`.
        learners: some of `LEARNERS`.
        seeds: agents of purerl, in one program.
        brax_seeds: agents of brax, one after another.
        total_steps: environment steps of each agent, instead of those of `TASKS`.
        points: policies of each agent that are judged, at equal distances.
        episodes: per judged policy.
        out: where the numbers of every part, all of them together and the figure go.
    """
    if quick:
        tasks, seeds, total_steps, points, episodes = ("mjx/cartpole_swingup",), 2, 6_000, 2, 4
        out = out / "quick"  # beside what was measured in full
    out.mkdir(parents=True, exist_ok=True)
    for name in tasks:
        task = TASKS[name]._replace(**({"total_steps": total_steps} if total_steps else {}))
        for learner in learners:
            file = out / f"{name.replace('/', '_')}-{learner}.json"
            if learner == "brax":
                brax_learns(name, task, brax_seeds, points, episodes, file)
            else:
                purerl_learns(name, task, learner, seeds, points, episodes, file)
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(out.glob("*-*.json"))]
    (out / "numbers.json").write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    draw(parts, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def keep(file: Path, **measured: Any) -> None:
    """Write a part down and say where its curve is."""
    file.write_text(json.dumps(measured | {"device": jax.devices()[0].device_kind}, indent=1) + "\n", encoding="utf-8")
    last = [row[-1] for row in measured["returns"]]
    print(
        f"{measured['task']:20} {NAMES[measured['learner']]:12} {measured['steps'][len(measured['returns'][0]) - 1]:9,}"
        f" steps, return {np.mean(last):7.1f} [{min(last):.1f}, {max(last):.1f}], {measured['seconds']:.0f} s",
        flush=True,
    )


def purerl_learns(name: str, task: Task, learner: str, seeds: int, points: int, episodes: int, file: Path) -> None:
    """All seeds in one program."""
    environment, module = make(name), load(learner)
    config = module.Config(
        **LEARNERS[learner],
        discount=DISCOUNT,
        num_envs=task.num_envs,
        steps_per_iteration=STEPS // task.num_envs,
        update_to_data=(task.updates, STEPS),
        batch_size=task.batch_size,
        replay_capacity=-(-task.total_steps // STEPS) * STEPS,
        warm_up_steps=task.warm_up_steps,
        normalize_observations=True,
        widths=task.widths,
        critic_widths=task.widths,
    )
    algorithm = module.make(environment, config)
    group = max(1, (task.total_steps - algorithm.env_steps_of_init) // algorithm.env_steps_per_iteration // points)

    def one_group(training: Any, first: jax.Array) -> Any:
        return advance(algorithm, training, first, iterations=group, total_iterations=points * group)[0]

    def judge(training: Any) -> jax.Array:
        scores = evaluate(algorithm.policy(training.state), environment, jax.random.key(1), episodes=episodes)
        return jnp.mean(scores.returns)

    began = time.perf_counter()
    keys = jax.random.split(jax.random.key(0), seeds)
    init = jax.jit(jax.vmap(lambda key: start(algorithm, key))).lower(keys).compile(compiler_options())
    training = init(keys)
    program = jax.jit(jax.vmap(one_group, in_axes=(0, None)), donate_argnums=0)
    program = program.lower(training, jnp.int32(0)).compile(compiler_options())
    judged = jax.jit(jax.vmap(judge)).lower(training).compile(compiler_options())
    compiling, seconds = time.perf_counter() - began, 0.0
    steps = algorithm.env_steps_of_init + group * algorithm.env_steps_per_iteration * np.arange(1, points + 1)
    returns: list[np.ndarray] = []
    for i in range(points):
        began = time.perf_counter()
        training = jax.block_until_ready(program(training, jnp.int32(i * group)))
        seconds += time.perf_counter() - began
        returns.append(np.asarray(judged(training), float).round(1))
        keep(
            file,
            task=name,
            learner=learner,
            steps=steps.tolist(),
            returns=np.stack(returns, 1).tolist(),
            seconds=round(seconds, 1),
            compiling=round(compiling, 1),
            updates_per_step=task.updates / STEPS,
        )


def brax_learns(name: str, task: Task, seeds: int, points: int, episodes: int, file: Path) -> None:
    """One seed after another."""
    restore_device_put_replicated()
    from brax.training.agents.sac import networks
    from brax.training.agents.sac import train as brax_sac

    ours = make(name)
    kind, _, model = name.partition("/")
    theirs = envs.get_environment(model, backend="spring") if kind == "brax" else Adapter(ours)
    done: list[list[float]] = []
    seconds, by_both = 0.0, []
    for seed in range(seeds):
        curve: list[tuple[int, float, float]] = []

        def progress(step: int, metrics: Any, curve: list = curve, before: float = seconds) -> None:
            if step == 0:
                return
            curve.append((step, float(metrics["eval/episode_reward"]), float(metrics["training/walltime"])))
            keep(
                file,
                task=name,
                learner="brax",
                steps=[step for step, _, _ in curve],
                returns=[row[: len(curve)] for row in done] + [[round(score, 1) for _, score, _ in curve]],
                seconds=round(before + curve[-1][2], 1),
                updates_per_step=task.updates / STEPS,
            )

        make_policy, params, _ = brax_sac.train(
            theirs,
            num_timesteps=task.total_steps,
            episode_length=ours.max_steps,
            num_envs=task.num_envs,
            num_eval_envs=episodes,
            num_evals=points + 1,
            deterministic_eval=True,
            normalize_observations=True,
            discounting=DISCOUNT,
            batch_size=task.batch_size,
            grad_updates_per_step=task.num_envs * task.updates // STEPS,
            min_replay_size=task.warm_up_steps,
            max_replay_size=task.total_steps,
            network_factory=partial(networks.make_sac_networks, hidden_layer_sizes=task.widths),
            progress_fn=progress,
            seed=seed,
            **LEARNERS["brax"],
        )
        done.append([round(score, 1) for _, score, _ in curve])
        seconds += curve[-1][2]
        act = make_policy(params, deterministic=True)
        policy = Policy(init=lambda key: (), act=lambda key, memory, seen, act=act: (memory, act(seen, key)[0]))
        scores = evaluate(policy, ours, jax.random.key(1), episodes=episodes)
        by_both.append(float(scores.returns.mean()))
        print(f"brax's policy of seed {seed}: {by_both[-1]:.1f} by purerl.evaluate, {curve[-1][1]:.1f} by its own")
    measured = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(measured | {"judged by purerl": by_both}, indent=1) + "\n", encoding="utf-8")


class Adapter(envs.Env):
    """An environment of purerl as one of brax's, whose wrappers cut its episodes at the time limit."""

    def __init__(self, environment: Environment):
        self._environment = environment

    def reset(self, rng: jax.Array) -> envs.State:
        """The first state of an episode."""
        rng, key = jax.random.split(rng)
        state, observation = self._environment.reset(key)
        zero = jnp.zeros(())
        return envs.State((state, rng), observation, zero, zero, {}, {})  # pyright: ignore[reportArgumentType]

    def step(self, state: envs.State, action: jax.Array) -> envs.State:
        """The next one; `done` where the episode has ended by itself."""
        inner, rng = state.pipeline_state  # pyright: ignore[reportGeneralTypeIssues]
        rng, key = jax.random.split(rng)
        inner, timestep = self._environment.step(key, inner, action)
        return state.replace(
            pipeline_state=(inner, rng),
            obs=timestep.observation,
            reward=timestep.reward,
            done=timestep.terminated.astype(jnp.float32),
        )

    @property
    def observation_size(self) -> int:
        """Numbers in an observation."""
        return self._environment.observation_space.shape[0]

    @property
    def action_size(self) -> int:
        """Numbers in an action."""
        return self._environment.action_space.shape[0]

    @property
    def backend(self) -> str:
        """Not one of brax's."""
        return "mjx"


def draw(parts: list[dict[str, Any]], path: Path) -> None:
    """One panel per task: the mean over seeds and their range."""
    tasks = [name for name in TASKS if any(part["task"] == name for part in parts)]
    figure, panels = plt.subplots(1, len(tasks), figsize=(3.2 * len(tasks), 3.3), layout="constrained", squeeze=False)
    handles = {}
    for name, panel in zip(tasks, panels[0], strict=True):
        mine = {part["learner"]: part for part in parts if part["task"] == name}
        for i, learner in enumerate(LEARNERS):
            if learner not in mine:
                continue
            returns = np.array(mine[learner]["returns"])
            steps, colour = mine[learner]["steps"][: returns.shape[1]], COLOURS[i]
            panel.fill_between(steps, returns.min(0), returns.max(0), color=colour, alpha=0.15, linewidth=0)
            (handles[NAMES[learner]],) = panel.plot(steps, returns.mean(0), color=colour, linestyle=DASHES[i])
        panel.set(title=name, xlabel="environment steps")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6)
    panels[0, 0].set_ylabel("return of the mode's action")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    tyro.cli(main)
