"""What a run reports: one `Record` per group of iterations, one number per seed, `None` for what is not a number."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purerl.train import loss_names

PerSeed = list[float | None]


class RunInformation(NamedTuple):
    """What a run is, told once to everyone who listens."""

    metadata: dict[str, Any]  # `checkpoint.metadata`: algorithm, config, environment, seeds, iterations, versions
    directory: Path | None
    iteration: int  # iterations already done (more than 0 after a resume)
    env_steps: int  # environment steps per seed already done
    train_seconds: float = 0.0  # spent before a resume


class Record(NamedTuple):
    """One group of iterations, then perhaps one evaluation."""

    iteration: int  # iterations done by now
    env_steps: int  # environment steps per seed done by now
    metrics: dict[str, PerSeed]
    evaluation: dict[str, PerSeed] | None
    diverged_seeds: list[int]  # the seeds that have diverged, now or before (see `diverged`)
    train_seconds: float  # wall-clock seconds of training so far (never written to metrics.jsonl)


def per_seed(values: np.ndarray) -> PerSeed:
    """`[seeds]` numbers as JSON: what is not finite becomes None."""
    return [float(x) if np.isfinite(x) else None for x in np.asarray(values, np.float64)]


def aggregate(metrics: dict[str, np.ndarray]) -> dict[str, PerSeed]:
    """One number per seed and metric from `[seeds, iterations]` arrays.

    Episode statistics are sums over the episodes finished in an iteration, so they are merged exactly:
    `episode_return` and `episode_length` are means over all episodes of the group, None where none finished, and
    `episodes` is how many. Every other metric is averaged over the iterations.
    """
    metrics = {name: np.asarray(values, np.float64) for name, values in metrics.items()}
    episodes = metrics.get("episodes")
    result = {}
    for name, values in metrics.items():
        if episodes is not None and name in ("episode_return_sum", "episode_length_sum"):
            count = episodes.sum(axis=1)
            mean = np.divide(values.sum(axis=1), count, out=np.full_like(count, np.nan), where=count > 0)
            result[name.removesuffix("_sum")] = per_seed(mean)
        elif name == "episodes":
            result[name] = per_seed(values.sum(axis=1))
        else:
            result[name] = per_seed(values.mean(axis=1))
    return result


def summarise_evaluation(returns: np.ndarray, lengths: np.ndarray) -> dict[str, PerSeed]:
    """Mean, spread and mean length (environment steps) per seed, from `[seeds, episodes]` arrays."""
    returns = np.asarray(returns, np.float64)
    return {
        "return_per_seed": per_seed(returns.mean(axis=1)),
        "return_std_per_seed": per_seed(returns.std(axis=1)),
        "return_min_per_seed": per_seed(returns.min(axis=1)),
        "return_max_per_seed": per_seed(returns.max(axis=1)),
        "length_per_seed": per_seed(np.asarray(lengths, np.float64).mean(axis=1)),
    }


def diverged(metrics: dict[str, np.ndarray]) -> np.ndarray:
    """`[seeds]` bool: which seeds have, in `[seeds, iterations]` metrics, a loss that is not finite."""
    return np.logical_or.reduce([~np.isfinite(metrics[name]).all(axis=1) for name in loss_names(metrics)])


def survivors(values: PerSeed, seeds: Sequence[int], diverged_seeds: Sequence[int]) -> PerSeed:
    """The values of the seeds that have not diverged: after divergence a number means nothing, even a finite one."""
    return [x for x, seed in zip(values, seeds, strict=True) if seed not in diverged_seeds]


def in_words(seeds: int, diverged_seeds: int) -> str:
    """Over which seeds a statistic is taken: '8 seeds', '4 seeds, 4 diverged'."""
    left = seeds - diverged_seeds
    return f"{left} seed{'' if left == 1 else 's'}" + (f", {diverged_seeds} diverged" if diverged_seeds else "")


def median(values: PerSeed) -> float | None:
    """The median of the values that are numbers; None where none is. Leave the seeds that diverged out before."""
    numbers = [x for x in values if x is not None]
    return float(np.median(numbers)) if numbers else None
