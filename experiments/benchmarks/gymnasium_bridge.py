"""What does it cost to step Gymnasium's simulators from a compiled program?

    python experiments/benchmarks/gymnasium_bridge.py            # minutes, most of them for Atari
    python experiments/benchmarks/gymnasium_bridge.py --quick    # seconds: shows that it runs

Random actions, with auto-reset, in environment steps per second: Gymnasium's own loop over one simulator; the bridge,
with 1, 8 and 64 of them stepped by one compiled scan; and, where purerl has the environment itself, its own, 64 at
once. Each is the median of three rounds.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import tyro

from purerl import make, vectorize
from purerl.environments import names
from purerl.types import Environment

PARAMETERS: dict[str, dict[str, Any]] = {"ALE/Pong-v5": {"max_episode_steps": 27_000}}


def native(name: str, steps: int) -> Callable[[], None]:
    """Gymnasium's loop, with actions drawn before."""
    if name.startswith("ALE/"):
        import ale_py

        gymnasium.register_envs(ale_py)
    simulator = gymnasium.make(name, disable_env_checker=True, **PARAMETERS.get(name, {}))
    simulator.action_space.seed(0)
    actions = [simulator.action_space.sample() for _ in range(steps)]
    simulator.reset(seed=0)

    def play() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = simulator.step(action)
            if terminated or truncated:
                simulator.reset()

    return play


def compiled(environment: Environment, number: int, steps: int) -> Callable[[], None]:
    """`number` environments side by side, `steps` steps in all."""
    environments = vectorize(environment, number)

    def one(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        action = jax.vmap(environment.action_space.sample)(jax.random.split(key, number))
        state, timestep = environments.step(key, state, action)
        return state, timestep.reward.sum()

    @jax.jit
    def roll(state: Any, key: jax.Array) -> Any:
        return jax.lax.scan(one, state, jax.random.split(key, steps // number))

    state = [roll(jax.jit(environments.reset)(jax.random.key(0)), jax.random.key(1))[0]]

    def play() -> None:  # goes on: to step an older state would be to do again what had led to it
        state[0], _ = jax.block_until_ready(roll(state[0], jax.random.key(2)))

    return play


def speed(play: Callable[[], None], steps: int, rounds: int) -> float:
    """Steps per second, the median of some rounds."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        play()
        seconds.append(time.perf_counter() - began)
    return steps / statistics.median(seconds)


def main(
    quick: bool = False,
    environments: tuple[str, ...] = ("CartPole-v1", "LunarLander-v3", "ALE/Pong-v5"),
    steps: int = 6_400,
) -> None:
    """Print a table of steps per second.

    Args:
        quick: a tenth of the steps, once.
        environments: ids of Gymnasium.
        steps: of a round.
    """
    steps, rounds = (steps // 10, 1) if quick else (steps, 3)
    print(f"{'':<16}{'native':>10}{'bridge, 1':>12}{'8':>10}{'64':>10}{'purerl, 64':>12}")
    for name in environments:
        bridge = make(f"gymnasium/{name}", **PARAMETERS.get(name, {}))
        found = [native(name, steps), *(compiled(bridge, number, steps) for number in (1, 8, 64))]
        if name in names():
            found.append(compiled(make(name), 64, steps))
        speeds = [speed(play, steps, rounds) for play in found]
        print(
            f"{name:<16}" + "".join(f"{x:>{width}.0f}" for x, width in zip(speeds, (10, 12, 10, 10, 12), strict=False))
        )


if __name__ == "__main__":
    tyro.cli(main)
