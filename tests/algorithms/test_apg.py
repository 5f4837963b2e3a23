"""What is particular to analytic policy gradients: the gradient itself, where it ends, what has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax.flatten_util import ravel_pytree

from purerl import Time, make, presets, run
from purerl.algorithms.policy_gradient import apg
from purerl.environments import time_limit
from purerl.evaluate import evaluate
from purerl.networks.heads import Readout
from purerl.operators.returns import window_return
from purerl.train import train
from purerl.types import Array, Box, Environment, Timestep

START = Time(jnp.int32(0), jnp.float32(0))
SMALL = {
    "num_envs": 2,
    "horizon": 5,
    "critic_updates": 2,
    "critic_batch_size": 8,
    "widths": (8,),
    "max_gradient_norm": float("inf"),
}
UNBOUNDED = Box(-jnp.inf, jnp.inf, (1,))


class Position(struct.PyTreeNode):
    x: Array
    time: Array  # int32


def integrator(length: int, terminates: bool = True, distance=lambda x: -jnp.square(x - 1.0), start=0.0) -> Environment:
    """x <- x + a from a random x near `start`, reward `distance(x)` of the new x, over after `length` steps."""

    def reset(key):
        x = start + 0.1 * jax.random.uniform(key)
        return Position(x, jnp.int32(0)), x[None]

    def step(key, state, action):
        after = Position(state.x + action[0], state.time + 1)
        over = after.time >= length
        ends = (over, jnp.zeros_like(over)) if terminates else (jnp.zeros_like(over), over)
        return after, Timestep(after.x[None], distance(after.x), *ends, info={})

    return Environment("integrator", reset, step, Box(-jnp.inf, jnp.inf, (1,)), UNBOUNDED, max_steps=length)


def prepared(environment: Environment, **fields):
    """The algorithm, its compiled step and a state whose policy and value are far from zero everywhere."""
    algorithm = apg.make(environment, apg.Config(**SMALL | fields))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    actor, target = (shaken(tree, seed) for seed, tree in enumerate((state.actor, state.target_critic)))
    return algorithm, jax.jit(algorithm.step), state.replace(actor=actor, target_critic=target)


def shaken(tree, seed: int):
    """The tree with Gaussian noise added to every leaf."""
    return jax.tree.map(lambda x, noise: x + 0.3 * noise, tree, direction(tree, seed))


def direction(tree, seed: int):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(structure, [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)])


def gradient(step, state):
    """Of the objective: Adam's first moment after its first step is a tenth of the (unclipped) loss's gradient."""
    after, _ = step(state, START)
    return ravel_pytree(state.actor)[1](-10.0 * after.actor_optimizer[1][0].mu)


def finite_difference(step, state, along, epsilon: float) -> float:
    """Of the objective that `step` reports, along a direction of the policy's parameters."""

    def objective(sign: float) -> float:
        moved = jax.tree.map(lambda x, d: x + sign * epsilon * d, state.actor, along)
        return float(step(state.replace(actor=moved), START)[1]["objective"])

    return (objective(1.0) - objective(-1.0)) / (2 * epsilon)


def inner(one, other) -> float:
    return float(sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)))


@pytest.mark.parametrize(
    ("environment", "fields"),
    [
        ("Pendulum-v1", {}),
        ("Pendulum-v1", {"bootstrap": False, "discount": 1.0}),
        ("Pendulum-v1", {"normalize_observations": True, "reward_scale": 0.1}),
        (time_limit(make("Pendulum-v1"), 2), {}),  # cut in the middle of the window, twice
        (integrator(3), {}),
        (integrator(3), {"bootstrap": False}),
        (integrator(5), {}),  # ends with the window
        (integrator(5, terminates=False), {}),
        pytest.param("mjx/cartpole_swingup", {}, marks=pytest.mark.slow),
    ],
)
def test_the_gradient_is_that_of_the_simulated_return(environment, fields):
    environment = make(environment) if isinstance(environment, str) else environment
    _, step, state = prepared(environment, **fields)
    found = gradient(step, state)
    size = inner(found, found) ** 0.5
    assert size > 1e-4
    for seed in range(3):
        along = jax.tree.map(lambda f, d: f / size + 0.1 * d, found, direction(state.actor, 10 + seed))
        np.testing.assert_allclose(inner(found, along), finite_difference(step, state, along, 1e-2), rtol=2e-2)


