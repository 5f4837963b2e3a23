"""Finite problems: what is refused, what the textbooks say of them, and the way to environments and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl import Box, Discrete, Environment, Timestep, environments
from purerl.environments import finite, make
from purerl.environments.finite import problems
from purerl.planning import value_iteration

TWO = np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
LEFT, DOWN, RIGHT, UP = range(4)


def changed(at, value):
    transition = TWO.copy()
    transition[at] = value
    return transition


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transition": TWO[0]}, r"shape \[S, A, S\]"),
        ({"transition": changed((0, 1, 0), 0.2)}, "action 1 in state 0 .* do not sum to 1 but to 1.2"),
        ({"transition": changed((1, 0), (1.5, -0.5))}, "action 0 in state 1 has a negative probability"),
        ({"transition": changed((1, 0), np.nan)}, "action 0 in state 1 .* do not sum to 1"),
        ({"reward": [[0, 0], [0, np.inf]]}, "action 1 in state 1 has a reward that is not finite"),
        ({"reward": np.zeros((3, 2))}, r"reward must have the shape .* got \[3, 2\]"),
        ({"deviation": -1.0}, "action 0 in state 0 has a negative deviation"),
        ({"discount": 1.1}, r"discount must be in \[0, 1\]"),
        ({"discount": [0.9]}, "discount must have the shape"),
        ({"initial": [0.5, 0.4]}, "initial must be probabilities that sum to 1, they sum to 0.9"),
        ({"initial": [0.5, 0.5], "terminal": [False, True]}, r"initial\[1\] is 0.5"),
        ({"terminal": [False]}, "terminal must have the shape"),
        ({"available": [[True, True], [False, False]]}, "state 1 is not terminal and has no available action"),
    ],
)
def test_what_is_no_decision_process_is_refused(arguments, message):
    given = {"transition": TWO, "reward": np.zeros((2, 2)), "discount": 0.9} | arguments
    with pytest.raises(ValueError, match=message):
        finite.finite_mdp(**given)


def test_nothing_happens_after_the_end_or_by_actions_that_do_not_exist():
    noise = np.full((2, 2), 0.5)
    mdp = finite.finite_mdp(
        TWO, np.ones((2, 2)), 0.9, terminal=[False, True], available=[[True, False], [True, True]], deviation=noise
    )
    np.testing.assert_array_equal(mdp.transition[0], [[0.5, 0.5], [1, 0]])
    np.testing.assert_array_equal(mdp.transition[1], [[0, 1], [0, 1]])
    np.testing.assert_array_equal(finite.expected_reward(mdp), [[1, 0], [0, 0]])
    np.testing.assert_array_equal(mdp.deviation[..., 0], [[0.5, 0], [0, 0]])
    np.testing.assert_array_equal(mdp.initial, [1, 0])
    assert (mdp.num_states, mdp.num_actions) == (2, 2)


@pytest.mark.parametrize(
    ("mdp", "start", "steps"),
    [
        (problems.dyna_maze(discount=0.5), 18, 14),
        (problems.blocking_maze(discount=0.5), 48, 10),
        (problems.blocking_maze(moved=True, discount=0.5), 48, 16),
        (problems.shortcut_maze(discount=0.5), 48, 16),
        (problems.shortcut_maze(moved=True, discount=0.5), 48, 10),
        (problems.frozen_lake(slippery=False, discount=0.5), 0, 6),
        (problems.frozen_lake(8, slippery=False, discount=0.5), 0, 14),
    ],
)
def test_the_shortest_ways_to_a_goal_that_pays_one(mdp, start, steps):
    assert value_iteration(mdp, tolerance=1e-8).values[start] == 0.5 ** (steps - 1)
    assert mdp.initial[start] == 1


def test_the_shortest_ways_where_steps_cost_one():
    assert value_iteration(problems.gridworld()).values[3] == -3
    assert value_iteration(problems.cliff_walking()).values[36] == -13


def test_the_cliff_leads_back_to_the_start():
    mdp = problems.cliff_walking()
    assert mdp.initial[36] == 1
    assert mdp.transition[36, RIGHT, 36] == mdp.transition[25, DOWN, 36] == 1
    assert mdp.reward[36, RIGHT, 36] == mdp.reward[25, DOWN, 36] == -100
    assert mdp.reward[36, LEFT, 36] == mdp.reward[36, UP, 24] == mdp.reward[35, DOWN, 47] == -1
    np.testing.assert_array_equal(np.flatnonzero(mdp.terminal), [47])


def test_ice_is_slippery_to_the_sides():
    mdp = problems.frozen_lake()
    third = pytest.approx(1 / 3)
    assert [mdp.transition[14, RIGHT, s] for s in (15, 14, 10)] == [third] * 3
    assert mdp.reward[14, RIGHT, 15] == 1
    assert float(finite.expected_reward(mdp)[14, RIGHT]) == third
    assert mdp.transition[0, LEFT, 0] == pytest.approx(2 / 3)
    np.testing.assert_array_equal(np.flatnonzero(mdp.terminal), [5, 7, 11, 12, 15])
    tuned = problems.frozen_lake(success_rate=0.9)
    assert tuned.transition[6, DOWN, 10] == pytest.approx(0.9)
    assert tuned.transition[6, DOWN, 7] == pytest.approx(0.05)


def test_rewards_of_outcomes_that_meet_are_averaged():
    # From S down: with 0.8 the cliff and back to S (-100), with 0.1 each against the edge at S (-1).
    mdp = finite.from_map(("S", "C", "G"), {"S": -1.0, "C": -100.0}, back_to_start="C", success_rate=0.8)
    assert mdp.transition[0, DOWN, 0] == pytest.approx(1.0)
    assert mdp.reward[0, DOWN, 0] == pytest.approx(0.8 * -100 + 0.2 * -1, rel=1e-5)


def test_the_maximization_bias_is_what_the_textbook_says():
    mdp = problems.maximization_bias()
    assert mdp.available.sum(-1).tolist() == [2, 10, 10]
    values = value_iteration(mdp).values
    np.testing.assert_allclose(values, [0, -0.1, 0], atol=1e-6)
    assert mdp.deviation[1, :, 2].tolist() == [1.0] * 10
    assert not mdp.deviation[0].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: finite.from_map(("ab", "a")), "rows of equal length"),
        (lambda: finite.from_map(("S.C", "S.G"), back_to_start="C"), "exactly one start"),
        (lambda: finite.from_map(("SG",), success_rate=1.5), "success_rate"),
        (lambda: problems.frozen_lake(5), "sizes 4, 8"),
        (lambda: problems.garnet(jax.random.key(0), states=3, branching=4), "branching"),
        (lambda: problems.garnet(jax.random.key(0), states=3, terminal_states=3), "terminal_states"),
        (lambda: problems.maximization_bias(1), "at least 2"),
        (lambda: finite.as_environment(problems.gridworld(), "grid", 0), "max_steps"),
        (lambda: make("finite/blocking_maze", when=10, max_steps=10), "when"),
        (lambda: make("finite/frozen_lake", sise=8), "it has: size"),
    ],
)
def test_impossible_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_garnets_are_random_and_sparse():
    draw = jax.jit(jax.vmap(lambda key: problems.garnet(key, states=12, branching=4, terminal_states=2)))
    mdps = draw(jax.random.split(jax.random.key(0), 5))
    moving = np.asarray(mdps.transition[:, :10])
    assert np.all((moving > 0).sum(-1) == 4)
    np.testing.assert_allclose(moving.sum(-1), 1.0, atol=1e-5)
    assert len(np.unique(np.asarray(mdps.reward[:, :10, :, 0]))) == 5 * 10 * 4
    assert mdps.terminal.sum(-1).tolist() == [2] * 5


def test_environments_follow_the_tensors():
    draw = jax.jit(lambda key: problems.garnet(key, states=5, actions=2, branching=3, terminal_states=1))
    noisy = draw(jax.random.key(1))
    noisy = noisy.replace(deviation=jnp.where(noisy.reward > 0, 0.5, 0.0))
    environment = finite.as_environment(noisy, "noisy", max_steps=3)
    draws, step = 3_000, jax.jit(jax.vmap(environment.step, (0, None, None)))
    for state, action in ((0, 0), (2, 1)):
        begun = finite.FiniteState(jnp.int32(state), jnp.int32(0))
        keys = jax.random.split(jax.random.key(state), draws)
        _, timestep = step(keys, begun, jnp.int32(action))
        chances = np.asarray(noisy.transition[state, action])
        counts = np.bincount(timestep.observation, minlength=5)
        assert not counts[chances == 0].any()
        assert scipy.stats.chisquare(counts[chances > 0], draws * chances[chances > 0]).pvalue > 1e-3
        np.testing.assert_array_equal(timestep.terminated, np.asarray(noisy.terminal)[timestep.observation])
        reward, deviation = (float(x[state, action, 0]) for x in (noisy.reward, noisy.deviation))
        assert np.mean(timestep.reward) == pytest.approx(reward, abs=4 * deviation / draws**0.5 + 1e-6)
        assert np.std(timestep.reward) == pytest.approx(deviation, rel=0.06, abs=1e-6)


def test_time_runs_out_but_not_at_an_end():
    environment = finite.as_environment(problems.gridworld(), "grid", max_steps=2)
    state = finite.FiniteState(jnp.int32(5), jnp.int32(0))
    for expected in (False, True):
        state, timestep = environment.step(jax.random.key(0), state, jnp.int32(RIGHT))
        assert (bool(timestep.terminated), bool(timestep.truncated)) == (False, expected)
    state = finite.FiniteState(jnp.int32(1), jnp.int32(1))
    _, timestep = environment.step(jax.random.key(0), state, jnp.int32(LEFT))
    assert (bool(timestep.terminated), bool(timestep.truncated)) == (True, False)


def test_actions_that_do_not_exist_stand_for_those_that_do():
    environment = make("finite/maximization_bias")
    state, observation = environment.reset(jax.random.key(0))
    assert observation == 0
    step = jax.jit(environment.step)
    reached = [int(step(jax.random.key(0), state, jnp.int32(action))[1].observation) for action in range(10)]
    assert reached == [1, 2] * 5


def test_actions_that_exist_stand_for_themselves():
    """In state 0 actions 0 and 2 exist and lead to 1 and 2; action 1 stands for the second of them."""
    transition = np.zeros((3, 3, 3))
    transition[0, 0, 1] = transition[0, 2, 2] = transition[1, :, 1] = transition[2, :, 2] = 1.0
    available = np.ones((3, 3), bool)
    available[0, 1] = False
    mdp = finite.finite_mdp(transition, np.zeros((3, 3)), 0.9, initial=[1.0, 0.0, 0.0], available=available)
    environment = finite.as_environment(mdp, "gap", max_steps=5)
    state, _ = environment.reset(jax.random.key(0))
    reached = [int(environment.step(jax.random.key(0), state, jnp.int32(a))[1].observation) for a in range(3)]
    assert reached == [1, 2, 2]


def test_marks_of_terminal_states_may_be_numbers():
    transition = np.broadcast_to(np.eye(3)[:, None], (3, 2, 3))
    mdp = finite.finite_mdp(transition, np.zeros((3, 2)), 0.9, terminal=np.array([0, 0, 1]))
    np.testing.assert_allclose(mdp.initial, [0.5, 0.5, 0.0])


def test_the_wall_moves_and_the_goal_is_a_new_start():
    environment = make("finite/blocking_maze", when=20, max_steps=40)
    way = [RIGHT] * 5 + [UP] * 5  # of the first maze, 10 steps
    state, _ = environment.reset(jax.random.key(0))
    earned, seen = [], []
    step = jax.jit(environment.step)
    for time in range(40):
        state, timestep = step(jax.random.key(time), state, jnp.int32(way[time % 10]))
        earned.append(float(timestep.reward))
        seen.append(int(timestep.observation))
        assert not timestep.terminated
        assert bool(timestep.truncated) == (time == 39)
    assert np.flatnonzero(earned).tolist() == [9, 19]
    assert seen[9] == seen[19] == 48
    assert seen[29] == 4 * 9 + 8  # below the wall
    assert environment.render is not None
    assert environment.render(state).shape[2] == 3


def test_every_name_makes_a_strongly_typed_environment():
    names = [name for name in environments.names() if name.startswith("finite/")]
    assert len(names) == len(finite.ENVIRONMENTS) == 9
    for name in names:
        environment = make(name)
        vector = environments.vectorize(environment, 2)
        state = jax.eval_shape(vector.reset, jax.random.key(0))
        after, timestep = jax.eval_shape(vector.step, jax.random.key(1), state, jnp.array([0, 1]))
        assert not any(x.weak_type for x in jax.tree.leaves((state, after, timestep)))


def test_environments_of_traced_problems():
    @jax.jit
    @jax.vmap
    def falls(success_rate):
        mdp = problems.slippery_corridor(success_rate)
        environment = finite.as_environment(mdp, "corridor", 50)
        state = finite.FiniteState(jnp.int32(10), jnp.int32(0))
        keys = jax.random.split(jax.random.key(0), 2_000)
        _, timestep = jax.vmap(environment.step, (0, None, None))(keys, state, jnp.int32(RIGHT))
        return jnp.mean(timestep.terminated.astype(jnp.float32))

    np.testing.assert_allclose(falls(jnp.array([1.0, 0.8, 0.4])), [0.0, 0.1, 0.3], atol=0.04)


@pytest.mark.parametrize("name", ["cliff_walking", "dyna_maze", "gridworld"])
def test_deterministic_problems_come_back_exactly(name):
    mdp = getattr(problems, name)()
    found, observations = finite.from_environment(make(f"finite/{name}"), float(mdp.discount), samples=64)
    reached = np.asarray(observations)
    assert sorted(reached.tolist()) == reached.tolist()
    among = np.ix_(reached, range(4), reached)
    np.testing.assert_array_equal(found.transition, np.asarray(mdp.transition)[among])
    np.testing.assert_array_equal(found.reward, np.asarray(mdp.reward)[among])
    np.testing.assert_array_equal(found.terminal, np.asarray(mdp.terminal)[reached])
    np.testing.assert_allclose(found.initial, np.asarray(mdp.initial)[reached], atol=5 * 0.25 / 8)


def test_frozen_lake_of_gymnax_is_ours():
    samples = 400
    found, observations = finite.from_environment(make("FrozenLake-misc"), 0.99, samples=samples)
    ours = problems.frozen_lake()
    np.testing.assert_array_equal(observations, np.arange(16))
    chances = np.asarray(ours.transition)
    error = np.sqrt(chances * (1 - chances) / samples)
    assert np.all(np.abs(found.transition - chances) <= 5 * error + 1e-6)
    np.testing.assert_array_equal(found.reward, ours.reward)
    np.testing.assert_array_equal(found.terminal, ours.terminal)
    np.testing.assert_array_equal(found.initial, ours.initial)
    dry, _ = finite.from_environment(make("FrozenLake-misc", is_slippery=False), 0.99, samples=2)
    np.testing.assert_array_equal(dry.transition, problems.frozen_lake(slippery=False).transition)


def test_other_environments_become_problems():
    # DeepSea: the best return is 0.99. Catch: every ball can be caught, wherever it starts.
    sea, _ = finite.from_environment(make("DeepSea-bsuite", size=6), 1.0, samples=4)
    assert value_iteration(sea).values @ sea.initial == pytest.approx(0.99, abs=1e-5)
    catch, _ = finite.from_environment(make("Catch-bsuite"), 1.0, samples=64)
    assert value_iteration(catch).values @ catch.initial == pytest.approx(1.0, abs=1e-5)


def test_zero_has_one_sign():
    """What is observed is 0.0 or -0.0: one state, not two."""

    def reset(key):
        return jnp.int32(0), jnp.zeros(1)

    def step(key, state, action):
        observation = jnp.where(action == 0, 0.0, -0.0)[None]
        no = jnp.zeros((), bool)
        return state, Timestep(observation, jnp.ones(()), no, no, {})

    environment = Environment("zero", reset, step, Box(-1.0, 1.0, (1,)), Discrete(2), max_steps=9)
    assert finite.from_environment(environment, 0.9, samples=2).mdp.num_states == 1


def test_what_is_not_observed_must_be_named():
    # The cue of the memory probe is seen once only: by observation, the answer is a coin toss.
    environment = make("probe/memory", steps=3)
    blind, _ = finite.from_environment(environment, 1.0)
    told, _ = finite.from_environment(environment, 1.0, identify=lambda state, seen: jnp.append(seen, state.cue))
    assert value_iteration(told).values @ told.initial == pytest.approx(1.0)
    assert told.num_states > blind.num_states


def test_what_cannot_be_enumerated_is_refused():
    with pytest.raises(ValueError, match=r"CartPole-v1 has more than 50 states; raise max_states"):
        finite.from_environment(make("CartPole-v1"), 0.99, max_states=50, samples=2)
    with pytest.raises(TypeError, match="Discrete actions"):
        finite.from_environment(make("Pendulum-v1"), 0.99)
