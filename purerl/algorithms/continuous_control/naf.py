"""Normalised advantage functions (Gu et al., 2016): Q-learning whose maximum over actions is known in closed form.

One network gives a value, an action and a curvature of every state, which make an action value quadratic in the action,

    Q(s, a) = V(s) - (a - mu(s))^T P(s) (a - mu(s)) / 2,    P = L L^T,  L lower triangular, its diagonal exponentiated

so that max_a Q(s, a) = V(s), at a = mu(s). It is regressed on replayed transitions, with a target network that follows
slowly,

    y = r + discount (1 - terminated) V_target(s'),    minimise (Q(s, a) - y)^2 / 2

and acts by mu(s) plus noise. There is no actor to train, but Q can have one peak only; where the problem is linear with
quadratic costs it is exact. With several updates per step it is the paper's baseline (`update_to_data = (5, 1)`).

    bounded_mean          mu through a tanh, or anywhere: then V is the maximum over all actions, also those that the
                          environment clips
    noise_reversion       Gaussian exploration noise (1) or that of an Ornstein-Uhlenbeck process (0.15)
    n_step, sampling, layer_norm, update_to_data, normalize_observations
    imagination           an argument of `make`: learn from what a model of the dynamics imagines as well (`mba`)

Actions are scaled to [-1, 1], and so are all noises: 0.1 is a twentieth of the way from bound to bound.

Gu, S. et al. (2016), "Continuous deep Q-learning with model-based acceleration".
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.algorithms.config import check_config, name_of
from purerl.algorithms.continuous_control.checks import FRACTION, POSITIVE, check_interaction, require_bounded
from purerl.experience import Batch, Sampling
from purerl.exploration import linear_schedule, ornstein_uhlenbeck
from purerl.interaction import InteractionState, interaction, what_acts
from purerl.models.imagination import Imagination
from purerl.networks.naf import QuadraticNetwork, QuadraticValues
from purerl.networks.torsos import Activation
from purerl.operators.continuous_control import critics_loss
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 1e-3
    """Step size of Adam, > 0."""
    anneal_learning_rate: bool = False
    """Let the step size fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = float("inf")
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    target_rate: float = 0.005
    """How far the target moves to what it follows at every update, in [0, 1]."""
    initial_value: float = 0.0
    """V(s) before learning, about: below the true values mu is stable, above them it runs away from what was tried."""
    bounded_mean: bool = True
    """mu(s) through a tanh; else it may lie anywhere, and what acts is clipped."""
    noise_start: float = 0.3
    """Deviation of the exploration noise's increments at the beginning, in [-1, 1] units of the action, >= 0."""
    noise_end: float = 0.1
    """The same at the end, >= 0."""
    exploration_fraction: float = 1.0
    """Share of the run over which it moves from start to end, in (0, 1]."""
    noise_reversion: float = 1.0
    """Share of the noise that is forgotten at every step, in [0, 1]: 1 is Gaussian, 0.15 Ornstein-Uhlenbeck."""
    num_envs: int = 1
    """Environments stepped side by side."""
    steps_per_iteration: int = 2
    """Steps of every environment per iteration."""
    update_to_data: tuple[int, int] = (1, 1)
    """Updates, and the environment steps they are for: (1, 1) is one per step, (1, 8) one in eight."""
    batch_size: int = 256
    """Transitions per update."""
    replay_capacity: int = 1_000_000
    """Steps remembered; a multiple of num_envs x steps_per_iteration."""
    warm_up_steps: int = 1000
    """Environment steps of uniform actions before learning."""
    n_step: int = 1
    """Steps of reward before the bootstrap."""
    sampling: Sampling = "uniform"
    """How transitions are drawn: uniformly, by priority, or by the rank of their priority."""
    priority_exponent: float = 0.6
    """Alpha of prioritised sampling, in [0, 1]: 0 is uniform."""
    priority_epsilon: float = 1e-6
    """Added to a priority, > 0, so that no transition is never drawn."""
    importance_start: float = 0.4
    """Beta of the weights that correct prioritised sampling at the beginning, in [0, 1]; 1 at the end."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10."""
    widths: tuple[int, ...] = (256, 256)
    """Units of the hidden layers; () makes V, mu and the entries of L linear in the observation."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""

    policy_delay: ClassVar[int] = 1  # the target moves at every update


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    target_params: Params
    optimizer: optax.OptState
    interaction: InteractionState
    key: Key


def make(environment: Environment, config: Config, imagination: Imagination | None = None) -> Algorithm:
    """NAF on `environment`, whose actions must be a vector between finite bounds, and perhaps in an imagination of it.

    Raises TypeError for other actions or a traced static field, ValueError for unbounded ones, a value out of range or
    sizes that do not go together.
    """
    check(config, environment)
    world = interaction(environment, config, imagination=imagination)
    network = quadratic_network(environment, config)
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)

    def quadratic(params: Params, observation: Array) -> QuadraticValues:
        values: Any = network.apply(params, observation)
        return values

    def mu(params: Params, observation: Array) -> Array:
        return quadratic(params, observation).mean

    def target(learner: State, batch: Batch) -> Array:
        return batch.reward + batch.discount * quadratic(learner.target_params, batch.successor).value

    def update(learner: State, batch: Batch, key: Key, rate: Array) -> tuple[State, Array, Metrics]:
        y = target(learner, batch)

        def loss(params: Params) -> tuple[Array, Array]:
            value = quadratic(params, batch.observation).at(batch.action)
            return critics_loss(value[None], y, batch.weight), value

        (error, value), gradients = jax.value_and_grad(loss, has_aux=True)(learner.params)
        params, state = descend(optimizer, learner.params, learner.optimizer, gradients, rate)
        learner = learner.replace(params=params, optimizer=state)
        return learner, jnp.abs(value - y), {"critic_loss": error, "q_value": jnp.mean(value)}

    def follow(learner: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        moved = optax.incremental_update(learner.params, learner.target_params, config.target_rate)
        return learner.replace(target_params=moved), {}

    def init(key: Key) -> State:
        network_key, interaction_key, key = jax.random.split(key, 3)
        state = world.init(interaction_key)
        params = network.init(network_key, state.environments.observation)
        return State(
            params=params,
            target_params=jax.tree.map(jnp.copy, params),
            optimizer=optimizer.init(params),
            interaction=state,
            key=key,
        )

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        collect_key, learn_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        deviation = linear_schedule(time.progress, config.noise_start, config.noise_end, config.exploration_fraction)

        def explore(key: Key, observation: Array, noise: Array) -> tuple[Array, Array]:
            noise = ornstein_uhlenbeck(noise, jax.random.normal(key, noise.shape), config.noise_reversion, deviation)
            return jnp.clip(mu(state.params, observation) + noise, -1.0, 1.0), noise

        collected = world.collect(state.interaction, collect_key, time, explore)
        collected, learner, metrics = world.learn(
            collected,
            learn_key,
            time,
            state.replace(interaction=None),
            lambda learner, batch, key: update(learner, batch, key, rate),
            follow,
            act=lambda learner, key, observation: mu(learner.params, observation),
            targets=lambda learner, batch, key: target(learner, batch)[None],
        )
        return learner.replace(interaction=collected), metrics

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, observation: Array) -> Array:
            action = mu(state.params, observation)
            if greedy:
                return action
            memory = config.noise_reversion * (2.0 - config.noise_reversion)  # of the noise, in the long run
            deviation = config.noise_end / jnp.sqrt(jnp.maximum(memory, 1e-6))
            return jnp.clip(action + deviation * jax.random.normal(key, action.shape), -1.0, 1.0)

        return world.policy(state.interaction, act)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=lambda state: what_acts(state, "params"),
        env_steps_per_iteration=world.block,
        env_steps_of_init=world.warm_up_steps,
    )


def quadratic_network(environment: Environment, config: Config) -> QuadraticNetwork:
    """The network of V, mu and L on `environment`, for actions in [-1, 1]."""
    return QuadraticNetwork(
        environment.observation_space,
        environment.action_space.shape[0],
        config.widths,
        config.activation,
        config.layer_norm,
        config.bounded_mean,
        config.initial_value,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(*(name for name in POSITIVE if hasattr(config, name)), "exploration_fraction"),
        non_negative=("noise_start", "noise_end", "warm_up_steps"),
        fraction=(*FRACTION, "exploration_fraction", "noise_reversion"),
        infinite=("max_gradient_norm",),
    )
    require_bounded(config, environment)
    check_interaction(config, environment)
