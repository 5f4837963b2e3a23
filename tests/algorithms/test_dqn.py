"""What is particular to DQN: what it stores, when its target moves, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import Time, dqn, make
from purerl.experience import example_step
from purerl.replay import uniform_replay

SMALL = {
    "num_envs": 2,
    "steps_per_iteration": 5,
    "updates_per_iteration": 1,
    "batch_size": 8,
    "replay_capacity": 100,
    "warm_up_steps": 50,
    "target_period": 30,
    "widths": (8,),
}


def clock(iteration: int) -> Time:
    return Time(jnp.int32(iteration), jnp.float32(iteration / 100))


def leaves_equal(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_the_replay_holds_true_successors_and_only_true_ends():
    """Truncation after 5 steps of a chain that never terminates: the successor of an end is not the next start."""
    for probe, ends in (("probe/successor", False), ("probe/constant", True)):
        algorithm = dqn.make(make(probe), dqn.Config(**SMALL))
        stored = jax.jit(algorithm.init)(jax.random.key(0)).replay
        replay = uniform_replay(SMALL["replay_capacity"], 10, example_step(algorithm.environment), SMALL["num_envs"])
        filled = replay.read(stored, jnp.arange(algorithm.env_steps_of_init))
        rest = replay.read(stored, jnp.arange(algorithm.env_steps_of_init, 100))
        assert filled.terminated.tolist() == [ends] * algorithm.env_steps_of_init
        assert not jax.tree.reduce(lambda found, leaf: found | bool(leaf.any()), rest, False)
        if probe == "probe/successor":
            np.testing.assert_array_equal(filled.successor, -filled.observation)
            np.testing.assert_array_equal(filled.reward, filled.observation[:, 0])


def test_the_target_moves_when_its_period_is_crossed():
    algorithm = dqn.make(make("CartPole-v1"), dqn.Config(**SMALL))  # 10 steps per iteration, a period of 30
    step = jax.jit(algorithm.step)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    assert leaves_equal(state.params, state.target_params)
    moved = []
    for iteration in range(9):
        before = state.target_params
        state, _ = step(state, clock(iteration))
        moved.append(not leaves_equal(before, state.target_params))
        assert leaves_equal(state.params, state.target_params) == moved[-1]
    assert moved == [False, False, True] * 3


def test_polyak_averaging_moves_the_target_by_its_rate():
    algorithm = dqn.make(make("CartPole-v1"), dqn.Config(**SMALL | {"target_period": 1, "target_rate": 0.1}))
    before = jax.jit(algorithm.init)(jax.random.key(0))
    after, _ = jax.jit(algorithm.step)(before, clock(0))
    expected = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, before.target_params, after.params)
    for a, b in zip(jax.tree.leaves(after.target_params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("period", [1, 7, 10, 25, 1000])
def test_a_period_is_crossed_as_often_as_it_fits(period):
    crossed = [bool(clock(i).crosses(period, 10)) for i in range(1000)]
    expected = [(10 * (i + 1)) // period > (10 * i) // period for i in range(1000)]
    assert crossed == expected


def test_epsilon_falls_in_a_line_over_its_share_of_the_run():
    config = dqn.Config(**SMALL, epsilon_start=0.8, epsilon_end=0.2, exploration_fraction=0.5)
    algorithm = dqn.make(make("CartPole-v1"), config)
    state, step = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.step)
    seen = [float(step(state, clock(i))[1]["epsilon"]) for i in (0, 25, 50, 99)]
    np.testing.assert_allclose(seen, [0.8, 0.5, 0.2, 0.2], rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 200}, r"batch_size \(200\) is larger than replay_capacity \(100\)"),
        ({"batch_size": 80}, r"batch_size \(80\) exceeds warm_up_steps \(50\)"),
        ({"warm_up_steps": 101}, r"warm_up_steps \(101\) exceed replay_capacity"),
        ({"replay_capacity": 105}, r"105 must be a positive multiple of the block of 10.*try 100"),
        ({"discount": 1.5}, r"discount must be in \[0, 1\]"),
        ({"learning_rate": -1.0}, "learning_rate must be > 0"),
        ({"exploration_fraction": 0.0}, "exploration_fraction must be > 0"),
        ({"loss": "hubert"}, "loss must be one of 'huber', 'squared'"),
        ({"activation": "rleu"}, "activation must be one of 'relu', 'tanh'"),
        ({"target_period": 0}, "target_period must be > 0"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dqn.make(make("CartPole-v1"), dqn.Config(**SMALL | fields))


def test_minatar_images_are_stored_as_bytes():
    algorithm = dqn.make(make("Breakout-MinAtar"), dqn.Config(**SMALL))
    stored = jax.eval_shape(algorithm.init, jax.random.key(0)).replay
    assert stored["uint8"].shape == (100, 2 * 400)
    assert stored["uint32"].shape == (100, 4)
