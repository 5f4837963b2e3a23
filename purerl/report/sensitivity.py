"""How much the result of an algorithm hangs on its hyperparameters, from a table of trainings.

`importance` asks which hyperparameter matters (functional ANOVA; Hutter et al., 2014), `tuning_gain` what one gets for
tuning, and whether one setting serves all environments (Adkins et al., 2024).
"""

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from purerl.report.statistics import Estimate


class Importance(NamedTuple):
    """Shares of the variance of the scores; together (noise, if it is known, included) they are 1."""

    main: dict[str, float]  # of each hyperparameter alone
    interactions: float  # of two or more hyperparameters together
    noise: float  # of the seeds; NaN where it cannot be told apart: then it sits in the other shares


class Sensitivity(NamedTuple):
    """Scores that a way of tuning reaches, averaged over the environments, and the differences of these."""

    per_environment: Estimate  # the best setting of each environment
    across: Estimate  # the one setting that is best on average
    untuned: Estimate  # the default setting; without one the median over the settings
    sensitivity: Estimate  # per_environment - across
    gain: Estimate  # per_environment - untuned
    best_per_environment: np.ndarray  # [environments] int: the chosen settings, by all runs
    best_across: int  # likewise


def importance(settings: Mapping[str, ArrayLike], scores: ArrayLike, seed: int = 0) -> Importance:
    """The share of each hyperparameter in the variance of the scores: functional ANOVA (Hutter et al., 2014).

    The score as a function of the hyperparameters is f = f_0 + sum_j f_j(x_j) + interactions, f_j(x_j) being the mean
    of f - f_0 over all other hyperparameters; the share of hyperparameter j is Var(f_j) / Var(f).

    In a full factorial grid the means are sums over cells and the shares are exact; with several scores in every cell
    (seeds as further rows) the noise is taken out of the other shares without bias (Kelley, 1935), so a share of
    nothing comes out a little above or below 0. Any other design goes through a random forest (optuna, scikit-learn),
    whose shares are only as good as its fit (average the seeds of a setting before). Its numeric hyperparameters are
    ranked, so the means are over the settings' own distribution, be it uniform or log-uniform.

    Args:
        settings: name -> `[n]` values; a value is a category unless it is a number.
        scores: `[n]`, one environment, or normalised and averaged over several.
        seed: of the random forest.

    Raises ValueError for other shapes, scores or values not finite, or scores all equal; ImportError with the pip
    command where the design is no grid and optuna or scikit-learn is not installed.
    """
    scores = np.asarray(scores, np.float64)
    columns = {name: _column(name, values) for name, values in settings.items()}
    if not columns or scores.ndim != 1 or any(x.shape != scores.shape for x in columns.values()):
        shapes = {name: x.shape for name, x in columns.items()}
        raise ValueError(f"settings and scores must be [n]: got {shapes} and {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores {np.flatnonzero(~np.isfinite(scores)).tolist()} are not finite: give them a score")
    if scores.size == 0 or np.ptp(scores) == 0:
        raise ValueError("the scores are all equal: there is no variance to share out")
    codes = [np.unique(x, return_inverse=True)[1] for x in columns.values()]
    table = _grid(codes, scores)
    if table is None:
        return _forest_importance(columns, scores, seed)
    main, interactions, noise = _grid_shares(table)
    return Importance(dict(zip(columns, main, strict=True)), interactions, noise)