def test_nothing_flows_through_an_end():
    """Episodes of one step: the gradient is that of one step, though the window has five."""
    _, step, state = prepared(integrator(1, start=2.0), num_envs=64, noise_deviation=0.0, bootstrap=False)
    _, short, _ = prepared(integrator(1, start=2.0), num_envs=64, noise_deviation=0.0, bootstrap=False, horizon=1)
    bias = [x["params"]["Dense_0"]["bias"][0] for x in (gradient(step, state), gradient(short, state))]
    np.testing.assert_allclose(*bias, rtol=0.03)  # other starts


def test_nothing_flows_over_the_border_of_a_window():
    """Of x_T = x_0 + sum of actions, a window sees only its own actions: after one window as before it."""
    linear = {"noise_deviation": 0.0, "bootstrap": False, "discount": 1.0, "horizon": 4}
    _, step, state = prepared(integrator(100, distance=lambda x: x), **linear)
    kernel, bias = jnp.zeros_like(state.actor["params"]["Dense_0"]["kernel"]), jnp.zeros(1)
    constant = {"params": state.actor["params"] | {"Dense_0": {"kernel": kernel, "bias": bias}}}
    state = state.replace(actor=constant)
    for _ in range(3):  # rewards are x_1 .. x_4, in which the bias counts 1, 2, 3 and 4 times: 10 / 4 per step
        np.testing.assert_allclose(gradient(step, state)["params"]["Dense_0"]["bias"], 2.5, rtol=1e-5)
        state = step(state, START)[0].replace(actor=constant, actor_optimizer=state.actor_optimizer)
        assert state.environments.environment.inner.time[0] > 0


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.0])
def test_the_flow_through_the_state_can_be_damped(decay):
    """The bias moves x_t directly by 1, by `decay` through the step before, by its square through the one before."""
    expected = sum(decay**k for t in range(4) for k in range(t + 1)) / 4
    linear = {"noise_deviation": 0.0, "bootstrap": False, "discount": 1.0, "horizon": 4}
    _, step, state = prepared(integrator(100, distance=lambda x: x), state_gradient_decay=decay, **linear)
    head = jax.tree.map(jnp.zeros_like, state.actor["params"]["Dense_0"])
    state = state.replace(actor={"params": state.actor["params"] | {"Dense_0": head}})
    np.testing.assert_allclose(gradient(step, state)["params"]["Dense_0"]["bias"], expected, rtol=1e-5)


def test_a_derivative_that_does_not_exist_ends_its_own_chain_only():
    """The root of a distance has an infinite derivative at 0, where the deterministic policy stands still."""

    def root(x):
        return -jnp.sqrt(jnp.abs(x) * (x > 0.5))  # not differentiable for x <= 0.5: infinity times 0

    fields = {"noise_deviation": 0.0, "bootstrap": False}
    for start, moves in ((0.0, False), (2.0, True)):
        algorithm = apg.make(integrator(4, distance=root, start=start), apg.Config(**SMALL | fields))
        state = jax.jit(algorithm.init)(jax.random.key(0))
        after, metrics = jax.jit(algorithm.step)(state, START)
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(after.actor))
        assert metrics["gradient_lost"] == 0
        assert (metrics["gradient_norm"] > 0) == moves


def test_episodes_are_counted_and_started_anew():
    _, step, state = prepared(integrator(3), num_envs=4, horizon=7)
    before = np.asarray(state.environments.observation)
    state, metrics = step(state, START)
    assert metrics["episodes"] == 8
    assert metrics["episode_length_sum"] == 24
    np.testing.assert_array_equal(state.environments.episode_length, 1)
    np.testing.assert_array_equal(state.environments.environment.inner.time, 1)
    assert not np.any(np.isclose(before, state.environments.observation))


