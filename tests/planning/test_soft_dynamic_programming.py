"""Soft dynamic programming: numbers, limits, contraction, and where optimism about the dynamics leads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.environments.finite import as_environment, finite_mdp, frozen_lake, slippery_corridor
from purerl.planning import (
    control_as_inference,
    exact_policy_evaluation,
    policy_iteration,
    soft_action_values,
    soft_backup,
    soft_dynamic_programming,
    soft_policy,
    soft_value_iteration,
    uniform_policy,
    value_iteration,
    with_entropy_bonus,
)
from tests.planning import checks
from tests.planning.problems import random_problem


def test_the_backups_are_their_equations():
    checks.soft_backups(soft_dynamic_programming)


def test_the_soft_values_of_frozen_lake():
    solve = jax.jit(jax.vmap(lambda temperature: soft_value_iteration(frozen_lake(), temperature)))
    found = solve(jnp.array([0.1, 0.01, 0.001]))
    np.testing.assert_allclose(found.values[:, 0], [2.471, 0.5989, 0.5423], atol=6e-5, rtol=2e-4)
    np.testing.assert_array_equal(found.values[:, np.asarray(frozen_lake().terminal)], 0.0)  # not alpha log 4


def test_a_low_temperature_is_the_hard_maximum():
    with jax.enable_x64(True):
        mdp = frozen_lake()
        hard = value_iteration(mdp, 1e-10)
        temperatures = jnp.array([1.0, 0.3, 0.1, 0.03, 0.01, 0.001, 1e-4])
        soft = jax.vmap(lambda temperature: soft_value_iteration(mdp, temperature, tolerance=1e-10))(temperatures)
        gaps = np.asarray(soft.values - hard.values).max(-1)
        assert np.all(np.diff(gaps) < 0)
        assert 0 < gaps[-1] < 1e-3
        np.testing.assert_allclose(soft.policy.sum(-1), 1.0)
        # What is better is more probable, and at a low temperature "better" is what the hard values say.
        for policy, q_values in [
            *zip(soft.policy, soft.action_values, strict=True),
            (soft.policy[-2], hard.action_values),
        ]:
            is_better = q_values[:, :, None] > q_values[:, None, :] + 2e-3
            assert is_better.any()
            assert np.all(policy[:, :, None] >= jnp.where(is_better, policy[:, None, :], 0.0))


def test_entropy_is_worth_what_it_says_where_nothing_ends():
    # One state, four actions, no reward, no end: alpha log 4 in every step.
    still = finite_mdp(np.ones((1, 4, 1)), np.zeros((1, 4)), discount=0.9)
    assert soft_value_iteration(still, 0.5).values[0] == pytest.approx(0.5 * np.log(4) / 0.1, rel=1e-5)


def test_the_soft_backups_contract():
    mdp, temperature = random_problem(0, discount=0.8), 0.5
    rng = np.random.default_rng(0)

    def q_backup(q_values):
        values = temperature * jax.nn.logsumexp(jnp.where(mdp.available, q_values, -jnp.inf) / temperature, axis=-1)
        return jnp.where(mdp.available, soft_action_values(mdp, values, temperature), 0.0)

    def optimistic(values):
        return soft_backup(mdp, values, temperature, optimistic=True)

    for _ in range(20):
        one, other = jnp.asarray(3 * rng.normal(size=(2, mdp.num_states, mdp.num_actions)), jnp.float32)
        apart = np.abs(np.where(mdp.available, one - other, 0.0)).max()
        assert np.abs(q_backup(one) - q_backup(other)).max() <= 0.8 * apart + 1e-5
        assert np.abs(optimistic(one[:, 0]) - optimistic(other[:, 0])).max() <= (
            0.8 * np.abs(one[:, 0] - other[:, 0]).max() + 1e-5
        )


def test_the_soft_policy_earns_the_soft_value_and_no_other_earns_more():
    with jax.enable_x64(True):
        mdp, temperature = random_problem(1), 0.4
        found = soft_value_iteration(mdp, temperature, tolerance=1e-10)

        def soft_value(policy):
            return exact_policy_evaluation(with_entropy_bonus(mdp, policy, temperature), policy)

        np.testing.assert_allclose(soft_value(found.policy), found.values, atol=1e-8)
        for other in (
            uniform_policy(mdp),
            policy_iteration(mdp).policy,
            soft_policy(found.action_values, 0.35),
            soft_policy(found.action_values, 0.45),
        ):
            assert np.all(soft_value(other) <= found.values + 1e-9)
            assert np.any(soft_value(other) < found.values - 1e-4)


def test_optimism_is_right_where_nothing_is_left_to_chance():
    mdp = frozen_lake(slippery=False)
    plain, optimistic = (soft_value_iteration(mdp, 0.1, optimistic=o).values for o in (False, True))
    np.testing.assert_allclose(plain, optimistic, rtol=1e-5)


def test_optimism_overvalues_the_way_along_the_holes():
    mdp, temperature, start = slippery_corridor(), 0.1, 8
    plain, optimistic = (soft_value_iteration(mdp, temperature, optimistic=o) for o in (False, True))
    environment, episodes = as_environment(mdp, "corridor", 1_000), 4_000

    def play(policy, key):
        """Mean return of `episodes` episodes, and its standard error."""
        reset_key, *keys = jax.random.split(key, 201)
        states, _ = jax.vmap(environment.reset)(jax.random.split(reset_key, episodes))

        def step(carry, key):
            states, total, done = carry
            act_key, step_key = jax.random.split(key)
            action = jax.random.categorical(act_key, jnp.log(policy)[states.position])
            states, timestep = jax.vmap(environment.step)(jax.random.split(step_key, episodes), states, action)
            return (states, total + jnp.where(done, 0.0, timestep.reward), done | timestep.terminated), None

        carry = (states, jnp.zeros(episodes), jnp.zeros(episodes, bool))
        (_, total, done), _ = jax.lax.scan(step, carry, jnp.stack(keys))
        return jnp.mean(total), jnp.std(total) / jnp.sqrt(episodes), jnp.all(done)

    returns, errors, finished = jax.jit(jax.vmap(play, (0, None)))(
        jnp.stack([plain.policy, optimistic.policy]), jax.random.key(0)
    )
    assert finished.all()
    promised = plain.values[start], optimistic.values[start]
    assert promised[0] == pytest.approx(float(returns[0]), abs=4 * float(errors[0]) + 0.05)  # entropy is worth little
    assert promised[1] == pytest.approx(-7.0, abs=0.01)  # the shortest way, as if no move ever slipped
    assert returns[1] < promised[1] - 10
    assert returns[1] < returns[0] - 5


def test_messages_give_the_posterior_of_every_path():
    checks.messages(soft_dynamic_programming)


def test_the_backward_message_is_the_optimistic_value():
    mdp, horizon, temperature = random_problem(0, discount=1.0), 6, 0.5
    found, values = control_as_inference(mdp, horizon, temperature), jnp.zeros(mdp.num_states)
    for t in reversed(range(horizon)):
        values = soft_backup(mdp, values, temperature, optimistic=True)
        np.testing.assert_allclose(temperature * found.backward[t], values, atol=1e-4)
    with pytest.raises(ValueError, match="horizon"):
        control_as_inference(mdp, 0)
