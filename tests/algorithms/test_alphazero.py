"""AlphaZero: whose values they are, what is legal, what ends, what it is taught, and that it learns."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import evaluate, make, presets, run
from purerl.algorithms.model_based import alphazero
from purerl.environments.games import tic_tac_toe
from purerl.planning import policy_guided_search, reveal_state
from purerl.train import advance, start
from purerl.types import Box, Discrete, Environment, Time, Timestep
from tests.compilation import AS_USERS

KEY = jax.random.key(0)
SMALL = {"simulations": 8, "num_envs": 4, "steps_per_iteration": 12, "replay_capacity": 48, "widths": (8,)}


def boards(*texts: str) -> jax.Array:
    """x to move, o the other."""
    squares = [[{"x": 1.0, "o": -1.0}.get(square, 0.0) for square in text.replace(" ", "")] for text in texts]
    return jnp.array(squares)


def flat(observation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A prior without a preference and a value without an opinion, of tic-tac-toe."""
    return jnp.zeros((len(observation), 9)), jnp.zeros(len(observation))


def search(module: ModuleType, roots: jax.Array, **settings):
    """A search of tic-tac-toe with a flat prior."""
    found = lambda key: module.guided_search(tic_tac_toe(), key, roots, roots, flat, **settings)  # noqa: E731
    return jax.jit(found)(KEY)


def check_signs(module: ModuleType, kind: str = "puct") -> None:
    """A win at hand is worth 1, two threats of the other -1, and both are seen by whoever moves."""
    roots = boards("xx. oo. ...", "oo. ox. ..x", "x.. oo. ..x")
    found = search(module, roots, simulations=400, kind=kind)
    assert found.value[0] > 0.85
    assert found.value[1] < -0.85
    assert abs(found.value[2]) < 0.15  # blocked, and drawn
    np.testing.assert_array_equal(found.action[jnp.array([0, 2])], [2, 5])
    np.testing.assert_array_equal(found.action_values[0, 2], 1.0)
    np.testing.assert_array_equal(jnp.sum(found.visits, axis=1), 400)


@pytest.mark.parametrize("kind", ["puct", "gumbel"])
def test_values_are_those_of_whoever_moves(kind):
    check_signs(policy_guided_search, kind)  # asserts


@pytest.mark.parametrize("kind", ["puct", "gumbel"])
def test_illegal_moves_get_no_weight(kind):
    roots = boards("xx. oo. ...", "... .x. o..")
    noise = {"dirichlet_fraction": 0.5, "dirichlet_alpha": 1.0, "temperature": 1.0, "gumbel_scale": 1.0}
    found = search(policy_guided_search, roots, simulations=60, kind=kind, **noise)
    taken = roots != 0
    assert np.all(np.asarray(found.visits)[taken] == 0)
    assert np.all(np.asarray(found.weights)[taken] == 0)
    np.testing.assert_allclose(jnp.sum(found.weights, axis=1), 1.0, rtol=1e-5)
    assert not np.any(np.take_along_axis(np.asarray(taken), np.asarray(found.action)[:, None], axis=1))