def tuning_gain(
    scores: ArrayLike, default: int | None = None, confidence: float = 0.95, splits: int = 100, seed: int = 0
) -> Sensitivity:
    """What tuning is worth: per environment, once for all, not at all (Adkins et al., 2024).

        sensitivity = mean_e max_h score(h, e) - max_h mean_e score(h, e)

    with settings h and environments e. The best of many noisy means is best by luck, too; so settings are chosen by one
    half of the runs and scored by the other, then the other way round, averaged over random halves (cross-fitting).
    What comes out is the worth of a choice by half of the runs, less than that of a choice by all. The intervals are
    jackknife t intervals over runs; measured at 95 % they cover that worth in 92 to 98 % of repetitions (20 settings
    of 1 or 5 environments, 4 to 30 runs, normal scores).

    Args:
        scores: `[settings, environments, runs]`, normalised so that environments can be averaged.
        default: the index of the setting one would take without tuning.
        confidence: of the intervals, in (0, 1).
        splits: random halves to average over.
        seed: of the halves.

    Raises ValueError for other shapes, scores not finite, fewer than 2 runs, or a default that is no setting. With
    fewer than 4 runs the intervals are NaN.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 3 or scores.size == 0 or scores.shape[2] < 2:
        raise ValueError(f"expected [settings, environments, at least 2 runs], got shape {scores.shape}")
    if not np.isfinite(scores).all():
        where = np.unique(np.nonzero(~np.isfinite(scores))[0]).tolist()
        raise ValueError(f"scores of settings {where} are not finite: give a diverged agent the lowest score")
    settings, environments, runs = scores.shape
    if default is not None and not 0 <= default < settings:
        raise ValueError(f"default {default} is not among the {settings} settings")
    if not 0 < confidence < 1 or splits < 1:
        raise ValueError(f"confidence must be in (0, 1), splits at least 1: got {confidence} and {splits}")
    order = np.random.default_rng(seed).random((splits, runs)).argsort(axis=1)
    half = order < runs // 2  # [splits, runs]: a random half of the runs
    value = _outcomes(scores, half, default)
    deviation = np.full_like(value, np.nan)
    if runs >= 4:
        others = [np.arange(runs) != i for i in range(runs)]
        left_out = np.stack([_outcomes(scores[..., keep], half[:, keep], default) for keep in others])
        deviation = np.sqrt((runs - 1) * left_out.var(axis=0))
    reach = stdtrit(runs - 1, (1 + confidence) / 2) * deviation
    bounds = zip(value.tolist(), (value - reach).tolist(), (value + reach).tolist(), strict=True)
    per_environment, across, untuned, sensitivity, gain = (
        Estimate(*three, confidence, runs, environments) for three in bounds
    )
    means = scores.mean(axis=-1)
    best_per_environment, best_across = means.argmax(axis=0), int(means.mean(axis=1).argmax())
    return Sensitivity(per_environment, across, untuned, sensitivity, gain, best_per_environment, best_across)


def _outcomes(scores: np.ndarray, half: np.ndarray, default: int | None) -> np.ndarray:
    """The five scores of `Sensitivity`, `[settings, environments, runs]` and `[splits, runs]` -> `[5]`."""
    first = np.stack([scores[..., chosen].mean(axis=-1) for chosen in half])  # [splits, settings, environments]
    second = np.stack([scores[..., ~chosen].mean(axis=-1) for chosen in half])
    sums = np.zeros(2)
    for choose, report in ((first, second), (second, first)):
        best = choose.argmax(axis=1, keepdims=True)  # [splits, 1, environments]
        per_environment = np.take_along_axis(report, best, axis=1).mean()
        best = choose.mean(axis=2).argmax(axis=1)  # [splits]
        sums += per_environment, report[np.arange(len(half)), best].mean()
    per_environment, across = sums / 2
    means = scores.mean(axis=(1, 2))
    untuned = np.median(means) if default is None else means[default]
    return np.array([per_environment, across, untuned, per_environment - across, per_environment - untuned])


def _column(name: str, values: ArrayLike) -> np.ndarray:
    """Numbers as float64, everything else (also bool) as strings."""
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        return values.astype(str)
    if not np.isfinite(values).all():
        raise ValueError(f"values of {name} are not finite: {values}")
    return values.astype(np.float64)


def _grid(codes: list[np.ndarray], scores: np.ndarray) -> np.ndarray | None:
    """`[levels of the first hyperparameter, ..., scores per cell]` if every combination occurs equally often."""
    sizes = [int(x.max()) + 1 for x in codes]
    if prod(sizes) > len(scores):
        return None
    cell = np.ravel_multi_index(codes, sizes)
    counts = np.bincount(cell, minlength=prod(sizes))
    if counts.min() != counts.max():
        return None
    return scores[np.argsort(cell)].reshape(*sizes, -1)


def _grid_shares(table: np.ndarray) -> tuple[list[float], float, float]:
    """Analysis of variance of a balanced table `[levels, ..., repetitions]`: main shares, interactions, noise."""
    *sizes, repetitions = table.shape
    means = table.mean(axis=-1)
    total = ((table - table.mean()) ** 2).sum()
    within = ((table - means[..., None]) ** 2).sum()
    noise = within / (table.size - means.size) if repetitions > 1 else 0.0  # variance of one score around its cell
    main = []
    for axis, levels in enumerate(sizes):
        marginal = means.mean(axis=tuple(i for i in range(len(sizes)) if i != axis))
        squares = table.size / levels * ((marginal - table.mean()) ** 2).sum()
        main.append(float((squares - (levels - 1) * noise) / total))
    noise_share = noise * (table.size - 1) / total
    return main, float(1 - sum(main) - noise_share), float(noise_share) if repetitions > 1 else float("nan")


def _forest_importance(columns: dict[str, np.ndarray], scores: np.ndarray, seed: int) -> Importance:
    """The shares by a random forest, for designs that are no grid."""
    try:
        import optuna
        import sklearn  # noqa: F401
        from scipy.stats import rankdata
    except ImportError as error:
        needs = "the importance of settings that are no full grid needs optuna and scikit-learn"
        raise ImportError(f'{needs}: pip install "purerl[search]"') from error
    values: dict[str, np.ndarray] = {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, column in columns.items():
        if column.dtype.kind == "f":
            values[name] = (rankdata(column) - 0.5) / len(column)  # mid-ranks in (0, 1)
            distributions[name] = optuna.distributions.FloatDistribution(0.0, 1.0)
        else:
            values[name] = column
            distributions[name] = optuna.distributions.CategoricalDistribution(np.unique(column).tolist())
    trials = []
    for i, score in enumerate(scores.tolist()):
        params = {name: x[i].item() for name, x in values.items()}
        trials.append(optuna.trial.create_trial(params=params, distributions=distributions, value=score))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(trials)
    shares = optuna.importance.FanovaImportanceEvaluator(seed=seed).evaluate(study)
    main = {name: float(shares[name]) for name in columns}
    return Importance(main, 1 - sum(main.values()), float("nan"))
