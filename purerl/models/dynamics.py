"""Models of dynamics as the learners that imagine see them: what is fitted to what is remembered, and is a world then.

Three of them: the environment itself (`true_dynamics`, to see what a perfect model would be worth), a bootstrap
ensemble of networks (`ensemble_dynamics`), and time-varying linear models of the last episodes (`linear_dynamics`;
Levine and Abbeel, 2014), which know little beyond these but need few of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
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
from purerl.models.linear_gaussian import fit_linear_steps
from purerl.operators import positive_definite
from purerl.planning.linear_quadratic import Linear
from purerl.planning.trajectory_optimization import ilqr
from purerl.types import Action, Array, Box, Environment, EnvState, Key, Observation, Timestep

ModelState = Any
ROUNDING = 1e-5  # of the variance of what is predicted: less than this cannot be told from none
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


class LinearModel(struct.PyTreeNode):
    """Time-varying linear dynamics, where they are known to hold, and the network that knows the reward."""

    dynamics: Linear  # [T, ...]
    noise: Array  # [T, O, O]: the root of its covariance
    low: Array  # [O]: observations that were seen lie between these bounds
    high: Array
    reward: Any  # an EnsembleState, or None where the reward is known
    controller: Any  # the `Feedback` that iLQR finds in it, or None


class Feedback(NamedTuple):
    """A maximum-entropy controller around a trajectory: `u ~ N(u_t + K_t (o - o_t), S_t S_t')`."""

    states: Array  # [T + 1, O]
    actions: Array  # [T, A]
    gain: Array  # [T, A, O]
    root: Array  # [T, A, A], S


class At(NamedTuple):
    """Where an episode that is imagined by a time-varying model is."""

    observation: Observation
    time: Array  # int32, steps since the episode began


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


def linear_dynamics(
    environment: Environment,
    episodes: int = 5,
    window: int = 2,
    prior: float | Array = 0.3,
    ridge: float | Array = 1e-4,
    reward: Reward | None = None,
    termination: Termination | None = None,
    reward_config: EnsembleConfig | None = None,
    control_iterations: int = 0,
    temperature: float | Array = 1.0,
) -> DynamicsModel:
    """`o_{t+1} ~ N(A_t o_t + B_t a_t + c_t, W_t)`, fitted to the steps of about the last `episodes` episodes.

    An imagined episode continues a real one, at its place in time, and stays where something was seen: observations
    are kept within the bounds of the data, widened by half of their range on each side. The reward is the known one, or
    that of a network (`reward_config`: an ensemble of which the reward is used alone).

    With `control_iterations` every fit is followed by so many recursions of iLQR from the mean of the first
    observations, along the mean of the actions at every step, and `control` acts by what it finds: the linear-Gaussian
    controller with covariance `temperature Q_uu^-1`, within [-1, 1] (iLQG; Gu et al., 2016).

    Raises TypeError for observations or actions that are not vectors, ValueError for fewer than one episode.
    """
    space, actions = environment.observation_space, environment.action_space
    if episodes < 1:
        raise ValueError(f"linear models need at least one episode to be fitted to, got {episodes}")
    for what, box in (("observations", space), ("actions", actions)):
        if not isinstance(box, Box) or len(box.shape) != 1:
            raise TypeError(f"linear models are of vectors, but the {what} of {environment.name} are {box}")
    config = reward_config or EnsembleConfig(members=1, widths=(64, 64), probabilistic=False)
    network = make_ensemble(environment, config) if reward is None else None
    steps_of_episode = environment.max_steps

    def init(key: Key) -> LinearModel:
        size, controls = space.shape[0], actions.shape[0]
        dynamics = Linear(
            jnp.tile(jnp.eye(size), (steps_of_episode, 1, 1)),
            jnp.zeros((steps_of_episode, size, controls)),
            jnp.zeros((steps_of_episode, size)),
            jnp.zeros((steps_of_episode, size, size)),
        )
        bound = jnp.zeros(size)
        nothing = Feedback(
            jnp.zeros((steps_of_episode + 1, size)),
            jnp.zeros((steps_of_episode, controls)),
            jnp.zeros((steps_of_episode, controls, size)),
            jnp.zeros((steps_of_episode, controls, controls)),
        )
        return LinearModel(
            dynamics,
            noise=dynamics.covariance,
            low=bound,
            high=bound,
            reward=network.init(key) if network else None,
            controller=nothing if control_iterations else None,
        )

    def fit(model: LinearModel, key: Key, steps: Remembered, valid: Array) -> tuple[LinearModel, Array]:
        weight = valid.astype(jnp.float32)
        dynamics = fit_linear_steps(
            steps.observation, steps.action, steps.successor, steps.episode_step, steps_of_episode, window, prior,
            ridge, weight,
        )  # fmt: skip
        seen = valid[:, None]
        low = jnp.min(jnp.where(seen, steps.observation, jnp.inf), axis=0)
        high = jnp.max(jnp.where(seen, steps.observation, -jnp.inf), axis=0)
        at = jax.tree.map(lambda x: x[steps.episode_step], dynamics)
        change = steps.successor - steps.observation
        error = weight @ jnp.square(steps.successor - at.mean(steps.observation, steps.action))
        total = weight @ jnp.square(change - (weight @ change) / jnp.sum(weight))
        known = network.fit(model.reward, key, as_transitions(steps), jnp.sum(valid))[0] if network else None
        share = weight / jnp.sum(weight)
        variance = share @ jnp.square(steps.successor - share @ steps.successor)
        noise = root_of(dynamics.covariance, ROUNDING * variance)
        model = model.replace(dynamics=dynamics, noise=noise, low=low, high=high, reward=known)
        if control_iterations:
            model = model.replace(controller=controller(model, steps, weight))
        return model, jnp.mean(error / jnp.maximum(total, 1e-12))

    def controller(model: LinearModel, steps: Remembered, weight: Array) -> Feedback:
        def mean_at(values: Array, time: Array) -> Array:
            """Of the rows at every step of an episode, `[T, ...]`."""
            total = jax.ops.segment_sum(weight[:, None] * values, time, num_segments=steps_of_episode)
            count = jax.ops.segment_sum(weight, time, num_segments=steps_of_episode)
            return total / jnp.maximum(count, 1.0)[:, None]

        def dynamics(x: Array, u: Array, t: Array) -> Array:
            return jax.tree.map(lambda x: x[t], model.dynamics).mean(x, u)

        def cost(x: Array, u: Array, t: Array) -> Array:
            return -earned(model, x, u, dynamics(x, u, t))

        first = mean_at(steps.observation, steps.episode_step)[0]
        actions = mean_at(steps.action, steps.episode_step)
        found = ilqr(
            dynamics, cost, lambda x: jnp.zeros(()), first, actions, control_iterations, low=-1.0, high=1.0,
            regularization=1.0,
        )  # fmt: skip
        return Feedback(found.states, found.actions, found.gain, jnp.sqrt(temperature) * root_of(found.covariance))

    def control(model: LinearModel, key: Key, observation: Observation, time: Array) -> Action:
        here = jnp.minimum(time, steps_of_episode - 1)
        states, nominal, gain, root = jax.tree.map(lambda x: x[here], model.controller)
        action = nominal + gain @ (observation - states) + root @ jax.random.normal(key, nominal.shape)
        return jnp.clip(jnp.where(jnp.isfinite(action), action, 0.0), -1.0, 1.0)

    def earned(model: LinearModel, observation: Observation, action: Action, successor: Observation) -> Array:
        if network is None:
            assert reward is not None
            return reward(observation, action, successor)
        return network.predict_member(model.reward, jnp.zeros((), jnp.int32), observation, action).mean[-1]

    def world(model: LinearModel) -> Environment:
        margin = 0.5 * (model.high - model.low)

        def step(key: Key, state: At, action: Action) -> tuple[At, Timestep]:
            observation, time = state
            last = jnp.minimum(time, steps_of_episode - 1)
            here, noise = jax.tree.map(lambda x: x[last], (model.dynamics, model.noise))
            successor = here.mean(observation, action) + noise @ jax.random.normal(key, observation.shape)
            successor = jnp.clip(successor, model.low - margin, model.high + margin)
            ended = jnp.zeros((), bool)
            if termination is not None:
                ended = termination(observation, action, successor)
            after = At(successor, time + 1)
            no = jnp.zeros((), bool)
            return after, Timestep(successor, earned(model, observation, action, successor), ended, no, {})

        def reset(key: Key) -> tuple[At, Observation]:
            first = (model.low + model.high) / 2
            return At(first, jnp.zeros((), jnp.int32)), first

        return environment._replace(
            name=f"linear model of {environment.name}", reset=reset, step=step, render=None, goals=None
        )

    def after(model: LinearModel, key: Key, step: Remembered, member: Array) -> At:
        return At(step.successor, step.episode_step + 1)

    return DynamicsModel(
        init,
        fit,
        world,
        before=lambda step: At(step.observation, step.episode_step),
        after=after,
        newest=episodes * steps_of_episode,
        control=control if control_iterations else None,
    )


def root_of(covariance: Array, floor: float | Array = 0.0) -> Array:
    """S with `S S' = covariance` `[..., n, n]`; what has no variance above `floor` has none."""
    factor = positive_definite.factorize(covariance)
    return factor.lower * jnp.sqrt(jnp.where(factor.pivots > floor, factor.pivots, 0.0))[..., None, :]


def as_transitions(steps: Remembered) -> Transitions:
    """Remembered steps as a dataset."""
    return Transitions(
        steps.observation, steps.action, steps.reward, steps.terminated, steps.truncated, steps.successor
    )
