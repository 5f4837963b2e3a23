"""Statistics against slow oracles written from the equations, against SciPy, and against repetitions: do they cover?"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from purerl.report import statistics as ours

RNG = np.random.default_rng
TABLES = st.tuples(st.integers(1, 9), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-20, 20).map(float))
)


def oracle_interquartile_mean(scores):
    pool = sorted(float(x) for row in scores for x in row)
    cut = len(pool) // 4
    kept = pool[cut : len(pool) - cut]
    return sum(kept) / len(kept)


def oracle_median(scores):
    means = sorted(sum(column) / len(column) for column in zip(*scores.tolist(), strict=True))
    middle = len(means) // 2
    return means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2


def oracle_improvement(x, y):
    total = 0.0
    for task in range(x.shape[1]):
        for a, b in itertools.product(x[:, task], y[:, task]):
            total += 1.0 if a > b else 0.5 if a == b else 0.0
    return total / (len(x) * len(y) * x.shape[1])


def oracle_mean_interval(scores, confidence, resamples=100_000):
    """Quantiles of a bootstrap of the mean whose levels come from the sample variances and Welch's dof."""
    runs, tasks = scores.shape
    rng = RNG(99)
    total = np.zeros(resamples)
    for column in scores.T:
        total += column[rng.integers(runs, size=(resamples, runs))].mean(axis=1) / tasks
    parts = [np.var(column, ddof=1) / runs / tasks**2 for column in scores.T]
    dof = sum(parts) ** 2 / sum(v**2 / (runs - 1) for v in parts)
    level = stats.norm.cdf(stats.t.ppf((1 - confidence) / 2, dof) * np.sqrt(runs / (runs - 1)))
    return np.quantile(total, [level, 1 - level])


# --- aggregates


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (5, 1), (8, 1), (7, 3), (10, 5)])
def test_aggregates_equal_their_oracles(shape):
    scores = RNG(0).normal(size=shape)
    np.testing.assert_allclose(ours.interquartile_mean(scores), oracle_interquartile_mean(scores))
    np.testing.assert_allclose(ours.median(scores), oracle_median(scores))
    np.testing.assert_allclose(ours.mean(scores), sum(scores.ravel().tolist()) / scores.size)
    gap = sum(max(0.5 - x, 0.0) for x in scores.ravel().tolist()) / scores.size
    np.testing.assert_allclose(ours.optimality_gap(scores, target=0.5), gap)


