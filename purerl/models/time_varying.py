"""Time-varying linear models of the last episodes, to imagine in, and the controller that iLQR finds in them.

They know little beyond these episodes but need few of them (Levine and Abbeel, 2014; Gu et al., 2016).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from purerl.configuration import UsageError
from purerl.models.dynamics import DynamicsModel, Remembered, as_transitions
from purerl.models.ensemble import EnsembleConfig, make_ensemble
from purerl.models.learned_environment import Reward, Termination
from purerl.models.linear_gaussian import fit_linear_steps, fit_mixture
from purerl.operators import positive_definite
from purerl.planning.linear_quadratic import Linear
from purerl.planning.trajectory_optimization import ilqr
from purerl.types import Action, Array, Box, Environment, Key, Observation, Timestep

ROUNDING = 1e-5  # of the variance of what is predicted: less than this cannot be told from none


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
    components: int = 0,
    background: int = 20,
    strength: float | Array = 10.0,
) -> DynamicsModel:
    """`o_{t+1} ~ N(A_t o_t + B_t a_t + c_t, W_t)`, fitted to the steps of about the last `episodes` episodes.

    An imagined episode continues a real one, at its place in time, and stays where something was seen: observations
    are kept within the bounds of the data, widened by half of their range on each side. The reward is the known one, or
    that of a network (`reward_config`: an ensemble of which the reward is used alone).

    With `components` a mixture of so many Gaussians, fitted to the last `background` episodes, is the prior of every
    step, and counts as `strength` observations (`fit_mixture`); the reward is then fitted to these episodes as well.

    With `control_iterations` every fit is followed by so many recursions of iLQR from the mean of the first
    observations, along the mean of the actions at every step, and `control` acts by what it finds: the linear-Gaussian
    controller with covariance `temperature Q_uu^-1`, within [-1, 1] (iLQG; Gu et al., 2016).

    Raises TypeError for observations or actions that are not vectors, ValueError for fewer than one episode or a
    mixture of fewer than the models are of, or of more components than these have steps.
    """
    space, actions = environment.observation_space, environment.action_space
    if episodes < 1:
        raise ValueError(f"linear models need at least one episode to be fitted to, got {episodes}")
    if components and background < episodes:
        raise ValueError(
            f"the mixture must be fitted to at least the {episodes} episodes of the models, got {background} episodes"
        )
    if components > background * environment.max_steps:
        raise ValueError(f"a mixture of {components} components needs more steps than {background} episodes have")
    for what, box in (("observations", space), ("actions", actions)):
        if not isinstance(box, Box) or len(box.shape) != 1:
            raise UsageError(f"linear models are of vectors, but the {what} of {environment.name} are {box}")
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
        weight, mixture = valid.astype(jnp.float32), None
        if components:
            mixture = fit_mixture(key, steps.observation, steps.action, steps.successor, components, weight=weight)
        near, own = jax.tree.map(lambda x: x[: episodes * steps_of_episode], (steps, weight))  # the newest come first
        dynamics = fit_linear_steps(
            near.observation, near.action, near.successor, near.episode_step, steps_of_episode, window, prior, ridge,
            own, mixture, strength,
        )  # fmt: skip
        seen = valid[:, None]
        low = jnp.min(jnp.where(seen, steps.observation, jnp.inf), axis=0)
        high = jnp.max(jnp.where(seen, steps.observation, -jnp.inf), axis=0)
        known = None
        if network:
            known, _ = network.fit(model.reward, jax.random.fold_in(key, 1), as_transitions(steps), jnp.sum(valid))
        share = weight / jnp.sum(weight)
        variance = share @ jnp.square(steps.successor - share @ steps.successor)
        noise = root_of(dynamics.covariance, ROUNDING * variance)
        model = model.replace(dynamics=dynamics, noise=noise, low=low, high=high, reward=known)
        if control_iterations:
            found = feedback(dynamics, lambda *step: earned(model, *step), near, own, control_iterations, temperature)
            model = model.replace(controller=found)
        return model, unexplained(dynamics, near, own)

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
        newest=(background if components else episodes) * steps_of_episode,
        control=control if control_iterations else None,
    )


def unexplained(dynamics: Linear, steps: Remembered, weight: Array) -> Array:
    """The share of the variance of what changes that the dynamics of every step miss: 1 is everything."""
    at = jax.tree.map(lambda x: x[steps.episode_step], dynamics)
    change = steps.successor - steps.observation
    error = weight @ jnp.square(steps.successor - at.mean(steps.observation, steps.action))
    total = weight @ jnp.square(change - (weight @ change) / jnp.sum(weight))
    return jnp.mean(error / jnp.maximum(total, 1e-12))


def feedback(
    dynamics: Linear,
    reward: Reward,
    steps: Remembered,
    weight: Array,
    iterations: int,
    temperature: float | Array,
) -> Feedback:
    """What iLQR finds from the mean of the first observations, beginning with the mean of the actions at every step."""
    time, horizon = steps.episode_step, dynamics.offset.shape[0]

    def mean_at_every_step(values: Array) -> Array:
        """`[M, n]` to `[T, n]`."""
        total = jax.ops.segment_sum(weight[:, None] * values, time, num_segments=horizon)
        return total / jnp.maximum(jax.ops.segment_sum(weight, time, num_segments=horizon), 1.0)[:, None]

    def moved(x: Array, u: Array, t: Array) -> Array:
        return jax.tree.map(lambda matrix: matrix[t], dynamics).mean(x, u)

    found = ilqr(
        moved,
        lambda x, u, t: -reward(x, u, moved(x, u, t)),
        lambda x: jnp.zeros(()),
        mean_at_every_step(steps.observation)[0],
        mean_at_every_step(steps.action),
        iterations,
        low=-1.0,
        high=1.0,
        regularization=1.0,
    )
    return Feedback(found.states, found.actions, found.gain, jnp.sqrt(temperature) * root_of(found.covariance))


def root_of(covariance: Array, floor: float | Array = 0.0) -> Array:
    """S with `S S' = covariance` `[..., n, n]`; what has no variance above `floor` has none."""
    factor = positive_definite.factorize(covariance)
    return factor.lower * jnp.sqrt(jnp.where(factor.pivots > floor, factor.pivots, 0.0))[..., None, :]
