"""Fitted iteration: value iteration on a dataset (or a model) with a function approximator.

Every iteration computes all targets with the last function and *then* fits a new one to them, fixed as they are; that
the regression is carried through on one set of targets is what tells fitted Q-iteration (Ernst et al., 2005) from DQN:

    y_i = r_i + discount (1 - terminated_i) max_a' Q_k(s'_i, a'),    Q_{k+1} = argmin_Q sum_i (Q(s_i, a_i) - y_i)^2

`make` learns from transitions and acts in no environment. `make_with_model` is fitted value iteration, whose targets
`max_a E[r + discount V_k(s')]` need the model. The fit is a contraction in the 2-norm and the backup one in the maximum
norm; together they need not contract, and extrapolating fits diverge. One-hot features make both exact where `l2` draws
nothing to 0: keep it far below the share of the transitions that begin with each pair of state and action.

Ernst, D. et al. (2005), "Tree-based batch mode reinforcement learning", JMLR 6. Riedmiller, M. (2005), "Neural fitted Q
iteration", ECML. Gordon, G. (1995), "Stable function approximation in dynamic programming", ICML.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, require_discrete, require_real_observations
from purerl.data.transitions import Transitions, check_transitions
from purerl.environments.finite.mdp import FiniteMDP
from purerl.networks.torsos import Activation
from purerl.normalization import RunningStatistics, init_statistics, normalize, update_statistics
from purerl.operators.temporal_difference import q_learning_target
from purerl.planning import action_values, optimal_backup
from purerl.regression import Fit, Regression, by_gradient, exactly, linear_features
from purerl.types import Algorithm, Array, Box, Environment, Key, Metrics, Observation, Policy, Space, Time


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    discount: float = 0.99
    """Weight of the next step's reward, in [0, 1]; a model's own discount is not read."""
    regression: Literal["gradient", "exact"] = "gradient"
    """How to fit: steps of Adam on a network, or one least-squares solve (linear; takes no widths)."""
    l2: float = 1e-4
    """Weight of the squared parameters in the fit, >= 0; "exact" needs > 0 where features depend on one another."""
    learning_rate: float = 1e-3
    """Step size of Adam, > 0 ("gradient")."""
    updates_per_iteration: int = 100
    """Gradient steps on one set of targets ("gradient")."""
    batch_size: int = 256
    """Transitions per gradient step; 0 takes all of them ("gradient")."""
    restart: bool = False
    """Fit from fresh parameters in every iteration instead of from the last ones ("gradient")."""
    normalize_observations: bool = False
    """Shift and scale observations by the mean and deviation of the dataset, clipped to 10."""
    widths: tuple[int, ...] = (20, 20)
    """Units of the hidden layers; () is linear ("gradient")."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer ("gradient")."""
    layer_norm: bool = False
    """LayerNorm before every activation ("gradient")."""


class State(struct.PyTreeNode):
    """Arrays only; the clock is the driver's and the dataset is shared."""

    fit: Fit
    observation_statistics: RunningStatistics
    key: Key


