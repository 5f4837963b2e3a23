"""REINFORCE: climb the Monte-Carlo estimate of the policy gradient (Williams, 1992).

Every iteration plays one whole episode in each environment and takes gradient steps along

    1/B sum_b sum_t grad log pi(a_t | s_t) (weight_t - baseline_t)

where the weight is the return of the whole episode or what is earned from the step on, and the baseline leaves the
expectation as it is: a constant, the average of the other episodes, the one of least variance for the total return (for
all parameters together or for each), or a learned V(s). The total return is exact; what is earned from the step on is
exact with `discount_states`, and without, as practice has it, each state counts alike (biased if discount < 1).

More than one update per batch is off policy from the second on; `correction` says what weighs the episodes then:
the product of probability ratios along all of the episode, up to each reward, or the ratio of the decision alone
(biased).

All episodes of a batch begin together. Steps after an episode's end, up to `episode_length`, are played but not learned
from, and they count as environment steps.

Williams, R. (1992), "Simple statistical gradient-following algorithms". Peters, J. & Schaal, S. (2008), "Reinforcement
learning of motor skills with policy gradients". Sutton, R. et al. (2000), "Policy gradient methods for reinforcement
learning with function approximation".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.flatten_util import ravel_pytree

from purerl.algorithms.config import check_config, name_of
from purerl.algorithms.policy_gradient.checks import check_actor
from purerl.environments.vectorize import EpisodeStatistics
from purerl.networks.heads import PolicyKind, actor_critic, join_parameters, split_parameters
from purerl.networks.recurrent import Core
from purerl.networks.torsos import Activation
from purerl.operators import score_function
from purerl.operators.policy_gradient import standardize
from purerl.operators.returns import until_done
from purerl.optimizers import annealing, clipped_adam, descend
from purerl.rollout import CollectorState, Params, Rollout, collector, what_acts
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Policy, Time

Baseline = Literal["none", "constant", "average", "optimal", "optimal_per_parameter", "value"]
Correction = Literal["none", "trajectory", "per_decision", "first_order"]


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    learning_rate: float = 3e-3
    """Step size of Adam for the policy, > 0."""
    anneal_learning_rate: bool = False
    """Let the step sizes fall linearly to 0 over the run."""
    adam_epsilon: float = 1e-8
    """Added to Adam's denominator, > 0."""
    max_gradient_norm: float = float("inf")
    """Gradients are scaled down to this global norm, > 0; inf is off."""
    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]."""
    weight: Literal["total_return", "reward_to_go"] = "reward_to_go"
    """What multiplies the score of a step: the return of its episode, or what is earned from it on."""
    discount_states: bool = False
    """Weigh step t by discount^t, which makes the gradient exact (the total return is exact without)."""
    baseline: Baseline = "value"
    """What is subtracted from the weight."""
    baseline_constant: float = 0.0
    """The constant baseline."""
    standardize: bool = True
    """Divide weights less baselines by their deviation over the batch, after subtracting their mean."""
    entropy_coefficient: float = 0.0
    """Weight of an entropy bonus at every step, >= 0."""
    value_learning_rate: float = 1e-2
    """Step size of Adam for the value, > 0."""
    value_updates: int = 20
    """Steps that fit the value to what was earned, after the policy's update."""
    updates: int = 1
    """Steps of the policy per batch of episodes; from the second on they are off policy."""
    correction: Correction = "none"
    """Which probability ratios make up for that."""
    num_envs: int = 16
    """Episodes per iteration."""
    episode_length: int = 0
    """Steps after which an episode is over for the learner; 0 is the environment's own bound."""
    normalize_observations: bool = False
    """Shift and scale observations by their running mean and deviation, clipped to 10."""
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
    policy: PolicyKind = "gaussian"
    """The distribution of continuous actions; discrete ones are categorical."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's."""

    params: Params
    optimizer: optax.OptState  # of the policy
    value_optimizer: optax.OptState
    collector: CollectorState
    key: Key


