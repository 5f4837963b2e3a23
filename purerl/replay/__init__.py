"""Replay: a ring of transitions, uniform draws and windows from it, and priorities over its rows.

`uniform_replay` stores and reads; `proportional` and `rank_based` choose what to read by its surprise. The two share
nothing but the clock and the slots.
"""

from purerl.replay.priorities import Priorities, PriorityState, importance_weights, proportional
from purerl.replay.ranks import rank_based
from purerl.replay.storage import Replay, ReplayState, uniform_replay

__all__ = [
    "Priorities",
    "PriorityState",
    "Replay",
    "ReplayState",
    "importance_weights",
    "proportional",
    "rank_based",
    "uniform_replay",
]
