"""Deep deterministic policy gradient (Lillicrap et al., 2016) and, as fields of its Config, what became TD3.

Q-learning whose maximisation over actions is learned: a deterministic actor mu(s) climbs the critic,

    y = r + discount (1 - terminated) Q_target(s', mu_target(s')),    critic: minimise (Q(s, a) - y)^2 / 2
                                                                      actor:  maximise mean Q(s, mu(s))

over replayed transitions, while training acts by mu(s) plus noise. The actor's gradient passes through the critic and
never changes it; both targets follow slowly. What can be switched on, in any combination:

    critics, minimum      y takes the least of several critics: clipped double Q-learning (Fujimoto et al., 2018); with
                          `subset` that of some drawn at random (REDQ, Chen et al., 2021)
    policy_delay          actor and targets move once in so many updates of the critics
    target_noise          mu_target(s') + clip(noise) instead of mu_target(s'): target policy smoothing
    noise_reversion       Gaussian exploration noise (1) or that of an Ornstein-Uhlenbeck process (0.15)
    hindsight             a share of the transitions gets goals that were achieved later (Andrychowicz et al., 2017)
    n_step, sampling, critic_layer_norm, weight_decay, update_to_data, normalize_observations
    imagination           an argument of `make`: learn from what a model of the dynamics imagines as well (Dyna), or
                          look ahead in it (`mve`)

TD3 (Fujimoto et al., 2018) is two critics with the minimum, a delay of two and smoothed targets:
`purerl.algorithms.continuous_control.td3`.

Actions are scaled to [-1, 1], and so are all noises: 0.1 is a twentieth of the way from bound to bound.

Lillicrap, T. et al. (2016), "Continuous control with deep reinforcement learning". Silver, D. et al. (2014),
"Deterministic policy gradient algorithms".
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.algorithms.config import check_config, name_of
from purerl.algorithms.continuous_control.checks import (
    FRACTION,
    POSITIVE,
    check_critics,
    check_hindsight,
    check_interaction,
    require_bounded,
)
from purerl.experience import Batch, Sampling
from purerl.exploration import linear_schedule, ornstein_uhlenbeck
from purerl.interaction import InteractionState, interaction, what_acts
from purerl.models.imagination import Imagination
from purerl.networks.critics import critics
from purerl.networks.heads import Readout
from purerl.networks.torsos import Activation
from purerl.operators.continuous_control import critics_loss, minimum_value, smoothing_noise
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 1e-3
    """Step size of Adam for the actor, > 0."""
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
    """How far the targets move to what they follow, in [0, 1]."""
    critics: int = 1
    """Action values that learn side by side from the same targets."""
    minimum: bool = True
    """Targets take the least of the critics' values; else their mean."""
    subset: int = 0
    """The minimum is over so many critics, drawn anew for every update; 0 means all of them."""
    actor_climbs: Literal["first", "mean", "minimum"] = "first"
    """Which of the critics' values the actor maximises."""
    policy_delay: int = 1
    """Updates of the critics per update of the actor and of the targets; divides the updates of an iteration."""
    target_noise: float = 0.0
    """Deviation of the noise on the target's action, in [-1, 1] units of the action, >= 0."""
    target_noise_clip: float = 0.5
    """That noise is clipped to this magnitude, >= 0."""
    noise_start: float = 0.1
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
    """Updates of the critics, and the environment steps they are for: (1, 1) is one per step, (1, 8) one in eight."""
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
    hindsight: bool = False
    """Learn from goals that were achieved later in the episode; needs an environment with goals and n_step 1."""
    hindsight_fraction: float = 0.8
    """Share of the transitions that get such a goal, in [0, 1]: k / (k + 1) for k of them per original goal."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10."""
    widths: tuple[int, ...] = (256, 256)
    """Units of the actor's hidden layers."""
    critic_widths: tuple[int, ...] = (256, 256)
    """Units of every critic's hidden layers."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation of the actor."""
    critic_layer_norm: bool = False
    """LayerNorm before every activation of the critics."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    actor: Params
    critics: Params  # [K, ...]
    target_actor: Params
    target_critics: Params
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    interaction: InteractionState
    key: Key


def make(environment: Environment, config: Config, imagination: Imagination | None = None) -> Algorithm:
    """DDPG on `environment`, whose actions must be a vector between finite bounds, and perhaps in an imagination of it.

    Raises TypeError for other actions or a traced static field, ValueError for unbounded ones, a value out of range or
    sizes that do not go together.
    """
    check(config, environment)
    world = interaction(environment, config, config.hindsight_fraction if config.hindsight else None, imagination)
    size = world.environment.action_space.shape[0]
    actor_network = Readout(
        environment.observation_space, size, (), config.widths, config.activation, config.layer_norm
    )
    critic_network = critics(environment, config)
    actor_optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    critic_optimizer = clipped_adam(
        config.critic_learning_rate, config.adam_epsilon, config.max_gradient_norm, config.weight_decay
    )

    def mu(params: Params, observation: Array) -> Array:
        action: Any = actor_network.apply(params, observation)
        return jnp.tanh(action)

    def q(params: Params, observation: Array, action: Array) -> Array:
        """`[K, N]`."""
        values: Any = critic_network.apply(params, observation, action)
        return values

    def target_action(learner: State, observation: Array, key: Key) -> Array:
        """That of the target policy, smoothed by noise."""
        action = mu(learner.target_actor, observation)
        noise = smoothing_noise(jax.random.normal(key, action.shape), config.target_noise, config.target_noise_clip)
        return jnp.clip(action + noise, -1.0, 1.0)

    def next_values(learner: State, successor: Array, key: Key) -> Array:
        """Q_target,k at the target's action, `[K, N]`."""
        return q(learner.target_critics, successor, target_action(learner, successor, key))

    def target(learner: State, batch: Batch, key: Key) -> Array:
        noise_key, subset_key = jax.random.split(key)
        values = next_values(learner, batch.successor, noise_key)
        value = minimum_value(values, subset_key, config.subset) if config.minimum else jnp.mean(values, axis=0)
        return batch.reward + batch.discount * value

    def update_critics(learner: State, batch: Batch, key: Key, rate: Array) -> tuple[State, Array, Metrics]:
        y = target(learner, batch, key)

        def loss(params: Params) -> tuple[Array, Array]:
            values = q(params, batch.observation, batch.action)
            return critics_loss(values, y, batch.weight), values

        (error, values), gradients = jax.value_and_grad(loss, has_aux=True)(learner.critics)
        params, optimizer = descend(critic_optimizer, learner.critics, learner.critic_optimizer, gradients, rate)
        surprise = jnp.mean(jnp.abs(values - y), axis=0)
        learner = learner.replace(critics=params, critic_optimizer=optimizer)
        return learner, surprise, {"critic_loss": error, "q_value": jnp.mean(values)}

    def objective(params: Params, learner: State, observation: Array) -> Array:
        action = mu(params, observation)
        if config.actor_climbs == "first":
            first = critic_network.clone(members=1)
            values: Any = first.apply(jax.tree.map(lambda x: x[:1], learner.critics), observation, action)
        else:
            values = q(learner.critics, observation, action)
        combine = jnp.min if config.actor_climbs == "minimum" else jnp.mean
        return jnp.mean(combine(values, axis=0))

    def improve(learner: State, batch: Batch, key: Key, rate: Array) -> tuple[State, Metrics]:
        """One step of the actor up the critic, then the targets move."""
        value, gradients = jax.value_and_grad(objective)(learner.actor, learner, batch.observation)
        ascent = jax.tree.map(jnp.negative, gradients)
        actor, optimizer = descend(actor_optimizer, learner.actor, learner.actor_optimizer, ascent, rate)
        learner = learner.replace(
            actor=actor,
            actor_optimizer=optimizer,
            target_actor=optax.incremental_update(actor, learner.target_actor, config.target_rate),
            target_critics=optax.incremental_update(learner.critics, learner.target_critics, config.target_rate),
        )
        return learner, {"actor_value": value}

    def init(key: Key) -> State:
        actor_key, critic_key, interaction_key, key = jax.random.split(key, 4)
        state = world.init(interaction_key)
        observation = state.environments.observation
        actor = actor_network.init(actor_key, observation)
        action_values = critic_network.init(critic_key, observation, state.noise)
        return State(
            actor=actor,
            critics=action_values,
            target_actor=jax.tree.map(jnp.copy, actor),
            target_critics=jax.tree.map(jnp.copy, action_values),
            actor_optimizer=actor_optimizer.init(actor),
            critic_optimizer=critic_optimizer.init(action_values),
            interaction=state,
            key=key,
        )

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        collect_key, learn_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        deviation = linear_schedule(time.progress, config.noise_start, config.noise_end, config.exploration_fraction)

        def explore(key: Key, observation: Array, noise: Array) -> tuple[Array, Array]:
            noise = ornstein_uhlenbeck(noise, jax.random.normal(key, noise.shape), config.noise_reversion, deviation)
            return jnp.clip(mu(state.actor, observation) + noise, -1.0, 1.0), noise

        collected = world.collect(state.interaction, collect_key, time, explore)
        collected, learner, metrics = world.learn(
            collected,
            learn_key,
            time,
            state.replace(interaction=None),
            lambda learner, batch, key: update_critics(learner, batch, key, rate),
            lambda learner, batch, key: improve(learner, batch, key, rate),
            act=lambda learner, key, observation: target_action(learner, observation, key),
            targets=lambda learner, batch, key: (
                batch.reward + batch.discount * next_values(learner, batch.successor, key)
            ),
        )
        return learner.replace(interaction=collected), metrics

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, observation: Array) -> Array:
            action = mu(state.actor, observation)
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
        snapshot=lambda state: what_acts(state, "actor"),
        env_steps_per_iteration=world.block,
        env_steps_of_init=world.warm_up_steps,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(*POSITIVE, "exploration_fraction"),
        non_negative=(
            "weight_decay",
            "target_noise",
            "target_noise_clip",
            "noise_start",
            "noise_end",
            "subset",
            "warm_up_steps",
        ),
        fraction=(*FRACTION, "exploration_fraction", "noise_reversion", "hindsight_fraction"),
        infinite=("max_gradient_norm",),
    )
    require_bounded(config, environment)
    check_critics(config)
    check_interaction(config, environment)
    check_hindsight(config, environment)