def make(environment: Environment, dataset: Transitions, config: Config) -> Algorithm:
    """Fitted Q-iteration on `dataset`; one iteration is one fit.

    Args:
        environment: gives the spaces (what the network sees) and is what the policy is evaluated on.
        dataset: where everything is learned from, shared by all agents (see `purerl.data.transitions` on how to pass
            it to a compiled program).
        config: a `Config`.

    Raises TypeError for continuous actions or a traced static field, ValueError for a value out of range or a dataset
    that is not one of this environment.
    """
    check(config)
    actions = require_discrete("fitted_iteration", environment)
    space = environment.observation_space
    check_transitions("fitted_iteration", environment, dataset)
    if config.normalize_observations:
        require_real_observations("fitted_iteration", environment)
    regression = regression_for(space, actions.n, linear_features(space), config)

    def seen(state: State, observation: Observation) -> Observation:
        if config.normalize_observations:
            return normalize(state.observation_statistics, observation)
        return observation

    def init(key: Key) -> State:
        fit_key, key = jax.random.split(key)
        statistics = init_statistics(space.shape)
        if config.normalize_observations:
            statistics = update_statistics(statistics, dataset.observation)
        return State(regression.init(fit_key), statistics, key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        values = regression.predict(state.fit.params, seen(state, dataset.successor))
        targets = jax.vmap(q_learning_target, in_axes=(0, 0, 0, None))
        target = targets(dataset.reward, dataset.terminated, values, config.discount)
        key = jax.random.fold_in(state.key, time.iteration)
        fit, error = regression.fit(state.fit, key, seen(state, dataset.observation), dataset.action, target)
        return state.replace(fit=fit), {"loss": error, "target": jnp.mean(target)}

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
            values = regression.predict(state.fit.params, seen(state, observation)[None])[0]
            return memory, jnp.argmax(values).astype(jnp.int32)

        return Policy(init=lambda key: (), act=act)

    return _algorithm(config, environment, init, step, policy)


def make_with_model(
    mdp: FiniteMDP, config: Config, features: Array | None = None, environment: Environment | None = None
) -> Algorithm:
    """Fitted value iteration on a known model; one iteration is one fit of V to the backups of all states.

        y(s) = max_a sum_s' P(s' | s, a) (r(s, a, s') + discount V_k(s')),    V_{k+1} = argmin_V sum_s (V(s) - y(s))^2

    V is 0 in terminal states and those are not fitted. The policy looks one step ahead in the model; it sees states by
    number, as environments of `as_environment` show them.

    Args:
        mdp: the model; its discount is not read.
        config: a `Config`; `normalize_observations` does not apply.
        features: what the approximator sees of each state, `[S, F]`; by default one-hot states.
        environment: what to evaluate the policy on, if anything.

    Raises TypeError and ValueError as `make` does.
    """
    check(config)
    if config.normalize_observations:
        raise ValueError("fitted_iteration: normalize_observations does not apply to a model; normalise its features")
    rows = jnp.eye(mdp.num_states) if features is None else jnp.asarray(features, jnp.float32)
    if rows.ndim != 2 or rows.shape[0] != mdp.num_states:
        raise ValueError(f"features must have the shape [{mdp.num_states}, F], got {list(rows.shape)}")
    regression = regression_for(Box(-jnp.inf, jnp.inf, rows.shape[1:]), 1, lambda row: row, config)
    only = jnp.zeros(mdp.num_states, jnp.int32)  # the approximator has one output
    model = mdp.replace(discount=config.discount)

    def lookahead(state: State) -> Array:
        """Q `[S, A]` by one backup of V; -inf where an action does not exist."""
        return action_values(model, regression.predict(state.fit.params, rows)[:, 0])

    def init(key: Key) -> State:
        fit_key, key = jax.random.split(key)
        return State(regression.init(fit_key), init_statistics(()), key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        target = optimal_backup(model, regression.predict(state.fit.params, rows)[:, 0])
        key = jax.random.fold_in(state.key, time.iteration)
        fit, error = regression.fit(state.fit, key, rows, only, target, weight=1.0 - mdp.terminal)
        return state.replace(fit=fit), {"loss": error, "target": jnp.mean(target)}

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
            return memory, jnp.argmax(lookahead(state)[observation]).astype(jnp.int32)

        return Policy(init=lambda key: (), act=act)

    return _algorithm(config, environment, init, step, policy)


def regression_for(space: Space, outputs: int, features: Callable[[Observation], Array], config: Config) -> Regression:
    """The regression that a `Config` asks for; `features` is what a linear one sees of an observation."""
    if config.regression == "exact":
        return exactly(space, outputs, features=features, ridge=config.l2)
    return by_gradient(
        space,
        outputs,
        widths=config.widths,
        activation=config.activation,
        layer_norm=config.layer_norm,
        learning_rate=config.learning_rate,
        l2=config.l2,
        updates=config.updates_per_iteration,
        batch_size=config.batch_size,
        restart=config.restart,
    )


def _algorithm(
    config: Config,
    environment: Environment | None,
    init: Callable[[Key], State],
    step: Callable[[State, Time], tuple[State, Metrics]],
    policy: Callable[..., Policy],
) -> Algorithm:
    def snapshot(state: State) -> State:
        return trees.keep(state, "fit", "observation_statistics").replace(fit=trees.keep(state.fit, "params"))

    return Algorithm(
        name="fitted_iteration",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=0,
    )


def check(config: Config) -> None:
    """Raise if the fields do not fit their ranges or one another."""
    check_config(
        config,
        positive=("learning_rate", "updates_per_iteration"),
        non_negative=("l2", "batch_size"),
        fraction=("discount",),
    )
    if config.regression == "exact" and config.widths:
        raise ValueError(
            f"fitted_iteration: regression 'exact' is linear and has no hidden layers, but widths is {config.widths}; "
            f"pass widths=(), or regression='gradient'"
        )
