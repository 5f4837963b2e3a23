"""Fitted iteration: equal to value iteration where it can be exact, balancing where it must approximate."""

from functools import partial
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import Discrete, EvaluationPlan, make, train
from purerl.algorithms.value_based import fitted_iteration
from purerl.data import Transitions, collect
from purerl.environments.finite import as_environment, finite_mdp, frozen_lake, garnet
from purerl.planning import exact_policy_evaluation, optimal_backup, value_iteration
from purerl.planning.backups import iterates
from purerl.train import start
from purerl.types import Time

EXACT = {"regression": "exact", "widths": (), "l2": 1e-9}


def random_problem(size: int = 400) -> tuple:
    mdp = garnet(jax.random.key(0), states=8, actions=3, terminal_states=2)
    environment = as_environment(mdp, "garnet", max_steps=6)
    return environment, collect(environment, None, jax.random.key(1), size)


def fitted(algorithm, iterations: int) -> list[np.ndarray]:
    """The parameters after every iteration."""
    state, step, found = start(algorithm, jax.random.key(0)).state, jax.jit(algorithm.step), []
    for k in range(iterations):
        state, _ = step(state, Time(jnp.int32(k), jnp.float32(k / iterations)))
        found.append(np.asarray(state.fit.params))
    return found


def check_one_hot_iterates(module: ModuleType) -> None:
    """With one-hot states the iterates are those of value iteration on the empirical problem, one after another."""
    environment, data = random_problem()
    q = np.zeros((8, 3))
    assert data.truncated.any()
    assert data.terminated.any()
    for found in fitted(module.make(environment, data, module.Config(**EXACT, discount=0.9)), 20):
        total, count = np.zeros((8, 3)), np.zeros((8, 3))
        rows = (data.observation, data.action, data.reward, data.terminated, data.successor)
        for s, a, r, ended, after in zip(*rows, strict=True):
            total[s, a] += r + (0 if ended else 0.9 * max(q[after]))
            count[s, a] += 1
        q = total / np.maximum(count, 1)
        np.testing.assert_allclose(found, q, rtol=1e-4, atol=1e-4)


