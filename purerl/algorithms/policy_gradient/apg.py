"""Analytic policy gradients: differentiate the return through the simulator (Freeman et al., 2021; Xu et al., 2022).

The dynamics s' = f(s, a) and the reward r(s, a) of a simulator written in JAX have derivatives. Continue `num_envs`
episodes for a short window of h steps with actions a = pi(s, noise), and climb the gradient of what they earn, chained
through every step, where a learned value V of the state at the window's end stands for all that comes later:

    maximise  mean sum_{t < h} discount^t r(s_t, a_t) + discount^h V(s_h),     s_{t+1} = f(s_t, a_t)

The state that a window starts from is a constant: nothing flows back over its border, which keeps the products of
Jacobians short. An episode that ends inside ends its sum; the next one starts a new sum from a state that no parameter
moved. A time limit is no end of the world: V of the true successor closes the sum there as well. V is regressed on
TD(lambda) targets. Without `bootstrap` there is no V: the window is all that counts, as in brax's APG.

*Where* an episode ends has no derivative, and neither has a reward for being alive or for reaching a goal: what a fall
costs is known to the gradient through V alone. Smooth rewards without ends (Pendulum) are where this method shines.

Freeman, C. D. et al. (2021), "Brax - a differentiable physics engine for large scale rigid body simulation". Xu, J. et
al. (2022), "Accelerated policy learning with parallel differentiable simulation" (SHAC).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, name_of, require_continuous, require_real_observations
from purerl.devices import split
from purerl.environments.differentiable import already_stepped, pass_back, require_derivatives
from purerl.environments.vectorize import VectorState, vectorize
from purerl.environments.wrappers import Wrapped, rescale_actions, unscale_action
from purerl.networks.heads import Readout
from purerl.networks.torsos import Activation
from purerl.normalization import RunningStatistics, init_statistics, normalize, update_statistics
from purerl.operators.policy_gradient import value_loss
from purerl.operators.returns import generalized_advantage, window_return
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.types import (
    Action,
    Algorithm,
    Array,
    Environment,
    EnvState,
    Key,
    Metrics,
    Observation,
    Policy,
    Time,
    Timestep,
)

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 2e-3
    """Step size of the policy's Adam, > 0."""
    critic_learning_rate: float = 2e-3
    """Step size of the value's Adam, > 0."""
    anneal_learning_rate: bool = True
    """Let both step sizes fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-5
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = 1.0
    """Gradients of policy and value are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    reward_scale: float = 1.0
    """What rewards are multiplied by before anything is learned from them, > 0."""
    noise_deviation: float = 0.3
    """Deviation of the noise added to an action before it is squashed to its range, >= 0; 0 acts greedily."""
    state_gradient_decay: float = 1.0
    """What flows back from a state to the step before is multiplied by this, in [0, 1]; 0 looks one step ahead."""
    bootstrap: bool = True
    """Learn a value of the state at the window's end (SHAC); without it nothing counts after the window."""
    trace_decay: float = 0.95
    """Lambda of the value's targets, in [0, 1]: 0 trusts the value, 1 the returns."""
    target_rate: float = 0.8
    """How far the target value moves to the learned one per iteration, in [0, 1]."""
    critic_updates: int = 16
    """Gradient steps of the value per iteration."""
    critic_batch_size: int = 256
    """Steps of the window that each of them draws."""
    num_envs: int = 64
    """Environments stepped side by side."""
    horizon: int = 32
    """Steps of every environment per iteration: the length of the window."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10."""
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers (after the convolution, for images), of policy and value each."""
    activation: Activation = "elu"
    """Nonlinearity after every hidden layer; a smooth one has useful derivatives."""
    layer_norm: bool = False
    """LayerNorm before every activation."""


class Window(NamedTuple):
    """What a simulated window leaves behind, `[T, B, ...]`; observations are as the networks see them."""

    observation: Array
    reward: Array
    terminated: Array
    truncated: Array
    successor: Array
    raw_observation: Observation


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    actor: Params
    critic: Params  # idle without `bootstrap`, like the next two
    target_critic: Params
    critic_optimizer: optax.OptState
    actor_optimizer: optax.OptState
    environments: VectorState
    observation_statistics: RunningStatistics
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """Analytic policy gradients on `environment`, with a vector of continuous actions.

    The policy acts in [-1, 1] by tanh and is rescaled to the bounds of the actions; coordinates without two finite
    bounds are not squashed. `policy` gives the actions that `environment` itself expects.

    Raises TypeError for discrete actions, an environment whose steps have no derivative in the action or a traced
    static field, ValueError for a value out of range.
    """
    check(config, environment)
    simulator = rescale_actions(environment)
    require_derivatives("apg", simulator)
    environments = vectorize(already_stepped(simulator), config.num_envs)
    space = require_continuous("apg", simulator)
    architecture = (config.widths, config.activation, config.layer_norm)
    actor = Readout(environment.observation_space, space.shape[0], (), *architecture)
    critic = Readout(environment.observation_space, 1, (), *architecture, scale=1.0)
    actor_optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    critic_optimizer = clipped_adam(config.critic_learning_rate, config.adam_epsilon, config.max_gradient_norm)
    batch_size = config.num_envs * config.horizon

    def prepare(statistics: RunningStatistics, observation: Observation) -> Array:
        return normalize(statistics, observation) if config.normalize_observations else observation

    def act(params: Params, observation: Array, noise: Array | float) -> Action:
        """a = tanh(mean + deviation noise) where the action is bounded, in units of the bounds."""
        action: Any = actor.apply(params, observation)
        action = action + config.noise_deviation * noise
        return jnp.where(jnp.isfinite(space.low) & jnp.isfinite(space.high), jnp.tanh(action), action)

    def value(params: Params, observation: Array) -> Array:
        values: Any = critic.apply(params, observation)
        return jnp.squeeze(values, -1)

    def advance(key: Key, state: EnvState, action: Action) -> tuple[EnvState, Timestep]:
        """One step of one environment; a derivative that is not finite ends its chain here."""
        return simulator.step(key, state, pass_back(action, jnp.ones(())))

    def land(key: Key, states: VectorState, after: EnvState, timestep: Timestep, action: Action) -> VectorState:
        """Count episodes and reset what is done, by `vectorize`, whose loop over resets has no derivative."""
        arrived = states.replace(environment=Wrapped(after, timestep))
        landed, _ = environments.step(key, *jax.lax.stop_gradient((arrived, action)))
        done = timestep.terminated | timestep.truncated
        fresh = landed.environment.inner, landed.observation
        inner, observation = trees.where(done, fresh, (after, timestep.observation))
        return landed.replace(environment=landed.environment.replace(inner=inner), observation=observation)

    def simulate(params: Params, state: State, key: Key) -> tuple[VectorState, Window]:
        """Act for `horizon` steps; rewards and successors have derivatives in `params`."""
        decay = jnp.full(config.num_envs, config.state_gradient_decay)

        def body(states: VectorState, inputs: tuple[Key, Array]) -> tuple[VectorState, Window]:
            keys, noise = inputs
            inner, raw = jax.vmap(pass_back)((states.environment.inner, states.observation), decay)
            observation = prepare(state.observation_statistics, raw)
            action = act(params, observation, noise)
            step_keys = jax.random.split(keys[0], config.num_envs)
            after, timestep = jax.vmap(advance)(*split((step_keys, inner, action)))
            window = Window(
                observation=observation,
                reward=config.reward_scale * timestep.reward,
                terminated=timestep.terminated,
                truncated=timestep.truncated,
                successor=prepare(state.observation_statistics, timestep.observation),
                raw_observation=raw,
            )
            return land(keys[1], states, after, timestep, action), window

        noise_key, key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (config.horizon, config.num_envs, *space.shape))
        keys = jax.random.split(key, (config.horizon, 2))
        return jax.lax.scan(body, state.environments.clear_statistics(), (keys, noise))

    def loss(params: Params, state: State, key: Key) -> tuple[Array, tuple[VectorState, Window]]:
        environments_state, window = simulate(params, state, key)
        if config.bootstrap:
            successor_value = value(state.target_critic, window.successor)
        else:
            successor_value = jnp.zeros_like(window.reward)
        gain = window_return(window.reward, successor_value, window.terminated, window.truncated, config.discount)
        return -jnp.mean(gain) / config.horizon, (environments_state, window)

    def improve(state: State, key: Key, rate: Array) -> tuple[State, Window, Metrics]:
        """One step of the policy up the gradient of a window; none if that gradient is not finite."""
        (error, (environments_state, window)), gradients = jax.value_and_grad(loss, has_aux=True)(
            state.actor, state, key
        )
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(norm)
        stepped = descend(actor_optimizer, state.actor, state.actor_optimizer, gradients, rate)
        params, optimizer = trees.where(finite, stepped, (state.actor, state.actor_optimizer))
        metrics = {
            "objective": -error,
            "gradient_norm": jnp.where(finite, norm, 0.0),
            "gradient_lost": 1.0 - finite,
        }
        return state.replace(actor=params, actor_optimizer=optimizer, environments=environments_state), window, metrics

    def evaluate(state: State, window: Window, key: Key, rate: Array) -> tuple[State, Array]:
        """Regress the value on the window's lambda-returns, with the target value inside; then move the target."""
        values, successor_values = (value(state.target_critic, x) for x in (window.observation, window.successor))
        steps = (window.reward, values, successor_values, window.terminated, window.truncated)
        targets = values + generalized_advantage(*steps, config.discount, config.trace_decay)
        observation = window.observation.reshape(batch_size, *window.observation.shape[2:])
        targets = targets.reshape(batch_size)

        def error(params: Params, rows: Array) -> Array:
            return value_loss(value(params, observation[rows]), targets[rows])

        def update(carry: tuple[Params, optax.OptState], rows: Array) -> tuple[tuple[Params, optax.OptState], Array]:
            loss, gradients = jax.value_and_grad(error)(carry[0], rows)
            return descend(critic_optimizer, *carry, gradients, rate), loss

        rows = jax.random.randint(key, (config.critic_updates, config.critic_batch_size), 0, batch_size)
        (params, optimizer), losses = jax.lax.scan(update, (state.critic, state.critic_optimizer), split(rows, axis=1))
        target = optax.incremental_update(params, state.target_critic, config.target_rate)
        return state.replace(critic=params, critic_optimizer=optimizer, target_critic=target), jnp.mean(losses)

    def init(key: Key) -> State:
        actor_key, critic_key, reset_key, key = jax.random.split(key, 4)
        states = environments.reset(reset_key)
        actor_params = actor.init(actor_key, states.observation)
        critic_params = critic.init(critic_key, states.observation)
        return State(
            actor=actor_params,
            critic=critic_params,
            target_critic=jax.tree.map(jnp.copy, critic_params),
            critic_optimizer=critic_optimizer.init(critic_params),
            actor_optimizer=actor_optimizer.init(actor_params),
            environments=states,
            observation_statistics=init_statistics(environment.observation_space.shape),
            key=key,
        )

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, update_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        state, window, metrics = improve(state, act_key, rate)
        if config.bootstrap:
            state, metrics["value_loss"] = evaluate(state, window, update_key, rate)
        if config.normalize_observations:
            statistics = update_statistics(state.observation_statistics, window.raw_observation)
            state = state.replace(observation_statistics=statistics)
        return state, metrics | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def choose(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Action]:
            noise = 0.0 if greedy else jax.random.normal(key, space.shape)
            action = act(state.actor, prepare(state.observation_statistics, observation), noise)
            return memory, unscale_action(environment.action_space, action)

        return Policy(init=lambda key: (), act=choose)

    def snapshot(state: State) -> State:
        return trees.keep(state, "actor", "observation_statistics")

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=batch_size,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, or the environment the algorithm."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "critic_learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "reward_scale",
            "critic_updates",
            "critic_batch_size",
            "num_envs",
            "horizon",
        ),
        non_negative=("noise_deviation",),
        fraction=("discount", "state_gradient_decay", "trace_decay", "target_rate"),
        infinite=("max_gradient_norm",),
    )
    require_continuous("apg", environment)
    if config.normalize_observations:
        require_real_observations("apg", environment)
