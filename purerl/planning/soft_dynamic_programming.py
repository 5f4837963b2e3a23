"""Maximum-entropy dynamic programming: the best trade between reward and randomness.

    maximise  E sum_t discount^t [r(s_t, a_t) + alpha H(pi(. | s_t))]

    Q(s, a) = r(s, a) + discount E_s' V(s')
    V(s) = alpha log sum_a exp(Q(s, a) / alpha),    pi(a | s) = exp((Q(s, a) - V(s)) / alpha)

with V = 0 at terminal states. The temperature alpha is in units of the reward; as it goes to 0, V goes to the hard
maximum. A prior p(a | s) on the actions is a reward of `alpha log p(a | s)`.

Ziebart, B. et al. (2010), "Modeling interaction via the principle of maximum causal entropy". Levine, S. (2018),
"Reinforcement learning and control as probabilistic inference".
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp, xlogy

from purerl.environments.finite.mdp import FiniteMDP
from purerl.planning.backups import action_values, fixed_point
from purerl.planning.dynamic_programming import Solution
from purerl.types import Array


class Inference(NamedTuple):
    """Messages and marginals of a path that is taken to be optimal; t = 0 is the first step, T is after the last."""

    backward: Array  # [T + 1, S] log p(optimal from t on | s_t), up to a constant of t
    forward: Array  # [T + 1, S] log p(s_t, optimal before t), up to a constant of t
    marginals: Array  # [T + 1, S] p(s_t | optimal throughout)
    policy: Array  # [T, S, A] p(a_t | s_t, optimal from t on)


def soft_action_values(mdp: FiniteMDP, values: Array, temperature: float | Array, optimistic: bool = False) -> Array:
    """`Q(s, a) = r(s, a) + discount E V(s')`, `[S, A]`; the expectation is outside of any logarithm.

    If `optimistic`, `alpha log E exp((r(s, a, s') + discount V(s')) / alpha)` instead: what exact inference gives when
    the dynamics may be chosen as well as the actions. It is right where transitions are deterministic and else takes
    luck for skill.
    """
    if not optimistic:
        return action_values(mdp, values)
    chex.assert_shape(values, (mdp.num_states,))
    outcome = mdp.reward + mdp.discount * jnp.where(mdp.terminal, 0.0, values)
    return jnp.where(mdp.available, temperature * logsumexp(outcome / temperature, b=mdp.transition, axis=-1), -jnp.inf)


def soft_backup(mdp: FiniteMDP, values: Array, temperature: float | Array, optimistic: bool = False) -> Array:
    """`(B V)(s) = alpha log sum_a exp(Q(s, a) / alpha)`, `[S]`; a contraction by `discount`, the optimistic one too."""
    q_values = soft_action_values(mdp, values, temperature, optimistic)
    return jnp.where(mdp.terminal, 0.0, temperature * logsumexp(q_values / temperature, axis=-1))


def soft_policy(action_values: Array, temperature: float | Array) -> Array:
    """`exp((Q - V) / alpha)`, `[S, A]`: a softmax over the available actions."""
    return jax.nn.softmax(action_values / temperature, axis=-1)


def soft_value_iteration(
    mdp: FiniteMDP,
    temperature: float | Array,
    optimistic: bool = False,
    tolerance: float | Array = 1e-6,
    max_sweeps: int | Array = 100_000,
) -> Solution:
    """Repeat the soft backup from 0; stops like `value_iteration`.

    Args:
        mdp: the problem. Without discounting, the entropy must not be worth a detour forever: V may be infinite.
        temperature: alpha > 0; may be traced.
        optimistic: see `soft_action_values`; for comparison, not for use.
        tolerance: on the values.
        max_sweeps: at which to give up.
    """

    def backup(values: Array) -> Array:
        return soft_backup(mdp, values, temperature, optimistic)

    point = fixed_point(backup, jnp.zeros_like(mdp.initial), mdp.discount, tolerance, max_sweeps)
    q_values = soft_action_values(mdp, point.value, temperature, optimistic)
    return Solution(point.value, q_values, soft_policy(q_values, temperature), point.sweeps, point.residual)


def with_entropy_bonus(mdp: FiniteMDP, policy: Array, temperature: float | Array) -> FiniteMDP:
    """`mdp` with `alpha H(pi(. | s))` added to every reward: the value of `policy` in it is its soft value."""
    bonus = -temperature * jnp.sum(xlogy(policy, policy), axis=-1)
    moves = mdp.available & ~mdp.terminal[:, None]
    return mdp.replace(reward=jnp.where(moves[..., None], mdp.reward + bonus[:, None, None], mdp.reward))


def control_as_inference(mdp: FiniteMDP, horizon: int, temperature: float | Array = 1.0) -> Inference:
    """Where the paths go that are optimal with probability `prod_t exp(r(s_t, a_t, s_{t+1}) / alpha)`.

        backward_t(s) = log sum_{a,s'} w(s, a, s') exp backward_{t+1}(s'),    w = P(s' | s, a) exp(r(s, a, s') / alpha)
        forward_{t+1}(s') = log sum_{s,a} w(s, a, s') exp forward_t(s)
        p(s_t | optimal) = softmax(forward_t + backward_t)

    over `horizon` steps. Available actions have equal prior weights of 1; a terminal state has one action, which does
    nothing. The discount is not used. The backward message is the optimistic V / alpha of a finite horizon: the
    posterior conditions the dynamics on success, which an agent cannot do.

    Raises ValueError if `horizon` is not positive.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
    first = jnp.arange(mdp.num_actions) == 0
    usable = jnp.where(mdp.terminal[:, None], first, mdp.available)
    weight = jnp.where(usable[..., None], mdp.reward / temperature, -jnp.inf) + jnp.log(mdp.transition)  # [S, A, S]

    def backwards(message: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        q_values = logsumexp(weight + message, axis=-1)
        message = logsumexp(q_values, axis=-1)
        return message, (message, jax.nn.softmax(q_values, axis=-1))

    def forwards(message: Array, _: None) -> tuple[Array, Array]:
        message = logsumexp(weight + message[:, None, None], axis=(0, 1))
        return message, message

    start, end = jnp.log(mdp.initial), jnp.zeros_like(mdp.initial)
    _, (backward, policy) = jax.lax.scan(backwards, end, length=horizon, reverse=True)
    _, forward = jax.lax.scan(forwards, start, length=horizon)
    backward, forward = jnp.concatenate([backward, end[None]]), jnp.concatenate([start[None], forward])
    return Inference(backward, forward, jax.nn.softmax(forward + backward, axis=-1), policy)
