"""Goals changed in hindsight, against what happened, kept in lists."""

from collections import Counter, defaultdict
from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import experience as experience_module
from purerl import interaction as interaction_module
from purerl import make, presets
from purerl.algorithms.continuous_control import ddpg, sac
from purerl.experience import Step, example_step
from purerl.replay import storage as storage_module
from purerl.replay import uniform_replay
from purerl.train import train
from purerl.types import Goals

ENVS, PERIOD, CAPACITY, MAX_STEPS, DISCOUNT = 3, 2, 24, 4, 0.9
NOT = jnp.zeros((), bool)
SAMPLES = 1500
# An observation is (environment, serial number, goal): a goal tells which step achieved it. Those that an episode began
# with are (-1, number of the episode) and never achieved.
GOALS = Goals(
    achieved=lambda observation: observation[:2],
    replace=lambda observation, goal: jnp.concatenate([observation[:2], goal]),
    reward=lambda observation: -jnp.any(observation[:2] != observation[2:]).astype(jnp.float32),
)
EXAMPLE = Step(jnp.zeros(4), jnp.zeros(()), jnp.zeros(()), NOT, NOT, jnp.zeros(4), episode_step=jnp.int32(0))


class Log:
    """What happened in every environment; episodes have `MAX_STEPS` steps, or terminate at random before."""

    def __init__(self, terminates: bool):
        self.random, self.chance = np.random.default_rng(0), 0.25 * terminates
        self.steps = [[] for _ in range(ENVS)]  # dicts, in order of time
        self.serial, self.episode = [0] * ENVS, [0] * ENVS
        self.at = list(range(ENVS))  # step of the episode: environments are out of phase

    def one(self, e: int) -> dict:
        """The next step of environment `e`."""
        terminated = bool(self.random.random() < self.chance)
        step = {
            "serial": self.serial[e],
            "goal": (-1, self.episode[e]),
            "reward": -float(self.random.integers(2, 9)),
            "terminated": terminated,
            "truncated": not terminated and self.at[e] + 1 == MAX_STEPS,
            "episode_step": self.at[e],
        }
        done = terminated or step["truncated"]
        self.serial[e] += 1 + done  # the observation of a reset is another one
        self.episode[e] += done
        self.at[e] = 0 if done else self.at[e] + 1
        self.steps[e].append(step)
        return step

    def block(self) -> Step:
        rows = [(e, self.one(e)) for _ in range(PERIOD) for e in range(ENVS)]
        columns = {name: np.array([step[name] for _, step in rows]) for name in rows[0][1]}

        def observation(later: int) -> jax.Array:
            return jnp.array([(e, step["serial"] + later, *step["goal"]) for e, step in rows], jnp.float32)

        return Step(
            observation=observation(0),
            action=jnp.zeros(len(rows)),
            reward=jnp.asarray(columns["reward"], jnp.float32),
            terminated=jnp.asarray(columns["terminated"]),
            truncated=jnp.asarray(columns["truncated"]),
            successor=observation(1),
            episode_step=jnp.asarray(columns["episode_step"], jnp.int32),
        )


def memory_of(module: ModuleType, fraction, sampling: str = "uniform"):
    return module.experience(
        EXAMPLE,
        capacity=CAPACITY,
        block=ENVS * PERIOD,
        num_envs=ENVS,
        discount=DISCOUNT,
        sampling=sampling,
        hindsight=module.Hindsight(GOALS, fraction, MAX_STEPS),
    )


@pytest.mark.parametrize(("terminates", "sampling"), [(False, "uniform"), (True, "proportional"), (True, "rank")])
def test_goals_are_those_that_the_episode_achieved_later(terminates, sampling):
    check_goals(experience_module, terminates, sampling)  # asserts


def check_goals(module: ModuleType, terminates: bool, sampling: str = "uniform", fraction: float = 0.75) -> None:
    memory = memory_of(module, fraction, sampling)
    replay, priorities = memory.init()
    add = jax.jit(memory.add)
    sample = jax.jit(lambda replay, priorities, key, written: memory.sample(replay, priorities, key, written, SAMPLES))
    log, changed, sampled = Log(terminates), 0, (0, 2, 4, 6, 7, 8)
    drawn = defaultdict(
        Counter
    )  # (steps drawn from, those of them that are of the episode) -> how far ahead, how often
    for number in range(9):
        replay, priorities = add(replay, priorities, log.block(), jnp.int32(number))
        if number not in sampled:
            continue
        batch = jax.device_get(sample(replay, priorities, jax.random.key(number), jnp.int32(number + 1)))
        for i in range(SAMPLES):
            steps = log.steps[int(batch.observation[i, 0])]
            place = next(k for k, step in enumerate(steps) if step["serial"] == batch.observation[i, 1])
            step, goal = steps[place], tuple(batch.observation[i, 2:])
            assert place >= len(steps) - CAPACITY // ENVS
            assert tuple(batch.successor[i]) == (batch.observation[i, 0], step["serial"] + 1, *goal)
            assert batch.discount[i] == pytest.approx(DISCOUNT * (not step["terminated"]))
            if goal[0] == -1:
                assert (goal, batch.reward[i]) == (step["goal"], step["reward"])
                continue
            achieved = [k for k, other in enumerate(steps) if other["serial"] + 1 == goal[1]]
            assert (goal[0], len(achieved)) == (batch.observation[i, 0], 1)  # written, in the same environment
            assert steps[achieved[0]]["goal"] == step["goal"]  # in the same episode
            assert achieved[0] >= place
            assert batch.reward[i] == -float(achieved[0] != place)
            rest = steps[place : place + MAX_STEPS - step["episode_step"]]
            drawn[len(rest), sum(x["goal"] == step["goal"] for x in rest)][achieved[0] - place] += 1
            changed += 1
    near(changed, len(sampled) * SAMPLES, fraction)
    assert {length for length, _ in drawn} == set(range(1, MAX_STEPS + 1))
    for (length, same), counts in drawn.items():
        for ahead in range(same):
            near(counts[ahead], counts.total(), (1 + (ahead == 0) * (length - same)) / length)


