"""Policies outside of purerl: functions of NumPy that act like the policy, and Gymnasium that agrees."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import evaluate, evaluate_in_gymnasium, export_policy, load_policy, make, run
from purerl.algorithms import ALGORITHMS
from purerl.cli import main
from purerl.types import Policy
from tests import toy_learner

# Pushes towards where the pole leans: some forty steps.
BALANCE = Policy(init=lambda key: (), act=lambda key, memory, seen: (memory, (seen[2] > 0).astype(jnp.int32)))
COUNTING = Policy(  # acts 0, 1, 0, 1, ... from the first step of an episode on
    init=lambda key: jnp.zeros((), jnp.int32), act=lambda key, memory, observation: (memory + 1, memory % 2)
)
TORQUE = Policy(init=lambda key: (), act=lambda key, memory, observation: (memory, 5.0 * observation[:1]))


def test_gymnasium_and_purerl_agree():
    """The mean return of the same policy, within four standard errors of the difference."""
    environment = make("CartPole-v1")
    here = np.asarray(jax.jit(lambda key: evaluate(BALANCE, environment, key, 200))(jax.random.key(0)).returns)
    there, lengths = evaluate_in_gymnasium(BALANCE, environment, "CartPole-v1", episodes=100)
    assert there.shape == lengths.shape == (100,)
    np.testing.assert_array_equal(there, lengths)
    assert there.std() > 5
    assert abs(here.mean() - there.mean()) < 4 * np.sqrt(here.var() / 200 + there.var() / 100)
    again, _ = evaluate_in_gymnasium(BALANCE, environment, "CartPole-v1", episodes=3)
    np.testing.assert_array_equal(again, there[:3])


def test_one_episode_by_hand_is_the_first_of_the_evaluation():
    act = export_policy(BALANCE, make("CartPole-v1"))
    simulator = gymnasium.make("CartPole-v1")
    observation, _ = simulator.reset(seed=7)
    total, over = 0.0, False
    while not over:
        action = act(observation)
        assert type(action) is int
        observation, reward, terminated, truncated, _ = simulator.step(action)
        total, over = total + float(reward), terminated or truncated
    returns, _ = evaluate_in_gymnasium(BALANCE, make("CartPole-v1"), "CartPole-v1", episodes=1, seed=7)
    assert returns.tolist() == [total]


def test_memory_is_kept_and_forgotten():
    act = export_policy(COUNTING, make("CartPole-v1"))
    assert [act(np.zeros(4)) for _ in range(3)] == [0, 1, 0]
    act.reset()
    assert act([0, 0, 0, 0]) == 0
    several = export_policy(COUNTING, make("CartPole-v1"), copies=2)
    assert [several(np.zeros((2, 4))).tolist() for _ in range(2)] == [[0, 0], [1, 1]]


def test_random_policies_repeat_with_their_seed():
    coin = Policy(init=lambda key: (), act=lambda key, memory, observation: (memory, jax.random.randint(key, (), 0, 2)))
    act = export_policy(coin, make("CartPole-v1"), seed=3)
    first = [act(np.zeros(4)) for _ in range(20)]
    second = [act(np.zeros(4)) for _ in range(20)]
    assert first != second
    act.reset(seed=3)
    assert [act(np.zeros(4)) for _ in range(20)] == first
    several = export_policy(coin, make("CartPole-v1"), copies=40)(np.zeros((40, 4)))
    assert set(several.tolist()) == {0, 1}


def test_continuous_actions_are_within_bounds():
    act = export_policy(TORQUE, make("Pendulum-v1"))
    action = act(np.array([1.0, 0.0, 0.0]))
    assert (action.shape, action.dtype, action.tolist()) == ((1,), np.float32, [2.0])
    returns, lengths = evaluate_in_gymnasium(TORQUE, make("Pendulum-v1"), "Pendulum-v1", episodes=2)
    assert lengths.tolist() == [200, 200]
    assert (returns < 0).all()
    _, lengths = evaluate_in_gymnasium(TORQUE, make("Pendulum-v1"), "Pendulum-v1", episodes=2, max_episode_steps=9)
    assert lengths.tolist() == [9, 9]


def test_simulators_are_closed_whatever_happens():
    opened, closed = [], []

    class Closing(gymnasium.Wrapper):
        def close(self):
            closed.append(self)
            super().close()

    def simulator(name="CartPole-v1"):
        opened.append(Closing(gymnasium.make(name)))
        return opened[-1]

    with pytest.raises(ValueError, match="cannot act in"):
        evaluate_in_gymnasium(BALANCE, make("CartPole-v1"), lambda: simulator("Acrobot-v1"), episodes=9)
    assert len(opened) == 1
    assert closed == opened
    broken = BALANCE._replace(act=lambda key, memory, seen: (memory, jnp.int32(7)))
    with pytest.raises(AssertionError):
        evaluate_in_gymnasium(broken, make("CartPole-v1"), simulator, episodes=3)
    assert len(opened) == 1 + 3
    assert closed == opened


def test_random_memories_have_keys_of_their_own():
    """What a policy draws when an episode begins is not what it draws when it acts."""

    def found(key, memory, seen):
        drawn = jax.vmap(lambda number: jax.random.bits(jax.random.fold_in(key, number)))(jnp.arange(5))
        return memory, jnp.any(drawn == memory) | (jax.random.bits(key) == memory)

    act = export_policy(Policy(jax.random.bits, found), make("CartPole-v1"), seed=5)
    for _ in range(3):
        assert [act(np.zeros(4)) for _ in range(4)] == [0] * 4
        act.reset()


def weights(state):
    return (1e6 * state.weights["a/b"].sum()).astype(jnp.int32).item()


def telling_its_weights(make):
    """Makes a learner whose policies act by saying what its weights are."""

    def made(environment, config):
        def policy(state, greedy=True):
            told = (1e6 * state.weights["a/b"].sum()).astype(jnp.int32)
            return Policy(lambda key: (), lambda key, memory, observation: (memory, told))

        return make(environment, config)._replace(policy=policy)

    return made


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: export_policy(COUNTING, make("CartPole-v1"))(np.zeros((2, 4))), r"shape \(4,\), got \(2, 4\).*copies"),
        (lambda: export_policy(COUNTING, make("CartPole-v1"), copies=3)(np.zeros(4)), r"shape \(3, 4\), got \(4,\)"),
        (lambda: export_policy(COUNTING, make("CartPole-v1"), copies=0), "copies must be at least 1"),
        (lambda: evaluate_in_gymnasium(COUNTING, make("CartPole-v1"), "Acrobot-v1"), "cannot act in Acrobot-v1"),
        (lambda: evaluate_in_gymnasium(COUNTING, make("CartPole-v1"), "CartPole-v1", episodes=0), "at least 1"),
    ],
)
def test_mistakes(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_from_a_run_directory(tmp_path, monkeypatch, capsys):
    """As the policy of its newest or best parameters acts; and `purerl evaluate` plays elsewhere."""
    monkeypatch.setitem(ALGORITHMS, "toy", "tests.toy_learner")
    with monkeypatch.context() as patched:
        patched.setattr(toy_learner, "make", telling_its_weights(toy_learner.make))
        algorithm = toy_learner.make(make("CartPole-v1"), toy_learner.Config())
        result = run(algorithm, iterations=4, evaluations=4, episodes=2, seeds=2, directory=tmp_path, sinks=())
        training = result.training
        states = {(1, False): training.state, (1, True): training.best.snapshot, (0, False): training.state}
        told = {which: weights(jax.tree.map(lambda x, i=which[0]: x[i], state)) for which, state in states.items()}
        assert len(set(told.values())) == 3  # or nothing is distinguished
        for (agent, best), expected in told.items():
            act = load_policy(tmp_path, agent=agent, best=best, copies=2)
            assert act(np.zeros((2, 4))).tolist() == [expected] * 2
        assert load_policy(tmp_path, agent=1)(np.zeros(4)) == told[1, True]
    with pytest.raises(ValueError, match="agent must be between 0 and 1, got 2"):
        load_policy(tmp_path, agent=2)
    with pytest.raises(FileNotFoundError):
        load_policy(tmp_path / "nowhere")

    command = ["evaluate", str(tmp_path), "--episodes", "2", "--env"]
    assert main([*command, "gymnasium/CartPole-v1"]) == 0
    assert "toy on gymnasium/CartPole-v1" in capsys.readouterr().out
    assert main([*command, "Acrobot-v1"]) == 2
    assert "a policy for CartPole-v1 cannot act in Acrobot-v1" in capsys.readouterr().err
