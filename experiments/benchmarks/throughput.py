"""How far are PPO, DQN, PQN, SAC and TD3 from the least that their work must cost?

The floor of an iteration is an environment-only scan (the same number of auto-resetting steps with actions drawn
beforehand) plus a learner-only scan of the same sizes (act on fixed observations, update on fixed batches: `learners`).
What the algorithm takes on top is bookkeeping: replay, sampling, advantages, shuffling, statistics.

    python -m experiments.benchmarks.throughput            # about three minutes
    python -m experiments.benchmarks.throughput --quick
    python -m experiments.benchmarks.throughput --algorithms sac --env Pendulum-v1 --env brax/halfcheetah

A program takes its state, gives it back and gets it again, as in `purerl.run`. All are timed in turn, several times
over, so that a noisy machine slows them alike; medians are compared. An algorithm whose default replay is smaller (DQN,
10,000 transitions) is also timed with one of 1,000,000.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purerl import make
from purerl.algorithms.continuous_control import sac, td3
from purerl.algorithms.policy_gradient import ppo
from purerl.algorithms.value_based import dqn, pqn
from purerl.environments import vectorize
from purerl.host.compilation import compiler_options
from purerl.train import advance, start

from . import learners

KEY = jax.random.key(0)
STEP_SIZE = 1e-9  # nothing is learned: all programs go on seeing the short episodes of a random policy
LARGE = 1_000_000  # steps of a replay


def whole(algorithm: Any, iterations: int, agents: int | None = None) -> tuple[Callable, tuple]:
    """The algorithm as `purerl.run` executes it, without evaluation; so many vmapped agents, or one that is not."""

    def program(training: Any, first: Any) -> Any:
        return advance(algorithm, training, first, iterations=iterations, total_iterations=10 * iterations)[:2]

    begin, key = partial(start, algorithm), KEY
    if agents is not None:
        begin, program = jax.vmap(begin), jax.vmap(program, in_axes=(0, None))
        key = jax.random.split(KEY, agents)
    return program, (jax.jit(begin)(key), jnp.int32(0))


def environment_only(name: str, num_envs: int, steps: int) -> tuple[Callable, tuple]:
    """`steps` steps of `num_envs` environments with actions drawn beforehand."""
    environments = vectorize(make(name), num_envs)
    draw = jax.vmap(jax.vmap(environments.action_space.sample))
    actions = draw(jax.random.split(KEY, (steps, num_envs)))

    def program(state, actions, key):
        def body(state, inputs):
            state, timestep = environments.step(inputs[1], state, inputs[0])
            return state, timestep.reward.sum()

        return jax.lax.scan(body, state, (actions, jax.random.split(key, len(actions))))

    return program, (jax.jit(environments.reset)(KEY), actions, KEY)


def measure(programs: dict[str, tuple[Callable, tuple]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every program, in turn, `repeats` times after one warm-up; compile times are printed."""
    compiled, carried = {}, {}
    for name, (program, arguments) in programs.items():
        began = time.perf_counter()
        lowered = jax.jit(program, donate_argnums=0).lower(*arguments)
        compiled[name], carried[name] = lowered.compile(compiler_options=compiler_options()), arguments[0]
        print(f"  compiled {name} in {time.perf_counter() - began:.1f} s")
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats + 1):
        for name, (_, arguments) in programs.items():
            began = time.perf_counter()
            carried[name], _ = jax.block_until_ready(compiled[name](carried[name], *arguments[1:]))
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def report(name: str, seconds: dict[str, list[float]], env_steps: int, bound: float) -> None:
    """The ratio of the whole to the sum of its floor, round by round."""
    rounds = zip(seconds["whole"], seconds["environment"], seconds["learner"], strict=True)
    ratio = statistics.median(one / (environment + learner) for one, environment, learner in rounds)
    median = {part: statistics.median(values) for part, values in seconds.items()}
    print(f"{name}: {env_steps / median['whole']:,.0f} environment steps/s")
    print(f"  whole {median['whole']:.3f} s, environment {median['environment']:.3f}, learner {median['learner']:.3f}")
    print(f"  whole / floor = {ratio:.2f} (bound {bound})")
    if "large replay" in seconds:
        pairs = zip(seconds["large replay"], seconds["whole"], strict=True)
        print(f"  replay of {LARGE:,} / default = {statistics.median(a / b for a, b in pairs):.2f} (bound 1.1)")


def against_floor(algorithm: Any, name: str, learner: tuple[Callable, tuple], iterations: int) -> dict[str, tuple]:
    """The programs of `report`: the whole, its environment and its learner."""
    config = algorithm.config
    steps = iterations * algorithm.env_steps_per_iteration // config.num_envs
    return {
        "whole": whole(algorithm, iterations),
        "environment": environment_only(name, config.num_envs, steps),
        "learner": learner,
    }


class Setting(NamedTuple):
    """What is measured of an algorithm, with its default Config."""

    module: Any
    learner: Callable[..., tuple[Callable, tuple]]
    environment: str  # where it is measured unless told otherwise
    iterations: int  # of a program that takes some tenths of a second, ten of them for the measurement
    bound: float  # of the ratio
    rates: tuple[str, ...] = ("learning_rate",)  # the Config's step sizes


SETTINGS = {
    "ppo": Setting(ppo, learners.ppo_learner_only, "CartPole-v1", 10, 1.15),
    "dqn": Setting(dqn, learners.dqn_learner_only, "CartPole-v1", 500, 1.25),
    "pqn": Setting(pqn, learners.pqn_learner_only, "CartPole-v1", 3, 1.15),
    "sac": Setting(
        sac,
        learners.sac_learner_only,
        "Pendulum-v1",
        10,
        1.25,
        ("learning_rate", "critic_learning_rate", "temperature_learning_rate"),
    ),
    "td3": Setting(td3, learners.td3_learner_only, "Pendulum-v1", 20, 1.25, ("learning_rate", "critic_learning_rate")),
}


def compare(name: str, env: str, scale: int, repeats: int) -> None:
    """Measure and print how far the algorithm of that name is from its floor."""
    setting, environment = SETTINGS[name], make(env)
    iterations = setting.iterations * scale
    config = setting.module.Config(**dict.fromkeys(setting.rates, STEP_SIZE))
    algorithm, learner = setting.module.make(environment, config), setting.learner(config, environment, iterations)
    programs = against_floor(algorithm, env, learner, iterations)
    if getattr(config, "replay_capacity", LARGE) < LARGE:
        large = setting.module.make(environment, dataclasses.replace(config, replay_capacity=LARGE))
        programs["large replay"] = whole(large, iterations)
    seconds = measure(programs, repeats)
    report(name, seconds, iterations * algorithm.env_steps_per_iteration, setting.bound)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short scans and few repeats: shows that it runs")
    parser.add_argument("--algorithms", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--env", action="append", help="an environment that suits them; again for more")
    options = parser.parse_args()
    repeats, scale = (3, 1) if options.quick else (11, 10)
    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}, float32")
    for algorithm in options.algorithms:
        for env in options.env or [SETTINGS[algorithm].environment]:
            compare(algorithm, env, scale, repeats)


if __name__ == "__main__":
    main()
