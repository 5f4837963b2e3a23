"""Per-seed numbers, against the obvious computation."""

import numpy as np
import pytest

from purerl.report.records import aggregate, median, not_finite, per_seed, summarise_evaluation


def test_episode_statistics_are_merged_exactly():
    metrics = {
        "episode_return_sum": np.array([[10.0, 0.0, 2.0], [0.0, 0.0, 0.0]], np.float32),
        "episode_length_sum": np.array([[5.0, 0.0, 7.0], [0.0, 0.0, 0.0]], np.float32),
        "episodes": np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]], np.float32),
        "loss": np.array([[1.0, 2.0, 6.0], [1.0, np.inf, 1.0]], np.float32),
    }
    assert aggregate(metrics) == {
        "episode_return": [4.0, None],
        "episode_length": [4.0, None],
        "episodes": [3.0, 0.0],
        "loss": [3.0, None],
    }


def test_evaluations_are_summarised_per_seed():
    returns = np.array([[1.0, 3.0], [5.0, 5.0]], np.float32)
    summary = summarise_evaluation(returns, np.array([[1, 2], [3, 4]]))
    assert summary == {
        "return_per_seed": [2.0, 5.0],
        "return_std_per_seed": [1.0, 0.0],
        "return_min_per_seed": [1.0, 5.0],
        "return_max_per_seed": [3.0, 5.0],
        "length_per_seed": [1.5, 3.5],
    }


def test_what_is_not_finite_is_found_and_becomes_none():
    a, b = np.array([[1.0, np.nan], [1.0, 1.0], [1.0, 1.0]]), np.array([1.0, 1.0, np.inf])
    assert not_finite(a, b).tolist() == [True, False, True]
    assert per_seed(b) == [1.0, 1.0, None]
    assert median([1.0, None, 3.0]) == pytest.approx(2.0)
    assert median([None]) is None
