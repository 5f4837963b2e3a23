"""Successor features and generalised policy improvement (Barreto et al., 2017): new tasks without new learning.

Every reward that is linear in features, `r = phi . w`, has the same expectations of features under a policy:

    psi_i(s, a) = phi + discount (1 - terminated) psi_i(s', pi_i(s')),    Q_i = psi_i . w,    pi_i greedy for task w_i

psi_i is learned from one dataset for all source tasks w_i, each with a network of its own, by fitted iteration; its
targets never see a reward. For a new task, `argmax_a max_i psi_i(s, a) . w` is at least as good as every source policy.

    algorithm = make(environment, dataset, cumulants, jnp.eye(4), Config())
    state = train(algorithm, key, 100).state
    algorithm.policy(state.replace(task=w))                  the policy for any w, at once

With one-hot states as features, psi is the successor representation (Dayan, 1993); `purerl.operators.successor` has
both in closed form and the temporal-difference rule for tables.

Barreto, A. et al. (2017), "Successor features for transfer in reinforcement learning", NeurIPS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, require_discrete
from purerl.data.transitions import Transitions, check_transitions
from purerl.networks.torsos import Activation
from purerl.operators.least_squares import ridge_regression
from purerl.operators.selection import at_action
from purerl.operators.successor import generalized_policy_improvement, successor_target
from purerl.regression import Fit, Regression, by_gradient, exactly, linear_features
from purerl.types import Action, Algorithm, Array, Environment, Key, Metrics, Observation, Policy, Time

Cumulants = Callable[[Observation, Action, Observation], Array]  # (s, a, s') of one transition -> phi [D]


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    discount: float = 0.95
    """Weight of the next step's features, in [0, 1]."""
    regression: Literal["gradient", "exact"] = "gradient"
    """How to fit: steps of Adam on a network, or one least-squares solve (linear; takes no widths)."""
    l2: float = 0.0
    """Weight of the squared parameters in the fit, >= 0; "exact" needs > 0 where inputs depend on one another."""
    learning_rate: float = 1e-3
    """Step size of Adam, > 0 ("gradient")."""
    updates_per_iteration: int = 50
    """Gradient steps on one set of targets ("gradient")."""
    batch_size: int = 512
    """Transitions per gradient step; 0 takes all of them ("gradient")."""
    task_ridge: float = 1e-6
    """Weight of the squared w when w is regressed from the rewards of the dataset, > 0."""
    widths: tuple[int, ...] = (64,)
    """Units of the hidden layers; () is linear ("gradient")."""
    activation: Activation = "relu"
    """Nonlinearity after every hidden layer ("gradient")."""
    layer_norm: bool = False
    """LayerNorm before every activation ("gradient")."""


class State(struct.PyTreeNode):
    """Arrays only; the dataset is shared."""

    fits: Fit  # [P, ...]: psi of every source policy
    task: Array  # [D]: the w that the policy acts for; replace it to act for another one
    key: Key


def make(
    environment: Environment, dataset: Transitions, cumulants: Cumulants, tasks: Array, config: Config
) -> Algorithm:
    """Learn psi of one policy per source task; one iteration is one fit of each.

    The policy improves on all of them for `state.task`, which `init` finds by regressing the rewards of the dataset on
    their features.

    Args:
        environment: gives the spaces and is what the policy is evaluated on.
        dataset: where everything is learned from, shared by all agents (see `purerl.data.transitions` on how to pass
            it to a compiled program).
        cumulants: phi of one transition, (s, a, s') -> `[D]`.
        tasks: w of the source policies, `[P, D]`.
        config: a `Config`.

    Raises TypeError for continuous actions, ValueError for a value out of range, tasks of another size than phi or a
    dataset that is not one of this environment.
    """
    check(config)
    require_discrete("successor_features", environment)
    check_transitions("successor_features", environment, dataset)
    tasks = jnp.asarray(tasks, jnp.float32)
    phi = jax.vmap(cumulants)(dataset.observation, dataset.action, dataset.successor)  # [N, D]
    if tasks.ndim != 2 or tasks.shape[1:] != phi.shape[1:]:
        raise ValueError(
            f"successor_features: tasks must have the shape [P, {phi.shape[1]}], one weight for each of the features "
            f"that cumulants returns, got {list(tasks.shape)}"
        )
    regression = regression_for(environment, phi.shape[1], config)

    def targets(fit: Fit, task: Array) -> Array:
        """What psi of the policy for `task` should be at every transition, `[N, D]`."""
        psi = regression.predict(fit.params, dataset.successor)  # [N, A, D]
        successor = at_action(psi, jnp.argmax(psi @ task, axis=-1), axis=-2)
        return jax.vmap(successor_target, in_axes=(0, 0, 0, None))(phi, dataset.terminated, successor, config.discount)

    def init(key: Key) -> State:
        fit_key, key = jax.random.split(key)
        fits = jax.vmap(regression.init)(jax.random.split(fit_key, tasks.shape[0]))
        return State(fits, ridge_regression(phi, dataset.reward, ridge=config.task_ridge), key)

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        keys = jax.random.split(jax.random.fold_in(state.key, time.iteration), tasks.shape[0])
        target = jax.vmap(targets)(state.fits, tasks)
        fit = jax.vmap(regression.fit, in_axes=(0, 0, None, None, 0))
        fits, error = fit(state.fits, keys, dataset.observation, dataset.action, target)
        return state.replace(fits=fits), {"loss": jnp.mean(error), "psi": jnp.mean(jnp.sum(target, axis=-1))}

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
            psi = action_features(environment, state, observation, config)
            return memory, jnp.argmax(generalized_policy_improvement(psi, state.task)).astype(jnp.int32)

        return Policy(init=lambda key: (), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state, "fits", "task").replace(fits=trees.keep(state.fits, "params"))

    return Algorithm(
        name="successor_features",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=0,
    )


def action_features(environment: Environment, state: State, observation: Observation, config: Config) -> Array:
    """psi of every source policy and action at one observation, `[P, A, D]`; arguments as given to `make`."""
    predict = regression_for(environment, state.task.shape[0], config).predict
    return jax.vmap(lambda params: predict(params, observation[None])[0])(state.fits.params)


def regression_for(environment: Environment, features: int, config: Config) -> Regression:
    """How psi of one policy, `[A, D]` per observation, is fitted."""
    space, actions = environment.observation_space, require_discrete("successor_features", environment).n
    if config.regression == "exact":
        return exactly(space, actions, size=(features,), features=linear_features(space), ridge=config.l2)
    return by_gradient(
        space,
        actions,
        size=(features,),
        widths=config.widths,
        activation=config.activation,
        layer_norm=config.layer_norm,
        learning_rate=config.learning_rate,
        l2=config.l2,
        updates=config.updates_per_iteration,
        batch_size=config.batch_size,
        restart=False,
    )


def check(config: Config) -> None:
    """Raise if the fields do not fit their ranges or one another."""
    check_config(
        config,
        positive=("learning_rate", "updates_per_iteration", "task_ridge"),
        non_negative=("l2", "batch_size"),
        fraction=("discount",),
    )
    if config.regression == "exact" and config.widths:
        raise ValueError(
            f"successor_features: regression 'exact' is linear and has no hidden layers, but widths is "
            f"{config.widths}; pass widths=(), or regression='gradient'"
        )
