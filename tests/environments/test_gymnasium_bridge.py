"""Environments of Gymnasium: what Gymnasium says, and states that are values although simulators change."""

import itertools
import shutil
import subprocess
import sys
import textwrap
from functools import partial

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from purerl import evaluate, log_uniform, make, run, sweep, vectorize
from purerl.algorithms import ALGORITHMS
from purerl.checkpoint import CheckpointError
from purerl.environments import (
    frame_stack,
    from_gymnasium,
    rescale_actions,
    simulators,
    sticky_actions,
    time_limit,
    with_last_action_and_reward,
)
from purerl.environments.differentiable import require_derivatives
from purerl.environments.gymnasium_bridge import Simulation
from purerl.report.rendering import film
from purerl.report.sweep_console import silent
from purerl.search import Halving, search
from purerl.types import Box, Discrete, MultiDiscrete, Policy
from tests import toy_learner

LIMIT = 7
RESETS = itertools.count()


class Counter(gymnasium.Env):
    """Shows its start and the steps since; ends at 12. All kinds of numbers, none of which begins at zero."""

    def __init__(self, observation_space=None, action_space=None, forgets_seed=False):
        self.observation_space = observation_space or spaces.MultiDiscrete([10, 20], start=[5, 1])
        self.action_space = action_space or spaces.Discrete(3, start=-1)
        self.forgets_seed = forgets_seed
        self.resets = self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.start, self.steps = int(self.np_random.integers(5, 15)), 0
        if self.forgets_seed:
            self.start = next(RESETS)
        return np.array([self.start, 1]), {}

    def step(self, action):
        assert action in self.action_space
        self.steps += 1
        return np.array([self.start, 1 + self.steps]), float(np.sum(action)), self.steps == 12, False, {}


def counter(**parameters):
    return from_gymnasium(lambda: Counter(**parameters), max_episode_steps=20)


def same(x, y):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))


def random_rollout(environment, number, steps, key):
    """Start, and actions and what came of them, `[steps, number, ...]`, of a vectorised environment."""
    environments = vectorize(environment, number)

    def one(state, key):
        action = jax.vmap(environment.action_space.sample)(jax.random.split(key, number))
        before = state
        state, timestep = environments.step(key, state, action)
        return state, (before.environment, before.observation, action, timestep)

    start = environments.reset(key)
    end, history = jax.lax.scan(one, start, jax.random.split(key, steps))
    return end, history


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_is_what_gymnasium_says(name):
    """Every step of three environments, resets and time limits included, against Gymnasium's own loop."""
    environment = make(f"gymnasium/{name}", max_episode_steps=LIMIT)
    assert environment.max_steps == LIMIT
    _, history = jax.jit(partial(random_rollout, environment, 3, 40))(jax.random.key(0))
    states, observed, actions, timestep = jax.tree.map(np.asarray, history)
    ends = 0
    for i in range(3):
        simulator = gymnasium.make(name, max_episode_steps=LIMIT)
        over = True
        for t in range(40):
            if over:
                first, _ = simulator.reset(seed=int(states.seed[t, i]))
                assert states.length[t, i] == 0
                np.testing.assert_array_equal(observed[t, i], first)
                ends += t > 0
            shown, reward, terminated, truncated, _ = simulator.step(actions[t, i])
            np.testing.assert_array_equal(timestep.observation[t, i], shown)
            assert timestep.reward[t, i] == np.float32(reward)
            assert timestep.terminated[t, i] == terminated
            assert timestep.truncated[t, i] == (truncated and not terminated)
            over = terminated or truncated
    assert ends >= 3 * 5
    assert timestep.truncated.any()


def test_an_end_at_the_limit_is_an_end():
    environment = from_gymnasium(Counter, max_episode_steps=12)
    state, _ = environment.reset(jax.random.key(0))
    for _ in range(12):
        state, timestep = environment.step(jax.random.key(0), state, 1)
    assert timestep.terminated
    assert not timestep.truncated


