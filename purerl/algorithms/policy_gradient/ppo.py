"""Proximal policy optimisation (Schulman et al., 2017).

Collect a rollout with the current policy, estimate its advantages A with GAE, then take several epochs of minibatch
steps that improve the policy only as long as it stays close to the one that acted. With rho = pi(a | s) / pi_old(a | s)
the objective is clipped, or the divergence is penalised:

    maximise  mean min(rho A, clip(rho, 1 - clip, 1 + clip) A)
    or        mean rho A - kl_coefficient KL(pi_old || pi)

less value_coefficient times the value's loss, plus entropy_coefficient times the entropy. The penalty's coefficient
stays (`fixed`), is doubled and halved (`adaptive`, PPO-penalty), or is the multiplier of the constraint
KL <= kl_target, moved by gradient ascent on the dual (`dual`). The details that matter are those of Huang et al.
(2022); each is a field.

With a recurrent core a minibatch is a set of environments, each unrolled from the memory its rollout began with (from
the second update on a memory of older parameters).

Schulman, J. et al. (2017), "Proximal policy optimization algorithms". Huang, S. et al. (2022), "The 37 implementation
details of proximal policy optimization". Andrychowicz, M. et al. (2021), "What matters for on-policy deep actor-critic
methods? A large-scale study".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, name_of
from purerl.algorithms.policy_gradient.checks import check_actor, check_minibatches, check_standardization
from purerl.networks.heads import PolicyKind, actor_critic
from purerl.networks.recurrent import Core
from purerl.networks.torsos import Activation
from purerl.operators.policy_gradient import (
    adaptive_coefficient,
    approximate_kl,
    clipped_surrogate,
    clipped_value_loss,
    dual_ascent,
    standardize,
    value_loss,
)
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.rollout import (
    CollectorState,
    Params,
    Rollout,
    Sequences,
    advantages,
    as_sequences,
    collector,
    pass_over,
    what_acts,
)
from purerl.types import Algorithm, Array, Environment, Key, Memory, Metrics, Policy, Time

Penalty = Literal["none", "fixed", "adaptive", "dual"]
COEFFICIENTS = (1e-4, 1e4)  # bounds of the adaptive one: halved without end it would be 0, which doubling leaves 0


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 2.5e-4
    """Step size of Adam, > 0."""
    anneal_learning_rate: bool = True
    """Let the step size fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-5
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = 0.5
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    trace_decay: float = 0.95
    """Lambda of GAE, in [0, 1]: 0 trusts the value, 1 the returns."""
    clip: float = 0.2
    """How far the probability ratio may move from 1 and still be rewarded, > 0; inf is off, as is a `penalty`."""
    clip_value: bool = False
    """Clip the value's movement as well, by the same amount (also with a penalty)."""
    penalty: Penalty = "none"
    """Penalise KL(pi_old || pi) instead of clipping, and what becomes of the coefficient after each rollout."""
    kl_coefficient: float = 1.0
    """Weight of the penalty at the beginning, > 0."""
    kl_target: float = 0.01
    """What the adaptive and the dual coefficient keep the divergence at, in nats, > 0."""
    dual_step_size: float = 10.0
    """Step size of the dual coefficient per nat above the target, > 0."""
    stop_kl: float = float("inf")
    """Updates of a rollout end when a minibatch's estimated divergence exceeds this many nats, > 0; inf is off."""
    value_coefficient: float = 0.5
    """Weight of the value loss, >= 0."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus, >= 0."""
    standardize_advantage: bool = True
    """Zero mean and unit deviation of the advantages of each minibatch."""
    recompute_advantage: bool = False
    """Advantages and targets anew for every epoch, by the values of then (Andrychowicz, 2021); not with a core."""
    num_envs: int = 8
    """Environments stepped side by side."""
    rollout_length: int = 128
    """Steps of every environment per iteration."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Gradient updates per pass; divides num_envs x rollout_length, with a recurrent core num_envs."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10."""
    scale_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return."""
    reward_clip: float = float("inf")
    """Rewards, after scaling, are clipped to this magnitude, > 0; inf is off."""
    core: Core = "none"
    """What remembers earlier observations."""
    core_width: int = 64
    """Units of the recurrent core."""
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers before the core (after the convolution, for images)."""
    activation: Activation = "tanh"
    """Nonlinearity after every hidden layer."""
    layer_norm: bool = False
    """LayerNorm before every activation."""
    orthogonal_init: bool = True
    """Orthogonal kernels with gains sqrt(2), 0.01 for the policy, 1 for the value; else LeCun's normal ones."""
    shared_torso: bool = False
    """One torso, and one core, for policy and value instead of two."""
    policy: PolicyKind = "gaussian"
    """The distribution of continuous actions; discrete ones are categorical."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    optimizer: optax.OptState
    kl_coefficient: Array
    collector: CollectorState
    key: Key


class Progress(struct.PyTreeNode):
    """What the updates of one rollout pass on."""

    params: Params
    optimizer: optax.OptState
    stopped: Array  # bool: the policy has moved too far


def make(environment: Environment, config: Config) -> Algorithm:
    """PPO on `environment`, with discrete actions, several discrete ones at once, or a vector of continuous ones.

    `policy` gives the actions that `environment` itself expects.

    Raises TypeError for actions of another shape or a traced static field, ValueError for a value out of range or a
    rollout that the minibatches do not divide.
    """
    check(config, environment)
    network = actor_critic(environment, config, config.shared_torso)
    apply: Callable[..., Any] = network.apply
    actor = collector(
        environment,
        network,
        num_envs=config.num_envs,
        rollout_length=config.rollout_length,
        discount=config.discount,
        normalize_observations=config.normalize_observations,
        scale_rewards=config.scale_rewards,
        reward_clip=config.reward_clip,
    )
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    recurrent = config.core != "none"

    def loss(
        params: Params, batch: Sequences, old: Any, memory: Memory, kl_coefficient: Array
    ) -> tuple[Array, Metrics]:
        _, distribution, value = apply(params, batch.observation, memory, batch.reset)
        log_probability = distribution.log_probability(batch.action).reshape(-1)
        batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        advantage = standardize(batch.advantage) if config.standardize_advantage else batch.advantage
        clip = config.clip if config.penalty == "none" else jnp.inf
        objective = clipped_surrogate(log_probability, batch.log_probability, advantage, clip)
        kl = approximate_kl(log_probability, batch.log_probability)
        if config.penalty != "none":
            kl = divergence(old, distribution)
            objective -= kl_coefficient * kl
        if config.clip_value:
            error = clipped_value_loss(value.reshape(-1), batch.value, batch.target, config.clip)
        else:
            error = value_loss(value.reshape(-1), batch.target)
        entropy = jnp.mean(distribution.entropy())
        total = -objective + config.value_coefficient * error - config.entropy_coefficient * entropy
        ratio = jnp.exp(log_probability - batch.log_probability)
        return total, {
            "loss": total,
            "policy_loss": -objective,
            "value_loss": error,
            "entropy": entropy,
            "approximate_kl": kl,  # with a penalty the exact one
            "clip_fraction": jnp.mean((jnp.abs(ratio - 1.0) > config.clip).astype(jnp.float32)),
        }

    def update(progress: Progress, samples: tuple, memory: Memory, kl_coefficient: Array, rate: Array):
        """One minibatch; once the policy has moved too far for this rollout, nothing changes any more."""
        gradients, metrics = jax.grad(loss, has_aux=True)(progress.params, *samples, memory, kl_coefficient)
        stopped = progress.stopped | (metrics["approximate_kl"] > config.stop_kl)
        params, optimizer_state = descend(optimizer, progress.params, progress.optimizer, gradients, rate)
        kept = trees.where(stopped, (progress.params, progress.optimizer), (params, optimizer_state))
        return Progress(*kept, stopped), metrics | {"stopped": stopped.astype(jnp.float32)}

    def prepare(rollout: Rollout) -> Sequences:
        return as_sequences(rollout, advantages(rollout, config.discount, config.trace_decay), recurrent)

    def policies(params: Params, samples: Sequences, memory: Memory) -> Any:
        """pi(. | s) at every sample, `[length, N, ...]`, where a penalty needs them."""
        if config.penalty == "none":
            return ()
        return apply(params, samples.observation, memory, samples.reset, method=network.policy)[1]

    def next_coefficient(coefficient: Array, kl: Array) -> Array:
        if config.penalty == "adaptive":
            return jnp.clip(adaptive_coefficient(coefficient, kl, config.kl_target), *COEFFICIENTS)
        if config.penalty == "dual":
            return dual_ascent(coefficient, kl, config.kl_target, config.dual_step_size)
        return coefficient

    def init(key: Key) -> State:
        actor_key, key = jax.random.split(key)
        params, collector_state = actor.init(actor_key)
        coefficient = jnp.asarray(config.kl_coefficient, jnp.float32)
        return State(params, optimizer.init(params), coefficient, collector_state, key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        act_key, update_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        collector_state, rollout = actor.collect(state.params, state.collector, act_key)
        samples, memory = prepare(rollout), state.collector.memory
        old = policies(state.params, samples, memory)

        def renew(progress: Progress, samples: tuple) -> tuple:
            if config.recompute_advantage:
                return prepare(actor.revalue(progress.params, rollout)), old
            return samples

        progress, metrics = pass_over(
            lambda carry, batch, memories: update(carry, batch, memories, state.kl_coefficient, rate),
            Progress(state.params, state.optimizer, jnp.zeros((), bool)),
            update_key,
            (samples, old),
            memory,
            config.epochs,
            config.minibatches,
            renew,
        )
        metrics, coefficient = jax.tree.map(jnp.mean, metrics), state.kl_coefficient
        if config.penalty != "none":
            kl = divergence(old, policies(progress.params, samples, memory))
            metrics |= {"kl": kl, "kl_coefficient": coefficient}
            coefficient = next_coefficient(coefficient, kl)
        state = State(progress.params, progress.optimizer, coefficient, collector_state, state.key)
        return state, metrics | collector_state.environments.statistics.metrics()

    def policy(state: State, greedy: bool = True) -> Policy:
        return actor.policy(state.params, state.collector, greedy)

    return Algorithm(
        name=name_of(config),
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=what_acts,
        env_steps_per_iteration=config.num_envs * config.rollout_length,
    )


def divergence(old: Any, new: Any) -> Array:
    """KL(pi_old || pi), the mean over a batch of states."""
    return jnp.mean(old.kl(new))


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "clip",
            "kl_coefficient",
            "kl_target",
            "dual_step_size",
            "stop_kl",
            "num_envs",
            "rollout_length",
            "epochs",
            "minibatches",
            "reward_clip",
            "core_width",
        ),
        non_negative=("value_coefficient", "entropy_coefficient"),
        fraction=("discount", "trace_decay"),
        infinite=("max_gradient_norm", "clip", "stop_kl", "reward_clip"),
    )
    if config.recompute_advantage and config.core != "none":
        raise ValueError(
            f"ppo: recompute_advantage is for networks without a memory, but core is {config.core!r}: "
            "the values after a rollout would need its memories anew; leave one of them out"
        )
    check_minibatches(config)
    check_standardization(config, config.num_envs * config.rollout_length // config.minibatches)
    check_actor(config, environment)
