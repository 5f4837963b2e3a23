"""Tree search against brute force, against players and against dynamic programming."""

from types import ModuleType

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import evaluate, make
from purerl.environments import games
from purerl.environments.finite import frozen_lake
from purerl.environments.games.tic_tac_toe import solve
from purerl.planning import tree_search, value_iteration
from purerl.planning.mpc import mpc, reveal_state
from purerl.planning.tree_search import best_action, uct, uct_search
from purerl.types import Box, Discrete, Environment, Timestep
from tests.compilation import AS_USERS

KEY = jax.random.key(0)


def board(text: str) -> jax.Array:
    """x to move, o the other."""
    return jnp.array([{"x": 1.0, "o": -1.0}.get(square, 0.0) for square in text.replace(" ", "")])


def check_tactics(module: ModuleType) -> None:
    """Win at once, block at once, and do not walk into a fork; what is proven is what minimax says."""
    game = games.tic_tac_toe()
    search = jax.jit(lambda state: module.uct_search(game, KEY, state, simulations=1000))
    win = search(board("xx. oo. ..."))
    assert int(module.best_action(win)) == 2
    assert win.proven[2] == 1
    block = search(board("x.. oo. ..x"))
    assert int(module.best_action(block)) == 5
    corner = search(board("o.. .x. ..o"))  # a corner loses to a fork, an edge draws
    assert int(module.best_action(corner)) in (1, 3, 5, 7)
    np.testing.assert_array_equal(corner.proven[jnp.array([2, 6])], [-1, -1])
    assert int(jnp.sum(corner.visits)) == 1000
    np.testing.assert_array_equal(corner.visits[jnp.array([0, 4, 8])], 0)
    assert np.all(np.abs(corner.values) <= 1)
    open_row = search(board("o.o ... .x."))
    others = jnp.array([3, 4, 5, 6, 8])
    np.testing.assert_array_equal(open_row.proven[others], -1)
    assert int(module.best_action(open_row)) == 1
    assert np.all(open_row.values[jnp.array([3, 5, 6, 8])] < 0)  # the centre threatens, and is refuted later


def test_tactics():
    check_tactics(tree_search)  # asserts


@pytest.mark.parametrize("opponent", ["perfect", "random"])
def test_a_thousand_simulations_hardly_ever_lose(opponent):
    """200 games against a player who cannot be beaten (of 1000, nine were lost), and as many against chance."""
    environment = make("game/tic_tac_toe", opponent=opponent)
    policy = mpc(uct(games.tic_tac_toe(), simulations=1000), state_of=lambda observation: observation)
    play = jax.jit(lambda key: evaluate(policy, environment, key, episodes=200).returns, compiler_options=AS_USERS)
    returns = np.asarray(play(KEY))
    assert np.mean(returns < 0) <= 0.02
    if opponent == "random":
        assert np.all(returns >= 0)
        assert np.mean(returns) > 0.8


def check_lake(module: ModuleType, simulations: int = 1000, within: float = 0.06) -> None:
    """With maximum backups on the graph of positions the root's value comes to V*, 0.542: 0.48 to 0.53 at first."""
    environment = make("finite/frozen_lake")
    exact = float(value_iteration(frozen_lake(discount=0.99)).values[0])
    state, _ = environment.reset(KEY)
    search = jax.jit(
        lambda key: module.uct_search(
            environment, key, state, simulations, 0.5, 0.99, outcomes=4, identity=lambda s: s.position, backup="max"
        ),
        compiler_options=AS_USERS,
    )
    found = search(KEY)
    assert int(jnp.argmax(found.visits)) == int(jnp.argmax(found.values))
    assert abs(float(jnp.max(found.values)) - exact) < within


def test_maximum_backups_converge_to_the_optimal_value():
    check_lake(tree_search, simulations=10_000, within=0.05)  # asserts; means are at 0.34 then


def test_maximum_backups_are_minimax_once_everything_was_tried():
    root = board("x.. oo. ..x")  # one square draws, four lose; where one wins nothing else would be tried
    found = jax.jit(lambda key: uct_search(games.tic_tac_toe(), key, root, 1000, backup="max"))(KEY)
    for square in np.flatnonzero(np.asarray(root) == 0):
        _, timestep = games.tic_tac_toe().environment.step(KEY, root, jnp.asarray(square))
        code = int(np.dot(np.asarray(timestep.observation) + 1, 3 ** np.arange(9)))
        assert float(found.values[square]) == -float(solve()[code])


