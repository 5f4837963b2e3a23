"""Importance and tuning against loops over cells and runs, and against functions whose answer is known."""

import itertools
import sys

import numpy as np
import pytest
from scipy import stats

from purerl.report.sensitivity import importance, tuning_gain

RNG = np.random.default_rng


def factorial(*levels):
    """All combinations of the levels, as columns."""
    return [np.array(column) for column in zip(*itertools.product(*levels), strict=True)]


def oracle_shares(columns, scores):
    """Functional ANOVA of a full grid without repetitions: every component f_u by its definition, cell by cell."""
    cells = list(zip(*[c.tolist() for c in columns], strict=True))
    value = dict(zip(cells, scores.tolist(), strict=True))

    def component(subset, cell):
        same = [y for other, y in value.items() if all(other[i] == cell[i] for i in subset)]
        smaller = [s for k in range(len(subset)) for s in itertools.combinations(subset, k)]
        return sum(same) / len(same) - sum(component(s, cell) for s in smaller)

    def variance(subset):
        return sum(component(subset, cell) ** 2 for cell in cells) / len(cells)

    axes = range(len(columns))
    total = np.var(scores)
    main = [variance((i,)) / total for i in axes]
    pairs = [s for k in range(2, len(columns) + 1) for s in itertools.combinations(axes, k)]
    return main, sum(variance(s) for s in pairs) / total


@pytest.mark.parametrize("sizes", [(3, 4), (2, 3, 2)])
def test_shares_of_a_grid_equal_their_oracle_in_any_order(sizes):
    columns = factorial(*[range(size) for size in sizes])
    scores = RNG(0).normal(size=len(columns[0]))
    main, interactions = oracle_shares(columns, scores)
    order = RNG(1).permutation(len(scores))
    for rows in (slice(None), order):
        ours = importance({f"h{i}": c[rows] for i, c in enumerate(columns)}, scores[rows])
        np.testing.assert_allclose(list(ours.main.values()), main)
        np.testing.assert_allclose(ours.interactions, interactions)
        assert np.isnan(ours.noise)


def test_a_sum_has_no_interactions_and_a_parity_nothing_else():
    rate, norm = factorial([1e-4, 1e-3, 1e-2], ["batch", "layer"])
    settings = {"rate": rate, "norm": norm, "constant": np.ones(6)}
    ours = importance(settings, 3 * np.log10(rate) + (norm == "layer"))
    np.testing.assert_allclose(ours.interactions, 0, atol=1e-12)
    np.testing.assert_allclose(list(ours.main.values()), [6 / 6.25, 0.25 / 6.25, 0], atol=1e-12)
    first, second = factorial([False, True], [False, True])
    ours = importance({"first": first, "second": second}, (first ^ second).astype(float))
    np.testing.assert_allclose([*ours.main.values(), ours.interactions], [0, 0, 1], atol=1e-12)


def test_share_of_one_hyperparameter_with_seeds_is_that_of_the_f_test():
    """Kelley (1935): (SS_between - df_between MS_within) / SS_total, here from SciPy's F."""
    groups = RNG(2).normal(size=(4, 5)) + np.arange(4)[:, None]
    f = stats.f_oneway(*groups).statistic
    expected = 3 * (f - 1) / (3 * f + 16)
    ours = importance({"h": np.repeat(np.arange(4), 5)}, groups.ravel())
    np.testing.assert_allclose(ours.main["h"], expected)
    np.testing.assert_allclose(ours.noise, 1 - expected)
    np.testing.assert_allclose(ours.interactions, 0, atol=1e-12)


def test_noise_is_taken_out_of_main_effects_and_interactions():
    columns = factorial(range(3), range(4), range(3))  # the last column is the seed, and no hyperparameter
    rng, shares = RNG(3), []
    for _ in range(400):
        ours = importance({"a": columns[0], "b": columns[1]}, rng.normal(size=36))
        assert ours.noise + ours.interactions + sum(ours.main.values()) == pytest.approx(1)
        shares.append([*ours.main.values(), ours.interactions, ours.noise])
    np.testing.assert_allclose(np.mean(shares, axis=0), [0, 0, 0, 1], atol=0.03)


