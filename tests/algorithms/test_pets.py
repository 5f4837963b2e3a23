"""PETS: what it remembers, what its plans are made in, and that it learns from few steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import evaluate, make, presets, run
from purerl.algorithms.model_based import pets
from purerl.data.transitions import transitions_replay
from purerl.train import advance, start
from purerl.types import Box, Environment, Timestep

SMALL = {
    "horizon": 4, "samples": 60, "elites": 8, "search_iterations": 3, "members": 2, "widths": (32, 32), "particles": 2,
    "learning_rate": 3e-3, "updates_per_round": 50, "max_rounds": 10, "steps_per_iteration": 25,
    "replay_capacity": 100, "warm_up_steps": 50,
}  # fmt: skip


def corridor(end: float = 99.0) -> Environment:
    """A point moves by a / 2; reward is minus its distance to 1, and beyond `end` the episode terminates with -10."""

    def reset(key):
        x = jax.random.uniform(key, (1,), minval=-1.0, maxval=0.0)
        return (x, jnp.zeros((), jnp.int32)), x

    def step(key, state, action):
        x, time = state
        x = x + 0.5 * jnp.clip(action, -1.0, 1.0)
        fell = x[0] > end
        reward = jnp.where(fell, -10.0, -jnp.abs(x[0] - 1.0))
        return (x, time + 1), Timestep(x, reward, fell, time + 1 >= 12, {})

    return Environment("corridor", reset, step, Box(-9.0, 9.0, (1,)), Box(-1.0, 1.0, (1,)), 12)


def trained(algorithm, iterations: int, key: jax.Array):
    """The state after so many iterations."""

    def program(key):
        training, *_ = advance(algorithm, start(algorithm, key), 0, iterations=iterations, total_iterations=iterations)
        return training.state

    return jax.jit(program)(key)


def remembered(algorithm, state):
    """What lies in the replay, all of it."""
    config = algorithm.config
    block = config.num_envs * config.steps_per_iteration
    replay = transitions_replay(algorithm.environment, config.replay_capacity, block, config.num_envs)
    return replay.read(state.replay, jnp.arange(config.replay_capacity))


def test_it_goes_where_the_reward_is_after_a_few_episodes():
    environment = corridor()
    algorithm = pets.make(environment, pets.Config(**SMALL))
    state = trained(algorithm, 4, jax.random.key(0))
    play = jax.jit(lambda key: evaluate(algorithm.policy(state), environment, key, episodes=16).returns)
    returns = np.asarray(play(jax.random.key(1)))
    # three steps of half a unit lead from -0.5 to 1, for -1.5; standing still earns -18
    assert np.mean(returns) > -5.0


def test_the_ring_holds_the_last_transitions_as_they_happened():
    environment = corridor()
    algorithm = pets.make(environment, pets.Config(**SMALL | {"max_rounds": 1}))
    data = remembered(algorithm, trained(algorithm, 5, jax.random.key(0)))  # 50 + 125 steps into room for 100
    moved = np.asarray(data.observation + 0.5 * np.clip(data.action, -1, 1))
    np.testing.assert_allclose(data.successor, moved, atol=1e-6)
    np.testing.assert_allclose(data.reward, -np.abs(moved[:, 0] - 1.0), atol=1e-6)
    assert np.any(data.truncated)
    assert not np.any(data.terminated)
    # steps follow one another, but for resets and where the newest block meets the oldest
    follows = np.all(np.isclose(data.successor[:-1], data.observation[1:]), axis=1) | np.asarray(data.truncated[:-1])
    assert np.sum(~follows) <= 1


def test_a_known_end_is_kept_away_from():
    """Beyond 1.2 is a fall, and its reward is known too: plans stay on this side of it. Without, they go over."""
    environment = corridor(end=1.2)
    falls = lambda o, a, after: after[0] > 1.2  # noqa: E731
    to_the_right = lambda o, a, after: after[0]  # noqa: E731
    config = pets.Config(**SMALL)

    def furthest(termination, reward) -> float:
        algorithm = pets.make(environment, config, reward, termination)
        state = trained(algorithm, 2, jax.random.key(0))
        return float(jnp.max(remembered(algorithm, state).successor[-50:]))

    careful = lambda o, a, after: jnp.where(after[0] > 1.2, -10.0, after[0])  # noqa: E731
    assert furthest(falls, careful) < furthest(None, to_the_right)


def test_a_known_reward_is_not_learned():
    algorithm = pets.make(corridor(), pets.Config(**SMALL), reward=lambda o, a, after: after[0])
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    assert state.model.output_mean.shape == (1,)
    learned = jax.eval_shape(pets.make(corridor(), pets.Config(**SMALL)).init, jax.random.key(0))
    assert learned.model.output_mean.shape == (2,)


SHOOTERS = ["cem", *(pytest.param(name, marks=pytest.mark.slow) for name in ("random_shooting", "mppi"))]


@pytest.mark.parametrize("planner", SHOOTERS)
def test_a_plan_is_executed_as_it_was_made(planner):
    """Two steps an iteration, plans of four: what the first iteration leaves of its plan, the second executes."""
    fields = {"planner": planner, "plan_steps": 4, "steps_per_iteration": 2, "max_rounds": 2}
    algorithm = pets.make(corridor(), pets.Config(**SMALL | fields))
    planned, done = trained(algorithm, 1, jax.random.key(0)), trained(algorithm, 2, jax.random.key(0))
    assert planned.plans.left == 2
    assert done.plans.left == 0
    executed = remembered(algorithm, done).action[52:54]
    np.testing.assert_array_equal(executed, planned.plans.actions[0, :2])
    assert executed[0] != executed[1]


def test_a_policy_does_not_look_before_its_plan_is_over():
    algorithm = pets.make(corridor(), pets.Config(**SMALL | {"plan_steps": 3, "max_rounds": 4}))
    policy = algorithm.policy(trained(algorithm, 1, jax.random.key(0)))
    act = jax.jit(policy.act)

    def actions(observations):
        memory, acted = policy.init(jax.random.key(1)), []
        for i, x in enumerate(observations):
            memory, action = act(jax.random.key(i), memory, jnp.full(1, x))
            acted.append(float(action[0]))
        return acted

    seen, moved = actions([-1.0, -1.0, -1.0, -1.0]), actions([-1.0, 4.0, 7.0, 4.0])
    assert seen[:3] == moved[:3]
    assert seen[3] != moved[3]


@pytest.mark.parametrize(("plan_steps", "left"), [(4, 0), (3, 2)])
def test_a_reset_ends_the_plan(plan_steps, left):
    """The warm-up ends two steps into an episode of 12. Of 14 more, the tenth ends it, and four begin plans anew."""
    fields = {"plan_steps": plan_steps, "steps_per_iteration": 14, "warm_up_steps": 14, "replay_capacity": 98}
    state = trained(pets.make(corridor(), pets.Config(**SMALL | fields | {"max_rounds": 1})), 1, jax.random.key(0))
    assert state.plans.left == left


def test_without_refit_the_model_stays_as_the_warm_up_left_it():
    """The floats and keys of two runs are the same, so their first models are, too."""

    def model(refit: bool, iterations: int):
        algorithm = pets.make(corridor(), pets.Config(**SMALL | {"refit": refit, "max_rounds": 2}))
        return jax.tree.leaves(trained(algorithm, iterations, jax.random.key(0)).model)

    once, later, fitted_again = model(False, 1), model(False, 3), model(True, 1)
    assert all(np.array_equal(a, b) for a, b in zip(once, later, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(once, fitted_again, strict=True))


@pytest.mark.parametrize("fields", [{"planner": "mppi", "temperature": 0.1}, {"planner": "random_shooting"}])
def test_every_planner_goes_where_the_reward_is(fields):
    environment = corridor()
    algorithm = pets.make(environment, pets.Config(**SMALL | fields))
    state = trained(algorithm, 4, jax.random.key(0))
    play = jax.jit(lambda key: evaluate(algorithm.policy(state), environment, key, episodes=16).returns)
    assert np.mean(np.asarray(play(jax.random.key(1)))) > -6.0


def test_only_the_cross_entropy_method_has_elites():
    too_many = SMALL | {"elites": 100}
    with pytest.raises(ValueError, match="elites"):
        pets.make(corridor(), pets.Config(**too_many))
    other = pets.make(corridor(), pets.Config(**too_many | {"planner": "random_shooting"}))
    assert jax.eval_shape(other.init, jax.random.key(0)).plans == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"replay_capacity": 90}, "multiple of the block of 25"),
        ({"warm_up_steps": 5}, "at least 10"),
        ({"elites": 100}, "must not exceed samples"),
        ({"smoothing": 1.5}, "smoothing"),
        ({"plan_steps": 5}, r"plan_steps \(5\) must not exceed horizon \(4\)"),
        ({"plan_steps": 0}, "plan_steps must be > 0"),
        ({"planner": "grid"}, "planner must be one of 'cem', 'random_shooting', 'mppi'"),
        ({"planner": "mppi", "temperature": 0.0}, "temperature must be > 0"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        pets.make(corridor(), pets.Config(**SMALL | fields))


@pytest.mark.slow
def test_the_pendulum_is_swung_up_after_two_thousand_steps():
    preset = presets.load("pets", "Pendulum-v1")
    steps = preset.pop("total_steps")
    algorithm = pets.make(make("Pendulum-v1"), pets.Config(**preset))
    result = run(algorithm, total_steps=steps, seeds=4, evaluations=1, episodes=16, sinks=())
    returns = np.asarray(result.summary["evaluation"]["return_per_seed"])
    print(np.sort(returns))
    assert np.median(returns) >= -200
