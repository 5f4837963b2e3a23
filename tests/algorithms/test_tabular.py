"""Tabular control: every update against NumPy, the numbers of the textbook problems, convergence to the optimum."""

from functools import cache, partial
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments import dyna_maze, tabular_control
from purerl import make, train
from purerl.algorithms.tabular import dyna_q, q_learning
from purerl.environments import finite
from purerl.evaluate import evaluate
from purerl.operators.tabular import available_values, bootstrapped_target
from purerl.planning.dynamic_programming import q_value_iteration
from purerl.types import Time

RULES = ("q_learning", "sarsa", "expected_sarsa", "double_q_learning", "soft_q_learning")
STATES, ACTIONS, LIMIT = 8, 3, 4
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@cache
def small_problem() -> finite.FiniteMDP:
    """Deterministic, with two terminal states and actions that do not exist; episodes are cut after `LIMIT` steps."""
    mdp = finite.garnet(jax.random.key(3), STATES, ACTIONS, branching=1, terminal_states=2)
    available = np.random.default_rng(1).random((STATES, ACTIONS)) < 0.7
    available[np.arange(STATES), np.arange(STATES) % ACTIONS] = True
    return mdp.replace(available=jnp.asarray(available))


def clock(iteration: int, of: int = 100) -> Time:
    return Time(jnp.int32(iteration), jnp.float32(iteration / of))


def history(algorithm, iterations: int):
    """Numbers of the iterations and the states before and after each, as NumPy arrays."""

    def body(state, iteration):
        after, _ = algorithm.step(state, Time(iteration, iteration / iterations))
        return after, after.replace(key=0)

    @jax.jit
    def states(key):
        first = algorithm.init(key)
        return first.replace(key=0), jax.lax.scan(body, first, jnp.arange(iterations))[1]

    before, afters = jax.tree.map(np.asarray, states(jax.random.key(0)))
    for i in range(iterations):
        after = jax.tree.map(lambda x, i=i: x[i], afters)
        yield i, (before, after)
        before = after


def numpy_problem():
    """The small problem as NumPy arrays; also the successor and the reward of every pair."""
    mdp = jax.tree.map(np.asarray, small_problem())
    return mdp, np.argmax(mdp.transition, -1), np.sum(mdp.transition * mdp.reward, -1)


def successor_values(rule, values, table, successor, after, epsilon, temperature):
    """Every V(s') that the rule allows: several only where double Q-learning breaks a tie."""
    mdp, _, _ = numpy_problem()
    actions = [a for a in range(ACTIONS) if mdp.available[successor, a]]
    own = {a: float(values[table, successor, a]) for a in actions}
    best = [a for a in actions if own[a] == max(own.values())]
    if rule == "q_learning":
        return [max(own.values())]
    if rule == "sarsa":
        return [own[int(after.next_action[0])]]
    if rule == "expected_sarsa":
        return [sum(own[a] * (epsilon / len(actions) + (1 - epsilon) * (a in best) / len(best)) for a in actions)]
    if rule == "double_q_learning":
        return [float(values[1 - table, successor, a]) for a in best]
    return [temperature * np.log(sum(np.exp(own[a] / temperature) for a in actions))]


def check_updates(module: ModuleType, rule: str) -> None:
    """Every entry after every step of one environment; terminations, truncations and missing actions happen."""
    rate, power, discount, temperature = 0.7, 0.6, 0.8, 0.5
    mdp, successors, rewards = numpy_problem()
    config = module.Config(
        rule=rule,
        learning_rate=rate,
        learning_rate_schedule="visits",
        visit_power=power,
        discount=discount,
        epsilon_start=0.9,
        epsilon_end=0.3,
        temperature=temperature,
        steps_per_iteration=1,
        max_steps=LIMIT,
    )
    seen, planned = {"terminated": 0, "truncated": 0}, None
    for i, (before, after) in history(module.make(small_problem(), config), 150):
        entry = tuple(np.argwhere(after.visits - before.visits)[0])
        table, state, action = (int(x) for x in entry)
        assert (after.visits - before.visits).sum() == 1
        assert state == before.environments.observation[0]
        assert mdp.available[state, action]
        assert planned in (None, action)
        successor = successors[state, action]
        terminated = bool(mdp.terminal[successor])
        truncated = not terminated and before.environments.episode_length[0] == LIMIT - 1
        seen = {"terminated": seen["terminated"] + terminated, "truncated": seen["truncated"] + truncated}
        planned = int(after.next_action[0]) if rule == "sarsa" and not (terminated or truncated) else None
        epsilon = max(0.9 - 0.6 * (i / 150) / 0.5, 0.3)
        worth = [0.0]
        if not terminated:
            worth = successor_values(rule, before.values, table, successor, after, epsilon, temperature)
        old, size = before.values[entry], rate / after.visits[entry] ** power
        allowed = [old + size * (rewards[state, action] + discount * value - old) for value in worth]
        assert np.min(np.abs(np.array(allowed) - after.values[entry])) < 1e-4
        untouched = np.ones(before.values.shape, bool)
        untouched[entry] = False
        np.testing.assert_array_equal(before.values[untouched], after.values[untouched])
    assert min(seen.values()) > 5, "the check saw too few ends of one kind"
    if rule == "double_q_learning":
        assert scipy.stats.binomtest(int(after.visits[0].sum()), 150).pvalue > 1e-3


