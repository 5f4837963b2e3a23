"""The bootstrap behind the intervals of `purerl.report.statistics`: resampled runs, and an interval that covers."""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, stdtrit


def resampled_runs(scores: np.ndarray, confidence: float, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """`[resamples, runs, tasks]`: which runs each bootstrap sample takes, drawn anew for each task."""
    if not 0 < confidence < 1 or resamples < 100:
        raise ValueError(f"confidence must be in (0, 1), resamples at least 100: got {confidence} and {resamples}")
    return rng.integers(len(scores), size=(resamples, *scores.shape[:2]))


def counts_of(index: np.ndarray) -> np.ndarray:
    """`[resamples, tasks, runs]`: how often each bootstrap sample `[resamples, runs, tasks]` takes each run."""
    resamples, runs, tasks = index.shape
    cell = index + runs * np.arange(tasks) + runs * tasks * np.arange(resamples)[:, None, None]
    return np.bincount(cell.ravel(), minlength=index.size).reshape(resamples, tasks, runs)


def expanded_interval(
    value: np.ndarray, replicates: np.ndarray, counts: Sequence[np.ndarray], confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The expanded percentile interval (Hesterberg, 2015), with the variance taken apart by task.

    The percentile interval is as wide as z * sd(replicates), where the t interval of a mean has t_dof * s / sqrt(n),
    s with the divisor n - 1. So quantiles are taken at the level Phi(t_dof * sqrt(variance / var(replicates))), where

        variance = max(sum_k v_k, var(replicates)),
        v_k = n / (n - 1) * sum_i cov(count_ik, replicate)^2,   i over the n runs of task k,
        dof = (sum_k v_k)^2 / sum_k (v_k^2 / (n - 1)).

    v_k is the part of task k, by the infinitesimal jackknife (Efron, 2014) less its own sampling error; dof is that of
    Welch and Satterthwaite. For the mean over one task this is Hesterberg's level.

    No quantile lies outside the range of the scores, and the range of n scores misses their median with probability
    2^(1 - n). Where that is more than 1 - confidence (n <= 5 at 95 %) the ends move towards value +- t_dof *
    sqrt(variance), by the fraction 2^(1 - n) / (1 - confidence) - 1, at most all the way: 1/4 for n = 5, 1 for n <= 4.

    Args:
        value, replicates: `[points]`, `[resamples, points]`.
        counts: `[resamples, tasks, runs]` for each independent sample.
    """
    runs = min(count.shape[-1] for count in counts)
    if runs < 2:
        return np.full_like(value, np.nan), np.full_like(value, np.nan)
    resamples, total = len(replicates), replicates.var(axis=0)
    parts, squares = [], []
    for count in counts:
        n = count.shape[-1]
        covariance = np.tensordot(replicates - replicates.mean(axis=0), count - 1.0, axes=(0, 0)) / resamples
        error = (n - 1) * total[:, None] / resamples
        part = np.maximum((covariance**2).sum(axis=-1) - error, 0) * n / (n - 1)  # [points, tasks]
        parts.append(part.sum(axis=-1))
        squares.append((part**2).sum(axis=-1) / (n - 1))
    linear = np.sum(parts, axis=0)
    dof = np.where(linear > 0, linear**2 / np.maximum(np.sum(squares, axis=0), 1e-300), runs - 1)
    variance = np.maximum(linear, total)
    quantile = stdtrit(dof, (1 - confidence) / 2)
    level = ndtr(quantile * np.sqrt(np.where(total > 0, variance / np.where(total > 0, total, 1), 1)))
    ends = [np.quantile(x, [p, 1 - p]) for x, p in zip(replicates.T, level, strict=True)]
    low, high = np.transpose(ends)
    half = -quantile * np.sqrt(variance)
    weight = np.clip(2.0 ** (1 - runs) / (1 - confidence) - 1, 0, 1)
    low += weight * np.minimum(value - half - low, 0)
    high += weight * np.maximum(value + half - high, 0)
    return low, high
