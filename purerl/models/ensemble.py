"""Bootstrap ensembles of networks that predict where an action leads: one batched network, fitted in one program.

Member b predicts the change of the observation, and the reward if that is to be learned, all in units of their
deviations in the data: `y = ((o' - o, r) - mean) / deviation ~ N(mu_b(o, a), sigma_b(o, a)^2)`, by minimising

    mean [ w ((mu - y)^2 / sigma^2 + log sigma^2) ]  +  0.01 sum (log sigma_max^2 - log sigma_min^2)

over a bootstrap sample of its own (Chua et al., 2018). The log variance is kept softly between two bounds that are
learned and pulled together by the last term. The weight `w = sigma^(2 beta)`, through which no gradient flows, keeps
what has no noise from drowning what has (Seitzer et al., 2022; PETS has beta 0). Without `probabilistic` it is least
squares. Termination, if that is to be learned, is a logistic regression beside it: the mean of
`-log p(terminated | o, a)` over the same samples is added. Where there were no data the members disagree: their spread
is what is not known, sigma is what cannot be.

Chua, K. et al. (2018), "Deep reinforcement learning in a handful of trials using probabilistic dynamics models".
Seitzer, M. et al. (2022), "On the pitfalls of heteroscedastic uncertainty estimation".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl.configuration import UsageError
from purerl.data.transitions import Transitions
from purerl.networks.initializers import orthogonal
from purerl.networks.torsos import MLP, Activation
from purerl.types import Action, Array, Box, Discrete, Environment, Key, Observation

HELD_OUT = 5  # one transition of so many is not learned from
MAX_HELD_OUT = 1024  # so many of them are looked at


@dataclass(frozen=True)
class EnsembleConfig:
    """Floats are swept by one program; every other field chooses a program."""

    members: int = 5
    """B, networks."""
    widths: tuple[int, ...] = (200, 200)
    """Units of the hidden layers."""
    activation: Activation = "swish"
    """Nonlinearity after every hidden layer."""
    probabilistic: bool = True
    """Learn a variance; otherwise least squares, without noise."""
    learn_reward: bool = True
    """Predict the reward as well."""
    learn_termination: bool = False
    """Predict from observation and action whether the step terminates the episode."""
    beta: float = 0.5
    """Weight of errors by the variance to this power, in [0, 1]: 0 is the likelihood, 1 nearly least squares."""
    learning_rate: float = 1e-3
    """Step size of Adam, > 0."""
    weight_decay: float = 5e-5
    """Of decoupled weight decay (AdamW), >= 0."""
    batch_size: int = 64
    """Transitions per update and member."""
    updates_per_round: int = 100
    """Between two looks at the held-out error."""
    max_rounds: int = 50
    """At most so many in one fit."""
    patience: int = 5
    """A fit ends when no member has improved its held-out error for so many rounds."""
    improvement: float = 0.001
    """What counts as one, as a part of the best error, in [0, 1): noise is most of the error, so little is much."""


class EnsembleState(struct.PyTreeNode):
    """Parameters with a leading axis of members, and the units of inputs and outputs."""

    params: Any  # [B, ...]
    optimizer: optax.OptState
    input_mean: Array  # [O + A]
    input_deviation: Array
    output_mean: Array  # [O (+ 1)]
    output_deviation: Array


class Fit(NamedTuple):
    """How a fit went."""

    rounds: Array  # int32
    held_out_error: Array  # [B]: mean squared error in units of the outputs' deviations; 1 is as good as their mean
    loss: Array  # of the last updates, mean over members


class Prediction(NamedTuple):
    """Of the change of the observation (and, last, the reward), in their own units."""

    mean: Array  # [..., O (+ 1)]
    deviation: Array  # [..., O (+ 1)], sigma: zero if not probabilistic
    termination: Array | None = None  # [...]: its probability, if that is learned


class Ensemble(NamedTuple):
    """A learner of dynamics."""

    config: EnsembleConfig
    init: Callable[[Key], EnsembleState]
    fit: Callable[[EnsembleState, Key, Transitions, Array], tuple[EnsembleState, Fit]]
    predict: Callable[[EnsembleState, Observation, Action], Prediction]  # [B, ...]
    predict_member: Callable[[EnsembleState, Array, Observation, Action], Prediction]


class GaussianNetwork(nn.Module):
    """Mean and log variance of D outputs; the variance has learned soft bounds."""

    size: int
    widths: tuple[int, ...]
    activation: str
    probabilistic: bool
    termination: bool

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """`mu`, `log sigma^2` `[..., D]`, how far the bounds are apart, and the logit of termination (or 0)."""
        hidden = MLP(self.widths, self.activation, kernel_init=orthogonal(1.0))(x)
        mean = nn.Dense(self.size, kernel_init=orthogonal(0.1))(hidden)
        ends = nn.Dense(1, kernel_init=orthogonal(0.1))(hidden)[..., 0] if self.termination else jnp.zeros(())
        if not self.probabilistic:
            return mean, jnp.zeros_like(mean), jnp.zeros(()), ends
        high = self.param("max_log_variance", nn.initializers.constant(0.5), (self.size,))
        low = self.param("min_log_variance", nn.initializers.constant(-10.0), (self.size,))
        raw = nn.Dense(self.size, kernel_init=orthogonal(0.1))(hidden)
        bounded = high - nn.softplus(high - raw)
        return mean, low + nn.softplus(bounded - low), jnp.sum(high - low), ends


def make_ensemble(environment: Environment, config: EnsembleConfig) -> Ensemble:
    """An ensemble for vectors of observations, and actions that are vectors or discrete.

    `fit(state, key, data, count)` learns from the first `count` rows of `data`, of which every fifth is held out. It
    draws new bootstrap samples, runs rounds of updates, and keeps of every member the parameters that did best on what
    was held out. `count` may be traced, and must be at least 10.

    Raises TypeError for other spaces.
    """
    space, actions = environment.observation_space, environment.action_space
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise UsageError(f"an ensemble predicts vectors, and the observations of {environment.name} are {space}")
    if not isinstance(actions, Discrete) and not (isinstance(actions, Box) and len(actions.shape) == 1):
        raise UsageError(
            f"an ensemble takes vectors or discrete actions, and those of {environment.name} are {actions}"
        )
    outputs = space.shape[0] + config.learn_reward
    inputs = space.shape[0] + (actions.n if isinstance(actions, Discrete) else actions.shape[0])
    network = GaussianNetwork(outputs, config.widths, config.activation, config.probabilistic, config.learn_termination)
    optimizer = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)
    apply: Callable[..., Any] = network.apply

    def features(observation: Observation, action: Action) -> Array:
        vector = jax.nn.one_hot(action, actions.n) if isinstance(actions, Discrete) else action
        return jnp.concatenate([observation, vector], axis=-1).astype(jnp.float32)

    def targets(data: Transitions) -> Array:
        change = data.successor - data.observation
        return jnp.concatenate([change, data.reward[..., None]], axis=-1) if config.learn_reward else change

    def init(key: Key) -> EnsembleState:
        params = jax.vmap(network.init, (0, None))(jax.random.split(key, config.members), jnp.zeros(inputs))
        units = (jnp.zeros(inputs), jnp.ones(inputs), jnp.zeros(outputs), jnp.ones(outputs))
        return EnsembleState(params, optimizer.init(params), *units)

    def loss(params: Any, x: Array, y: Array, terminated: Array) -> Array:
        """Sum over members of the loss of each on its own batch: `[B, N, ...]`."""
        mean, log_variance, spread, ends = jax.vmap(apply)(params, x)
        likelihood = jnp.square(mean - y) * jnp.exp(-log_variance) + log_variance
        likelihood *= jax.lax.stop_gradient(jnp.exp(config.beta * log_variance))
        total = jnp.sum(jnp.mean(likelihood, axis=(1, 2)) + 0.01 * spread)
        if config.learn_termination:
            total += jnp.sum(jnp.mean(optax.sigmoid_binary_cross_entropy(ends, terminated), axis=1))
        return total

    def fit(state: EnsembleState, key: Key, data: Transitions, count: Array) -> tuple[EnsembleState, Fit]:
        sample_key, held_key, batch_key = jax.random.split(key, 3)
        held_count = (count + HELD_OUT - 1) // HELD_OUT
        train_count = count - held_count
        x, y = features(data.observation, data.action), targets(data)
        terminated = data.terminated.astype(jnp.float32)
        valid = jnp.arange(x.shape[0]) < count
        state = with_units(state, x, y, valid)
        x, y = (x - state.input_mean) / state.input_deviation, (y - state.output_mean) / state.output_deviation

        most = x.shape[0] - x.shape[0] // HELD_OUT
        sample = jnp.floor(jax.random.uniform(sample_key, (config.members, most)) * train_count).astype(jnp.int32)
        held = HELD_OUT * jnp.floor(jax.random.uniform(held_key, (min(MAX_HELD_OUT, x.shape[0]),)) * held_count).astype(
            jnp.int32
        )

        def held_out_error(params: Any) -> Array:
            mean, *_ = jax.vmap(apply, (0, None))(params, x[held])
            return jnp.mean(jnp.square(mean - y[held]), axis=(1, 2))

        def update(carry: tuple[Any, optax.OptState], key: Key) -> tuple[tuple[Any, optax.OptState], Array]:
            params, optimizer_state = carry
            drawn = jax.random.randint(key, (config.members, config.batch_size), 0, train_count)
            rows = jnp.take_along_axis(sample, drawn, axis=1)
            rows = rows + rows // (HELD_OUT - 1) + 1  # past those that are held out: 1 2 3 4, 6 7 8 9, ...
            value, gradient = jax.value_and_grad(loss)(params, x[rows], y[rows], terminated[rows])
            updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
            return (optax.apply_updates(params, updates), optimizer_state), value / config.members

        def one_round(carry: _Fitting) -> _Fitting:
            keys = jax.random.split(jax.random.fold_in(batch_key, carry.rounds), config.updates_per_round)
            (params, optimizer_state), losses = jax.lax.scan(update, (carry.params, carry.optimizer), keys)
            error = held_out_error(params)
            better = error < carry.best_error * (1 - config.improvement)
            keep = lambda new, old: jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)  # noqa: E731
            return _Fitting(
                params=params,
                optimizer=optimizer_state,
                best=jax.tree.map(keep, params, carry.best),
                best_error=jnp.where(better, error, carry.best_error),
                stale=jnp.where(better, 0, carry.stale + 1),
                rounds=carry.rounds + 1,
                loss=losses[-1],
            )

        start = _Fitting(
            params=state.params,
            optimizer=state.optimizer,
            best=state.params,
            best_error=held_out_error(state.params),
            stale=jnp.zeros(config.members, jnp.int32),
            rounds=jnp.zeros((), jnp.int32),
            loss=jnp.zeros(()),
        )
        going_on = lambda carry: (carry.rounds < config.max_rounds) & jnp.any(carry.stale < config.patience)  # noqa: E731
        end = jax.lax.while_loop(going_on, one_round, start)
        state = state.replace(params=end.best, optimizer=end.optimizer)
        return state, Fit(end.rounds, end.best_error, end.loss)

    def predict_with(params: Any, state: EnsembleState, observation: Observation, action: Action) -> Prediction:
        x = (features(observation, action) - state.input_mean) / state.input_deviation
        mean, log_variance, _, ends = apply(params, x)
        deviation = jnp.exp(0.5 * log_variance) if config.probabilistic else jnp.zeros_like(mean)
        return Prediction(
            mean=mean * state.output_deviation + state.output_mean,
            deviation=deviation * state.output_deviation,
            termination=jax.nn.sigmoid(ends) if config.learn_termination else None,
        )

    def predict(state: EnsembleState, observation: Observation, action: Action) -> Prediction:
        return jax.vmap(predict_with, (0, None, None, None))(state.params, state, observation, action)

    def predict_member(state: EnsembleState, member: Array, observation: Observation, action: Action) -> Prediction:
        return predict_with(jax.tree.map(lambda x: x[member], state.params), state, observation, action)

    return Ensemble(config, init, fit, predict, predict_member)


class _Fitting(NamedTuple):
    """A fit between two rounds."""

    params: Any
    optimizer: optax.OptState
    best: Any  # parameters of the least held-out error, of every member
    best_error: Array  # [B]
    stale: Array  # int32 [B]: rounds since it fell
    rounds: Array
    loss: Array


def with_units(state: EnsembleState, x: Array, y: Array, valid: Array) -> EnsembleState:
    """The state with mean and deviation of the valid rows of inputs and outputs."""

    def units(z: Array) -> tuple[Array, Array]:
        weight = valid[:, None] / jnp.sum(valid)
        mean = jnp.sum(weight * z, axis=0)
        deviation = jnp.sqrt(jnp.sum(weight * jnp.square(z - mean), axis=0))
        return mean, jnp.where(deviation > 1e-6, deviation, 1.0)  # what never changes is not scaled

    (input_mean, input_deviation), (output_mean, output_deviation) = units(x), units(y)
    return state.replace(
        input_mean=input_mean,
        input_deviation=input_deviation,
        output_mean=output_mean,
        output_deviation=output_deviation,
    )