def check_values_with_model(module: ModuleType) -> None:
    """Fitted value iteration with one-hot states is value iteration."""
    mdp = garnet(jax.random.key(3), states=8, actions=3, terminal_states=2, discount=0.5)
    algorithm = module.make_with_model(mdp, module.Config(**EXACT, discount=0.9))
    model = mdp.replace(discount=jnp.float32(0.9))
    expected = iterates(partial(optimal_backup, model), jnp.zeros(8), 15)
    for k, found in enumerate(fitted(algorithm, 15)):
        np.testing.assert_allclose(found[:, 0], expected[k + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("check", [check_one_hot_iterates, check_values_with_model])
def test_one_hot_features_make_it_exact(check):
    check(fitted_iteration)  # asserts


def test_with_the_model_the_frozen_lake_is_solved():
    mdp = frozen_lake()
    algorithm = fitted_iteration.make_with_model(mdp, fitted_iteration.Config(**EXACT, discount=0.99))
    state = jax.jit(lambda key: train(algorithm, key, 700).state)(jax.random.key(0))
    assert abs(float(state.fit.params[0, 0]) - 0.5420) < 1e-3
    act = algorithm.policy(state).act
    choice = [int(act(jax.random.key(0), (), jnp.int32(s))[1]) for s in range(16)]
    values = exact_policy_evaluation(mdp, jax.nn.one_hot(jnp.array(choice), 4))
    np.testing.assert_allclose(values, value_iteration(mdp).values, atol=1e-3)


def test_a_terminal_state_needs_no_actions():
    available = np.array([[True, True], [False, False]])
    transition = np.tile([0.0, 1.0], (2, 2, 1))
    mdp = finite_mdp(transition, np.ones((2, 2)), 0.9, terminal=[False, True], available=available)
    algorithm = fitted_iteration.make_with_model(mdp, fitted_iteration.Config(regression="exact", widths=(), l2=1e-6))
    values = fitted(algorithm, 2)
    assert all(np.all(np.isfinite(x)) for x in values)


def test_descent_ends_where_the_exact_fit_is():
    environment, data = random_problem()
    config = fitted_iteration.Config(
        discount=0.5, l2=0.0, learning_rate=0.03, updates_per_iteration=200, batch_size=0, widths=()
    )
    algorithm = fitted_iteration.make(environment, data, config)
    state = jax.jit(lambda key: train(algorithm, key, 15).state)(jax.random.key(0))
    exact = fitted(fitted_iteration.make(environment, data, fitted_iteration.Config(**EXACT, discount=0.5)), 15)[-1]
    layer = state.fit.params["params"]["Dense_0"]
    seen = np.zeros((8, 3), bool)
    seen[data.observation, data.action] = True
    np.testing.assert_allclose((layer["kernel"] + layer["bias"])[seen], exact[seen], atol=0.01)


def test_a_fresh_start_forgets_and_minibatches_repeat_by_the_key():
    environment, data = random_problem()
    small = {"updates_per_iteration": 3, "batch_size": 16, "widths": (8,)}
    for restart in (False, True):
        algorithm = fitted_iteration.make(environment, data, fitted_iteration.Config(**small, restart=restart))
        state = start(algorithm, jax.random.key(0)).state
        other = state.replace(fit=start(algorithm, jax.random.key(1)).state.fit)
        step = jax.jit(algorithm.step)
        once, again, elsewhere = (step(s, Time(jnp.int32(0), jnp.float32(0)))[0] for s in (state, state, other))
        same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), once.fit.params, again.fit.params)
        assert all(jax.tree.leaves(same))
        assert not np.array_equal(*(jax.tree.leaves(x.fit.params)[-1] for x in (once, elsewhere)))
        twice, _ = step(once, Time(jnp.int32(1), jnp.float32(0)))
        counts = [int(leaf) for leaf in jax.tree.leaves(twice.fit.optimizer) if leaf.dtype == jnp.int32]
        assert counts == [3 if restart else 6]


def test_hyperparameters_vmap_and_the_dataset_is_shared():
    environment, data = random_problem(100)

    def final(data: Transitions, discount, key):
        config = fitted_iteration.Config(**EXACT | {"l2": 1e-6}, discount=discount)
        return train(fitted_iteration.make(environment, data, config), key, 5).state.fit.params

    discounts, keys = jnp.array([0.5, 0.9]), jax.random.split(jax.random.key(0), 2)
    many = jax.jit(jax.vmap(final, in_axes=(None, 0, 0)))(data, discounts, keys)
    for i in range(2):
        np.testing.assert_allclose(many[i], final(data, discounts[i], keys[i]), rtol=1e-3, atol=1e-4)
    program = jax.make_jaxpr(final)(data, discounts[0], keys[0])
    assert all(np.size(constant) < 100 for constant in program.consts)


def test_the_cart_pole_is_balanced_from_random_transitions():
    """10k transitions of the random policy, whose episodes last 22 steps: at least 200 steps after 50 iterations."""
    environment = make("CartPole-v1")
    config = fitted_iteration.Config(discount=0.95, l2=1e-2, normalize_observations=True)

    def final(key):
        data_key, key = jax.random.split(key)
        data = collect(environment, None, data_key, 10_000)
        algorithm = fitted_iteration.make(environment, data, config)
        plan = EvaluationPlan(episodes=20)
        return train(algorithm, key, 50, evaluate_every=50, plan=plan).evaluations.returns.mean()

    returns = jax.jit(jax.vmap(final))(jax.random.split(jax.random.key(0), 3))
    print(returns)
    assert returns.min() >= 200


ALIASES = jnp.array([0, 1, 2, 1, 3])  # the two cells beside the goal look alike and want opposite moves


