"""Soft Q-learning (Haarnoja et al., 2017): the maximum-entropy policy of a Q function, of whatever shape it has.

The best policy that is paid for entropy is pi(a | s) = exp((Q(s, a) - V(s)) / alpha), with as many peaks as Q has. The
critic learns Q with the soft value estimated from uniform actions, a sampler network learns to draw from pi:

    V(s) = alpha log E_uniform[exp(Q_target(s, a) / alpha) / q(a)]
    critic:  minimise (Q(s, a) - y)^2 / 2,  y = r + discount (1 - terminated) V(s')
    sampler: a = tanh f(s, xi), xi ~ N(0, 1): move f(s, xi) along Stein's direction towards exp(Q(s, .) / alpha)

The direction is taken before tanh, towards the density that f has to have for a to have pi's. SAC (Haarnoja et al.,
2018) replaced the sampler with a Gaussian, which has one peak. Acting greedily plays the best, by Q, of `particles`
draws.

Actions are scaled to [-1, 1] and must have finite bounds.

Haarnoja, T. et al. (2017), "Reinforcement learning with deep energy-based policies".
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.algorithms.config import check_config, name_of
from purerl.algorithms.continuous_control.checks import (
    FRACTION,
    POSITIVE,
    check_critics,
    check_interaction,
    require_bounded,
)
from purerl.experience import Batch, Sampling
from purerl.interaction import InteractionState, interaction, what_acts
from purerl.models.imagination import Imagination
from purerl.networks.critics import JointReadout, critics
from purerl.networks.torsos import Activation
from purerl.operators.continuous_control import critics_loss, minimum_value
from purerl.operators.soft_q import sampled_soft_value, stein_direction
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 1e-3
    """Step size of Adam for the sampler, > 0."""
    critic_learning_rate: float = 1e-3
    """Step size of Adam for the critics, > 0."""
    anneal_learning_rate: bool = False
    """Let both step sizes fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = float("inf")
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    weight_decay: float = 0.0
    """Weight of the critics' squared parameters (half of them) in their loss, >= 0."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    target_rate: float = 0.005
    """How far the targets move to the critics, in [0, 1]."""
    temperature: float = 0.2
    """Alpha, in units of reward per nat, > 0."""
    value_actions: int = 32
    """Uniform actions from which a soft value is estimated."""
    particles: int = 16
    """Draws per state that the sampler's update moves, and as many fixed ones that say whereto."""
    critics: int = 1
    """Action values that learn side by side from the same targets."""
    minimum: bool = True
    """Soft values, and the sampler, are of the least of the critics' values; else of their mean."""
    subset: int = 0
    """The minimum in targets is over so many critics, drawn anew for every update; 0 means all of them."""
    policy_delay: int = 1
    """Updates of the critics per update of the sampler and of the targets; divides the updates of an iteration."""
    num_envs: int = 1
    """Environments stepped side by side."""
    steps_per_iteration: int = 2
    """Steps of every environment per iteration."""
    update_to_data: tuple[int, int] = (1, 1)
    """Updates of the critics, and the environment steps they are for: (1, 1) is one per step, (1, 8) one in eight."""
    batch_size: int = 64
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
    widths: tuple[int, ...] = (128, 128)
    """Units of the sampler's hidden layers."""
    critic_widths: tuple[int, ...] = (128, 128)
    """Units of every critic's hidden layers."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation of the sampler."""
    critic_layer_norm: bool = False
    """LayerNorm before every activation of the critics."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    sampler: Params
    critics: Params  # [K, ...]
    target_critics: Params
    sampler_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    interaction: InteractionState
    key: Key


def make(environment: Environment, config: Config, imagination: Imagination | None = None) -> Algorithm:
    """Soft Q-learning on `environment`, whose actions must be a vector between finite bounds.

    Raises TypeError for other actions or a traced static field, ValueError for unbounded ones, a value out of range or
    sizes that do not go together.
    """
    check(config, environment)
    world = interaction(environment, config, imagination=imagination)
    size = world.environment.action_space.shape[0]
    sampler_network = JointReadout(
        environment.observation_space, config.widths, config.activation, config.layer_norm, (size,), scale=1.0
    )
    critic_network = critics(environment, config)
    sampler_optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    critic_optimizer = clipped_adam(
        config.critic_learning_rate, config.adam_epsilon, config.max_gradient_norm, config.weight_decay
    )

    def draw(params: Params, key: Key, observation: Array, number: int) -> Array:
        """f(s, xi) for `number` noises xi per state: `[number, N, A]` before tanh."""
        noise = jax.random.normal(key, (number, *observation.shape[: -len(environment.observation_space.shape)], size))
        f: Any = sampler_network.apply
        return jax.vmap(lambda xi: f(params, observation, xi))(noise)

    def q(params: Params, observation: Array, action: Array) -> Array:
        """`[K, ...]`."""
        values: Any = critic_network.apply(params, observation, action)
        return values

    def combined(values: Array, key: Key, subset: int) -> Array:
        return minimum_value(values, key, subset) if config.minimum else jnp.mean(values, axis=0)

    def soft_value(params: Params, observation: Array, key: Key) -> Array:
        action_key, subset_key = jax.random.split(key)
        actions = jax.random.uniform(
            action_key, (config.value_actions, observation.shape[0], size), minval=-1.0, maxval=1.0
        )
        values = jax.vmap(lambda action: q(params, observation, action), out_axes=1)(actions)  # [K, M, N]
        values = combined(values, subset_key, config.subset)
        return sampled_soft_value(values, config.temperature, -size * jnp.log(2.0))

    def update_critics(learner: State, batch: Batch, key: Key, rate: Array) -> tuple[State, Array, Metrics]:
        y = batch.reward + batch.discount * soft_value(learner.target_critics, batch.successor, key)

        def loss(params: Params) -> tuple[Array, Array]:
            values = q(params, batch.observation, batch.action)
            return critics_loss(values, y, batch.weight), values

        (error, values), gradients = jax.value_and_grad(loss, has_aux=True)(learner.critics)
        params, optimizer = descend(critic_optimizer, learner.critics, learner.critic_optimizer, gradients, rate)
        surprise = jnp.mean(jnp.abs(values - y), axis=0)
        learner = learner.replace(critics=params, critic_optimizer=optimizer)
        return learner, surprise, {"critic_loss": error, "q_value": jnp.mean(values)}

    def log_density(learner: State, observation: Array, u: Array) -> Array:
        """log pi of tanh(u) as a density of u, up to a constant, `[M, N]` for u `[M, N, A]`."""
        values = jax.vmap(lambda u: q(learner.critics, observation, jnp.tanh(u)), out_axes=1)(u)
        squashing = jnp.sum(2.0 * (jnp.log(2.0) - u - jax.nn.softplus(-2.0 * u)), axis=-1)
        return combined(values, learner.key, 0) / config.temperature + squashing

    def improve(learner: State, batch: Batch, key: Key, rate: Array) -> tuple[State, Metrics]:
        """Move the sampler's draws along Stein's direction, then the targets."""
        moved_key, fixed_key = jax.random.split(key)
        fixed = draw(learner.sampler, fixed_key, batch.observation, config.particles)
        score = jax.grad(lambda u: jnp.sum(log_density(learner, batch.observation, u)))(fixed)

        def loss(params: Params) -> Array:
            particles = draw(params, moved_key, batch.observation, config.particles)
            direction = jax.vmap(stein_direction, in_axes=1, out_axes=1)(particles, fixed, score)
            return -jnp.mean(jnp.sum(direction * particles, axis=-1))

        gradients = jax.grad(loss)(learner.sampler)
        sampler, optimizer = descend(sampler_optimizer, learner.sampler, learner.sampler_optimizer, gradients, rate)
        followed = optax.incremental_update(learner.critics, learner.target_critics, config.target_rate)
        spread = jnp.mean(jnp.std(jnp.tanh(fixed), axis=0))
        learner = learner.replace(sampler=sampler, sampler_optimizer=optimizer, target_critics=followed)
        return learner, {"action_deviation": spread}

    def init(key: Key) -> State:
        sampler_key, critic_key, interaction_key, key = jax.random.split(key, 4)
        state = world.init(interaction_key)
        observation = state.environments.observation
        sampler = sampler_network.init(sampler_key, observation, state.noise)
        action_values = critic_network.init(critic_key, observation, state.noise)
        return State(
            sampler=sampler,
            critics=action_values,
            target_critics=jax.tree.map(jnp.copy, action_values),
            sampler_optimizer=sampler_optimizer.init(sampler),
            critic_optimizer=critic_optimizer.init(action_values),
            interaction=state,
            key=key,
        )

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        collect_key, learn_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)

        def explore(key: Key, observation: Array, noise: Array) -> tuple[Array, Array]:
            return jnp.tanh(draw(state.sampler, key, observation, 1)[0]), noise

        collected = world.collect(state.interaction, collect_key, time, explore)
        collected, learner, metrics = world.learn(
            collected,
            learn_key,
            time,
            state.replace(interaction=None),
            lambda learner, batch, key: update_critics(learner, batch, key, rate),
            lambda learner, batch, key: improve(learner, batch, key, rate),
            act=lambda learner, key, observation: jnp.tanh(draw(learner.sampler, key, observation, 1)[0]),
        )
        return learner.replace(interaction=collected), metrics

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, observation: Array) -> Array:
            actions = jnp.tanh(draw(state.sampler, key, observation, config.particles if greedy else 1))
            if not greedy:
                return actions[0]
            values = jax.vmap(lambda action: jnp.mean(q(state.critics, observation, action)))(actions)
            return actions[jnp.argmax(values)]

        return world.policy(state.interaction, act)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=lambda state: what_acts(state, "sampler", "critics"),
        env_steps_per_iteration=world.block,
        env_steps_of_init=world.warm_up_steps,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(*POSITIVE, "temperature", "value_actions", "particles"),
        non_negative=("weight_decay", "subset", "warm_up_steps"),
        fraction=FRACTION,
        infinite=("max_gradient_norm",),
    )
    require_bounded(config, environment)
    check_critics(config)
    check_interaction(config, environment)