@pytest.mark.parametrize("rule", RULES)
def test_every_update_is_that_of_its_rule(rule):
    check_updates(q_learning, rule)


def test_updates_of_several_environments_are_made_one_after_the_other():
    mdp, successors, rewards = numpy_problem()
    config = q_learning.Config(learning_rate=0.5, epsilon_start=1.0, num_envs=2, steps_per_iteration=1, max_steps=LIMIT)
    compared = 0
    for _, (before, after) in history(q_learning.make(small_problem(), config), 60):
        states = before.environments.observation
        if states[0] == states[1]:
            continue  # which environment took which action cannot be told
        values, compared = before.values[0].copy(), compared + 1
        for state in states:
            action = int(np.argmax((after.visits - before.visits)[0, state]))
            successor = successors[state, action]
            best = 0.0 if mdp.terminal[successor] else values[successor][mdp.available[successor]].max()
            values[state, action] += 0.5 * (rewards[state, action] + 0.99 * best - values[state, action])
        np.testing.assert_allclose(after.values[0], values, **CLOSE)
    assert compared > 20


def check_planning(module: ModuleType, bonus: float, untried: bool) -> None:
    """With step size 1 and many updates per step, the values are those that solve what the model knows so far."""
    discount = 0.5
    mdp, successors, rewards = numpy_problem()
    config = module.Config(
        planning_updates=400,
        learning_rate=1.0,
        discount=discount,
        bonus=bonus,
        plan_untried_actions=untried,
        initial_value=-0.25,
        epsilon_start=0.7,
        steps_per_iteration=1,
        max_steps=LIMIT,
    )
    model, available = {}, mdp.available
    for i, (before, after) in history(module.make(small_problem(), config), 40):
        state, action = np.argwhere(after.model.last_tried == i + 1)[0]
        assert state == before.environments.observation[0]
        successor = successors[state, action]
        model[state, action] = (rewards[state, action], successor, bool(mdp.terminal[successor]), i + 1)
        known = dict(model)
        for s, a in np.argwhere(available) if untried else ():
            if any(tried == s for tried, _ in model):
                known.setdefault((s, a), (0.0, s, False, 0))
        values = np.full((STATES, ACTIONS), -0.25)
        for _ in range(30):
            for (s, a), (reward, following, terminated, last) in known.items():
                best = 0.0 if terminated else values[following][available[following]].max()
                values[s, a] = reward + bonus * np.sqrt(i + 1 - last) + discount * best
        np.testing.assert_allclose(after.values, values, atol=2e-3)
    assert len(model) >= 8


@pytest.mark.parametrize(("bonus", "untried"), [(0.0, False), (0.1, False), (0.1, True)])
def test_planning_solves_the_model(bonus, untried):
    check_planning(dyna_q, bonus, untried)


def test_dyna_without_planning_learns_from_real_steps_only():
    mdp, successors, rewards = numpy_problem()
    config = dyna_q.Config(
        planning_updates=0, learning_rate=0.3, epsilon_start=0.5, steps_per_iteration=1, max_steps=LIMIT
    )
    for i, (before, after) in history(dyna_q.make(small_problem(), config), 60):
        entry = tuple(np.argwhere(after.model.last_tried == i + 1)[0])
        successor = successors[entry]
        best = 0.0 if mdp.terminal[successor] else before.values[successor][mdp.available[successor]].max()
        expected = before.values.copy()
        expected[entry] += 0.3 * (rewards[entry] + 0.95 * best - expected[entry])
        np.testing.assert_allclose(after.values, expected, **CLOSE)
        assert after.model.tried[entry]
        assert after.model.successor[entry] == successor


