"""Successor representation and features: against rollouts summed up, policies' values, and temporal differences."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.environments.finite import garnet
from purerl.environments.finite.mdp import FiniteMDP, expected_reward
from purerl.operators import successor
from purerl.planning import action_values, exact_policy_evaluation


def problem(seed: int, terminal_states: int = 1) -> tuple[FiniteMDP, jax.Array]:
    mdp = garnet(jax.random.key(seed), states=7, actions=3, terminal_states=terminal_states, discount=0.9)
    return mdp, jax.random.dirichlet(jax.random.key(seed + 100), jnp.ones(3), (7,))


def check_representation(module: ModuleType) -> None:
    """The definition: the chance of being at j after t steps, discounted and added up over t."""
    for seed in range(3):
        mdp, policy = problem(seed)
        chain = module.policy_transition(mdp.transition, policy)
        ours = module.successor_representation(chain, mdp.terminal, 0.9)
        moves = np.einsum("sa,sat->st", policy, mdp.transition)
        for s in range(7):
            here, expected = np.eye(7)[s], np.zeros(7)
            for t in range(300):
                here = np.where(mdp.terminal, 0, here)  # nothing is left once the episode is over
                expected += 0.9**t * here
                here = here @ moves
            np.testing.assert_allclose(ours[s], expected, rtol=1e-4, atol=1e-5)


def check_features(module: ModuleType) -> None:
    """psi . w = Q and M r = V for the rewards of the problem, which psi has not seen."""
    for seed in range(3):
        mdp, policy = problem(seed)
        values = exact_policy_evaluation(mdp, policy)
        living = np.flatnonzero(~mdp.terminal)
        chain = module.policy_transition(mdp.transition, policy)
        representation = module.successor_representation(chain, mdp.terminal, 0.9)
        earned = jnp.sum(policy * expected_reward(mdp), axis=-1)
        np.testing.assert_allclose((representation @ earned)[living], values[living], rtol=1e-4, atol=1e-5)

        features, w = jax.random.normal(jax.random.key(seed), (7, 3, 4)), jnp.array([1.0, -2.0, 0.5, 3.0])
        psi = module.successor_features(mdp.transition, features, policy, mdp.terminal, 0.9)
        task = mdp.replace(reward=jnp.broadcast_to((features @ w)[..., None], mdp.reward.shape))
        q = action_values(task, exact_policy_evaluation(task, policy))
        np.testing.assert_allclose((psi @ w)[living], q[living], rtol=1e-4, atol=1e-4)
        assert not np.any(psi[np.flatnonzero(mdp.terminal)])


def check_targets(module: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for terminated in (True, False) * 3:
        phi, after = rng.normal(size=(2, 3)).astype(np.float32)
        ours = module.successor_target(phi, jnp.asarray(terminated), after, 0.9)
        for found, f, p in zip(ours, phi, after, strict=True):
            np.testing.assert_allclose(found, f if terminated else f + 0.9 * p, rtol=1e-5)


def check_improvement(module: ModuleType) -> None:
    rng = np.random.default_rng(0)
    psi, w = rng.normal(size=(4, 3, 2)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    expected = [max(sum(psi[i, a] * w) for i in range(4)) for a in range(3)]
    np.testing.assert_allclose(module.generalized_policy_improvement(psi, w), expected, rtol=1e-5)


def check_td(module: ModuleType) -> None:
    """Sweeps over every transition of a deterministic chain with an end: the closed form to 1e-3."""
    chain = np.eye(6)[[1, 2, 3, 1, 5, 5]]  # 0 -> 1 -> 2 -> 3 -> 1 and 4 -> 5, the end
    terminal = jnp.arange(6) == 5
    closed = module.successor_representation(jnp.asarray(chain, jnp.float32), terminal, 0.9)
    state = np.tile(np.arange(5), 400)
    after = chain.argmax(1)[state]
    ours = module.successor_representation_td(
        jnp.zeros((6, 6)),
        jnp.asarray(state),
        jnp.asarray(after == 5),
        jnp.asarray(after),
        0.9,
        jnp.full(len(state), 0.5),
    )
    np.testing.assert_allclose(ours, closed, atol=1e-3)


CHECKS = [check_representation, check_features, check_targets, check_improvement, check_td]


@pytest.mark.parametrize("check", CHECKS)
def test_operator_equals_its_oracle(check):
    check(successor)  # asserts


def test_rows_sum_to_the_horizon_where_nothing_ends():
    mdp, policy = problem(0, terminal_states=0)
    chain = successor.policy_transition(mdp.transition, policy)
    for discount in (0.5, 0.95):
        visits = successor.successor_representation(chain, mdp.terminal, discount)
        np.testing.assert_allclose(visits.sum(-1), 1 / (1 - discount), rtol=1e-4)
        assert visits.min() > -1e-5


def test_td_on_a_random_walk_finds_the_representation_of_the_walk_in_the_data():
    """A stochastic chain: sweeps with a falling step size end at the closed form of the observed frequencies."""
    rng = np.random.default_rng(0)
    state = rng.integers(0, 4, 200)
    after = rng.integers(0, 5, 200)  # state 4 is the end
    counts = np.zeros((5, 5), np.float32)
    np.add.at(counts, (state, after), 1)
    frequencies = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    closed = successor.successor_representation(jnp.asarray(frequencies), jnp.arange(5) == 4, 0.9)
    order = np.concatenate([rng.permutation(200) for _ in range(2_000)])
    ours = jax.jit(successor.successor_representation_td)(
        jnp.zeros((5, 5)),
        jnp.asarray(state[order]),
        jnp.asarray(after[order] == 4),
        jnp.asarray(after[order]),
        0.9,
        1 / (10 + jnp.arange(len(order)) / 50.0),
    )
    np.testing.assert_allclose(ours, closed, atol=1e-3)


def test_improvement_is_at_least_as_good_as_every_policy_it_knows():
    """Four random policies, random tasks: at every state (Barreto et al., 2017, theorem 1)."""
    mdp, _ = problem(1)
    policies = jax.random.dirichlet(jax.random.key(0), jnp.full(3, 0.3), (4, 7))
    features = jax.random.normal(jax.random.key(1), (7, 3, 2))
    of = jax.vmap(lambda p: successor.successor_features(mdp.transition, features, p, mdp.terminal, 0.9))
    psi = of(policies)

    def gain(w):
        task = mdp.replace(reward=jnp.broadcast_to((features @ w)[..., None], mdp.reward.shape))
        choice = jax.vmap(successor.generalized_policy_improvement, in_axes=(1, None))(psi, w)
        improved = exact_policy_evaluation(task, jax.nn.one_hot(jnp.argmax(choice, axis=-1), 3))
        known = jax.vmap(lambda p: exact_policy_evaluation(task, p))(policies)
        return improved - jnp.max(known, axis=0)

    gains = jax.vmap(gain)(jax.random.normal(jax.random.key(2), (50, 2)))
    assert gains.min() > -1e-4
    assert gains.max() > 0.1
