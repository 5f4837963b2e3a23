"""Parallelised Q-learning without replay and without target network (Gallici et al., 2024).

Let many environments act epsilon-greedily for a short while, compute from that rollout's own values

    G_t = r_t + discount (1 - terminated_t) [lambda G_{t+1} + (1 - lambda) max_a Q(s'_t, a)]

once, and take several epochs of minibatch steps on  (Q(s_t, a_t) - G_t)^2 / 2.  What keeps this bounded is LayerNorm
before every activation, which replaces the target network; what decorrelates the samples is the number of environments,
which replaces the replay.

With a recurrent core, Q is a function of the history: the memory is carried from rollout to rollout and cut where an
episode ends, and a minibatch is a set of environments, each unrolled from the memory its rollout started with (which
from the second update on is one of older parameters). The true successor of a truncated step is never acted on: its
value takes one more step of the core from the memory after that step, computed for all steps of the rollout at once.

Gallici, M. et al. (2024), "Simplifying deep temporal difference learning".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, require_discrete
from purerl.environments.vectorize import VectorState, vectorize
from purerl.exploration import epsilon_greedy, linear_schedule
from purerl.networks.recurrent import Core, RecurrentQNetwork
from purerl.networks.torsos import Activation
from purerl.operators.q_lambda import q_lambda_return
from purerl.operators.selection import at_action
from purerl.operators.temporal_difference import half_square
from purerl.optimizers import annealing, clipped, descend
from purerl.rollout import pass_over
from purerl.types import Algorithm, Array, Environment, Key, Memory, Metrics, Observation, Policy, Time

Params = Any


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 2.5e-4
    """Step size of RAdam, > 0."""
    anneal_learning_rate: bool = True
    """Let the step size fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-8
    """Added to RAdam's denominator, > 0."""
    max_gradient_norm: float = 10.0
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    trace_decay: float = 0.95
    """Lambda of the targets, in [0, 1]: 0 trusts the next value, 1 the rewards of the rollout."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before learning, > 0."""
    num_envs: int = 32
    """Environments stepped side by side."""
    rollout_length: int = 64
    """Steps of every environment per iteration."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 16
    """Gradient updates per pass; divides num_envs x rollout_length, with a recurrent core num_envs."""
    epsilon_start: float = 1.0
    """Probability of a random action at the beginning, in [0, 1]."""
    epsilon_end: float = 0.05
    """Probability of a random action in the end, in [0, 1]; also of the policy with greedy=False."""
    exploration_fraction: float = 0.2
    """Share of the run over which epsilon falls linearly, in (0, 1]."""
    core: Core = "none"
    """What remembers earlier observations."""
    core_width: int = 64
    """Units of the recurrent core."""
    widths: tuple[int, ...] = (128, 128)
    """Units of the hidden layers before the core (after the convolution, for images)."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = True
    """LayerNorm before every activation; without it values may diverge."""


class Rollout(NamedTuple):
    """What acting leaves behind, `[T, B, ...]`."""

    observation: Observation
    reset: Array  # bool: an episode begins with this step
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    successor: Observation  # the true one
    memory: Memory  # after this step


