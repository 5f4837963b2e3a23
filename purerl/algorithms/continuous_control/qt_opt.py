"""Q-learning with a search for the best action: CEM-Q, QT-Opt (Kalashnikov et al., 2018) and simpler searches.

There is no actor: wherever Q-learning needs `argmax_a Q(s, a)`, a search over actions finds it, for acting as for the
targets. Three sets of parameters: those that learn, theta; `average`, which follows them slowly and acts; and `lagged`,
what the average was a while ago. With `target = "clipped"`,

    y = r + discount (1 - terminated) min(Q_average(s', a*), Q_lagged(s', a*)),    a* = argmax_a Q_average(s', a)
                                                                                  minimise (Q_theta(s, a) - y)^2 / 2

which is clipped double Q-learning between an action value and its own past. "double" takes `Q_average(s', a*)` at the
best action of Q_theta (as double DQN does), "plain" at that of Q_average itself. `maximizer` chooses the search
(`purerl.operators.maximization`):

    uniform         the best of uniform samples
    gaussian        the best of samples of a Gaussian around 0, clipped to the bounds
    cross_entropy   the cross-entropy method: a Gaussian fitted to the best samples, again and again
    gradient        gradient ascent on the action from uniform samples

The lag is kept without a counter: whenever the run crosses a multiple of `lag_period` environment steps, the lagged
parameters become what the average is then. So their age goes from 0 to that period, half of it on average, where the
paper's is constant; only parameters are copied, and all vmapped agents do so at once.

The paper's rewards are 0 and 1 and its loss a cross-entropy; here rewards are any and the loss is squared. Actions are
scaled to [-1, 1], and so are all deviations: 0.1 is a twentieth of the way from bound to bound.

Kalashnikov, D. et al. (2018), "QT-Opt: scalable deep reinforcement learning for vision-based robotic manipulation".
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
from purerl.networks.critics import JointReadout
from purerl.networks.torsos import Activation
from purerl.operators.continuous_control import critics_loss
from purerl.operators.maximization import (
    Values,
    cross_entropy_search,
    gaussian_search,
    gradient_search,
    uniform_search,
)
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
    """How far the average moves to what it follows at every update, in [0, 1]."""
    target: Literal["clipped", "double", "plain"] = "clipped"
    """How targets are bootstrapped: the lesser of average and lagged, double Q-learning, or the average's maximum."""
    lag_period: int = 1000
    """The lagged parameters become the average's once in so many environment steps."""
    maximizer: Literal["uniform", "gaussian", "cross_entropy", "gradient"] = "cross_entropy"
    """How the best action is searched for."""
    samples: int = 64
    """Actions tried at once, in every iteration of a search; of "gradient" its starts."""
    elites: int = 6
    """Of those, how many a Gaussian is fitted to; "cross_entropy" only."""
    search_iterations: int = 2
    """Iterations of "cross_entropy", steps of "gradient"."""
    search_deviation: float = 1.0
    """Deviation of the first samples of "gaussian" and "cross_entropy", in [-1, 1] units of the action, > 0."""
    deviation_floor: float = 0.05
    """The fitted deviation is never below this, >= 0; "cross_entropy" only."""
    search_step_size: float = 0.3
    """Length of the first step of "gradient", > 0; the others shrink linearly to 0."""
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
    """Units of the hidden layers."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""

    policy_delay: ClassVar[int] = 1  # the average moves at every update


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    average: Params
    lagged: Params
    optimizer: optax.OptState
    interaction: InteractionState
    key: Key


def make(environment: Environment, config: Config, imagination: Imagination | None = None) -> Algorithm:
    """Q-learning by search on `environment`, whose actions must be a vector between finite bounds.

    Raises TypeError for other actions or a traced static field, ValueError for unbounded ones, a value out of range or
    sizes that do not go together.
    """
    check(config, environment)
    world = interaction(environment, config, imagination=imagination)
    size = world.environment.action_space.shape[0]
    network = JointReadout(environment.observation_space, config.widths, config.activation, config.layer_norm)
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)

    def q(params: Params, observation: Array, action: Array) -> Array:
        values: Any = network.apply(params, observation, action)
        return values

    def best_action(params: Params, observation: Array, key: Key) -> Array:
        """argmax_a Q(s, a) of one observation, as far as the search finds it, `[A]`."""

        def values(actions: Array) -> Array:
            return q(params, jnp.broadcast_to(observation, (len(actions), *observation.shape)), actions)

        return search(config, key, values, size)

    def best_actions(params: Params, observation: Array, key: Key) -> Array:
        """The same for every observation of a batch, `[N, A]`."""
        keys = jax.random.split(key, len(observation))
        return jax.vmap(best_action, in_axes=(None, 0, 0))(params, observation, keys)

    def bootstrap(learner: State, observation: Array, key: Key) -> Array:
        """The value of a successor, by the rule that `target` names, `[N]`."""
        action = best_actions(learner.params if config.target == "double" else learner.average, observation, key)
        value = q(learner.average, observation, action)
        return jnp.minimum(value, q(learner.lagged, observation, action)) if config.target == "clipped" else value

    def update(learner: State, batch: Batch, key: Key, rate: Array) -> tuple[State, Array, Metrics]:
        y = batch.reward + batch.discount * bootstrap(learner, batch.successor, key)

        def loss(params: Params) -> tuple[Array, Array]:
            value = q(params, batch.observation, batch.action)
            return critics_loss(value[None], y, batch.weight), value

        (error, value), gradients = jax.value_and_grad(loss, has_aux=True)(learner.params)
        params, state = descend(optimizer, learner.params, learner.optimizer, gradients, rate)
        learner = learner.replace(params=params, optimizer=state)
        return learner, jnp.abs(value - y), {"critic_loss": error, "q_value": jnp.mean(value)}

    def follow(learner: State, batch: Batch, key: Key) -> tuple[State, Metrics]:
        return learner.replace(
            average=optax.incremental_update(learner.params, learner.average, config.target_rate)
        ), {}

    def init(key: Key) -> State:
        network_key, interaction_key, key = jax.random.split(key, 3)
        state = world.init(interaction_key)
        params = network.init(network_key, state.environments.observation, state.noise)
        return State(
            params=params,
            average=jax.tree.map(jnp.copy, params),
            lagged=jax.tree.map(jnp.copy, params),
            optimizer=optimizer.init(params),
            interaction=state,
            key=key,
        )

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        collect_key, learn_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        deviation = linear_schedule(time.progress, config.noise_start, config.noise_end, config.exploration_fraction)

        def explore(key: Key, observation: Array, noise: Array) -> tuple[Array, Array]:
            search_key, noise_key = jax.random.split(key)
            draw = jax.random.normal(noise_key, noise.shape)
            noise = ornstein_uhlenbeck(noise, draw, config.noise_reversion, deviation)
            return jnp.clip(best_actions(state.average, observation, search_key) + noise, -1.0, 1.0), noise

        collected = world.collect(state.interaction, collect_key, time, explore)
        collected, learner, metrics = world.learn(
            collected,
            learn_key,
            time,
            state.replace(interaction=None),
            lambda learner, batch, key: update(learner, batch, key, rate),
            follow,
            act=lambda learner, key, observation: best_actions(learner.average, observation, key),
        )
        renewed = time.crosses(config.lag_period, world.block)
        lagged = jax.tree.map(lambda new, old: jnp.where(renewed, new, old), learner.average, learner.lagged)
        return learner.replace(lagged=lagged, interaction=collected), metrics

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, observation: Array) -> Array:
            search_key, noise_key = jax.random.split(key)
            action = best_action(state.average, observation, search_key)
            if greedy:
                return action
            memory = config.noise_reversion * (2.0 - config.noise_reversion)  # of the noise, in the long run
            deviation = config.noise_end / jnp.sqrt(jnp.maximum(memory, 1e-6))
            return jnp.clip(action + deviation * jax.random.normal(noise_key, action.shape), -1.0, 1.0)

        return world.policy(state.interaction, act)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=lambda state: what_acts(state, "average"),
        env_steps_per_iteration=world.block,
        env_steps_of_init=world.warm_up_steps,
    )


def search(config: Config, key: Key, values: Values, size: int) -> Array:
    """The best action `[A]` in [-1, 1] by the search that the fields describe; `size` is A."""
    if config.maximizer == "uniform":
        return uniform_search(key, values, size, config.samples)
    if config.maximizer == "gaussian":
        return gaussian_search(key, values, size, config.samples, config.search_deviation)
    if config.maximizer == "gradient":
        return gradient_search(key, values, size, config.samples, config.search_iterations, config.search_step_size)
    return cross_entropy_search(
        key,
        values,
        size,
        config.samples,
        config.elites,
        config.search_iterations,
        config.search_deviation,
        config.deviation_floor,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            *(name for name in POSITIVE if hasattr(config, name)),
            "exploration_fraction",
            "lag_period",
            "samples",
            "elites",
            "search_iterations",
            "search_deviation",
            "search_step_size",
        ),
        non_negative=("deviation_floor", "noise_start", "noise_end", "warm_up_steps"),
        fraction=(*FRACTION, "exploration_fraction", "noise_reversion"),
        infinite=("max_gradient_norm",),
    )
    if config.maximizer == "cross_entropy" and config.elites > config.samples:
        raise ValueError(f"{name_of(config)}: elites ({config.elites}) must not exceed samples ({config.samples})")
    require_bounded(config, environment)
    check_interaction(config, environment)
