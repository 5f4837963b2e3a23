"""Least-squares policy iteration (Lagoudakis & Parr, 2003): evaluate by LSTDQ, be greedy, repeat.

One dataset serves every evaluation, whoever collected it, because LSTDQ takes the action at s' from the policy under
evaluation and not from the data:

    W_k = LSTDQ(dataset, pi_k),    pi_{k+1}(s) = argmax_a phi(s) . W_k[:, a]

There is no step size, and a handful of iterations is enough or never will be. What the data never tried, its features
extrapolate: behaviour that is narrow gives a worse policy than behaviour that is poor. The ridge draws values to 0 like
a lower discount: keep it far below (1 - discount) times the mean square of every feature over the dataset, which for
one-hot states is the share of the transitions that begin with each pair of state and action.

Lagoudakis, M. and Parr, R. (2003), "Least-squares policy iteration", JMLR 4.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from purerl import trees
from purerl.algorithms.config import check_config, require_discrete
from purerl.data.transitions import Transitions, check_transitions
from purerl.operators.least_squares import lstdq
from purerl.regression import linear_features
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Observation, Policy, Time


@dataclass(frozen=True)
class Config:
    """Floats are swept by one program; every other field chooses a program."""

    discount: float = 0.95
    """Weight of the next step's reward, in [0, 1]."""
    ridge: float = 1e-4
    """Added to the diagonal of LSTDQ's matrix (an average over transitions), >= 0; 0 may be singular."""


class State(struct.PyTreeNode):
    """Arrays only; the dataset is shared."""

    weights: Array  # [F, A]; the first ones are random: so is the first policy
    iterations_changed: Array  # int32: iterations in which the policy changed somewhere in the dataset


def make(
    environment: Environment,
    dataset: Transitions,
    config: Config,
    features: Callable[[Observation], Array] | None = None,
) -> Algorithm:
    """LSPI on `dataset`; one iteration is one evaluation.

    Args:
        environment: gives the spaces and is what the policy is evaluated on.
        dataset: where everything is learned from, shared by all agents (see `purerl.data.transitions` on how to pass
            it to a compiled program).
        config: a `Config`.
        features: observations `[..., *shape]` -> `[..., F]`, repeated for every action; 10 to 100 of them, such as
            `radial_basis`. By default one-hot states, or the observation itself and a constant.

    Raises TypeError for continuous actions, ValueError for a value out of range or a dataset that is not one of this
    environment.
    """
    check_config(config, non_negative=("ridge",), fraction=("discount",))
    actions = require_discrete("lspi", environment)
    check_transitions("lspi", environment, dataset)
    see = features or linear_features(environment.observation_space)
    count = jax.eval_shape(see, dataset.observation).shape[-1]

    def action_values(weights: Array, inputs: Array) -> Array:
        """Q `[..., A]` of features `[..., F]`."""
        return jnp.matmul(inputs, weights, precision="highest")

    def init(key: Key) -> State:
        return State(jax.random.normal(key, (count, actions.n)), jnp.zeros((), jnp.int32))

    def step(state: State, time: Time) -> tuple[State, Metrics]:
        inputs, successors = see(dataset.observation), see(dataset.successor)
        before = jnp.argmax(action_values(state.weights, successors), axis=-1)
        weights = lstdq(
            inputs,
            dataset.action,
            dataset.reward,
            dataset.terminated,
            successors,
            jax.nn.one_hot(before, actions.n),
            config.discount,
            ridge=config.ridge,
        )
        values = action_values(weights, successors)
        changed = jnp.mean(jnp.argmax(values, axis=-1) != before)
        metrics = {
            "policy_change": changed,
            "weight_change": jnp.max(jnp.abs(weights - state.weights)),
            "q_value": jnp.mean(jnp.max(values, axis=-1)),
        }
        return State(weights, state.iterations_changed + (changed > 0)), metrics

    def policy(state: State, greedy: bool = True) -> Policy:
        def act(key: Key, memory: tuple, observation: Observation) -> tuple[tuple, Array]:
            return memory, jnp.argmax(action_values(state.weights, see(observation))).astype(jnp.int32)

        return Policy(init=lambda key: (), act=act)

    def snapshot(state: State) -> State:
        return trees.keep(state, "weights")

    return Algorithm(
        name="lspi",
        config=config,
        environment=environment,
        init=init,
        step=step,
        policy=policy,
        snapshot=snapshot,
        env_steps_per_iteration=0,
    )