def test_exhaustive_sweeps_with_step_size_one_are_q_value_iteration():
    mdp = finite.garnet(jax.random.key(5), 10, 3, branching=1, terminal_states=1, discount=0.9)
    successors, rewards = jnp.argmax(mdp.transition, -1), finite.expected_reward(mdp)
    values = jnp.zeros((10, 3))
    live, sweep = ~mdp.terminal[:, None], jax.jit(q_value_iteration)
    for sweeps in range(1, 30):
        best = jnp.max(available_values(values, mdp.available), axis=-1)[successors]
        target = bootstrapped_target(rewards, mdp.terminal[successors], best, mdp.discount)
        values = values + 1.0 * jnp.where(live, target - values, 0.0)
        expected = sweep(mdp, 0.0, sweeps).action_values
        np.testing.assert_allclose(values, expected, **CLOSE)


def optimum(mdp: finite.FiniteMDP) -> np.ndarray:
    """Q* by plain value iteration in float64."""
    transition, reward = np.asarray(mdp.transition, np.float64), np.asarray(mdp.reward, np.float64)
    values = np.zeros(mdp.num_states)
    for _ in range(500):
        q = np.einsum("sat,sat->sa", transition, reward + float(mdp.discount) * values)
        values = np.where(mdp.terminal, 0.0, np.where(mdp.available, q, -np.inf).max(-1))
    return q