def test_one_key_is_one_training_however_it_is_vmapped():
    """Bitwise, with the states: nothing in them depends on what was simulated before."""
    environment = make("gymnasium/CartPole-v1")
    roll = jax.jit(partial(random_rollout, environment, 2, 30))
    together = jax.jit(jax.vmap(partial(random_rollout, environment, 2, 30)))(jax.random.split(jax.random.key(1), 2))
    alone = [roll(key) for key in jax.random.split(jax.random.key(1), 2)]
    assert same(together, jax.tree.map(lambda *x: jnp.stack(x), *alone))
    assert same(roll(jax.random.key(1)), roll(jax.random.key(1)))
    assert not same(*alone)


def test_states_are_values():
    """An old state is stepped again, the same way and another one, by doing again what led to it."""
    environment = make("gymnasium/CartPole-v1")
    step, key = jax.jit(environment.step), jax.random.key(0)
    states = [environment.reset(key)[0]]
    timesteps = []
    for action in (0, 1, 0, 1, 1):
        state, timestep = step(key, states[-1], action)
        states.append(state)
        timesteps.append(timestep)
    assert same(step(key, states[4], 1), (states[5], timesteps[4]))  # the newest again
    assert same(step(key, states[0], 0), (states[1], timesteps[0]))
    assert same(step(key, states[2], 0), (states[3], timesteps[2]))
    other, _ = step(key, states[2], 1)
    assert not same(other, states[3])
    simulator = gymnasium.make("CartPole-v1")
    simulator.reset(seed=int(states[0].seed))
    for action in (0, 1, 1, 0):
        shown, *_ = simulator.step(action)
    _, branched = step(key, other, 0)
    np.testing.assert_array_equal(branched.observation, shown)
    assert same(step(key, states[4], 1), (states[5], timesteps[4]))  # undisturbed by all of it


def test_a_finished_episode_stays_where_it_is():
    environment, key = counter(), jax.random.key(0)
    state, _ = environment.reset(key)
    for _ in range(12):
        state, last = environment.step(key, state, 2)
    after, again = environment.step(key, state, 0)
    assert same(after, state)
    assert again.terminated
    assert (last.reward, again.reward) == (1.0, 0.0)
    assert same(again.observation, last.observation)


class Uneven(Counter):
    """Ends at another time in every episode."""

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, self.steps >= self.start // 2, truncated, info


def test_resets_cost_only_where_they_are_needed():
    """Where one of eight is done only that one is reset, whatever wraps it."""
    for wrap in (lambda environment: environment, wrapped_often):
        made = []
        environment = from_gymnasium(lambda made=made: made.append(Uneven()) or made[-1], max_episode_steps=7)
        _, (*_, timestep) = jax.jit(partial(random_rollout, wrap(environment), 8, 20))(jax.random.key(0))
        done = np.asarray(timestep.terminated | timestep.truncated)
        assert 0 < done.any(1).sum() < done.sum() < done.any(1).sum() * 8
        assert sum(simulator.resets for simulator in made) == 8 + done.sum()
        assert len(made) == 8


def wrapped_often(environment):
    stacked = frame_stack(with_last_action_and_reward(environment), 2)
    return sticky_actions(time_limit(stacked, 9), 0.1)


def host_of_counters(kept):
    """`Simulators` of counters, and a function that steps one state `(seed, length, checksum)`."""
    conversion = simulators.Conversion(np.asarray, int)
    host = simulators.Simulators(Counter, conversion, np.zeros((), np.int32), kept, "counter")

    def step(seed, length, checksum, action=0):
        actions = np.array([action], np.int32)
        lengths, checksums, outcomes = host.step(np.array([seed]), np.array([length]), np.array([checksum]), actions)
        return (seed, lengths[0], checksums[0]), outcomes[0].observation[1]

    def begin(seed):
        return seed, 0, host.reset(np.array([seed]), np.ones(1, bool))[0][0]

    return host, begin, step


