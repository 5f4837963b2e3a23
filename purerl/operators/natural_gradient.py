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

from purerl.types import Array

Tree = Any  # a pytree of arrays


def conjugate_gradient(product: Callable[[Tree], Tree], b: Tree, iterations: int, tolerance: float = 1e-5) -> Tree:
    """x with `A x = b`, nearly, for a symmetric positive definite A (Hestenes & Stiefel, 1952).

        alpha = r^T r / d^T A d,    x <- x + alpha d,    r <- r - alpha A d,    d <- r + (r'^T r' / r^T r) d

    Args:
        product: `x -> A x`, linear.
        b: the right-hand side; 0 gives 0.
        iterations: how many steps, each one product.
        tolerance: nothing changes any more once `|r| <= tolerance |b|`. In float32 it must end so: beyond that
            residuals are rounding errors, and their quotients may be anything.

    A scan of fixed length, in which each agent under `vmap` stops by its own residual. `jax.scipy.sparse.linalg.cg` is
    a `while_loop`; vmapped inside a training program, XLA for CPUs (jax 0.10.2) gave it other results in every run.
    """

    def step(carry: tuple[Tree, Tree, Tree, Array], _: None) -> tuple[tuple[Tree, Tree, Tree, Array], None]:
        x, residual, direction, size = carry
        image = product(direction)
        curvature = inner(direction, image)
        goes_on = (size > enough) & (curvature > 0.0)
        alpha = jnp.where(goes_on, size / jnp.where(goes_on, curvature, 1.0), 0.0)
        x = jax.tree.map(lambda x, d: x + alpha * d, x, direction)
        residual = jax.tree.map(lambda r, image: r - alpha * image, residual, image)
        smaller = jnp.where(goes_on, inner(residual, residual), size)
        beta = jnp.where(goes_on, smaller / jnp.where(goes_on, size, 1.0), 0.0)
        direction = jax.tree.map(lambda r, d: r + beta * d, residual, direction)
        return (x, residual, direction, smaller), None

    size = inner(b, b)
    enough = tolerance**2 * size
    carry = (jax.tree.map(jnp.zeros_like, b), b, b, size)
    return jax.lax.scan(step, carry, length=iterations)[0][0]


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
    is none either, so that whoever takes it sees the divergence (`conjugate_gradient` returns 0 for it).
    """
    curvature = inner(direction, curvature_product)
    flat = (curvature <= 0.0) & jnp.isfinite(inner(gradient, gradient))
    scale = jnp.where(flat, 0.0, jnp.sqrt(2.0 * delta / jnp.where(flat, 1.0, curvature)))
    return jax.tree.map(lambda x: scale * x, direction)


def inner(a: Tree, b: Tree) -> Array:
    """The inner product of two vectors, a scalar."""
    return jnp.asarray(optax.tree.vdot(a, b))
