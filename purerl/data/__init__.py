"""Datasets: what offline learners learn from, and the policy without any learning."""

from purerl.data.transitions import Transitions, collect, random_policy

__all__ = ["Transitions", "collect", "random_policy"]
