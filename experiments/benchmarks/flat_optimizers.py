"""What optimisers on one vector of all parameters (`optax.flatten`) gain over the same ones leaf by leaf.

    python -m experiments.benchmarks.flat_optimizers              # about seven minutes
    python -m experiments.benchmarks.flat_optimizers --quick

The settings are those of `python -m experiments.benchmarks`, with networks of (64, 64), and for SAC and TD3 also those
with their default networks and batches. Both programs of an algorithm are timed in turn, several times over, so that a
noisy machine slows them alike; medians are compared.
"""

import statistics
from typing import Any
from unittest import mock

import jax
import optax
import tyro

from purerl import load, make
from purerl.types import Algorithm

from .settings import SETTINGS
from .throughput import measure, whole

DEFAULT: dict[str, Any] = {"widths": (256, 256), "critic_widths": (256, 256), "batch_size": 256}
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "DQN": ("dqn", 1, {}),
    "DQN, 16 agents": ("dqn", 16, {}),
    "PPO": ("ppo", 1, {}),
    "PPO, 16 agents": ("ppo", 16, {}),
    "PQN": ("pqn", 1, {}),
    "SAC": ("sac", 1, {}),
    "SAC, networks of (256, 256)": ("sac", 1, DEFAULT),
    "TD3": ("td3", 1, {}),
    "TD3, networks of (256, 256)": ("td3", 1, DEFAULT),
}
FORMS = {"one vector": optax.flatten, "leaf by leaf": lambda inner: inner}
STEPS = {"CartPole-v1": 32_000, "Pendulum-v1": 1_000}  # environment steps of a program, of all its agents


def made(name: str, form: str, fields: dict[str, Any]) -> Algorithm:
    """The algorithm of a setting, with other `fields`, and with its optimisers in that form."""
    setting, module = SETTINGS[name], load(SETTINGS[name].algorithm)
    with mock.patch("optax.flatten", FORMS[form]), mock.patch("purerl.optimizers.FEW", 2**30):
        return module.make(make(setting.environment), module.Config(**(setting.fields | fields)))


def main(quick: bool = False, repeats: int = 11) -> None:
    """Time every case in both forms and print a line of each.

    Args:
        quick: short scans and few repeats: shows that it runs.
        repeats: of each program after one to warm up.
    """
    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}, float32")
    for title, (name, agents, fields) in CASES.items():
        algorithms = {form: made(name, form, fields) for form in FORMS}
        per_iteration = agents * algorithms["one vector"].env_steps_per_iteration
        iterations = max(1, STEPS[SETTINGS[name].environment] // (20 if quick else 1) // per_iteration)
        programs = {form: whole(algorithm, iterations, agents) for form, algorithm in algorithms.items()}
        seconds = measure(programs, 2 if quick else repeats)
        one, other = (1e6 * statistics.median(seconds[form]) / iterations for form in FORMS)
        ratio = statistics.median(b / a for a, b in zip(*(seconds[form] for form in FORMS), strict=True))
        print(f"{title}: {one:.0f} us per iteration, leaf by leaf {other:.0f}: {ratio:.2f} times as fast")


if __name__ == "__main__":
    tyro.cli(main)
