"""NAF where the answer is known: a linear-quadratic problem, and probes of its target."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from purerl.algorithms.continuous_control import naf
from purerl.environments import make
from purerl.evaluate import evaluate
from purerl.train import train
from purerl.types import Array, Box, Environment, Time, Timestep
from tests.algorithms.one_transition import CONTINUOUS, ONE, REWARD, START, SUCCESSOR, layers, one_transition

DISCOUNT = 0.9
A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([0.005, 0.1])
STATE_COST, ACTION_COST, LARGEST_ACTION = np.eye(2), 0.1, 5.0


class Double(struct.PyTreeNode):
    state: Array
    time: Array


def double_integrator(steps: int = 5) -> Environment:
    """`x' = A x + B u`, reward `-(x^T x + 0.1 u^2)`, cut after `steps`; one sees x and its products.

    Episodes are short because products of large states are larger still, and a linear V of them diverges.
    """

    def observe(x: Array) -> Array:
        return jnp.stack([x[0], x[1], x[0] ** 2, x[0] * x[1], x[1] ** 2])

    def reset(key):
        x = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        return Double(x, jnp.zeros((), jnp.int32)), observe(x)

    def step(key, state, action):
        x, u = state.state, action[0]
        reward = -(x @ jnp.asarray(STATE_COST, jnp.float32) @ x + ACTION_COST * u**2)
        after = Double(jnp.asarray(A, jnp.float32) @ x + jnp.asarray(B, jnp.float32) * u, state.time + 1)
        cut = after.time >= steps
        return after, Timestep(observe(after.state), reward, jnp.zeros_like(cut), cut, info={})

    space = Box(-jnp.inf, jnp.inf, (5,))
    return Environment(
        "double integrator", reset, step, space, Box(-LARGEST_ACTION, LARGEST_ACTION, (1,)), max_steps=steps
    )


def riccati(discount: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The gain of `u = -K x`, the cost matrix of the state and the factor of u^2 in the cost to go, by iteration."""
    cost, gain, curvature = np.zeros((2, 2)), np.zeros(2), 0.0
    for _ in range(2000):
        curvature = float(ACTION_COST + discount * B @ cost @ B)
        gain = discount * (B @ cost @ A) / curvature
        closed = A - np.outer(B, gain)
        cost = STATE_COST + ACTION_COST * np.outer(gain, gain) + discount * closed.T @ cost @ closed
    return gain, cost, curvature


def test_the_iteration_finds_the_known_gain():
    gain, cost, curvature = riccati(1.0)
    np.testing.assert_allclose(gain, [2.5857, 3.4434], atol=1e-4)
    np.testing.assert_allclose(cost, [[13.3172, 3.2016], [3.2016, 4.6035]], atol=1e-4)
    np.testing.assert_allclose(curvature, 0.14957, atol=1e-5)


def test_a_linear_problem_is_solved_exactly():
    """Linear in x and its products, Q can be the optimal one: mu = -K x, P = 2 (R + discount B^T C B), V = -x^T C x."""
    config = naf.Config(
        learning_rate=5e-3,
        anneal_learning_rate=True,
        discount=DISCOUNT,
        target_rate=0.02,
        bounded_mean=False,
        noise_start=0.5,
        noise_end=0.5,
        num_envs=8,
        steps_per_iteration=4,
        batch_size=64,
        replay_capacity=16_384,
        warm_up_steps=256,
        widths=(),
    )
    environment = double_integrator()
    one = naf.make(environment, config)
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.jit(jax.vmap(lambda key: train(one, key, 400).state))(keys)
    gain, cost, curvature = riccati(DISCOUNT)
    x = np.random.default_rng(0).uniform(-1, 1, size=(64, 2)).astype(np.float32)
    observation = jnp.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2], -1)
    network = naf.quadratic_network(environment, config)
    values: Any = jax.vmap(network.apply, (0, None))(states.params, observation)
    for seed in range(len(keys)):
        found = np.linalg.lstsq(x, -LARGEST_ACTION * np.asarray(values.mean[seed, :, 0]), rcond=None)[0]
        np.testing.assert_allclose(found, gain, rtol=0.01)
        matrix = np.square(np.asarray(values.factor[seed, :, 0, 0])) / LARGEST_ACTION**2
        np.testing.assert_allclose(matrix, 2 * curvature, rtol=0.01)
        np.testing.assert_allclose(values.value[seed], -np.einsum("ni,ij,nj->n", x, cost, x), atol=0.01 * cost.max())