@pytest.mark.parametrize("identity", [None, lambda state: state.position])
def test_values_with_chances_come_near_those_of_dynamic_programming(identity):
    """FrozenLake that slips, beside the goal: as a tree, and as a graph of positions, which comes nearer."""
    environment = make("finite/frozen_lake")
    exact = value_iteration(frozen_lake(discount=0.99)).values[14]
    state, _ = environment.reset(KEY)
    state = state.replace(position=jnp.asarray(14, state.position.dtype))
    search = jax.jit(
        lambda key: uct_search(environment, key, state, 10_000, 0.7, 0.99, outcomes=4, identity=identity),
        compiler_options=AS_USERS,
    )
    found = search(KEY)
    assert int(jnp.argmax(found.visits)) == int(jnp.argmax(found.values))
    assert abs(float(jnp.max(found.values)) - float(exact)) < (0.3 if identity is None else 0.08)
    assert (int(found.nodes) <= 16) == (identity is not None)


def test_a_cartpole_is_balanced():
    environment = make("CartPole-v1")
    policy = mpc(uct(environment, simulations=50, exploration=20.0, playout_steps=20))
    play = jax.jit(lambda key: evaluate(policy, reveal_state(environment), key, episodes=8, max_steps=200).lengths)
    assert np.all(play(KEY) == 200)


def test_a_value_stands_for_playouts():
    """With V of a perfect player as leaf value, a few simulations see what playouts would need many for."""
    game = games.tic_tac_toe()
    table = jnp.asarray(solve(), jnp.float32)
    value = lambda seen: table[jnp.sum((seen + 1).astype(jnp.int32) * 3 ** jnp.arange(9))]  # noqa: E731
    found = uct_search(game, KEY, board("o.. .x. ..o"), simulations=30, value=value)
    assert int(best_action(found)) in (1, 3, 5, 7)
    assert found.values[2] < 0


@pytest.mark.parametrize(("terminates", "expected"), [(False, 1.0 + 0.5 * 8.0), (True, 1.0)])
def test_v_counts_where_a_time_limit_ends_an_episode_and_not_where_it_terminates(terminates, expected):
    """One step of reward 1 to the end, where V is 8."""
    last, no = jnp.ones((), bool), jnp.zeros((), bool)
    after = Timestep(jnp.ones(1), jnp.ones(()), last if terminates else no, no if terminates else last, {})
    reset = lambda key: (jnp.zeros(1), jnp.zeros(1))  # noqa: E731
    one = Environment("one", reset, lambda key, state, action: (state, after), Box(0.0, 1.0, (1,)), Discrete(2), 1)
    found = uct_search(one, KEY, jnp.zeros(1), 10, discount=0.5, value=lambda observation: 8.0 * observation[0])
    np.testing.assert_allclose(found.values, expected)


def test_a_graph_grows_beyond_the_outcomes_that_an_edge_is_told_apart_by():
    """Every position of the lake becomes a node, also when an edge has room for one child."""
    environment = make("finite/frozen_lake")
    state, _ = environment.reset(KEY)
    found = uct_search(environment, KEY, state, 2000, discount=0.99, identity=lambda state: state.position)
    assert int(found.nodes) == 16


def test_searches_are_vmapped_and_repeat():
    game = games.tic_tac_toe()
    boards = jnp.stack([board("xx. oo. ..."), board("x.. oo. ..x")])
    keys = jax.random.split(KEY, 2)
    search = lambda key, state: uct_search(game, key, state, simulations=100)  # noqa: E731
    together = jax.jit(jax.vmap(search))(keys, boards)
    for i in range(2):
        alone = jax.jit(search)(keys[i], boards[i])
        np.testing.assert_array_equal(together.visits[i], alone.visits)


def test_the_tables_are_not_copied_in_the_loops():
    """Under vmap a table that is carried by a loop with an end of its own is copied in every turn; these are not."""
    game = games.tic_tac_toe()
    search = jax.vmap(lambda key: uct_search(game, key, jnp.zeros(9), simulations=50))
    program = jax.make_jaxpr(search)(jax.random.split(KEY, 3))
    tables = {(3, 51, 9), (3, 51, 9, 1)}

    def loops(jaxpr):
        for equation in jaxpr.eqns:
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                if equation.primitive.name == "while":
                    yield inner
                yield from loops(inner)

    found = [x for body in loops(program.jaxpr) for equation in body.eqns if equation.primitive.name == "select_n"
             for x in equation.outvars]  # fmt: skip
    assert found
    assert not [x for x in found if x.aval.shape in tables]


def test_what_it_refuses():
    with pytest.raises(TypeError, match="discrete actions"):
        uct_search(make("Pendulum-v1"), KEY, make("Pendulum-v1").reset(KEY)[0])
    with pytest.raises(ValueError, match="backup must be"):
        uct_search(games.tic_tac_toe(), KEY, jnp.zeros(9), backup="median")