@pytest.mark.parametrize("name", ["mean", "median", "interquartile_mean", "optimality_gap"])
def test_aggregates_leave_the_leading_axes_alone(name):
    aggregate, scores = getattr(ours, name), RNG(1).normal(size=(2, 3, 7, 4))
    one_by_one = [[aggregate(scores[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(aggregate(scores), one_by_one)


@given(TABLES, st.randoms(use_true_random=False), st.integers(-50, 50))
@settings(deadline=None, max_examples=50)
def test_interquartile_mean_knows_no_order_and_moves_with_the_scores(scores, random, shift):
    pool = scores.ravel().tolist()
    random.shuffle(pool)
    shuffled = np.reshape(pool, scores.shape)
    np.testing.assert_allclose(ours.interquartile_mean(shuffled), ours.interquartile_mean(scores))
    np.testing.assert_allclose(ours.interquartile_mean(scores + shift), ours.interquartile_mean(scores) + shift)
    np.testing.assert_allclose(ours.interquartile_mean(3 * scores), 3 * ours.interquartile_mean(scores))


# --- intervals


@pytest.mark.parametrize(("runs", "scales"), [(10, [1.0]), (10, [1.0, 1.0, 1.0]), (6, [1.0, 0.1, 0.01])])
def test_interval_of_the_mean_has_the_levels_of_hesterberg_and_welch(runs, scales):
    scores = RNG(2).normal(size=(runs, len(scales))) * scales + 10 * np.arange(len(scales))
    estimate = ours.estimate(scores, ours.mean, confidence=0.9, resamples=50_000)
    expected = oracle_mean_interval(scores, 0.9)
    width = expected[1] - expected[0]
    np.testing.assert_allclose([estimate.low, estimate.high], expected, atol=0.012 * width)
    assert estimate[3:] == (0.9, runs, len(scales))


@pytest.mark.parametrize("runs", [2, 3, 4])
def test_interval_of_the_mean_of_few_runs_is_that_of_student(runs):
    scores = RNG(3).normal(size=(runs, 1))
    estimate = ours.estimate(scores, ours.mean, resamples=50_000)
    expected = stats.ttest_1samp(scores[:, 0], 0).confidence_interval(0.95)
    np.testing.assert_allclose([estimate.low, estimate.high], expected, atol=0.02 * (expected.high - expected.low))


def draw(kind, rng, runs, tasks):
    """Scores whose interquartile mean over all tasks is known: the second result."""
    if kind == "normal":
        return rng.normal(size=(runs, tasks)) + np.linspace(-0.5, 0.5, tasks) * (tasks > 1), 0.0
    if kind == "exponential":
        return rng.exponential(size=(runs, tasks)), 1 + (np.log(0.25) - 3 * np.log(0.75)) / 2
    return rng.choice([0.0, 2.0], size=(runs, tasks)) + 0.3 * rng.normal(size=(runs, tasks)), 1.0


@pytest.mark.parametrize(
    ("kind", "runs", "tasks"),
    [
        ("normal", 5, 1),
        ("exponential", 5, 1),
        ("exponential", 5, 5),
        ("bimodal", 10, 1),
        ("normal", 10, 5),
        ("exponential", 30, 1),
    ],
)
def test_interval_covers_the_interquartile_mean_as_often_as_it_says(kind, runs, tasks):
    rng, hits = RNG(4), 0
    for repetition in range(1000):
        scores, truth = draw(kind, rng, runs, tasks)
        estimate = ours.estimate(scores, seed=repetition, resamples=1000)
        hits += estimate.low <= truth <= estimate.high
    assert 930 <= hits <= 970


def test_interval_of_a_median_of_tasks_most_of_which_are_solved_covers():
    """The median is far from linear here, and its percentile interval wider than its jackknife variance says."""
    rng, hits = RNG(20), 0
    centres, scales = np.linspace(0.15, -0.15, 5), np.array([0.01, 0.01, 0.01, 0.01, 1.0])
    truth = np.median(centres)
    for repetition in range(500):
        scores = centres + scales * rng.normal(size=(10, 5))
        estimate = ours.estimate(scores, ours.median, seed=repetition, resamples=500)
        hits += estimate.low <= truth <= estimate.high
    assert 0.88 <= hits / 500 <= 0.97


def test_width_does_not_depend_on_the_number_of_resamples():
    scores = RNG(21).normal(size=(40, 1))
    estimates = [ours.estimate(scores, ours.mean, confidence=0.5, resamples=200, seed=seed) for seed in range(200)]
    expected = stats.ttest_1samp(scores[:, 0], 0).confidence_interval(0.5)
    width = np.mean([high - low for _, low, high, *_ in estimates])
    np.testing.assert_allclose(width, expected.high - expected.low, rtol=0.04)


def test_interval_grows_with_the_confidence_and_shrinks_with_the_runs():
    scores = RNG(5).normal(size=(40, 3))
    widths = [high - low for _, low, high, *_ in (ours.estimate(scores, confidence=c) for c in (0.5, 0.9, 0.99))]
    assert widths[0] < widths[1] < widths[2]
    fewer = ours.estimate(scores[:10])
    assert fewer.high - fewer.low > widths[1]


def test_same_seed_same_interval():
    scores = RNG(6).normal(size=(8, 2))
    assert ours.estimate(scores, seed=1) == ours.estimate(scores, seed=1) != ours.estimate(scores, seed=2)


def test_equal_scores_have_an_interval_without_width():
    assert ours.estimate(np.full((6, 2), 500.0))[:3] == (500.0, 500.0, 500.0)


def test_one_run_has_no_interval():
    estimate = ours.estimate([[3.0, 5.0]], ours.mean)
    assert estimate.value == 4.0
    assert np.isnan([estimate.low, estimate.high]).all()
    assert np.isnan(ours.sample_efficiency_curve(np.ones((1, 2, 3))).low).all()
    assert np.isnan(ours.performance_profile([[0.0]], [0.5]).high).all()
    assert np.isnan(ours.probability_of_improvement([[1.0]], [[0.0], [0.5]]).low)


def test_in_words():
    estimate = ours.Estimate(487.21, 451.0, 500.0, 0.95, 8, 1)
    assert ours.in_words(estimate) == "487.2 [451.0, 500.0] (95 % interval, 8 runs)"
    assert ours.in_words(estimate, decimals=0) == "487 [451, 500] (95 % interval, 8 runs)"
    normalised = estimate._replace(value=0.8712, low=0.8, high=0.93, confidence=0.9, tasks=5)
    assert ours.in_words(normalised) == "0.871 [0.800, 0.930] (90 % interval, 8 runs x 5 tasks)"
    assert ours.in_words(ours.estimate([[487.2]])) == "487.2 (no interval, 1 run)"
    assert ours.in_words(ours.estimate(np.full((3, 1), 0.1))) == "0.1000 [0.1000, 0.1000] (95 % interval, 3 runs)"
    assert ours.in_words(ours.estimate(np.zeros((3, 1)))) == "0.0 [0.0, 0.0] (95 % interval, 3 runs)"


# --- comparison, profile, curve


def test_probability_of_improvement_equals_its_oracle_and_mann_whitney():
    x, y = RNG(7).integers(0, 6, size=(7, 3)).astype(float), RNG(8).integers(0, 6, size=(9, 3)).astype(float)
    estimate = ours.probability_of_improvement(x, y)
    np.testing.assert_allclose(estimate.value, oracle_improvement(x, y))
    np.testing.assert_allclose(estimate.value, np.mean(stats.mannwhitneyu(x, y).statistic / 63))
    assert estimate.low < estimate.value < estimate.high
    assert estimate[3:] == (0.95, 7, 3)


@given(TABLES, st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_improvements_either_way_sum_to_one(x, seed):
    y = RNG(seed).integers(-20, 20, size=(4, x.shape[1])).astype(float)
    there, back = (ours.probability_of_improvement(*pair, resamples=100).value for pair in ((x, y), (y, x)))
    np.testing.assert_allclose(there + back, 1)


def test_interval_of_the_improvement_is_as_wide_as_that_of_delong():
    """DeLong et al. (1988): Var(U / (n m)) = Var(placements of x) / n + Var(placements of y) / m."""
    x, y = RNG(9).normal(0.5, size=(60, 1)), RNG(10).normal(size=(40, 1))
    of_x, of_y = [np.mean(a > y) for a in x[:, 0]], [np.mean(x > b) for b in y[:, 0]]
    deviation = np.sqrt(np.var(of_x, ddof=1) / 60 + np.var(of_y, ddof=1) / 40)
    estimate = ours.probability_of_improvement(x, y, resamples=20_000)
    np.testing.assert_allclose(estimate.high - estimate.low, 2 * 1.99 * deviation, rtol=0.04)


def test_interval_of_the_improvement_covers():
    rng, truth, hits = RNG(11), stats.norm.cdf(0.7 / np.sqrt(2)), 0
    for repetition in range(500):
        x, y = rng.normal(0.7, size=(10, 2)), rng.normal(size=(8, 2))
        estimate = ours.probability_of_improvement(x, y, resamples=500, seed=repetition)
        hits += estimate.low <= truth <= estimate.high
    assert 0.93 <= hits / 500 <= 0.98


def test_where_all_runs_agree_the_interval_is_that_of_wilson():
    scores = RNG(12).random(size=(5, 2))
    profile = ours.performance_profile(scores, [-1.0, 2.0])
    all_above, none_above = (stats.binomtest(k, 10).proportion_ci(method="wilson") for k in (10, 0))
    np.testing.assert_allclose(profile.low, [all_above.low, 0.0])
    np.testing.assert_allclose(profile.high, [1.0, none_above.high])
    better = ours.probability_of_improvement(scores + 2, scores)
    np.testing.assert_allclose(better[:3], [1.0, all_above.low, 1.0])


def test_profile_equals_its_oracle_and_falls():
    scores, thresholds = RNG(13).integers(0, 8, size=(9, 4)) / 8, np.arange(-1, 10) / 8
    profile = ours.performance_profile(scores, thresholds)
    expected = [sum(x > t for x in scores.ravel().tolist()) / 36 for t in thresholds]
    np.testing.assert_allclose(profile.value, expected)
    assert (np.diff(profile.value) <= 0).all()
    assert (profile.low <= profile.value).all()
    assert (profile.value <= profile.high).all()
    assert profile.low.min() >= 0
    assert profile.high.max() <= 1


def test_profile_band_is_the_interval_of_the_fraction():
    scores = RNG(14).random(size=(12, 3))
    profile = ours.performance_profile(scores, [0.2, 0.6], resamples=20_000)
    for i, threshold in enumerate((0.2, 0.6)):
        low, high = oracle_mean_interval((scores > threshold).astype(float), 0.95)
        np.testing.assert_allclose([profile.low[i], profile.high[i]], [low, high], atol=1.01 / 36)


@pytest.mark.parametrize("aggregate", [ours.interquartile_mean, ours.median])
def test_curve_is_an_estimate_at_every_point(aggregate):
    curves = RNG(15).normal(size=(7, 3, 4)).cumsum(axis=2)
    curve = ours.sample_efficiency_curve(curves, aggregate, confidence=0.8, resamples=500, seed=3)
    for point in range(4):
        one = ours.estimate(curves[..., point], aggregate, confidence=0.8, resamples=500, seed=3)
        np.testing.assert_allclose([curve.value[point], curve.low[point], curve.high[point]], one[:3])
    assert curve[3:] == (0.8, 7, 3)


# --- scores of a training


def test_final_and_best_score_equal_their_oracles():
    returns = RNG(16).normal(size=(3, 5, 4))
    means = [[sum(episodes) / 4 for episodes in run] for run in returns.tolist()]
    np.testing.assert_allclose(ours.final_score(returns), [run[-1] for run in means])
    np.testing.assert_allclose(ours.best_score(returns), [max(run) for run in means])


def test_best_score_is_biased_by_as_much_as_its_documentation_says():
    noise = RNG(17).normal(size=(4000, 100, 1))
    np.testing.assert_allclose(ours.best_score(noise).mean(), 2.5, atol=0.03)
    np.testing.assert_allclose(ours.best_score(noise[:, :10]).mean(), 1.54, atol=0.03)


def test_normalised_scores_equal_their_oracle():
    scores, low, high = RNG(18).normal(size=(4, 3)), np.array([0.0, -2.0, 1.0]), np.array([1.0, 5.0, 1.5])
    expected = [[(scores[i, j] - low[j]) / (high[j] - low[j]) for j in range(3)] for i in range(4)]
    np.testing.assert_allclose(ours.normalize_scores(scores, low, high), expected)
    curves = np.repeat(scores[..., None], 3, axis=2)  # as many points as tasks: no axis may stand in for another
    np.testing.assert_allclose(ours.normalize_scores(curves, low, high)[..., 1], expected)
    np.testing.assert_allclose(ours.normalize_scores(curves, -1, 3)[0, 0, 0], (scores[0, 0] + 1) / 4)


# --- errors


def test_scores_that_are_not_finite_are_refused_by_name():
    scores = RNG(19).normal(size=(5, 2))
    scores[1, 0], scores[3, 1] = np.nan, np.inf
    for function in (ours.estimate, lambda x: ours.probability_of_improvement(x, np.zeros((2, 2)))):
        with pytest.raises(ValueError, match=r"runs \[1, 3\] are not finite.*diverged"):
            function(scores)
    for function in (ours.sample_efficiency_curve, ours.final_score, ours.best_score):
        with pytest.raises(ValueError, match=r"runs \[1, 3\]"):
            function(scores[..., None])


def test_wrong_shapes_and_values_are_refused():
    scores = np.arange(8.0).reshape(4, 2)
    for call in (
        lambda: ours.estimate(scores[:, 0]),
        lambda: ours.estimate(scores[None]),
        lambda: ours.estimate(np.zeros((0, 2))),
        lambda: ours.sample_efficiency_curve(scores),
        lambda: ours.final_score(scores[0]),
    ):
        with pytest.raises(ValueError, match="expected an array"):
            call()
    with pytest.raises(ValueError, match="an aggregate maps"):
        ours.estimate(scores, lambda x: np.mean(x, axis=-1))
    for options in ({"confidence": 95}, {"confidence": 0.0}, {"resamples": 10}):
        with pytest.raises(ValueError, match="confidence must be"):
            ours.estimate(scores, **options)
    with pytest.raises(ValueError, match="the same tasks"):
        ours.probability_of_improvement(scores, scores[:, :1])
    for thresholds in (0.5, [np.nan]):
        with pytest.raises(ValueError, match="thresholds must be"):
            ours.performance_profile(scores, thresholds)
    with pytest.raises(ValueError, match="above the random score"):
        ours.normalize_scores(scores, [0, 1], [1, 1])
    with pytest.raises(ValueError, match=r"low and high \[tasks\]"):
        ours.normalize_scores(scores, np.zeros(4), 1)
