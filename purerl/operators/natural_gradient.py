"""Natural-gradient steps `F^-1 g`, with the Fisher matrix F never formed (Kakade, 2001; Schulman et al., 2015).

    product = partial(fisher_vector_product, kl_at, params, damping=0.1)
    direction = conjugate_gradient(product, gradient, iterations=10)
    step = natural_step(gradient, direction, product(direction), delta)

Vectors are pytrees like the parameters.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg

from purerl.types import Array

Tree = Any  # a pytree of arrays


def conjugate_gradient(product: Callable[[Tree], Tree], b: Tree, iterations: int, tolerance: float = 1e-10) -> Tree:
    """x with `A x = b`, nearly, for a symmetric positive definite A (Hestenes & Stiefel, 1952).

    Args:
        product: `x -> A x`, linear.
        b: the right-hand side; 0 gives 0.
        iterations: how many steps, each one product; one more product is for the start.
        tolerance: it stops earlier once `|b - A x| <= tolerance |b|`. The default is out of reach in float32 but for
            problems solved exactly, so that agents under `vmap` take the same number of steps.

    It is `jax.scipy.sparse.linalg.cg`: under `vmap` each agent stops by its own residual and gets what it gets alone.
    """
    x, _ = cg(product, b, tol=tolerance, maxiter=iterations)
    return x


def fisher_vector_product(
    kl_at: Callable[[Tree], Array], params: Tree, vector: Tree, damping: float | Array = 0.0
) -> Tree:
    """`F v + damping v`: the Hessian of the divergence at the parameters themselves is the Fisher matrix.

        F v = grad((grad KL)^T v),    F = E_s E_{a ~ pi} [grad log pi(a | s) grad log pi(a | s)^T]

    Args:
        kl_at: parameters -> the mean over states of KL(old || parameters), a scalar; old is held fixed at `params`.
        params: where KL and its gradient are 0.
        vector: v, like `params`.
        damping: >= 0; it bounds the step in directions that do not change the policy.
    """
    _, curvature = jax.jvp(jax.grad(kl_at), (params,), (vector,))
    return jax.tree.map(lambda along, v: along + damping * v, curvature, vector)


def natural_step(gradient: Tree, direction: Tree, curvature_product: Tree, delta: float | Array) -> Tree:
    """The step along x = `direction` whose divergence is `delta` to second order, to be added to the parameters.

        sqrt(2 delta / (x^T F x)) x,    x = F^-1 g

    Args:
        gradient: g, of what is to grow.
        direction: x.
        curvature_product: F x.
        delta: > 0.

    A gradient of 0, or so small that x^T F x is 0 in float32, gives a step of 0; one that is not a number a step that
    is none either, so that a divergence is seen (`conjugate_gradient` returns 0 for it).
    """
    curvature = jnp.asarray(optax.tree.vdot(direction, curvature_product))
    flat = (curvature <= 0.0) & jnp.isfinite(optax.tree.vdot(gradient, gradient))
    scale = jnp.where(flat, 0.0, jnp.sqrt(2.0 * delta / jnp.where(flat, 1.0, curvature)))
    return jax.tree.map(lambda x: scale * x, direction)
