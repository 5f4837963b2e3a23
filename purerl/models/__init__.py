"""Learned dynamics: bootstrap ensembles of networks, time-varying linear models, and what to ask of a model.

A learned model is an `Environment` (`learned_environment`): planners plan in it and learners learn in it.
"""

from purerl.models.diagnostics import calibration, disagreement, open_loop_error
from purerl.models.ensemble import Ensemble, EnsembleConfig, EnsembleState, Fit, Prediction, make_ensemble
from purerl.models.learned_environment import Imagined, imagine_from, learned_environment
from purerl.models.linear_gaussian import fit_linear_gaussian, fit_linear_steps

__all__ = [
    "Ensemble",
    "EnsembleConfig",
    "EnsembleState",
    "Fit",
    "Imagined",
    "Prediction",
    "calibration",
    "disagreement",
    "fit_linear_gaussian",
    "fit_linear_steps",
    "imagine_from",
    "learned_environment",
    "make_ensemble",
    "open_loop_error",
]
