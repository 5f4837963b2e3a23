"""Learned dynamics: bootstrap ensembles of networks, time-varying linear models, and what to ask of a model.

A learned model is an `Environment` (`learned_environment`): planners plan in it and learners learn in it. Learners that
imagine beside what they live through take an `Imagination`.
"""

from purerl.models.diagnostics import calibration, disagreement, open_loop_error
from purerl.models.dynamics import DynamicsModel, ensemble_dynamics, true_dynamics
from purerl.models.ensemble import Ensemble, EnsembleConfig, EnsembleState, Fit, Prediction, make_ensemble
from purerl.models.imagination import Imagination
from purerl.models.learned_environment import Imagined, imagine_from, learned_environment
from purerl.models.linear_gaussian import Mixture, fit_linear_gaussian, fit_linear_steps, fit_mixture
from purerl.models.time_varying import linear_dynamics

__all__ = [
    "DynamicsModel",
    "Ensemble",
    "EnsembleConfig",
    "EnsembleState",
    "Fit",
    "Imagination",
    "Imagined",
    "Mixture",
    "Prediction",
    "calibration",
    "disagreement",
    "ensemble_dynamics",
    "fit_linear_gaussian",
    "fit_linear_steps",
    "fit_mixture",
    "imagine_from",
    "learned_environment",
    "linear_dynamics",
    "make_ensemble",
    "open_loop_error",
    "true_dynamics",
]