class Sample(NamedTuple):
    """Sequences to learn from, `[length, N, ...]`: single steps, or with a memory the rollouts of environments."""

    observation: Observation
    reset: Array
    action: Array
    target: Array


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    optimizer: optax.OptState
    environments: VectorState
    memory: Memory  # [B, ...] of the running episodes
    reset: Array  # bool [B]: the next step begins an episode
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """PQN on `environment`, which must have discrete actions.

    Raises TypeError for continuous actions or a traced static field, ValueError for a value out of range or a rollout
    that the minibatches do not divide.
    """
    check(config, environment)
    actions = require_discrete("pqn", environment)
    environments = vectorize(environment, config.num_envs)
    network = RecurrentQNetwork(
        environment.observation_space,
        actions.n,
        config.widths,
        config.activation,
        config.layer_norm,
        config.core,
        config.core_width,
    )
    apply: Callable[..., Any] = network.apply
    optimizer = clipped(config.max_gradient_norm, optax.radam(config.learning_rate, eps=config.adam_epsilon))
    length = 1 if config.core == "none" else config.rollout_length
    sequences = sequences_per_rollout(config)

    def q_values(params: Params, memory: Memory, observation: Observation, reset: Array) -> tuple[Memory, Array]:
        """One step of the network: observations `[..., *space]` and resets `[...]` to memory and values `[..., A]`."""
        memory, values = apply(params, memory, observation[None], reset[None])
        return memory, values[0]

    def collect(state: State, key: Key, epsilon: Array) -> tuple[State, Rollout]:
        """Act for `rollout_length` steps with the parameters of `state`."""

        def body(carry: tuple[VectorState, Memory, Array], inputs: tuple[Key, Array]):
            environments_state, memory, reset = carry
            key, draw = inputs
            observation = environments_state.observation
            memory, values = q_values(state.params, memory, observation, reset)
            action = epsilon_greedy(draw, values, epsilon)
            environments_state, timestep = environments.step(key, environments_state, action)
            step = Rollout(
                observation,
                reset,
                action,
                timestep.reward * config.reward_scale,
                timestep.terminated,
                timestep.truncated,
                successor=timestep.observation,
                memory=memory,
            )
            return (environments_state, memory, timestep.terminated | timestep.truncated), step

        draw_key, environment_key = jax.random.split(key)
        draws = jax.random.uniform(draw_key, (config.rollout_length, config.num_envs))
        keys = jax.random.split(environment_key, config.rollout_length)
        carry = (state.environments.clear_statistics(), state.memory, state.reset)
        (environments_state, memory, reset), rollout = jax.lax.scan(body, carry, (keys, draws))
        return state.replace(environments=environments_state, memory=memory, reset=reset), rollout

    def targets(params: Params, rollout: Rollout) -> Array:
        """Q(lambda) returns `[T, B]`; the episode goes on in the successor, so nothing is reset before it."""
        goes_on = jnp.zeros_like(rollout.reset)
        _, successor_values = q_values(params, rollout.memory, rollout.successor, goes_on)
        return q_lambda_return(
            rollout.reward,
            jnp.max(successor_values, axis=-1),
            rollout.terminated,
            rollout.truncated,
            config.discount,
            config.trace_decay,
        )

    def loss(params: Params, memory: Memory, batch: Sample) -> tuple[Array, Metrics]:
        _, values = apply(params, memory, batch.observation, batch.reset)
        chosen = at_action(values, batch.action)
        mean_loss = jnp.mean(half_square(chosen - batch.target))
        return mean_loss, {"loss": mean_loss, "q_value": jnp.mean(chosen)}

    def update(carry: tuple[Params, optax.OptState], batch: Sample, memory: Memory, rate: Array):
        gradients, metrics = jax.grad(loss, has_aux=True)(carry[0], memory, batch)
        return descend(optimizer, *carry, gradients, rate), metrics

    def init(key: Key) -> State:
        network_key, reset_key, key = jax.random.split(key, 3)
        environments_state = environments.reset(reset_key)
        memory, reset = network.initial_memory((config.num_envs,)), jnp.ones(config.num_envs, bool)
        params = network.init(network_key, memory, environments_state.observation[None], reset[None])
        return State(params, optimizer.init(params), environments_state, memory, reset, key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, update_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        epsilon = linear_schedule(time.progress, config.epsilon_start, config.epsilon_end, config.exploration_fraction)
        rate = annealing(time, config.anneal_learning_rate)
        memory = state.memory
        state, rollout = collect(state, act_key, epsilon)
        samples = Sample(rollout.observation, rollout.reset, rollout.action, targets(state.params, rollout))
        samples = jax.tree.map(lambda x: x.reshape(length, sequences, *x.shape[2:]), samples)
        (params, optimizer_state), metrics = pass_over(
            lambda carry, batch, memories: update(carry, batch, memories, rate),
            (state.params, state.optimizer),
            update_key,
            samples,
            memory,
            config.epochs,
            config.minibatches,
        )
        state = state.replace(params=params, optimizer=optimizer_state)
        return state, jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon} | state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: Memory, observation: Observation) -> tuple[Memory, Array]:
            memory, values = q_values(state.params, memory, observation, jnp.zeros((), bool))
            epsilon = 0.0 if greedy else config.epsilon_end
            return memory, epsilon_greedy(jax.random.uniform(key), values, epsilon)

        return Policy(init=lambda key: network.initial_memory(()), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state, "params")

    return Algorithm(
        name="pqn",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=config.num_envs * config.rollout_length,
    )


def sequences_per_rollout(config: Config) -> int:
    """What the minibatches share: the steps of a rollout, or its environments if there is a memory."""
    return config.num_envs * (config.rollout_length if config.core == "none" else 1)


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "reward_scale",
            "num_envs",
            "rollout_length",
            "epochs",
            "minibatches",
            "exploration_fraction",
            "core_width",
        ),
        fraction=("discount", "trace_decay", "epsilon_start", "epsilon_end", "exploration_fraction"),
        infinite=("max_gradient_norm",),
    )
    if sequences_per_rollout(config) % config.minibatches:
        what = (
            "num_envs x rollout_length" if config.core == "none" else "num_envs (whole environments, for their memory)"
        )
        raise ValueError(
            f"pqn: minibatches ({config.minibatches}) must divide {what}, which is {sequences_per_rollout(config)}"
        )
