"""Per-seed numbers, against the obvious computation."""

import numpy as np
import pytest

from purerl.report.records import aggregate, diverged, in_words, median, per_seed, summarise_evaluation, survivors


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


def test_divergence_is_a_loss_that_was_not_finite_once():
    loss = np.array([[1.0, np.nan], [np.inf, 1.0], [1.0, 1.0]])
    diagnostic = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, np.inf]])
    assert diverged({"value_loss": loss, "ratio": diagnostic}).tolist() == [True, True, False]
    assert diverged({"ratio": diagnostic}).tolist() == [False, False, True]


def test_statistics_leave_out_the_diverged_and_say_so():
    assert survivors([1.0, 2.0, None], [5, 6, 7], [6]) == [1.0, None]
    assert [in_words(8, 0), in_words(8, 4), in_words(1, 0)] == ["8 seeds", "4 seeds, 4 diverged", "1 seed"]


def test_what_is_not_finite_becomes_none():
    assert per_seed(np.array([1.0, 1.0, np.inf])) == [1.0, 1.0, None]
    assert median([1.0, None, 3.0]) == pytest.approx(2.0)
    assert median([None]) is None
