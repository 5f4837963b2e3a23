"""Q-learning by search: an iteration against the equations, the lagged copy, and probes."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purerl.algorithms.continuous_control import qt_opt
from purerl.environments import make
from purerl.evaluate import evaluate
from purerl.train import train
from purerl.types import Array, Time
from tests.algorithms.one_transition import CONTINUOUS, ONE, REWARD, START, SUCCESSOR, layers, one_transition

DISCOUNT = 0.9
FIELDS = {name: value for name, value in ONE.items() if name != "critic_widths"}


def check_iteration(module: ModuleType, target: str = "clipped", terminated: bool = False) -> None:
    """One update, then the average moves. The best action of the successor is searched on a grid here."""
    config = module.Config(**FIELDS, learning_rate=0.02, target=target, maximizer="uniform", samples=4000)
    algorithm = module.make(one_transition(CONTINUOUS, terminated, not terminated), config)
    before = jax.jit(algorithm.init)(jax.random.key(3))

    def shifted(key: int, size: float) -> Any:
        leaves, tree = jax.tree.flatten(before.params)
        keys = jax.random.split(jax.random.key(key), len(leaves))
        return tree.unflatten([x + size * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)])

    lagged = shifted(2, 0.5)
    lagged["params"]["Dense_0"]["bias"] -= 1.0  # so that it is the lesser one
    before = before.replace(params=shifted(0, 0.5), average=shifted(1, 0.5), lagged=lagged)
    after, metrics = jax.jit(algorithm.step)(before, Time(jnp.int32(0), jnp.float32(0.0)))

    def q(params: Any, observation: Any, action: Array) -> Array:
        return layers(params, jnp.concatenate([observation, action]))[0]

    grid = jnp.linspace(-1.0, 1.0, 4001)[:, None]
    searched = before.params if target == "double" else before.average
    best = grid[jnp.argmax(jax.vmap(lambda a: q(searched, SUCCESSOR, a))(grid))]
    ahead, past = q(before.average, SUCCESSOR, best), q(before.lagged, SUCCESSOR, best)
    assert ahead > past + 0.1
    y = REWARD + (0.0 if terminated else DISCOUNT) * (past if target == "clipped" else ahead)
    action = jax.lax.bitcast_convert_type(after.interaction.replay["uint32"][0], jnp.float32)[2:3]  # as it was taken

    def loss(params: Any) -> Array:
        return 0.5 * (q(params, START, action) - y) ** 2

    optimizer = optax.adam(0.02)
    updates, _ = optimizer.update(jax.grad(loss)(before.params), optimizer.init(before.params))
    params = optax.apply_updates(before.params, updates)
    moved = jax.tree.map(lambda new, old: 0.3 * new + 0.7 * old, params, before.average)
    np.testing.assert_allclose(metrics["critic_loss"], loss(before.params), rtol=5e-3)
    for found, expected in ((after.params, params), (after.average, moved), (after.lagged, before.lagged)):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("target", "terminated"), [("clipped", False), ("clipped", True), ("double", False), ("plain", False)]
)
def test_an_iteration_is_that_of_the_equations(target, terminated):
    check_iteration(qt_opt, target, terminated)  # asserts


def check_lag(module: ModuleType) -> None:
    """The lagged parameters are those that the average was when the run last crossed a multiple of the period."""
    config = module.Config(
        **FIELDS | {"steps_per_iteration": 2, "replay_capacity": 4, "warm_up_steps": 2}, lag_period=5
    )
    algorithm = module.make(one_transition(CONTINUOUS, False, True), config)
    state, step = jax.jit(algorithm.init)(jax.random.key(3)), jax.jit(algorithm.step)
    expected = state.average
    for iteration in range(8):
        state, _ = step(state, Time(jnp.int32(iteration), jnp.float32(0.0)))
        if (2 * iteration) // 5 != (2 * iteration + 2) // 5:
            expected = state.average
        for a, b in zip(jax.tree.leaves(state.lagged), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_lagged_copy_is_renewed_at_every_crossing():
    check_lag(qt_opt)  # asserts


PROBE: dict[str, Any] = {
    "learning_rate": 3e-2,
    "anneal_learning_rate": True,
    "discount": DISCOUNT,
    "target_rate": 0.1,
    "lag_period": 40,
    "samples": 16,
    "elites": 4,
    "search_iterations": 3,
    "noise_end": 0.3,
    "num_envs": 4,
    "steps_per_iteration": 2,
    "update_to_data": (1, 2),
    "batch_size": 32,
    "replay_capacity": 512,
    "warm_up_steps": 64,
    "widths": (32,),
}


def learned(environment: Any, **fields: Any) -> tuple[Any, Any]:
    """The algorithm, and the states of three seeds after training on a probe."""
    one = qt_opt.make(environment, qt_opt.Config(**PROBE | fields))
    keys = jax.random.split(jax.random.key(0), 3)
    return one, jax.jit(jax.vmap(lambda key: train(one, key, 400).state))(keys)


def test_a_truncation_is_bootstrapped():
    """Reward 1 forever, cut now and then: Q = 1 / (1 - discount) for every action."""
    _, states = learned(make("probe/truncation", continuous=True))
    values = jax.vmap(lambda params: layers(params, jnp.array([0.0, 0.3]))[0])(states.average)
    np.testing.assert_allclose(values, 1 / (1 - DISCOUNT), rtol=0.05)


@pytest.mark.parametrize("maximizer", ["uniform", "gaussian", "cross_entropy", "gradient"])
def test_the_searched_action_is_the_best_one(maximizer):
    """One in [-1, 1] for every observation, half of it: what is left of the reward is a squared distance to it."""
    fields = {"samples": 64} if maximizer in ("uniform", "gaussian") else {}
    one, states = learned(make("probe/continuous_observation_action"), maximizer=maximizer, **fields)
    key = jax.random.key(1)
    returns = jax.vmap(lambda state: evaluate(one.policy(state), one.environment, key, episodes=32).returns)(states)
    np.testing.assert_allclose(returns.mean(-1), 0.0, atol=0.02)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"elites": 65}, ValueError, r"qt_opt: elites \(65\) must not exceed samples \(64\)"),
        ({"samples": 0}, ValueError, "qt_opt: samples must be > 0"),
        ({"lag_period": 0}, ValueError, "qt_opt: lag_period must be > 0"),
        ({"deviation_floor": -0.1}, ValueError, "qt_opt: deviation_floor must be >= 0"),
        ({"maximizer": "annealing"}, ValueError, "qt_opt: maximizer must be one of 'uniform'"),
        ({"target": "triple"}, ValueError, "qt_opt: target must be one of 'clipped'"),
    ],
)
def test_values_that_do_not_fit_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        qt_opt.make(make("Pendulum-v1"), qt_opt.Config(**fields))