def random_design(n=150):
    rng = RNG(4)
    settings = {"a": rng.random(n), "b": rng.random(n), "kind": rng.choice(["x", "y"], n), "constant": np.zeros(n)}
    return settings, 3 * settings["a"] + settings["b"] + 2 * np.sqrt(1 / 12) * (settings["kind"] == "x")


def test_shares_of_a_random_design_are_near_those_of_the_function():
    """Variances 9/12, 1/12, 1/12 (a coin of height h has h^2 / 4) and 0."""
    settings, scores = random_design()
    ours = importance(settings, scores)
    np.testing.assert_allclose(list(ours.main.values()), [9 / 11, 1 / 11, 1 / 11, 0], atol=0.08)
    assert list(ours.main) == list(settings)
    assert ours.interactions + sum(ours.main.values()) == pytest.approx(1)
    assert np.isnan(ours.noise)


def test_shares_of_a_random_design_do_not_depend_on_the_scale_of_a_hyperparameter():
    settings, scores = random_design(60)
    logarithmic = settings | {"a": 10 ** (-6 * (1 - settings["a"]))}
    ours = importance(settings, scores, seed=1)
    assert importance(logarithmic, scores, seed=1)[:2] == ours[:2]
    assert importance(settings, scores, seed=2)[:2] != ours[:2]


