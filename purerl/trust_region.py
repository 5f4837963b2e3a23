"""What trust-region learners share: the step of the policy within its region, and the fit of the value beside it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purerl import trees
from purerl.networks.heads import ActorCritic, join_parameters, split_parameters
from purerl.operators.natural_gradient import conjugate_gradient, fisher_vector_product, natural_step
from purerl.operators.policy_gradient import value_loss
from purerl.optimizers import descend
from purerl.rollout import Params, Sequences, pass_over
from purerl.types import Array, Key, Memory, Metrics

Fit = tuple[Params, optax.OptState]  # all parameters, and the state of the value's optimiser


class Tried(struct.PyTreeNode):
    """What the line search passes on: the step found, and what it brings."""

    step: Params
    accepted: Array
    gain: Array  # of the objective
    kl: Array


def trust_region_step(
    params: Params, objective: Callable[[Params], Array], mean_kl: Callable[[Params], Array], config: Any
) -> tuple[Params, Metrics]:
    """The parameters after one step, which maximises `objective` subject to `mean_kl <= max_kl`.

    To first order in the objective and second order in the divergence: with gradient g and Fisher matrix F, the
    conjugate gradient method solves F x = g from Fisher-vector products, and the full step is
    sqrt(2 max_kl / x^T F x) x. It is taken as it is, or, with `line_search`, ever smaller parts of it are tried until
    the objective is larger and the divergence within its bound; where none will do, the parameters stay as they are.

    Args:
        params: where the policy is that acted, and where `mean_kl` and its gradient are 0.
        objective: parameters -> what is to grow, a scalar.
        mean_kl: parameters -> the mean over states of KL(pi_old || pi), a scalar.
        config: has `max_kl`, `line_search`, `backtracks`, `backtrack_factor`, `conjugate_gradient_steps`, `damping`.
    """

    def product(vector: Params) -> Params:
        return fisher_vector_product(mean_kl, params, vector, config.damping)

    before, gradient = jax.value_and_grad(objective)(params)
    direction = conjugate_gradient(product, gradient, config.conjugate_gradient_steps)
    full_step = natural_step(gradient, direction, product(direction), config.max_kl)

    def attempt(scale: Array) -> Tried:
        step = jax.tree.map(lambda x: scale * x, full_step)
        new_params = jax.tree.map(jnp.add, params, step)
        gain, kl = objective(new_params) - before, mean_kl(new_params)
        good = (gain > 0.0) & (kl <= config.max_kl) if config.line_search else jnp.isfinite(kl)
        return Tried(step, good, gain, kl)

    def search(best: Tried, scale: Array) -> tuple[Tried, None]:
        tried = attempt(scale)
        better = ~best.accepted & tried.accepted
        return trees.where(better, tried, best), None

    nothing = Tried(jax.tree.map(jnp.zeros_like, full_step), jnp.zeros((), bool), jnp.zeros(()), jnp.zeros(()))
    lengths = config.backtrack_factor ** jnp.arange(config.backtracks if config.line_search else 1)
    found, _ = jax.lax.scan(search, nothing, lengths)
    metrics = {"kl": found.kl, "surrogate_gain": found.gain, "accepted": found.accepted.astype(jnp.float32)}
    return jax.tree.map(jnp.add, params, found.step), metrics


def value_fit(network: ActorCritic, optimizer: optax.GradientTransformation, config: Any) -> Callable[..., tuple]:
    """How to regress the value of `network` on the targets of a rollout, in `epochs` passes of `minibatches` updates.

    `fit(params, state, key, samples, memory)` returns all parameters, of which those of the policy stay as they are,
    the optimiser's state, and metrics.
    """
    apply: Callable[..., Any] = network.apply

    def loss(params: Params, batch: Sequences, memory: Memory) -> Array:
        value = apply(params, batch.observation, memory, batch.reset, method=network.value)
        return value_loss(value.reshape(-1), batch.target.reshape(-1))

    def update(carry: Fit, batch: Sequences, memory: Memory) -> tuple[Fit, Metrics]:
        params, state = carry
        actor_params, critic_params = split_parameters(params)
        error, gradients = jax.value_and_grad(
            lambda critic_params: loss(join_parameters(actor_params, critic_params), batch, memory)
        )(critic_params)
        critic_params, state = descend(optimizer, critic_params, state, gradients)
        return (join_parameters(actor_params, critic_params), state), {"value_loss": error}

    def fit(params: Params, state: optax.OptState, key: Key, samples: Sequences, memory: Memory) -> tuple:
        carry, metrics = pass_over(update, (params, state), key, samples, memory, config.epochs, config.minibatches)
        return *carry, jax.tree.map(jnp.mean, metrics)

    return fit