def aliased_corridor():
    """Ends 0 and 4, the goal in the middle; move left or right; reward 1 at the goal."""
    transition, reward = np.zeros((5, 2, 5)), np.zeros((5, 2, 5))
    for s in range(5):
        for a in range(2):
            transition[s, a, np.clip(s + 2 * a - 1, 0, 4)] = 1
    reward[:, :, 2] = 1
    return finite_mdp(transition, reward, 0.9, terminal=np.arange(5) == 2, initial=[0.5, 0, 0, 0, 0.5])


def start_value(mdp, right) -> float:
    """The discounted return of going right with these probabilities, `[5]`."""
    policy = jnp.stack([1 - right, right], axis=-1)
    return float(mdp.initial @ exact_policy_evaluation(mdp, policy))


def test_where_states_look_alike_chance_beats_every_rule_and_memory_beats_chance():
    mdp = aliased_corridor()
    rules = [jnp.array([a, b, 0, b, c], jnp.float32) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    best_rule = max(start_value(mdp, rule) for rule in rules)
    mixes = {p: start_value(mdp, jnp.array([1, p, 0, p, 0])) for p in (0.1, 0.3, 0.5, 0.7, 0.9)}
    assert best_rule == pytest.approx(0.9 / 2)
    assert mixes[0.5] == pytest.approx(0.9 * 0.5 / (1 - 0.81 / 2), rel=1e-5)
    assert max(mixes.values()) == mixes[0.5] > best_rule

    environment = as_environment(mdp, "aliased", max_steps=20)
    data = collect(environment, None, jax.random.key(0), 2_000, num_envs=1)
    done = np.asarray(data.terminated | data.truncated)
    seen, after = ALIASES[data.observation], ALIASES[data.successor]
    last = jnp.where(np.append(True, done[:-1]), 4, jnp.roll(seen, 1))  # 4: nothing was seen before
    histories = data._replace(observation=4 * last + seen, successor=4 * seen + after)
    memoryless = data._replace(observation=seen, successor=after)
    values = {}
    for name, dataset, size in (("memoryless", memoryless, 4), ("history", histories, 20)):
        spaces = environment._replace(observation_space=Discrete(size))
        algorithm = fitted_iteration.make(spaces, dataset, fitted_iteration.Config(**EXACT, discount=0.9))
        values[name] = fitted(algorithm, 60)[-1].argmax(-1)
    choice = jnp.asarray(values["memoryless"])[ALIASES].astype(jnp.float32)
    assert start_value(mdp, choice) <= best_rule + 1e-6
    for begin, move in ((0, 1), (4, 0)):  # with two observations: straight to the goal
        assert values["history"][4 * 4 + int(ALIASES[begin])] == move
        assert values["history"][4 * int(ALIASES[begin]) + 1] == move


def test_what_does_not_fit_is_refused():
    environment, data = random_problem(20)
    config = fitted_iteration.Config
    with pytest.raises(ValueError, match=r"exact.*no hidden layers.*pass widths=\(\)"):
        fitted_iteration.make(environment, data, config(regression="exact"))
    with pytest.raises(ValueError, match="discount must be in"):
        fitted_iteration.make(environment, data, config(discount=1.5))
    with pytest.raises(ValueError, match="real-valued observations"):
        fitted_iteration.make(environment, data, config(normalize_observations=True))
    with pytest.raises(ValueError, match="pass the environment that the dataset was collected in"):
        fitted_iteration.make(make("CartPole-v1"), data, config())
    with pytest.raises(TypeError, match=r"Pendulum-v1.*use"):
        fitted_iteration.make(make("Pendulum-v1"), data, config())
    with pytest.raises(ValueError, match=r"actions of the dataset lie in \[\d, 1\d\]"):
        fitted_iteration.make(environment, data._replace(action=data.action + 9), config())
    with pytest.raises(ValueError, match="terminated of the dataset has the shape"):
        fitted_iteration.make(environment, data._replace(terminated=data.terminated[:, None]), config())
    mdp = frozen_lake()
    with pytest.raises(ValueError, match=r"features must have the shape \[16, F\]"):
        fitted_iteration.make_with_model(mdp, config(), features=jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="normalise its features"):
        fitted_iteration.make_with_model(mdp, config(normalize_observations=True))
