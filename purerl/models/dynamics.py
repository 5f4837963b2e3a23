"""Models of dynamics as the learners that imagine see them: what is fitted to what is remembered, and is a world then.

The environment itself (`true_dynamics`) shows what a perfect model would be worth, a bootstrap ensemble of networks
(`ensemble_dynamics`) is fitted to everything, and time-varying linear models (`linear_dynamics`) to the
last episodes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import struct

from purerl.data.transitions import Transitions
from purerl.models.ensemble import EnsembleConfig, EnsembleState, make_ensemble
from purerl.models.learned_environment import (
    UNDECIDED,
    Imagined,
    Propagation,
    Reward,
    Termination,
    imagine_from,
    learned_environment,
)
from purerl.types import Action, Array, Environment, EnvState, Key, Observation

ModelState = Any
Remembered = Any  # a Step with its successor and, where a model asks for them, its place in the episode and the state


class DynamicsModel(NamedTuple):
    """What is learned from remembered steps, and is an environment in every state of its learning."""

    init: Callable[[Key], ModelState]
    fit: Callable[[ModelState, Key, Remembered, Array], tuple[ModelState, Array]]  # (.., steps [M], valid [M]) -> error
    environment: Callable[[ModelState], Environment]  # what it believes
    before: Callable[[Remembered], EnvState]  # the state of that environment in which a remembered step began
    after: Callable[[ModelState, Key, Remembered, Array], EnvState]  # and where it led, as the given member sees it
    members: int = 1  # how many opinions it has
    newest: int = 0  # it is fitted to so many of the newest steps; 0 is everything
    remembers_states: bool = False  # whether steps must have been stored with the environment's state
    control: Callable[[ModelState, Key, Observation, Array], Action] | None = None  # a controller: (.., time) -> action


class EnsembleModel(struct.PyTreeNode):
    """An ensemble and those of its members that do best on what was held out."""

    ensemble: EnsembleState
    elites: Array  # int32 [elites]


def true_dynamics(environment: Environment) -> DynamicsModel:
    """The environment itself: there is nothing to fit, and steps must be remembered with its state."""

    def after(model: ModelState, key: Key, step: Remembered, member: Array) -> EnvState:
        return environment.step(key, step.state, step.action)[0]

    return DynamicsModel(
        init=lambda key: (),
        fit=lambda model, key, steps, valid: (model, jnp.zeros(())),
        environment=lambda model: environment,
        before=lambda step: step.state,
        after=after,
        remembers_states=True,
    )


def ensemble_dynamics(
    environment: Environment,
    config: EnsembleConfig,
    elites: int = 0,
    propagation: Propagation = "ts1",
    reward: Reward | None = None,
    termination: Termination | None = None,
) -> DynamicsModel:
    """A bootstrap ensemble, fitted to everything remembered.

    Args:
        environment: what is modelled, with the actions that the replay holds.
        config: of the ensemble.
        elites: how many members predict, those with the least held-out error (Janner et al., 2019); 0 means all.
        propagation: which of them predicts: another at every step or one for a whole imagined episode.
        reward, termination: if they are known, on what `environment` observes and takes.

    Raises TypeError for spaces that an ensemble cannot predict, ValueError for a number of elites that there is not.
    """
    if not 0 <= elites <= config.members:
        raise ValueError(f"elites ({elites}) must be between 0 (all) and the number of members ({config.members})")
    ensemble = make_ensemble(environment, config)
    predicting = elites or config.members

    def init(key: Key) -> EnsembleModel:
        return EnsembleModel(ensemble.init(key), jnp.arange(predicting, dtype=jnp.int32))

    def fit(model: EnsembleModel, key: Key, steps: Remembered, valid: Array) -> tuple[EnsembleModel, Array]:
        state, report = ensemble.fit(model.ensemble, key, as_transitions(steps), jnp.sum(valid))
        best = jnp.argsort(report.held_out_error)[:predicting].astype(jnp.int32)
        return EnsembleModel(state, best), jnp.mean(report.held_out_error[best])

    def world(model: EnsembleModel) -> Environment:
        nowhere = jnp.zeros((1, *environment.observation_space.shape))
        return learned_environment(
            environment, ensemble, model.ensemble, nowhere, reward, termination, propagation, elites=model.elites
        )

    def after(model: EnsembleModel, key: Key, step: Remembered, member: Array) -> Imagined:
        return Imagined(step.successor, jnp.where(member == UNDECIDED, UNDECIDED, model.elites[member]))

    return DynamicsModel(init, fit, world, lambda step: imagine_from(step.observation), after, members=predicting)


def as_transitions(steps: Remembered) -> Transitions:
    """Remembered steps as a dataset."""
    return Transitions(
        steps.observation, steps.action, steps.reward, steps.terminated, steps.truncated, steps.successor
    )