def test_episodes_set_aside_are_forgotten_in_the_end(monkeypatch):
    """Steps that are never gone on with do not fill the memory; what was left alone lately goes on where it was."""
    monkeypatch.setattr(simulators, "ASIDE", 3)
    host, begin, step = host_of_counters(kept=2)
    after = [step(*begin(seed))[0] for seed in range(30)]
    assert len(host.aside) == 3 * 2
    assert len(host.episodes) == 3 * 2 + 2
    with pytest.raises(LookupError, match="left alone long ago"):
        step(*after[0])
    oldest = 30 - len(host.episodes)
    state, shown = step(*after[oldest])
    assert shown == 1 + 2
    assert step(*state)[1] == 1 + 3
    assert len(host.aside) == 3 * 2


def test_an_episode_is_forgotten_while_it_is_branched_from(monkeypatch):
    monkeypatch.setattr(simulators, "ASIDE", 1)
    host, begin, step = host_of_counters(kept=1)
    early, _ = step(*begin(0))
    step(*early)
    step(*begin(1))
    branch, shown = step(*early, action=1)
    assert shown == 1 + 2
    assert step(*branch)[1] == 1 + 3
    assert [episode.length for episode in host.episodes[0]] == [3]


def test_a_picture_that_failed_does_not_spoil_the_next(monkeypatch):
    monkeypatch.setattr(Counter, "render", lambda self: self.steps)
    host, begin, step = host_of_counters(kept=2)
    states = [begin(0)]
    for _ in range(5):
        states.append(step(*states[-1])[0])
    assert host.picture(*states[1]) == 1
    with monkeypatch.context() as patched:
        unbroken = Counter.step
        patched.setattr(Counter, "step", lambda self, action: unbroken(self, action) if self.steps < 2 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            host.picture(*states[4])
    assert host.picture(*states[2]) == 2


def test_simulators_are_taken_from_episodes_long_unattended():
    """More unfinished episodes than simulators: those set aside go on where they were."""
    made = []
    environment = from_gymnasium(lambda: made.append(Counter()) or made[-1], max_episode_steps=20)
    key, step = jax.random.key(0), jax.jit(environment.step)
    first, timestep = step(key, environment.reset(key)[0], 1)
    many = jax.jit(jax.vmap(environment.reset))
    for i in range(40):
        many(jax.random.split(jax.random.key(i), 16))
    assert len(made) <= 256 + 1
    _, timestep = step(key, first, 1)
    assert timestep.observation.tolist()[1] == 2


def test_states_of_another_process_are_refused():
    environment = make("gymnasium/CartPole-v1")
    elsewhere = Simulation(jnp.uint32(3), jnp.int32(5), jnp.uint32(1))
    with pytest.raises(Exception, match="good only in the process that made them"):
        jax.block_until_ready(environment.step(jax.random.key(0), elsewhere, 1))


def test_a_simulator_that_does_not_repeat_itself_is_noticed():
    environment, key = counter(forgets_seed=True), jax.random.key(0)
    states = [environment.reset(key)[0]]
    for _ in range(3):
        states.append(environment.step(key, states[-1], 1)[0])
    with pytest.raises(Exception, match="can be stepped only once"):
        jax.block_until_ready(environment.step(key, states[1], 0))


def test_spaces_and_types():
    """Discrete spaces begin at 0, floats are float32, bytes stay bytes, actions are clipped."""
    environment, key = counter(), jax.random.key(0)
    assert environment.observation_space == MultiDiscrete((10, 20))
    assert environment.action_space == Discrete(3)
    state, first = environment.reset(key)
    assert first.dtype == jnp.int32
    assert first.tolist()[1] == 0
    _, timestep = environment.step(key, state, 0)
    assert timestep.reward == -1.0

    bounds = np.array([-1.0, 0.0]), np.array([1.0, np.inf])
    continuous = counter(action_space=spaces.Box(*bounds, dtype=np.float64), observation_space=spaces.Box(0, 99, (2,)))
    space, state = continuous.action_space, continuous.reset(key)[0]
    assert (space.dtype, space.low.tolist(), space.high.tolist()) == (jnp.float32, [-1, 0], [1, np.inf])
    assert continuous.observation_space == Box(0.0, 99.0, (2,), jnp.float32)
    assert continuous.step(key, state, jnp.array([2.0, -3.0]))[1].reward == 1.0
    assert rescale_actions(continuous).step(key, state, jnp.array([-0.5, 3.0]))[1].reward == 2.5

    for low, high, dtype in ((-(2**63), 2**63 - 1, np.int64), (0, 2**32 - 1, np.uint32), (0, 2**31 - 1, np.int32)):
        space = counter(observation_space=spaces.Box(low, high, (2,), dtype)).observation_space
        assert space == Box(max(low, -(2**31)), 2**31 - 1, (2,), jnp.int32)

    space = spaces.Box(0, 255, (2,), np.uint8)
    several = counter(action_space=spaces.MultiDiscrete([2, 3], start=[5, 0]), observation_space=space)
    assert several.action_space == MultiDiscrete((2, 3))
    assert several.observation_space == Box(0, 255, (2,), jnp.uint8)
    state, first = several.reset(key)
    assert first.dtype == jnp.uint8
    assert several.step(key, state, jnp.array([1, 2]))[1].reward == 6.0 + 2.0


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: make("gymnasium/CartPol-v1"), "no environment of this name.*CartPole"),
        (lambda: make("gymnasium/CartPole-v1", mass=3), "cannot make CartPole-v1 with {'mass': 3}.*unexpected keyword"),
        (lambda: make("gymnasium/Blackjack-v1"), "no observation space like Tuple.*FlattenObservation"),
        (lambda: make("gymnasium/CliffWalking-v1"), "has no time limit.*max_episode_steps"),
        (lambda: from_gymnasium(Counter), "has no time limit"),
        (lambda: from_gymnasium(Counter()), "cannot be copied"),
        (lambda: from_gymnasium(3), "pass a gymnasium.Env or a function"),
        (lambda: make(Counter()), "from_gymnax or from_gymnasium"),
    ],
)
def test_mistakes(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_an_object_is_made_again_with_its_wrappers():
    stacked = gymnasium.wrappers.FrameStackObservation(gymnasium.make("Pendulum-v1"), 3)
    environment = from_gymnasium(stacked, max_episode_steps=9)
    assert environment.name == "from_gymnasium(Pendulum-v1)"
    assert environment.observation_space.shape == (3, 3)
    assert environment.max_steps == 9
    with pytest.raises(TypeError, match="derivative of every step"):
        require_derivatives("apg", environment)


def test_pictures_of_the_newest_and_of_older_states():
    pytest.importorskip("pygame")
    environment = make("gymnasium/CartPole-v1", max_episode_steps=5)
    left = Policy(init=lambda key: (), act=lambda key, memory, observation: (memory, jnp.int32(0)))
    filmed = film(left, environment, jax.random.key(0), captions=False)
    assert len(filmed.frames) == 6
    assert filmed.frames[0].shape == (400, 600, 3)
    state, _ = environment.reset(jax.random.split(jax.random.key(0), 3)[0])
    states = [state]
    for _ in range(5):
        states.append(environment.step(jax.random.key(0), states[-1], 0)[0])
    assert environment.render is not None
    for state, frame in reversed(list(zip(states, filmed.frames, strict=True))):
        np.testing.assert_array_equal(environment.render(state), frame)
    assert not np.array_equal(filmed.frames[0], filmed.frames[5])


def test_evaluation_plays_whole_episodes():
    environment = counter()
    forward = Policy(init=lambda key: (), act=lambda key, memory, observation: (memory, jnp.int32(2)))
    evaluation = jax.jit(lambda key: evaluate(forward, environment, key, 5))(jax.random.key(0))
    assert evaluation.lengths.tolist() == [12] * 5
    assert evaluation.returns.tolist() == [12.0] * 5


def test_a_training_is_not_resumed(tmp_path, monkeypatch):
    """The learning loop needs no special case; only going on in another process is refused."""
    monkeypatch.setitem(ALGORITHMS, "toy", "tests.toy_learner")
    algorithm = toy_learner.make(make("gymnasium/CartPole-v1"), toy_learner.Config())
    arguments = {"iterations": 2, "evaluations": 1, "episodes": 2, "directory": tmp_path, "sinks": ()}
    (tmp_path / "checkpoints").mkdir()  # as if it had been killed before the first checkpoint
    result = run(algorithm, seeds=2, resume=True, **arguments)
    assert result.summary["status"] == "finished"
    with pytest.raises(CheckpointError, match=r"simulated on the host.*overwrite"):
        run(algorithm, seeds=2, resume=True, **arguments)


def test_a_chunk_of_a_sweep_is_not_resumed(tmp_path):
    """What is finished stays so; what was interrupted is trained anew or not at all."""
    space = {"algorithm": "toy", "env": "gymnasium/CartPole-v1"}
    options = {"seeds": 2, "chunk": 1, "evaluations": 0, "display": silent(), "algorithms": {"toy": toy_learner}}
    sweep(space, total_steps=3, directory=tmp_path, **options)
    finished, interrupted = sorted(tmp_path.glob("*/*/*/summary.json"))
    interrupted.unlink()
    with pytest.raises(CheckpointError, match=r"simulated on the host.*delete it and resume"):
        sweep(space, total_steps=3, directory=tmp_path, resume=True, **options)
    shutil.rmtree(interrupted.parent)
    before = finished.stat().st_mtime_ns
    sweep(space, total_steps=3, directory=tmp_path, resume=True, **options)
    assert interrupted.exists()
    assert finished.stat().st_mtime_ns == before


def test_a_rung_of_a_search_goes_on_in_the_same_process_only(tmp_path):
    """The agents that are left go on with the episodes of the rung before, unless those were another search's."""
    space = {"algorithm": "toy", "env": "gymnasium/CartPole-v1", "learning_rate": log_uniform(1e-3, 1.0)}
    options = {"trials": 2, "generation": 2, "halving": Halving(2, 2), "total_steps": 12, "evaluations": 2}
    options |= {"seeds": 1, "episodes": 1, "display": silent(), "algorithms": {"toy": toy_learner}}
    search(space, directory=tmp_path, keep="training", **options)
    *earlier, last = sorted(path.parent for path in tmp_path.rglob("checkpoints"))
    shutil.rmtree(last)  # as if it had been stopped between the two
    assert len(earlier) == 1
    with pytest.raises(CheckpointError, match=rf"{earlier[0]} cannot be resumed.*delete it and resume"):
        search(space, directory=tmp_path, keep="training", resume=True, **options)
    assert not last.exists()


@pytest.mark.parametrize("devices", [2, 8])
def test_devices_that_all_wait_for_the_host_get_there(devices):
    """As many devices as cores and more, and more bytes than JAX copies without the threads that are waiting.

    The simulators of all of them are kept, and every episode is simulated once.
    """
    program = """
        import faulthandler
        faulthandler.dump_traceback_later(120, exit=True)
        import jax, numpy as np
        from purerl.devices import over_agents, use_all_cores
        from purerl.environments import vectorize
        from tests.environments.test_gymnasium_bridge import Counter, from_gymnasium, random_rollout, spaces

        devices, made = DEVICES, []
        assert use_all_cores(devices) == devices
        space = spaces.Box(-1, 1, (1000,))
        make = lambda: made.append(Counter(action_space=space)) or made[-1]
        environment = from_gymnasium(make, max_episode_steps=3)
        layout = over_agents(jax.local_device_count())
        roll = layout.vmap(lambda key: random_rollout(environment, 40, 6, key)[1][3].reward, (0,))
        keys = jax.random.split(jax.random.key(0), jax.local_device_count())
        spread = jax.jit(roll, in_shardings=layout.sharding, out_shardings=layout.sharding)(layout.put(keys))
        jax.block_until_ready(spread)
        assert len(made) == 40 * devices
        assert sum(one.resets for one in made) == 40 * devices * (1 + 6 // 3)
        alone = jax.jit(lambda key: random_rollout(environment, 40, 6, key)[1][3].reward)(keys[1])
        np.testing.assert_array_equal(spread[1], alone)
    """
    program = textwrap.dedent(program).replace("DEVICES", str(devices))
    subprocess.run([sys.executable, "-c", program], check=True, timeout=150)