def near(count: int, of: int, probability: float) -> None:
    """Five standard deviations of a binomial."""
    assert abs(count - of * probability) <= 5 * np.sqrt(of * probability * (1 - probability))


def test_the_share_is_exact_at_both_ends_and_can_be_vmapped():
    log = Log(terminates=False)
    replay, _ = memory_of(experience_module, 0.0).init()
    for number in range(2):
        replay, _ = memory_of(experience_module, 0.0).add(replay, None, log.block(), jnp.int32(number))

    def original(fraction):
        batch = memory_of(experience_module, fraction).sample(replay, None, jax.random.key(0), jnp.int32(2), 1000)
        return jnp.mean(batch.observation[:, 2] == -1)

    shares = jax.vmap(original)(jnp.array([0.0, 0.5, 1.0]))
    assert (shares[0], shares[2]) == (1.0, 0.0)
    assert 0.4 < shares[1] < 0.6


def test_newer_counts_the_steps_written_since():
    check_newer(storage_module)  # asserts


def check_newer(module: ModuleType) -> None:
    replay = module.uniform_replay(CAPACITY, ENVS * PERIOD, jnp.zeros(()), ENVS)
    for written in range(1, 10):
        times = np.arange(written * PERIOD)[-CAPACITY // ENVS :]  # those still there
        slots = (times[:, None] * ENVS + np.arange(ENVS)) % CAPACITY
        newer = replay.newer(jnp.asarray(slots), jnp.int32(written))
        np.testing.assert_array_equal(newer, np.broadcast_to(times[-1] - times[:, None], slots.shape))


def test_the_interaction_stores_places_in_the_episode():
    check_places(interaction_module)  # asserts


def check_places(module: ModuleType) -> None:
    environment = make("goal/point_robot", steps=5)
    config = ddpg.Config(num_envs=2, steps_per_iteration=4, warm_up_steps=32, replay_capacity=64, batch_size=8)
    state = module.interaction(environment, config, 0.5).init(jax.random.key(0))
    replay = uniform_replay(64, 8, example_step(environment, episode_steps=True), 2)
    steps: Step = replay.read(state.replay, jnp.arange(32))
    np.testing.assert_array_equal(steps.episode_step, np.repeat(np.arange(16) % 5, 2))
    np.testing.assert_array_equal(steps.truncated, np.asarray(steps.episode_step) == 4)


@pytest.mark.parametrize("module", [ddpg, sac])
def test_what_hindsight_needs(module):
    with pytest.raises(ValueError, match=r"Pendulum-v1 has none.*goal/point_robot"):
        module.make(make("Pendulum-v1"), module.Config(hindsight=True))
    with pytest.raises(ValueError, match="n_step 1"):
        module.make(make("goal/point_robot"), module.Config(hindsight=True, n_step=2))
    with pytest.raises(ValueError, match="hindsight_fraction"):
        module.make(make("goal/point_robot"), module.Config(hindsight=True, hindsight_fraction=1.5))


@pytest.mark.parametrize("lacks", [{"n_step": 2}, {"successor": None}, {"episode_step": None}])
def test_the_experience_refuses_what_it_cannot_relabel(lacks):
    settings = SimpleNamespace(**{"n_step": 1} | lacks)
    step = EXAMPLE._replace(**{name: None for name in lacks if name != "n_step"})
    with pytest.raises(ValueError, match="single steps"):
        experience_module.experience(
            step,
            capacity=CAPACITY,
            block=6,
            num_envs=ENVS,
            discount=0.9,
            n_step=settings.n_step,
            hindsight=experience_module.Hindsight(GOALS, 0.5, MAX_STEPS),
        )


def test_a_point_robot_learns_to_reach_goals_that_hardly_ever_pay():
    environment = make("goal/point_robot")
    preset = presets.load("ddpg", "goal/point_robot")
    preset.pop("total_steps")

    def final_returns(share, key):
        algorithm = ddpg.make(environment, ddpg.Config(**preset | {"hindsight_fraction": share}))
        iterations = 5_120 // algorithm.env_steps_per_iteration
        result = train(algorithm, key, iterations, evaluate_every=iterations)
        assert result.evaluations is not None
        return result.evaluations.returns.mean()

    learn = jax.jit(jax.vmap(final_returns))
    with_it, without = learn(jnp.array([0.8, 0.0]), jax.random.split(jax.random.key(0)))
    assert with_it > -30  # steps away from the goal, of 50; the straight way takes 17 on average
    assert without < -45