def check_iteration(module: ModuleType, terminated: bool = False, truncated: bool = True) -> None:
    """One update of the network, then the target moves: V, mu and L are read from the outputs one by one."""
    fields = {name: value for name, value in ONE.items() if name != "critic_widths"}
    config = module.Config(**fields, learning_rate=0.02, anneal_learning_rate=True, initial_value=-0.4)
    algorithm = module.make(one_transition(CONTINUOUS, terminated, truncated), config)
    before = jax.jit(algorithm.init)(jax.random.key(3))
    before = before.replace(target_params=jax.tree.map(lambda x: 1.5 * x + 0.1, before.params))
    after, metrics = jax.jit(algorithm.step)(before, Time(jnp.int32(0), jnp.float32(0.5)))

    def outputs(params: Any, observation: Any) -> Array:
        return layers({"params": params["params"]["Readout_0"]}, observation)

    action = jax.lax.bitcast_convert_type(after.interaction.replay["uint32"][0], jnp.float32)[2]  # as it was taken
    ahead = -0.4 + outputs(before.target_params, SUCCESSOR)[0]
    y = REWARD + (0.0 if terminated else 0.9) * ahead

    def loss(params: Any) -> Array:
        value, mean, entry = outputs(params, START)
        advantage = -0.5 * jnp.exp(entry) ** 2 * (action - jnp.tanh(mean)) ** 2
        return 0.5 * (-0.4 + value + advantage - y) ** 2

    optimizer = optax.adam(0.02 * 0.5)  # half of the run is over
    updates, _ = optimizer.update(jax.grad(loss)(before.params), optimizer.init(before.params))
    params = optax.apply_updates(before.params, updates)
    moved = jax.tree.map(lambda new, old: 0.3 * new + 0.7 * old, params, before.target_params)
    for found, expected in ((after.params, params), (after.target_params, moved)):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["critic_loss"], loss(before.params), rtol=1e-4)


@pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (False, True)])
def test_an_iteration_is_that_of_the_equations(terminated, truncated):
    check_iteration(naf, terminated, truncated)  # asserts


PROBE: dict[str, Any] = {
    "learning_rate": 3e-2,
    "anneal_learning_rate": True,
    "discount": DISCOUNT,
    "target_rate": 0.1,
    "noise_end": 0.3,
    "num_envs": 4,
    "steps_per_iteration": 2,
    "update_to_data": (1, 2),
    "batch_size": 32,
    "replay_capacity": 512,
    "warm_up_steps": 64,
    "widths": (32,),
}


def learned(module: ModuleType, environment: Environment, **fields: Any) -> tuple[Any, Any]:
    """The algorithm, and the state of three seeds after training on a probe."""
    one = module.make(environment, module.Config(**PROBE | fields))
    keys = jax.random.split(jax.random.key(0), 3)
    return one, jax.jit(jax.vmap(lambda key: train(one, key, 400).state))(keys)


def state_values(module: ModuleType, one: Any, states: Any, observation: float) -> Array:
    """V(observation) of every seed."""
    network = module.quadratic_network(one.environment, one.config)
    values: Any = jax.vmap(lambda params: network.apply(params, jnp.array([observation])))(states.params)
    return values.value


def check_truncation(module: ModuleType, **fields: Any) -> None:
    """Reward 1 forever: a cut is bootstrapped, and V = 1 / (1 - discount)."""
    one, states = learned(module, make("probe/truncation", continuous=True), **fields)
    expected = 1 / (1 - DISCOUNT)
    np.testing.assert_allclose(state_values(module, one, states, 0.0), expected, rtol=0.05)


def check_actions(module: ModuleType) -> None:
    """The best action depends on the observation, and is found between the bounds."""
    one, states = learned(module, make("probe/continuous_observation_action"))
    key = jax.random.key(1)
    returns = jax.vmap(lambda state: evaluate(one.policy(state), one.environment, key, episodes=32).returns)(states)
    np.testing.assert_allclose(returns.mean(-1), 0.0, atol=0.01)


def test_a_truncation_is_bootstrapped():
    check_truncation(naf)  # asserts


def test_several_steps_and_priorities_find_the_same_value():
    check_truncation(naf, n_step=3, sampling="proportional", normalize_observations=True)  # asserts


def test_the_mean_is_the_best_action():
    check_actions(naf)  # asserts


def test_a_bounded_mean_stays_between_the_bounds_and_an_unbounded_one_need_not():
    observation = 100.0 * jnp.ones((3, 1))
    environment = make("probe/continuous_action")
    for bounded in (True, False):
        network = naf.quadratic_network(environment, naf.Config(widths=(), bounded_mean=bounded))
        params = jax.tree.map(jnp.ones_like, network.init(jax.random.key(0), observation))
        values: Any = network.apply(params, observation)
        np.testing.assert_allclose(values.mean, 1.0 if bounded else 101.0)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"learning_rate": -1.0}, ValueError, "naf: learning_rate must be > 0"),
        ({"target_rate": 2.0}, ValueError, r"naf: target_rate must be in \[0, 1\]"),
        ({"noise_reversion": 1.5}, ValueError, "naf: noise_reversion must be"),
        ({"bounded_mean": 1}, TypeError, "naf: bounded_mean must be of type bool"),
        ({"update_to_data": (1, 3)}, ValueError, "whole number of updates"),
        ({"batch_size": 2000}, ValueError, "exceeds warm_up_steps"),
    ],
)
def test_values_that_do_not_fit_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        naf.make(make("Pendulum-v1"), naf.Config(**fields))


def test_unbounded_actions_are_refused():
    environment = double_integrator()._replace(action_space=Box(-jnp.inf, jnp.inf, (1,)))
    with pytest.raises(ValueError, match="finite bounds"):
        naf.make(environment, naf.Config())