def test_random_behaviour_with_step_size_one_finds_the_optimum_of_many_problems_at_once():
    """vmap over problems, discounts and step sizes; a learner among them is the learner run alone."""
    discounts, rates = jnp.array([0.5, 0.8, 0.9, 0.9]), jnp.array([1.0, 1.0, 1.0, 0.5])
    keys = jax.random.split(jax.random.key(0), 4)

    def problem(key, discount):
        return finite.garnet(key, 6, 2, branching=1, discount=discount)

    def learn(key, discount, rate):
        config = q_learning.Config(
            learning_rate=rate, discount=discount, epsilon_start=1.0, epsilon_end=1.0, max_steps=5
        )
        mdp = problem(key, discount).replace(initial=jnp.full(6, 1 / 6))
        return train(q_learning.make(mdp, config), key, 50).state.values[0]

    together = jax.jit(jax.vmap(learn))(keys, discounts, rates)
    for i in range(4):
        expected = optimum(problem(keys[i], discounts[i]))
        np.testing.assert_allclose(together[i], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(together[1], jax.jit(learn)(keys[1], discounts[1], rates[1]), **CLOSE)


def test_actions_that_do_not_exist_are_neither_taken_nor_counted():
    """Everything costs, so an action that is not there would keep its 0 and look best."""
    mdp = finite.maximization_bias(mean=-1.0, deviation=0.0)
    config = q_learning.Config(learning_rate=0.5, discount=1.0, epsilon_start=1.0)
    state = jax.jit(lambda key: train(q_learning.make(mdp, config), key, 20))(jax.random.key(0)).state
    assert not state.visits[0, ~mdp.available].any()
    np.testing.assert_allclose(state.values[0, 0, :2], [-1.0, 0.0], atol=1e-3)
    config = dyna_q.Config(learning_rate=0.5, discount=1.0, epsilon_start=1.0, plan_untried_actions=True)
    state = jax.jit(lambda key: train(dyna_q.make(mdp, config), key, 20))(jax.random.key(0)).state
    assert not state.model.tried[~mdp.available].any()
    assert not state.values[~mdp.available].any()
    np.testing.assert_allclose(state.values[0, :2], [-1.0, 0.0], atol=1e-3)


def test_learners_break_ties_at_random():
    """The first greedy action in a row of equal values is every action equally often; so is the policy's."""
    for module in (q_learning, dyna_q):
        config = module.Config(epsilon_start=0.0, epsilon_end=0.0, steps_per_iteration=1)
        algorithm = module.make(finite.dyna_maze(), config)
        states = jax.jit(jax.vmap(algorithm.init))(jax.random.split(jax.random.key(0), 2_000))
        after, _ = jax.jit(jax.vmap(algorithm.step, (0, None)))(states, clock(0))
        tried = after.visits.sum((1, 2)) if module is q_learning else after.model.tried.sum(1)
        assert scipy.stats.chisquare(np.asarray(tried.sum(0), float)).pvalue > 1e-3
        one = jax.tree.map(lambda x: x[0], states)
        policy = algorithm.policy(algorithm.snapshot(one))
        act = jax.vmap(lambda key, policy=policy: policy.act(key, (), jnp.int32(18))[1])
        counts = np.bincount(act(jax.random.split(jax.random.key(1), 2_000)), minlength=4)
        assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_step_sizes_follow_their_schedules():
    """One state, one action, reward 1, never ending, discount 0: Q after the first steps is known."""
    mdp = finite.finite_mdp(np.ones((1, 1, 1)), np.ones((1, 1)), discount=0.0)
    expected = {"constant": [0.5, 0.75, 0.875], "visits": [0.5, 0.625, 0.6875], "linear": [0.5, 0.6875, 0.765625]}
    for schedule, values in expected.items():
        config = q_learning.Config(
            learning_rate=0.5,
            learning_rate_schedule=schedule,
            visit_power=1.0,
            discount=0.0,
            steps_per_iteration=1,
        )
        steps = history(q_learning.make(mdp, config), 4)
        np.testing.assert_allclose([next(steps)[1][1].values[0, 0, 0] for _ in values], values, rtol=1e-5)


def test_optimism_makes_a_greedy_learner_explore():
    """On ice that is not slippery a greedy learner with Q = 0 wanders until it falls; optimistic, it finds the goal."""
    mdp = finite.frozen_lake(slippery=False)

    def found(initial_value, key):
        config = q_learning.Config(
            learning_rate=0.5, initial_value=initial_value, epsilon_start=0.0, epsilon_end=0.0, discount=0.95
        )
        algorithm = q_learning.make(mdp, config)
        state = train(algorithm, key, 30).state
        return evaluate(algorithm.policy(state), algorithm.environment, key, episodes=1, max_steps=20).returns[0]

    optimistic = jax.jit(jax.vmap(partial(found, 1.0)))(jax.random.split(jax.random.key(0), 20))
    assert optimistic.tolist() == [1.0] * 20


FROZEN_LAKE_VALUES = {("q_learning", 0.0): 0.5420, ("soft_q_learning", 0.01): 0.5989}


def frozen_lake_values(rule: str, temperature: float, iterations: int) -> np.ndarray:
    """V(s0) of several learners on slippery ice, discount 0.99."""
    config = q_learning.Config(
        rule=rule,
        learning_rate=1.0,
        learning_rate_schedule="visits",
        visit_power=0.55,
        epsilon_start=1.0,
        epsilon_end=0.3,
        temperature=temperature or 1.0,
        num_envs=4,
        steps_per_iteration=500,
        max_steps=100,
    )
    algorithm = q_learning.make(finite.frozen_lake(), config)
    program = jax.jit(jax.vmap(lambda key: train(algorithm, key, iterations).state.values[0, 0]))
    values = np.asarray(program(jax.random.split(jax.random.key(0), 8)))
    if not temperature:
        return values.max(-1)
    return temperature * np.log(np.exp(values / temperature).sum(-1))


@pytest.mark.parametrize(("rule", "temperature"), FROZEN_LAKE_VALUES)
def test_values_of_frozen_lake_converge(rule, temperature):
    values, expected = frozen_lake_values(rule, temperature, iterations=200), FROZEN_LAKE_VALUES[rule, temperature]
    assert abs(values.mean() - expected) < 0.02 * expected, values
    assert np.all(np.abs(values - expected) < 0.06 * expected), values


def test_the_frozen_lake_of_gymnax_is_learned_through_the_same_door():
    """An environment with discrete observations: greedy success within its 100 steps is 0.74 for the best policy."""
    config = q_learning.Config(
        learning_rate=1.0, learning_rate_schedule="visits", visit_power=0.55, epsilon_start=1.0, num_envs=4
    )
    algorithm = q_learning.make(make("FrozenLake-misc"), config)
    result = jax.jit(lambda key: train(algorithm, key, 500, evaluate_every=500))(jax.random.key(0))
    assert result.evaluations.returns.mean() > 0.55


@pytest.mark.parametrize(("rule", "expected"), [("q_learning", -51.1), ("sarsa", -27.2), ("expected_sarsa", -20.5)])
@pytest.mark.usefixtures("compiled_as_users")
def test_returns_while_walking_along_the_cliff(rule, expected):
    returns = tabular_control.cliff_walking(200, (rule,))[rule]
    assert returns[:, -100:].mean() == pytest.approx(expected, rel=0.1)


def test_q_learning_finds_the_shortest_way_along_the_cliff():
    config = q_learning.Config(learning_rate=0.5, discount=1.0, max_steps=1_000)
    algorithm = q_learning.make(finite.cliff_walking(), config)
    state = jax.jit(lambda key: train(algorithm, key, 200))(jax.random.key(0)).state
    episode = evaluate(algorithm.policy(state), algorithm.environment, jax.random.key(1), episodes=8)
    assert episode.lengths.tolist() == [13] * 8


@pytest.mark.usefixtures("compiled_as_users")
def test_double_q_learning_is_misled_less():
    lefts = tabular_control.maximization_bias(8_000)
    single, double = lefts["q_learning"], lefts["double_q_learning"]
    assert single.max() == pytest.approx(0.94, rel=0.1)
    assert tabular_control.around(single, 50) == pytest.approx(0.83, rel=0.1)
    assert tabular_control.around(single, 300) == pytest.approx(0.12, rel=0.1)
    assert tabular_control.around(double, 50) == pytest.approx(0.15, rel=0.1)
    assert tabular_control.around(double, 300) == pytest.approx(0.066, rel=0.1)


def steps_of_a_walk(learned: dict[int, int]) -> float:
    """Expected steps to the goal of the Dyna maze, exactly: at random, but for states with an action learned."""
    mdp = finite.dyna_maze()
    policy = np.full((mdp.num_states, 4), 0.25)
    for state, action in learned.items():
        policy[state] = 0.1 / 4
        policy[state, action] += 0.9
    free = ~np.asarray(mdp.terminal)
    walk = np.einsum("sa,sat->st", policy, np.asarray(mdp.transition))[np.ix_(free, free)]
    steps = np.zeros(mdp.num_states)
    steps[free] = np.linalg.solve(np.eye(free.sum()) - walk, np.ones(free.sum()))
    return float(mdp.initial @ steps)


@pytest.mark.usefixtures("compiled_as_users")
def test_the_first_episodes_of_the_dyna_maze_are_walks():
    """Without planning the first two are exactly known: the goal has one neighbour, which the first one learns."""
    config = dyna_q.Config(planning_updates=0, steps_per_iteration=1, max_steps=100_000)
    algorithm = dyna_q.make(finite.dyna_maze(), config)
    steps = tabular_control.play(algorithm, runs=1_000, episodes=3, steps=15_000)[1].mean(0)
    assert steps[0] == pytest.approx(steps_of_a_walk({}), rel=0.1)
    assert steps[1] == pytest.approx(steps_of_a_walk({17: 3}), rel=0.1)
    assert steps[2] == pytest.approx(517, rel=0.1)


@pytest.mark.parametrize(
    ("updates", "runs", "expected"),
    [
        (5, 500, {2: 147, 3: 75, 10: 19, 25: 17}),
        pytest.param(50, 200, {2: 47, 3: 20, 10: 18, 25: 17}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("compiled_as_users")
def test_planning_needs_fewer_real_steps(updates, runs, expected):
    steps = dyna_maze.dyna_maze(runs, planning=(updates,))[str(updates)].mean(0)
    for episode, value in expected.items():
        assert steps[episode - 1] == pytest.approx(value, rel=0.1), episode


@pytest.mark.usefixtures("compiled_as_users")
def test_the_bonus_finds_the_way_around_a_moved_wall():
    goals = dyna_maze.blocking_maze(40)
    share = {name: dyna_maze.recovered(x).mean() for name, x in goals.items()}
    assert share["Dyna-Q+"] >= 0.95
    assert share["Dyna-Q"] <= 0.6


@pytest.mark.parametrize(
    ("module", "fields", "message"),
    [
        (q_learning, {"rule": "sarsa_lambda"}, "rule must be one of 'q_learning', 'sarsa'"),
        (q_learning, {"temperature": 0.0}, "temperature must be > 0"),
        (q_learning, {"visit_power": 1.5}, r"visit_power must be in \[0, 1\]"),
        (q_learning, {"num_envs": 0}, "num_envs must be > 0"),
        (dyna_q, {"planning_updates": -1}, "planning_updates must be >= 0"),
        (dyna_q, {"bonus": -0.1}, "bonus must be >= 0"),
        (dyna_q, {"discount": 1.1}, r"discount must be in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(module, fields, message):
    with pytest.raises(ValueError, match=message):
        module.make(finite.dyna_maze(), module.Config(**fields))


@pytest.mark.parametrize("module", [q_learning, dyna_q])
def test_what_has_no_table_is_refused(module):
    with pytest.raises(TypeError, match=r"CartPole-v1 are arrays of shape.*use an algorithm with a network"):
        module.make(make("CartPole-v1"), module.Config())
    with pytest.raises(TypeError, match="needs discrete actions, but Pendulum-v1"):
        module.make(make("Pendulum-v1"), module.Config())