def test_noise_is_at_the_root_in_training_only():
    roots = boards("... ... ...")
    quiet = [search(policy_guided_search, roots, simulations=30).visits for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    noisy = search(policy_guided_search, roots, simulations=30, dirichlet_fraction=1.0, dirichlet_alpha=0.1)
    assert int(noisy.visits.max()) > 2 * int(quiet[0].max())


def ending(terminates: bool) -> Environment:
    """One step of reward 1 to the end, and a reward of 100 for whoever goes on. States hold a random key."""
    last, no = jnp.ones((), bool), jnp.zeros((), bool)

    def step(key, state, action):
        steps, noise = state
        reward = jnp.where(steps == 0, 1.0, 100.0)
        after = Timestep(jnp.ones(1), reward, last if terminates else no, no if terminates else last, {})
        return (steps + 1, jax.random.fold_in(noise, 1)), after

    reset = lambda key: ((jnp.zeros((), jnp.int32), key), jnp.zeros(1))  # noqa: E731
    return Environment("one", reset, step, Box(0.0, 1.0, (1,)), Discrete(2), 1)


def check_ends(module: ModuleType) -> None:
    """V counts where a time limit ends an episode and not where it terminates, and nothing is earned later."""
    for terminates, expected in ((True, 1.0), (False, 1.0 + 0.5 * 8.0)):
        environment = ending(terminates)
        state, observation = jax.vmap(environment.reset)(jax.random.split(KEY, 3))
        evaluation = lambda seen: (jnp.zeros((len(seen), 2)), 8.0 * seen[:, 0])  # noqa: E731
        found = module.guided_search(environment, KEY, state, observation, evaluation, simulations=12, discount=0.5)
        np.testing.assert_allclose(found.action_values, expected)
        np.testing.assert_allclose(found.value, expected * 12 / 13)  # V of the root is 0


def test_ends_are_ends():
    check_ends(policy_guided_search)  # asserts


def forks() -> Environment:
    """From every number two others, each with a reward of its own, for ever: the tree never meets itself."""

    def step(key, state, action):
        no = jnp.zeros((), bool)
        after = 2.0 * state + action + 1.0
        return after, Timestep(after[None], jnp.sin(3.0 * after), no, no, {})

    reset = lambda key: (jnp.zeros(()), jnp.zeros(1))  # noqa: E731
    return Environment("forks", reset, step, Box(0.0, 1e9, (1,)), Discrete(2), 1)


def puct_by_hand(root: float, simulations: int, discount: float, exploration: float, value, prior):
    """Visits and Q of both actions at the root, each simulation a walk through dictionaries."""
    after = lambda node: [2.0 * node + action + 1.0 for action in range(2)]  # noqa: E731
    visits, mean, reward = {root: 1}, {root: value(root)}, {}
    for _ in range(simulations):
        q = {child: reward[child] + discount * mean[child] for child in reward}
        low, high = (f([*mean.values(), *q.values()]) for f in (min, max))
        path = [root]
        while path[-1] in visits:
            node = path[-1]
            children = after(node)
            tried = np.array([visits.get(child, 0) for child in children])
            here = np.array([q.get(child, mean[node]) for child in children])
            c = exploration + np.log((1 + visits[node] + 19652) / 19652)
            score = (here - low) / max(high - low, 1e-8) + c * prior(node) * np.sqrt(visits[node]) / (1 + tried)
            path.append(children[int(np.argmax(score))])
        leaf = path.pop()
        visits[leaf], mean[leaf], reward[leaf] = 1, value(leaf), np.sin(3.0 * leaf)
        earned, came_from = mean[leaf], leaf
        for node in reversed(path):
            earned = reward[came_from] + discount * earned
            mean[node] = (mean[node] * visits[node] + earned) / (visits[node] + 1)
            visits[node] += 1
            came_from = node
    return tuple(zip(*[(visits[child], reward[child] + discount * mean[child]) for child in after(root)], strict=True))


def check_walks(module: ModuleType) -> None:
    """Values are scaled by all of the tree, so siblings that hardly differ are told apart by the prior."""
    roots = np.array([0.0, 5.0, 11.0, 17.0])
    worth = lambda node: 20.0 + 4.0 * jnp.cos(0.7 * node)  # noqa: E731
    logits = lambda node: jnp.stack([jnp.sin(1.1 * node), 0.0 * node], axis=-1)  # noqa: E731
    prior = lambda node: np.asarray(jax.nn.softmax(logits(jnp.float32(node))))  # noqa: E731
    judge = lambda seen: (logits(seen[:, 0]), worth(seen[:, 0]))  # noqa: E731

    states = jnp.array(roots, jnp.float32)
    found = module.guided_search(
        forks(), KEY, states, states[:, None], judge, simulations=24, discount=0.9, exploration=1.25
    )
    by_hand = [puct_by_hand(root, 24, 0.9, 1.25, worth, prior) for root in roots]
    np.testing.assert_array_equal(found.visits, [visits for visits, _ in by_hand])
    np.testing.assert_allclose(found.action_values, [q for _, q in by_hand], rtol=1e-3)


def test_walks_are_those_of_puct():
    check_walks(policy_guided_search)  # asserts


def returns_by_hand(reward, searched, beyond, terminated, truncated, discount, trace_decay):
    """z of one environment, step by step from the equation."""
    targets = np.zeros(len(reward))
    for t in range(len(reward)):
        z, weight = 0.0, 1.0  # sum over n-step returns: lambda^(n-1) (1 - lambda), the rest for the longest
        earned, factor = 0.0, 1.0
        for n in range(t, len(reward)):
            earned += factor * reward[n]
            factor *= discount
            last = terminated[n] or truncated[n] or n + 1 == len(reward)
            v = 0.0 if terminated[n] else beyond[n] if last else searched[n + 1]
            share = 1.0 if last else 1.0 - trace_decay
            z += weight * share * (earned + factor * v)
            weight *= trace_decay
            if last:
                break
        targets[t] = z
    return targets


def check_targets(module: ModuleType) -> None:
    """Lambda-returns with a discount of either sign against their definition."""
    rng = np.random.default_rng(0)
    shape = 12, 5
    reward, searched, beyond = rng.normal(size=(3, *shape)).astype(np.float32)
    terminated, truncated = rng.random((2, *shape)) < 0.15
    moves = module.Move(None, None, *map(jnp.asarray, (searched, reward, terminated, truncated)), None)
    for discount, trace_decay in ((0.9, 0.7), (-1.0, 1.0), (-0.9, 0.5), (0.99, 0.0)):
        found = module.value_target(moves, jnp.asarray(beyond), discount, trace_decay)
        columns = zip(*(x.T for x in (reward, searched, beyond, terminated, truncated)), strict=True)
        expected = np.stack([returns_by_hand(*column, discount, trace_decay) for column in columns], axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_targets_are_lambda_returns():
    check_targets(alphazero)  # asserts


def check_self_play(module: ModuleType) -> None:
    """What is remembered of a game: its outcome, as good for one side as bad for the other; moves to free squares."""
    config = module.Config(**SMALL, discount=1.0, trace_decay=1.0)
    one = module.make(tic_tac_toe(), config)
    state, _ = jax.jit(one.step)(one.init(KEY), Time(jnp.int32(0), jnp.float32(0)))
    stored = module.memory(one.environment, config).read(state.replay, jnp.arange(48))
    board, policy, z = (np.asarray(x).reshape(12, 4, *x.shape[1:]) for x in stored)
    stones = np.count_nonzero(board, axis=-1)
    goes_on = stones[1:] == stones[:-1] + 1
    assert np.any(~goes_on)
    np.testing.assert_allclose(z[:-1][goes_on], -z[1:][goes_on], atol=1e-5)
    outcomes = z[:-1][~goes_on]  # the last moves of games: won or drawn
    assert set(np.round(outcomes, 5)) <= {0.0, 1.0}
    assert np.any(outcomes == 1)
    assert np.all(policy[board != 0] == 0)


def test_self_play_remembers_outcomes():
    check_self_play(alphazero)  # asserts


def test_a_game_is_reached_by_name_and_as_a_game():
    """Both play both sides; by name the match is against the opponent that the environment was made with."""
    perfect = make("game/tic_tac_toe", opponent="perfect")
    by_name = alphazero.make(perfect, alphazero.Config(**SMALL, self_play=True))
    as_game = alphazero.make(tic_tac_toe(), alphazero.Config(**SMALL))
    assert jax.eval_shape(by_name.init, KEY).environments.environment.shape == (4, 9)
    assert jax.eval_shape(as_game.init, KEY).environments.environment.shape == (4, 9)
    assert by_name.environment is perfect
    assert as_game.environment.name == "tic_tac_toe against chance"
    match = alphazero.make(perfect, alphazero.Config(**SMALL))  # one player: the opponent is part of the world
    assert jax.eval_shape(match.init, KEY).environments.environment.game.shape == (4, 9)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("CartPole-v1", {"self_play": True}, "self_play needs a Game or a game by name"),
        ("CartPole-v1", {"replay_capacity": 100}, "multiple of the block of 48"),
        ("CartPole-v1", {"dirichlet_fraction": 1.5}, "dirichlet_fraction"),
        ("CartPole-v1", {"simulations": 0}, "simulations"),
    ],
)
def test_bad_fields_are_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        alphazero.make(make(name), alphazero.Config(**SMALL | fields))