def make(environment: Environment, config: Config) -> Algorithm:
    """REINFORCE on `environment`, with discrete actions, several discrete ones at once, or continuous ones.

    Raises TypeError for actions of another shape or a traced static field, ValueError for a value out of range or
    fields that contradict one another.
    """
    check(config, environment)
    length = config.episode_length or environment.max_steps
    network = actor_critic(environment, config)
    apply: Callable[..., Any] = network.apply
    actor = collector(
        environment,
        network,
        num_envs=config.num_envs,
        rollout_length=length,
        discount=config.discount,
        normalize_observations=config.normalize_observations,
    )
    optimizer = clipped_adam(config.learning_rate, config.adam_epsilon, config.max_gradient_norm)
    value_optimizer = clipped_adam(config.value_learning_rate, config.adam_epsilon, jnp.inf)
    memory = network.initial_memory((config.num_envs,))

    def distribution(actor_params: Params, rollout: Rollout) -> Any:
        params = join_parameters(actor_params, {})
        memory = network.initial_memory(rollout.reset.shape[1:])
        return apply(params, rollout.observation, memory, rollout.reset, method=network.policy)[1]

    def scores(actor_params: Params, rollout: Rollout, mask: Array) -> Array:
        """The gradient of the log-probability of each episode, `[B, P]`."""

        def log_probability(actor_params: Params, episode: Rollout, mask: Array) -> Array:
            episode = jax.tree.map(lambda x: x[:, None], episode)  # a batch of one
            log_p = distribution(actor_params, episode).log_probability(episode.action)[:, 0]
            return jnp.sum(jnp.where(mask, log_p, 0.0))

        def score(episode: Rollout, mask: Array) -> Array:
            return ravel_pytree(jax.grad(log_probability)(actor_params, episode, mask))[0]

        return jax.vmap(score, in_axes=1)(rollout, mask)

    def ratios(actor_params: Params, rollout: Rollout, mask: Array) -> score_function.ImportanceRatios:
        log_probability = distribution(actor_params, rollout).log_probability(rollout.action)
        return score_function.importance_ratios(log_probability, rollout.log_probability, mask)

    def returns(reward: Array, mask: Array) -> Array:
        function = score_function.total_return if config.weight == "total_return" else score_function.reward_to_go
        return function(reward, mask, config.discount)

    def baseline(weight: Array, rollout: Rollout, mask: Array, score: Any) -> Array:
        """`[T, B]`, or broadcast to it."""
        if config.baseline == "constant":
            return jnp.full_like(weight, config.baseline_constant)
        if config.baseline == "average":
            return score_function.average_of_others(weight, mask)
        if config.baseline == "value":
            return rollout.value
        if config.baseline == "optimal":
            whole = score_function.total_return(rollout.reward, mask, config.discount)[0]
            return jnp.broadcast_to(score_function.optimal_baseline(score, whole), weight.shape)
        return jnp.zeros_like(weight)

    def weights(actor_params: Params, rollout: Rollout, mask: Array, score: Any) -> Array:
        """What multiplies the score of each step, `[T, B]`."""
        weight = returns(rollout.reward, mask)
        expected = baseline(weight, rollout, mask, score)
        if config.correction == "none":
            weight = weight - expected
        elif config.correction == "per_decision":
            ratio = ratios(actor_params, rollout, mask).per_decision
            weight = returns(ratio * rollout.reward, mask) - ratio * expected
        else:
            ratio = getattr(ratios(actor_params, rollout, mask), config.correction)
            weight = ratio * (weight - expected)
        if config.standardize:
            weight = jnp.where(mask, standardize(weight.ravel(), mask.ravel()).reshape(weight.shape), 0.0)
        if config.discount_states:
            weight = weight * score_function.state_weight(mask, config.discount)
        return weight

    def objective(actor_params: Params, rollout: Rollout, mask: Array, weight: Array) -> tuple[Array, Array]:
        policy = distribution(actor_params, rollout)
        surrogate = score_function.surrogate(policy.log_probability(rollout.action), weight, mask)
        entropy = jnp.sum(jnp.where(mask, policy.entropy(), 0.0))
        bonus = config.entropy_coefficient * entropy / config.num_envs
        return surrogate + bonus, entropy / jnp.sum(mask)

    def gradient(actor_params: Params, rollout: Rollout, mask: Array) -> tuple[Params, Array]:
        """Of what is to be maximised, and the entropy."""
        needs_scores = config.baseline in ("optimal", "optimal_per_parameter")
        score = scores(actor_params, rollout, mask) if needs_scores else None
        weight = weights(actor_params, rollout, mask, score)
        gradients, entropy = jax.grad(objective, has_aux=True)(actor_params, rollout, mask, weight)
        if config.baseline == "optimal_per_parameter" and score is not None:
            whole = score_function.total_return(rollout.reward, mask, config.discount)[0]
            mean = jnp.mean(score * score_function.optimal_baseline_per_parameter(score, whole), axis=0)
            gradients = jax.tree.map(jnp.subtract, gradients, ravel_pytree(actor_params)[1](mean))
        return gradients, entropy

    def improve_policy(params: Params, state: optax.OptState, rollout: Rollout, mask: Array, rate: Array):
        actor_params, critic_params = split_parameters(params)

        def update(carry: tuple[Params, optax.OptState], _: None) -> tuple[tuple[Params, optax.OptState], Array]:
            gradients, entropy = gradient(carry[0], rollout, mask)
            return descend(optimizer, *carry, jax.tree.map(jnp.negative, gradients), rate), entropy

        (actor_params, state), entropy = jax.lax.scan(update, (actor_params, state), length=config.updates)
        return join_parameters(actor_params, critic_params), state, entropy[0]

    def fit_value(params: Params, state: optax.OptState, rollout: Rollout, mask: Array, rate: Array):
        """Regress V on what was earned from each step on; it serves the next batch, not this one."""
        actor_params, critic_params = split_parameters(params)
        target = score_function.reward_to_go(rollout.reward, mask, config.discount)

        def loss(critic_params: Params) -> Array:
            whole = join_parameters(actor_params, critic_params)
            value = apply(whole, rollout.observation, memory, rollout.reset, method=network.value)
            return 0.5 * jnp.sum(jnp.where(mask, jnp.square(value - target), 0.0)) / jnp.sum(mask)

        def update(carry: tuple[Params, optax.OptState], _: None) -> tuple[tuple[Params, optax.OptState], Array]:
            error, gradients = jax.value_and_grad(loss)(carry[0])
            return descend(value_optimizer, *carry, gradients, rate), error

        (critic_params, state), errors = jax.lax.scan(update, (critic_params, state), length=config.value_updates)
        return join_parameters(actor_params, critic_params), state, errors[0]

    def init(key: Key) -> State:
        actor_key, key = jax.random.split(key)
        params, collector_state = actor.init(actor_key)
        actor_params, critic_params = split_parameters(params)
        states = optimizer.init(actor_params), value_optimizer.init(critic_params)
        return State(params, *states, collector_state, key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        reset_key, act_key = jax.random.split(jax.random.fold_in(state.key, time.iteration))
        rate = annealing(time, config.anneal_learning_rate)
        collector_state, rollout = actor.collect(state.params, actor.restart(reset_key, state.collector), act_key)
        mask = until_done(rollout.terminated | rollout.truncated)  # the first episode of each environment
        params, optimizer_state, entropy = improve_policy(state.params, state.optimizer, rollout, mask, rate)
        value_optimizer_state, metrics = state.value_optimizer, {"entropy": entropy}
        if config.baseline == "value":
            params, value_optimizer_state, error = fit_value(params, value_optimizer_state, rollout, mask, rate)
            metrics["value_loss"] = error
        statistics = EpisodeStatistics(  # of the episodes that were learned from, whole or cut at `episode_length`
            return_sum=jnp.sum(jnp.where(mask, rollout.reward, 0.0)),
            length_sum=jnp.sum(mask, dtype=jnp.float32),
            episodes=jnp.asarray(config.num_envs, jnp.float32),
        )
        state = State(params, optimizer_state, value_optimizer_state, collector_state, state.key)
        return state, metrics | statistics.metrics()

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
        env_steps_per_iteration=config.num_envs * length,
    )