@pytest.mark.parametrize("package", ["optuna", "sklearn"])
def test_missing_packages_are_named_and_a_grid_needs_none(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    settings, scores = random_design(20)
    with pytest.raises(ImportError, match=r"pip install \"purerl\[search\]\""):
        importance(settings, scores)
    assert importance({"h": [0, 1]}, [0.0, 1.0]).main == {"h": 1.0}
    unbalanced = {"a": [0, 0, 1, 1, 0, 0, 0, 0], "b": [0, 1, 0, 1, 0, 0, 1, 1]}  # each combination, not equally often
    with pytest.raises(ImportError, match="no full grid"):
        importance(unbalanced, np.arange(8.0))


def test_importance_refuses_what_it_cannot_share_out():
    with pytest.raises(ValueError, match=r"must be \[n\]"):
        importance({"h": [0, 1, 2]}, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"must be \[n\]"):
        importance({}, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"scores \[1\] are not finite"):
        importance({"h": [0, 1]}, [0.0, np.nan])
    with pytest.raises(ValueError, match="values of h are not finite"):
        importance({"h": [0, np.inf]}, [0.0, 1.0])
    with pytest.raises(ValueError, match="all equal"):
        importance({"h": [0, 1]}, [2.0, 2.0])


# --- tuning


def oracle_tuning(scores, halves):
    """Choose by one half of the runs, score by the other, for each (half, other half) listed."""
    settings, environments, _ = scores.shape

    def mean(h, e, runs):
        return sum(scores[h, e, i] for i in runs) / len(runs)

    per_environment, across = [], []
    for chosen_by, scored_by in halves:
        total = 0.0
        for e in range(environments):
            best = max(range(settings), key=lambda h, e=e: mean(h, e, chosen_by))
            total += mean(best, e, scored_by)
        per_environment.append(total / environments)
        best = max(range(settings), key=lambda h: sum(mean(h, e, chosen_by) for e in range(environments)))
        across.append(sum(mean(best, e, scored_by) for e in range(environments)) / environments)
    return np.mean(per_environment), np.mean(across)


def all_halves(runs):
    sides = [set(side) for side in itertools.combinations(range(runs), runs // 2)]
    pairs = [(side, set(range(runs)) - side) for side in sides]
    return [*pairs, *[(b, a) for a, b in pairs]]


@pytest.mark.parametrize(("runs", "splits", "tolerance"), [(2, 3, 1e-12), (3, 4000, 0.02), (4, 4000, 0.02)])
def test_tuning_equals_its_oracle(runs, splits, tolerance):
    scores = RNG(5).normal(size=(4, 3, runs))
    ours = tuning_gain(scores, splits=splits)
    per_environment, across = oracle_tuning(scores, all_halves(runs))
    untuned = sorted(scores.mean(axis=(1, 2)).tolist())
    untuned = (untuned[1] + untuned[2]) / 2
    expected = [per_environment, across, untuned, per_environment - across, per_environment - untuned]
    np.testing.assert_allclose([x.value for x in ours[:5]], expected, atol=tolerance)


def test_without_noise_it_is_the_definition_of_adkins():
    table = RNG(6).normal(size=(6, 4))
    ours = tuning_gain(np.repeat(table[..., None], 5, axis=2), default=2)
    per_environment = np.mean([max(table[:, e]) for e in range(4)])
    across = max(table[h].mean() for h in range(6))
    expected = [per_environment, across, table[2].mean(), per_environment - across, per_environment - table[2].mean()]
    for estimate, value in zip(ours[:5], expected, strict=True):
        np.testing.assert_allclose(estimate[:3], value)  # without noise the interval has no width
        assert estimate[3:] == (0.95, 5, 4)
    assert ours.best_per_environment.tolist() == [int(np.argmax(table[:, e])) for e in range(4)]
    assert ours.best_across == max(range(6), key=lambda h: table[h].sum())


def test_settings_that_differ_by_luck_only_are_worth_nothing():
    rng, gains, naive = RNG(7), [], []
    for seed in range(200):
        scores = rng.normal(size=(10, 3, 6))
        ours = tuning_gain(scores, splits=5, seed=seed)
        gains.append([ours.sensitivity.value, ours.gain.value])
        means = scores.mean(axis=2)
        naive.append(means.max(axis=0).mean() - means.mean(axis=1).max())
    error = np.std(gains, axis=0) / np.sqrt(200)
    assert (np.abs(np.mean(gains, axis=0)) < 3 * error).all()
    assert np.mean(naive) > 10 * error[0]  # what choosing and scoring by the same runs would report


def test_interval_of_the_default_is_that_of_student():
    scores = RNG(8).normal(size=(3, 4, 7))
    ours = tuning_gain(scores, default=1, confidence=0.9, splits=2).untuned
    expected = stats.ttest_1samp(scores[1].mean(axis=0), 0).confidence_interval(0.9)
    np.testing.assert_allclose(ours[:3], [scores[1].mean(), *expected])


def test_intervals_cover_the_worth_of_the_choice():
    rng, table, repetitions = RNG(9), RNG(10).normal(size=(8, 3)), []
    for seed in range(400):
        ours = tuning_gain(table[..., None] + rng.normal(size=(8, 3, 8)), splits=20, seed=seed)
        repetitions.append([x[:3] for x in ours[:5]])
    value, low, high = np.moveaxis(repetitions, 2, 0)
    truth = value.mean(axis=0)
    covered = ((low <= truth) & (truth <= high)).mean(axis=0)
    assert (covered >= 0.91).all(), covered
    assert (covered <= 0.99).all(), covered


def test_few_runs_have_a_value_and_no_interval():
    ours = tuning_gain(RNG(11).normal(size=(3, 2, 3)))
    assert np.isfinite([x.value for x in ours[:5]]).all()
    assert np.isnan([x.low for x in ours[:5]]).all()


def test_tuning_refuses_wrong_shapes_and_values():
    scores = RNG(12).normal(size=(3, 2, 4))
    for wrong in (scores[0], scores[..., :1], scores[:0]):
        with pytest.raises(ValueError, match="at least 2 runs"):
            tuning_gain(wrong)
    with pytest.raises(ValueError, match=r"default 3 is not among the 3"):
        tuning_gain(scores, default=3)
    for options in ({"confidence": 95}, {"splits": 0}):
        with pytest.raises(ValueError, match="confidence must be"):
            tuning_gain(scores, **options)
    scores[2, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"settings \[2\] are not finite"):
        tuning_gain(scores)
