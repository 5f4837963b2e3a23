"""The optimisers that the learners share, on clipped gradients and with a step size that the clock may shrink.

Up to `FEW` parameters they work on one vector of all: many small arrays cost more to hand to the processor than to
compute. On a CPU, with two layers of 64 units, one DQN agent is 14 % faster for it, SAC 10 %, PPO, PQN and TD3 0 to
4 %, sixteen PPO agents in one program 17 %; sixteen DQN agents are 6 % slower (`python -m
experiments.benchmarks.flat_optimizers`). More parameters go leaf by leaf: what joins their gradients XLA may compile
into a loop of a hundred nanoseconds per number, which makes SAC with 256 units 3.5 times slower.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from purerl.types import Array, Time

Tree = TypeVar("Tree", bound=Any)
FEW = 2**15  # parameters


def clipped(
    max_gradient_norm: float | Array, *transformations: optax.GradientTransformation
) -> optax.GradientTransformation:
    """The transformations one after another, on gradients scaled down to a global norm.

    Up to `FEW` parameters they are laid out as one vector.
    """
    clip = optax.clip_by_global_norm(max_gradient_norm)  # pyright: ignore[reportArgumentType]
    by_leaf = optax.chain(clip, *transformations)
    on_vector, few = optax.flatten(by_leaf), FEW

    def suited(parameters: Any) -> optax.GradientTransformation:
        return on_vector if sum(leaf.size for leaf in jax.tree.leaves(parameters)) <= few else by_leaf

    def update(updates: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        return suited(updates).update(updates, state, params)

    return optax.GradientTransformation(lambda params: suited(params).init(params), update)


def clipped_adam(
    learning_rate: float | Array,
    epsilon: float | Array,
    max_gradient_norm: float | Array,
    weight_decay: float | Array | None = None,
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba, 2015) after scaling the gradients down to a global norm; every number may be traced.

    An infinite `max_gradient_norm` leaves the gradients as they are. With `weight_decay` the loss so minimised has
    `weight_decay |params|^2 / 2` added to it: its gradient passes through Adam like the rest.
    """
    decay = () if weight_decay is None else (optax.add_decayed_weights(weight_decay),)
    adam = optax.adam(learning_rate, eps=epsilon)  # pyright: ignore[reportArgumentType]
    return clipped(max_gradient_norm, *decay, adam)


def clipped_rmsprop(
    learning_rate: float | Array, decay: float | Array, epsilon: float | Array, max_gradient_norm: float | Array
) -> optax.GradientTransformation:
    """RMSProp (Tieleman & Hinton, 2012) after scaling the gradients down to a global norm; every number may be traced.

    Steps are divided by `sqrt(mean square + epsilon)`: with epsilon outside of the root, as PyTorch has it, A2C learns
    noticeably differently.
    """
    rmsprop = optax.rmsprop(learning_rate, decay, epsilon)  # pyright: ignore[reportArgumentType]
    return clipped(max_gradient_norm, rmsprop)


def annealing(time: Time, anneal: bool) -> Array:
    """What the step size is multiplied by at this time: `1 - progress` if it anneals, else 1."""
    return 1.0 - time.progress if anneal else jnp.ones(())


def descend(
    optimizer: optax.GradientTransformation,
    params: Tree,
    state: optax.OptState,
    gradients: Tree,
    rate: float | Array = 1.0,
) -> tuple[Tree, optax.OptState]:
    """One step, `params + rate * update`, and the optimiser's next state.

    The step size enters Adam's update last, so that `rate` multiplies it.
    """
    updates, state = optimizer.update(gradients, state, params)
    return jax.tree.map(lambda p, u: p + rate * u, params, updates), state
