"""The experiments' figures, numbers and claims in one table: see `python -m experiments.gallery --help`."""

from . import continuous_actions, discrete_actions, planning_and_models, searches, theory

ENTRIES = (
    theory.ENTRIES
    + discrete_actions.ENTRIES
    + continuous_actions.ENTRIES
    + planning_and_models.ENTRIES
    + searches.ENTRIES
)