def test_what_the_search_refuses():
    with pytest.raises(TypeError, match="discrete actions"):
        policy_guided_search.guided_search(make("Pendulum-v1"), KEY, jnp.zeros(1), jnp.zeros(1), flat)


def test_a_search_catches_before_the_prior_does():
    """Catch after 5,120 steps by search only, and after 20,480 without, too."""
    environment = make("Catch-bsuite")
    config = alphazero.Config(simulations=25)
    one = alphazero.make(environment, config)

    @jax.jit
    def further(training, first):
        training, *_ = advance(one, training, first, iterations=10, total_iterations=40)
        searching = alphazero.search_policy(environment, config, training.state)
        prior = evaluate(one.policy(training.state), environment, KEY, episodes=32).returns
        return training, jnp.mean(prior), jnp.mean(evaluate(searching, reveal_state(environment), KEY, 32).returns)

    training, found = jax.jit(lambda key: start(one, key))(KEY), []
    for first in range(0, 40, 10):
        training, *returns = further(training, jnp.int32(first))
        found.append([float(x) for x in returns])
    print(found)
    assert found[0][1] >= 0.9 > found[0][0]
    assert found[-1][0] == found[-1][1] == 1.0


def final(environment: Environment, preset: dict, seeds: int, play: Environment, episodes: int):
    """Returns `[seeds, episodes]` of the search and of the prior alone, after training by the preset."""
    steps = preset.pop("total_steps")
    config = alphazero.Config(**preset)
    one = alphazero.make(environment, config)
    states = run(one, total_steps=steps, seeds=seeds, evaluations=0, sinks=()).training.state

    def returns(state):
        searching = alphazero.search_policy(environment, config, state)
        by_search = evaluate(searching, reveal_state(play), KEY, episodes).returns
        return by_search, evaluate(one.policy(state), play, KEY, episodes).returns

    snapshots = jax.vmap(one.snapshot)(states)
    return map(np.asarray, jax.jit(jax.vmap(returns), compiler_options=AS_USERS)(snapshots))


@pytest.mark.slow
def test_self_play_does_not_lose_tic_tac_toe():
    perfect = make("game/tic_tac_toe", opponent="perfect")
    by_search, by_prior = final(perfect, presets.load("alphazero", "game/tic_tac_toe"), 2, perfect, 200)
    print((by_search < 0).sum(1), (by_prior < 0).sum(1))
    assert np.all(by_search >= 0)
    assert np.all((by_prior < 0).mean(1) <= 0.1)


@pytest.mark.slow
def test_it_balances_the_pole():
    environment = make("CartPole-v1")
    by_search, by_prior = final(environment, presets.load("alphazero", "CartPole-v1"), 4, environment, 16)
    print(by_search.mean(1), by_prior.mean(1))
    assert np.all(by_search.mean(1) >= 475)
    assert np.all(by_prior.mean(1) >= 475)