def check(config: Config, environment: Environment) -> None:
    """Raise if the fields do not fit their ranges, one another or the environment."""
    check_config(
        config,
        positive=(
            "learning_rate",
            "adam_epsilon",
            "max_gradient_norm",
            "value_learning_rate",
            "value_updates",
            "updates",
            "num_envs",
            "core_width",
        ),
        non_negative=("entropy_coefficient", "episode_length"),
        fraction=("discount",),
        infinite=("max_gradient_norm",),
    )
    check_actor(config, environment)
    if config.weight == "total_return" and config.discount_states:
        raise ValueError(
            "reinforce: the total return is exact without discount_states, which would make it biased; leave that off"
        )
    if config.weight == "reward_to_go" and config.baseline in ("optimal", "optimal_per_parameter"):
        raise ValueError(
            f"reinforce: baseline={config.baseline!r} is the one of least variance for weight='total_return'; set that"
        )
    if config.baseline == "constant" and config.standardize:
        raise ValueError(
            "reinforce: standardising subtracts the mean, so that a constant baseline does nothing; set "
            "standardize=False"
        )
    if config.episode_length > environment.max_steps:
        raise ValueError(
            f"reinforce: episode_length ({config.episode_length}) must not exceed the {environment.max_steps} steps "
            f"after which {environment.name} ends by itself; 0 means that bound"
        )
    if config.correction == "per_decision" and config.weight == "total_return":
        raise ValueError(
            "reinforce: ratios per decision weigh what is earned from a step on; with weight='total_return' use "
            "correction='trajectory', or weight='reward_to_go'"
        )
    if config.baseline == "optimal_per_parameter" and (config.standardize or config.correction != "none"):
        raise ValueError(
            "reinforce: the optimal baseline of each parameter is not a number per step, so that weights cannot be "
            "standardised or corrected with it: set standardize=False and correction='none'"
        )
    if config.baseline in ("average", "optimal", "optimal_per_parameter") and config.num_envs < 2:
        raise ValueError(
            f"reinforce: baseline={config.baseline!r} is computed from other episodes: num_envs must be > 1"
        )
