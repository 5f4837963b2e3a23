"""The successor representation and successor features: what will be met, apart from what it is worth.

A reward, and a feature phi, belongs to the transition out of a state: r(s, a) is earned on leaving s. So M counts the
visits to the states that are left, a terminal state is never counted, and `M r = V` for the expected reward of
leaving each state.
"""

import chex
import jax
import jax.numpy as jnp

from purerl.types import Array


def policy_transition(transition: Array, policy: Array) -> Array:
    """P_pi `[S, S]`: `sum_a pi(a | s) P(s' | s, a)`, of a model `[S, A, S]` and a policy `[S, A]` (probabilities)."""
    chex.assert_rank([transition, policy], [3, 2])
    return jnp.einsum("sa,sat->st", policy, transition, precision="highest")


def successor_representation(transition: Array, terminal: Array, discount: float | Array) -> Array:
    """The successor representation M `[S, S]` (Dayan, 1993), in closed form.

        M = (I - discount P_pi)^{-1} = E sum_t discount^t 1[s_t = j]

    Row s counts the discounted visits from s. Without terminal states its sum is `1 / (1 - discount)`: occupancies,
    which sum to 1, are `(1 - discount) M`. Rows and columns of terminal states are 0: nothing happens there.

    Args:
        transition: P_pi `[S, S]` (see `policy_transition`); what it says of terminal states is not read.
        terminal: bool `[S]`.
        discount: in [0, 1); 1 if every state leads to a terminal one.
    """
    chex.assert_rank([transition, terminal], [2, 1])
    alive = 1.0 - terminal.astype(transition.dtype)
    going_on = transition * alive[:, None]
    return jnp.linalg.solve(jnp.eye(alive.shape[0], dtype=alive.dtype) - discount * going_on, jnp.diag(alive))


def successor_features(
    transition: Array, features: Array, policy: Array, terminal: Array, discount: float | Array
) -> Array:
    """Successor features psi `[S, A, D]` of a policy (Barreto et al., 2017), in closed form.

        psi(s, a) = phi(s, a) + discount sum_s' P(s' | s, a) sum_a' pi(a' | s') psi(s', a')

    so that `Q(s, a) = psi(s, a) . w` for every reward `phi . w`.

    Args:
        transition: `[S, A, S]`.
        features: phi(s, a) `[S, A, D]`, the expectation over s' if it depends on that.
        policy: `[S, A]`, probabilities.
        terminal: bool `[S]`; psi is 0 there.
        discount: in [0, 1), see `successor_representation`.
    """
    chex.assert_rank([transition, features, policy, terminal], [3, 3, 2, 1])
    visits = successor_representation(policy_transition(transition, policy), terminal, discount)
    per_state = jnp.einsum("sa,sad->sd", policy, features, precision="highest")
    of_states = jnp.matmul(visits, per_state, precision="highest")  # 0 in terminal states, as are their visits
    psi = features + discount * jnp.einsum("sat,td->sad", transition, of_states, precision="highest")
    return jnp.where(terminal[:, None, None], 0.0, psi)


def successor_target(features: Array, terminated: Array, successor: Array, discount: float | Array) -> Array:
    """The target of psi(s, a), unbatched: `phi + discount (1 - terminated) psi(s', a')` `[D]`.

    `features` is phi `[D]` of the transition, `successor` is psi(s', a') `[D]` for the a' of the policy, `terminated` a
    scalar. With `phi = 1_s` and rows of M in place of psi it is the target of the successor representation.
    """
    chex.assert_rank([features, terminated, successor], [1, 0, 1])
    chex.assert_equal_shape([features, successor])
    return features + discount * jnp.where(terminated, 0.0, successor)


def successor_representation_td(
    representation: Array,
    state: Array,
    terminated: Array,
    successor: Array,
    discount: float | Array,
    step_size: Array,
) -> Array:
    """M `[S, S]` after TD(0) on N transitions of the policy, one after the other (Dayan, 1993).

        M(s, .) <- M(s, .) + step_size (1_s + discount (1 - terminated) M(s', .) - M(s, .))

    `state` and `successor` are int `[N]`, `terminated` is bool `[N]`, `step_size` `[N]` in (0, 1].
    """
    chex.assert_rank([representation, state, terminated, successor, step_size], [2, 1, 1, 1, 1])
    chex.assert_equal_shape([state, terminated, successor, step_size])
    size, dtype = representation.shape[1], representation.dtype

    def body(table: Array, transition: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        state, terminated, successor, step_size = transition
        here = jax.nn.one_hot(state, size, dtype=dtype)
        error = successor_target(here, terminated, table[successor], discount) - table[state]
        return table.at[state].add(step_size.astype(dtype) * error), None

    table, _ = jax.lax.scan(body, representation, (state, terminated, successor, step_size))
    return table


def generalized_policy_improvement(psi: Array, task: Array) -> Array:
    """The values `[A]` to be greedy in, `max_i psi_i(s, a) . w` (Barreto et al., 2017), unbatched.

    `psi` `[P, A, D]` is of P known policies at one state, `task` w `[D]`. The maximum over policies comes first: acting
    by `argmax_a max_i` is at least as good as each of them at every state; with errors of at most e in every Q_i, up to
    `2 e / (1 - discount)`.
    """
    chex.assert_rank([psi, task], [3, 1])
    return jnp.max(psi @ task, axis=0)
