"""Dynamic programming against slow oracles, textbook numbers, linear programming and its own guarantees."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from purerl.environments.finite import (
    blocking_maze,
    dyna_maze,
    expected_reward,
    finite_mdp,
    frozen_lake,
    garnet,
    gridworld,
)
from purerl.planning import (
    backups,
    exact_policy_evaluation,
    finite_horizon,
    greedy_policy,
    iterates,
    modified_policy_iteration,
    optimal_backup,
    policy_backup,
    policy_evaluation,
    policy_iteration,
    q_backup,
    q_value_iteration,
    uniform_policy,
    value_iteration,
)
from tests.compilation import AS_USERS
from tests.planning import checks, oracles
from tests.planning.problems import random_policy, random_problem

SOLVERS = {
    "policy iteration": partial(policy_iteration, tolerance=1e-12),
    "modified policy iteration": partial(modified_policy_iteration, tolerance=1e-10),
    "value iteration": partial(value_iteration, tolerance=1e-10),
    "Q-value iteration": partial(q_value_iteration, tolerance=1e-10),
}
EQUIPROBABLE = [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0]  # Sutton & Barto, fig. 4.1


def test_the_backups_are_their_equations():
    checks.hard_backups(backups)


def test_the_equiprobable_policy_of_the_gridworld():
    mdp = gridworld()
    exact = exact_policy_evaluation(mdp, uniform_policy(mdp))
    swept = policy_evaluation(mdp, uniform_policy(mdp), tolerance=1e-4)
    np.testing.assert_allclose(exact, EQUIPROBABLE, atol=1e-4)
    np.testing.assert_allclose(swept.values, EQUIPROBABLE, atol=0.01)
    assert swept.residual <= 1e-4
    best = [0, -1, -2, -3, -1, -2, -3, -2, -2, -3, -2, -1, -3, -2, -1, 0]
    np.testing.assert_array_equal(value_iteration(mdp).values, best)
    # One improvement of the equiprobable policy is already optimal.
    improved = policy_iteration(mdp)
    np.testing.assert_allclose(improved.values, best, atol=1e-5)
    assert improved.iterations == 1


@pytest.mark.parametrize(("discount", "expected"), [(1.0, 0.8235), (0.99, 0.5420), (0.95, 0.1805)])
def test_the_best_values_of_frozen_lake(discount, expected):
    mdp = frozen_lake(discount=discount)
    for solve in (value_iteration, q_value_iteration, modified_policy_iteration, policy_iteration):
        found = solve(mdp)
        assert found.values[0] == pytest.approx(expected, abs=6e-5)
        np.testing.assert_allclose(exact_policy_evaluation(mdp, found.policy)[0], expected, atol=6e-5)


def test_how_often_frozen_lake_is_crossed_in_100_steps():
    mdp = frozen_lake(discount=1.0)
    assert finite_horizon(mdp, 100).values[0, 0] == pytest.approx(0.744, abs=5e-4)
    assert finite_horizon(mdp, 100, policy=uniform_policy(mdp)).values[0, 0] == pytest.approx(0.014, abs=5e-4)


def test_how_many_iterations_frozen_lake_takes():
    with jax.enable_x64(True):
        mdp = frozen_lake(discount=0.99)
        change = 1e-12
        swept = value_iteration(mdp, tolerance=change * 2 * 0.99 / 0.01)
        improved = policy_iteration(mdp, tolerance=1e-12)
        assert swept.residual <= change
        assert 690 <= swept.iterations <= 710
        assert improved.iterations <= 6
        np.testing.assert_allclose(improved.values, swept.values, atol=1e-10)


def linear_program(mdp):
    """min sum V subject to V(s) >= Q(s, a): the dual view of the same fixed point."""
    mdp = oracles.slow(mdp)
    moving = [(s, a) for s in np.flatnonzero(~mdp.terminal) for a in oracles.actions_of(mdp, s)]
    alive = ~np.asarray(mdp.terminal)
    rows = [-np.eye(mdp.num_states)[s] + float(mdp.discount) * mdp.transition[s, a] * alive for s, a in moving]
    limits = [-oracles.action_value(mdp, np.zeros(mdp.num_states), s, a) for s, a in moving]
    bounds = [(None, None) if living else (0, 0) for living in alive]
    precise = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = scipy.optimize.linprog(np.ones(mdp.num_states), np.stack(rows), limits, bounds=bounds, options=precise)
    assert found.success
    return found.x


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_and_the_linear_program_agree(name):
    with jax.enable_x64(True):
        for mdp in (frozen_lake(), random_problem(0), random_problem(1, discount=0.97)):
            found = jax.jit(SOLVERS[name])(mdp)
            np.testing.assert_allclose(found.values, linear_program(mdp), atol=1e-8)
            np.testing.assert_allclose(exact_policy_evaluation(mdp, found.policy), found.values, atol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_policy_iteration_in_float32_is_not_led_astray_by_rounding(scale):
    """Without discounting a policy that gives up a better action for rounding never arrives, and is worth nothing."""
    for problem in (partial(frozen_lake, 8), dyna_maze, blocking_maze):
        mdp = problem(discount=1.0)
        found = jax.jit(policy_iteration)(mdp.replace(reward=scale * mdp.reward))
        assert found.iterations < 30
        with jax.enable_x64(True):
            best = value_iteration(problem(discount=1.0), tolerance=1e-12).values
        np.testing.assert_allclose(found.values, scale * best, rtol=1e-4, atol=1e-4 * scale)


def test_without_a_future_one_sweep_is_enough():
    mdp = frozen_lake().replace(discount=0.0)
    found = value_iteration(mdp)
    np.testing.assert_allclose(found.values, jnp.where(mdp.terminal, 0.0, expected_reward(mdp).max(-1)))


def test_the_end_of_a_finite_horizon_is_worth_nothing_where_all_is_over():
    mdp = frozen_lake()
    found = finite_horizon(mdp, 3, values=jnp.full(mdp.num_states, 5.0))
    np.testing.assert_array_equal(found.values[:, mdp.terminal], 0.0)
    assert np.all(found.values[-1][~mdp.terminal] == 5.0)


def test_every_sweep_contracts():
    with jax.enable_x64(True):
        mdp = random_problem(3, discount=0.9)
        policy, rng = random_policy(mdp, 0), np.random.default_rng(0)
        best = policy_iteration(mdp, tolerance=1e-12)
        cases = {
            "values": (partial(optimal_backup, mdp), best.values),
            "policy": (partial(policy_backup, mdp, policy), exact_policy_evaluation(mdp, policy)),
            "action values": (partial(q_backup, mdp), jnp.where(mdp.available, best.action_values, 0.0)),
        }
        for name, (backup, limit) in cases.items():
            inside = jnp.where(mdp.available, 1.0, 0.0) if name == "action values" else 1.0
            start = jnp.asarray(rng.normal(size=limit.shape) * 5)
            path = iterates(lambda x, backup=backup, inside=inside: jnp.where(inside, backup(x), 0.0), start, 60)
            errors = np.abs(path - limit).reshape(61, -1).max(-1)
            assert np.all(errors <= 0.9 ** np.arange(61) * errors[0] * (1 + 1e-12) + 1e-13), name
            assert errors[-1] < errors[0] / 100


def test_the_stopping_rule_keeps_its_promise():
    with jax.enable_x64(True):
        for seed, tolerance in ((0, 1e-1), (1, 1e-2), (2, 1e-4)):
            mdp = random_problem(seed, discount=0.95)
            best = policy_iteration(mdp, tolerance=1e-12).values
            for solve in (value_iteration, modified_policy_iteration):
                found = solve(mdp, tolerance=tolerance)
                assert np.abs(found.values - best).max() <= tolerance / 2
                assert np.max(best - exact_policy_evaluation(mdp, found.policy)) <= tolerance
                assert 1 < found.iterations < 1000
            assert policy_evaluation(mdp, uniform_policy(mdp), tolerance).values == pytest.approx(
                np.asarray(exact_policy_evaluation(mdp, uniform_policy(mdp))), abs=tolerance / 2
            )


def test_sweeps_end_when_only_rounding_is_left():
    for discount in (0.0, 0.5, 0.999, 1.0):
        found = value_iteration(gridworld(discount), tolerance=0.0, max_sweeps=10_000)
        assert found.iterations < 10_000
        assert np.isfinite(found.values).all()
    assert value_iteration(random_problem(0, discount=0.0)).iterations <= 2
    assert value_iteration(frozen_lake(), max_sweeps=7).iterations == 7


def test_modified_policy_iteration_lies_between_value_and_policy_iteration():
    with jax.enable_x64(True):
        mdp = frozen_lake()
        one, swept = modified_policy_iteration(mdp, 1, 1e-8), value_iteration(mdp, 1e-8)
        np.testing.assert_array_equal(one.values, swept.values)
        assert one.iterations == swept.iterations
        counts = [int(modified_policy_iteration(mdp, k, 1e-8).iterations) for k in (1, 5, 20, 500)]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] <= 10 < counts[0]


def test_policy_iteration_keeps_what_nothing_beats():
    # Two actions that do the same: deciding ties anew could go on forever, and moves a policy that is already optimal.
    transition = np.full((4, 2, 4), 0.25)
    same = finite_mdp(transition, np.ones((4, 2)), discount=0.9)
    kept = jnp.asarray([[0.0, 1.0], [1.0, 0.0], [0.3, 0.7], [0.0, 1.0]])
    found = policy_iteration(same, kept)
    np.testing.assert_array_equal(found.policy, kept)
    assert found.iterations == 0
    # Without discounting and without a cost of time, an arbitrary choice among ties would walk in circles.
    lake = frozen_lake(slippery=False, discount=1.0)
    found = policy_iteration(lake)
    open_water = ~np.asarray(lake.terminal)
    np.testing.assert_allclose(found.values[open_water], 1.0, atol=1e-5)


def test_backward_induction():
    mdp, horizon = random_problem(2, discount=0.8), 5
    last = np.random.default_rng(0).normal(size=mdp.num_states).astype(np.float32)
    policies = np.stack([random_policy(mdp, seed) for seed in range(horizon)])
    found, followed = finite_horizon(mdp, horizon, last), finite_horizon(mdp, horizon, last, policies)
    best, value, slow = last, last, oracles.slow(mdp)
    for t in reversed(range(horizon)):
        best, value = oracles.optimal_backup(slow, best), oracles.policy_backup(slow, policies[t], value)
        np.testing.assert_allclose(found.values[t], best, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(followed.values[t], value, rtol=1e-4, atol=1e-5)
    again = finite_horizon(mdp, horizon, last, found.policy)
    np.testing.assert_allclose(again.values, found.values, atol=1e-5)
    many = finite_horizon(mdp, 200).values[0]
    np.testing.assert_allclose(many, value_iteration(mdp).values, atol=1e-4)


def test_what_is_best_depends_on_the_time_left():
    # From state 0: 1 at once and the end (action 0), or nothing and state 1, where 10 are to be had.
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 2] = transition[0, 1, 1] = transition[1, :, 2] = transition[2, :, 2] = 1
    mdp = finite_mdp(transition, [[1, 0], [10, 10], [0, 0]], 0.9, terminal=[False, False, True])
    found = finite_horizon(mdp, 2)
    np.testing.assert_array_equal(np.argmax(found.policy[:, 0], axis=-1), [1, 0])
    np.testing.assert_allclose(found.values[:, 0], [9, 1, 0])


def test_many_problems_and_discounts_at_once():
    keys = jax.random.split(jax.random.key(0), 4)
    problems = jax.vmap(lambda key: garnet(key, terminal_states=1))(keys)
    discounts = jnp.array([0.5, 0.9, 0.95, 0.99])
    jit = partial(jax.jit, compiler_options=AS_USERS)  # rounding decides which sweep is the last
    for solve in (value_iteration, policy_iteration, modified_policy_iteration, q_value_iteration):

        def one(mdp, discount, solve=solve):
            return solve(mdp.replace(discount=discount))

        single = jit(one)
        grid = jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(problems, discounts)
        assert grid.values.shape == (4, 4, 20)
        for i, j in ((0, 0), (1, 3), (3, 2)):
            alone = single(jax.tree.map(lambda x, i=i: x[i], problems), discounts[j])
            np.testing.assert_allclose(grid.values[i, j], alone.values, rtol=1e-4, atol=1e-4)
            assert int(grid.iterations[i, j]) == pytest.approx(int(alone.iterations), rel=0.05, abs=1)
    horizons = jax.vmap(lambda mdp: finite_horizon(mdp, 3).values)(problems)
    np.testing.assert_allclose(horizons[2], finite_horizon(jax.tree.map(lambda x: x[2], problems), 3).values, atol=1e-5)


def test_ties_go_to_the_first_action():
    np.testing.assert_array_equal(greedy_policy(jnp.array([[1.0, 1.0], [-jnp.inf, 0.0]])), [[1, 0], [0, 1]])


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="evaluation_sweeps"):
        modified_policy_iteration(gridworld(), evaluation_sweeps=0)
    with pytest.raises(ValueError, match="horizon"):
        finite_horizon(gridworld(), horizon=0)
    with pytest.raises(AssertionError):
        optimal_backup(gridworld(), jnp.zeros((16, 1)))