def test_returns_of_a_window():
    """Against a loop over the episodes' parts, written from the docstring."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        reward, value = rng.normal(size=(2, 7, 3)).astype(np.float32)
        terminated = rng.random((7, 3)) < 0.2
        truncated = (rng.random((7, 3)) < 0.2) & ~terminated
        expected = np.zeros(3)
        for b in range(3):
            weight = 1.0
            for t in range(7):
                expected[b] += weight * reward[t, b]
                if not terminated[t, b] and (truncated[t, b] or t == 6):
                    expected[b] += weight * 0.9 * value[t, b]
                weight = 1.0 if terminated[t, b] or truncated[t, b] else 0.9 * weight
        found = window_return(*map(jnp.asarray, (reward, value, terminated, truncated)), 0.9)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def stopped(environment: Environment) -> Environment:
    """The environment with no derivative in the action."""

    def step(key, state, action):
        return environment.step(key, state, jax.lax.stop_gradient(action))

    return environment._replace(step=step)


def iterated(environment: Environment) -> Environment:
    """The environment with actions that a solver finds: it iterates until it is done."""

    def step(key, state, action):
        action = jax.lax.while_loop(lambda x: jnp.max(jnp.abs(x)) > 1, lambda x: x / 2, action)
        return environment.step(key, state, action)

    return environment._replace(step=step)


@pytest.mark.parametrize(
    ("environment", "fields", "message"),
    [
        ("CartPole-v1", {}, "CartPole-v1 has discrete ones.*use"),
        (stopped(make("Pendulum-v1")), {}, "derivative of every step of Pendulum-v1 in the action is zero; use"),
        ("probe/constant", {}, "discrete"),
        (iterated(make("Pendulum-v1")), {}, "Pendulum-v1 contain a loop without a fixed number of turns"),
        ("Pendulum-v1", {"horizon": 0}, "horizon must be > 0"),
        ("Pendulum-v1", {"state_gradient_decay": 1.1}, r"state_gradient_decay must be in \[0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused(environment, fields, message):
    environment = make(environment) if isinstance(environment, str) else environment
    with pytest.raises((ValueError, TypeError), match=message):
        apg.make(environment, apg.Config(**SMALL | fields))


@pytest.mark.parametrize(
    ("probe", "bootstrap"), [("probe/continuous_action", False), ("probe/continuous_observation_action", True)]
)
def test_it_solves_the_probes(probe, bootstrap):
    environment = make(probe)
    fields = {"num_envs": 8, "horizon": 4, "bootstrap": bootstrap, "learning_rate": 1e-2, "noise_deviation": 0.1}
    algorithm = apg.make(environment, apg.Config(**SMALL | fields))
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.jit(jax.vmap(lambda key: train(algorithm, key, 200).state))(keys)
    key = jax.random.key(1)
    returns = jax.vmap(lambda state: evaluate(algorithm.policy(state), environment, key, episodes=32).returns)(states)
    np.testing.assert_allclose(returns.mean(-1), 0.0, atol=0.002)


@pytest.mark.parametrize("probe", ["probe/truncation", "probe/discount", "probe/successor"])
def test_the_value_is_bootstrapped(probe):
    """Rewards that do not move with the action are refused; with a grain of it added, the value is learned."""
    expected = {
        "probe/truncation": [(0.0, 10.0)],
        "probe/discount": [(0.0, 0.9), (1.0, 1.0)],
        "probe/successor": [(-1.0, -1 / 1.9), (1.0, 1 / 1.9)],
    }[probe]
    environment = make(probe, continuous=True)

    def step(key, state, action):
        state, timestep = environment.step(key, state, action)
        return state, timestep._replace(reward=timestep.reward + 1e-6 * action[0])

    fields = {"num_envs": 8, "horizon": 7, "discount": 0.9, "critic_learning_rate": 1e-2, "critic_batch_size": 56}
    algorithm = apg.make(environment._replace(step=step), apg.Config(**SMALL | fields | {"critic_updates": 8}))
    state = jax.jit(lambda key: train(algorithm, key, 200).state)(jax.random.key(0))
    network = Readout(environment.observation_space, 1, (), (8,), "elu", False)
    for observation, value in expected:
        found = network.apply(state.critic, jnp.array([observation]))[0]
        np.testing.assert_allclose(found, value, atol=0.05 * max(1.0, abs(value)))


@pytest.mark.slow
def test_the_preset_swings_the_pendulum_up():
    preset = presets.load("apg", "Pendulum-v1")
    steps = preset.pop("total_steps")
    algorithm = apg.make(make("Pendulum-v1"), apg.Config(**preset))
    result = run(algorithm, total_steps=steps, seeds=8, evaluations=5, sinks=())
    returns = np.asarray(result.summary["evaluation"]["return_per_seed"])
    print(np.sort(returns))
    assert np.all(returns >= -300)
    assert np.median(returns) >= -180
