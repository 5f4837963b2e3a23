"""Datasets: what offline learners learn from."""

from purerl.data.transitions import Transitions, collect

__all__ = ["Transitions", "collect"]
