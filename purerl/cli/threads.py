"""With how many threads of the CPU `purerl train` computes a single agent."""

from typing import Any

from purerl.devices import computing, has_gpu_build, use_threads

MEASURED = ("dqn", "ppo", "pqn", "sac", "td3")  # by experiments/benchmarks/threads.py
LITTLE = 2**22  # multiplications of a layer for a batch: one thread is still faster with 256 rows and 128 units
LARGE = ("MinAtar", "game/", "gymnasium/", "playground/")  # images; and what is simulated on the host needs threads


def computes_little(algorithm: str, config: Any, environment: str) -> bool:
    """Whether one thread is faster than several: networks are small, and observations no images.

    Known of the algorithms that were measured; of others, False.
    """
    if algorithm not in MEASURED or any(part in environment for part in LARGE):
        return False
    rows = getattr(config, "batch_size", None)
    if rows is None:
        rows = config.num_envs * config.rollout_length // config.minibatches
    layers = (*config.widths, *getattr(config, "critic_widths", ()))
    return rows * max(layers, default=1) ** 2 <= LITTLE


def choose_threads(threads: int) -> None:
    """Use so many threads, where the CPU is what computes and nothing has been computed yet."""
    if threads < 1:
        raise ValueError(f"--threads must be at least 1, got {threads}")
    if not has_gpu_build() and not computing():
        use_threads(threads)
