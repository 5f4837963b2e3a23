"""What is particular to PQN: its targets, its memory, its minibatches, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms.value_based import pqn
from purerl.environments import make
from purerl.evaluate import evaluate
from purerl.train import train
from purerl.types import Time

SMALL = {"num_envs": 4, "rollout_length": 3, "minibatches": 1, "epochs": 1, "widths": (8,), "core_width": 8}
START = Time(jnp.int32(0), jnp.float32(0))
CHAIN = {
    "num_envs": 32,
    "rollout_length": 64,
    "minibatches": 8,
    "widths": (32,),
    "core_width": 32,
    "learning_rate": 1e-3,
    "exploration_fraction": 0.3,
}


def first_step(environment: str, **fields):
    algorithm = pqn.make(make(environment), pqn.Config(**SMALL | fields))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    return algorithm, state, *jax.jit(algorithm.step)(state, START)


def first_loss_of_a_constant(environment: str, value: float, **fields) -> float:
    """The loss of the first minibatch if Q(s, a) = `value` everywhere."""
    algorithm = pqn.make(make(environment), pqn.Config(**SMALL | fields))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    head = {"kernel": jnp.zeros_like(state.params["params"]["advantage"]["kernel"]), "bias": jnp.full(2, value)}
    state = state.replace(params={"params": state.params["params"] | {"advantage": head}})
    _, metrics = jax.jit(algorithm.step)(state, START)
    return float(metrics["loss"])


@pytest.mark.parametrize("core", ["none", "gru"])
def test_the_targets_of_a_rollout_that_ends_within_an_episode(core):
    """Three steps of probe/discount: reward 0, reward 1 and the end, then reward 0 and a bootstrap at the cut."""
    value, discount, trace_decay, scale = 0.5, 0.9, 0.7, 3.0
    fields = {"discount": discount, "trace_decay": trace_decay, "reward_scale": scale, "core": core}
    loss = first_loss_of_a_constant("probe/discount", value, **fields)
    targets = [discount * (trace_decay * scale + (1 - trace_decay) * value), scale, discount * value]
    np.testing.assert_allclose(loss, np.mean([(value - target) ** 2 / 2 for target in targets]), rtol=1e-5)


def test_a_truncated_step_bootstraps_and_takes_nothing_from_the_next_episode():
    """Episodes of probe/successor are cut after one step of reward o = -1 or 1."""
    loss = first_loss_of_a_constant("probe/successor", 0.5, discount=0.9, trace_decay=0.7, num_envs=512)
    expected = np.mean([(0.5 - (o + 0.9 * 0.5)) ** 2 / 2 for o in (-1, 1)])
    np.testing.assert_allclose(loss, expected, rtol=0.01)


def test_the_memory_goes_on_and_is_cut_where_an_episode_ended():
    """Episodes of probe/discount have two steps, so three steps end behind the first step of the second episode."""
    algorithm, before, after, _ = first_step("probe/discount", core="lstm")
    assert before.reset.tolist() == [True] * 4
    assert after.reset.tolist() == [False] * 4
    policy = algorithm.policy(before)
    memory, _ = policy.act(jax.random.key(0), policy.init(jax.random.key(0)), jnp.zeros(1))
    jax.tree.map(
        lambda ours, alone: np.testing.assert_allclose(ours, np.broadcast_to(alone, ours.shape), atol=1e-6),
        after.memory,
        memory,
    )


def test_without_a_core_nothing_is_remembered():
    algorithm = pqn.make(make("CartPole-v1"), pqn.Config(**SMALL))
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    assert jax.tree.leaves(state.memory) == []
    assert algorithm.policy(state).init(jax.random.key(0)) == ()


@pytest.mark.parametrize(
    ("environment", "fields", "message"),
    [
        ("Pendulum-v1", {}, "pqn needs discrete actions"),
        ("CartPole-v1", {"minibatches": 5}, r"minibatches \(5\) must divide num_envs x rollout_length, which is 12"),
        ("CartPole-v1", {"minibatches": 6, "core": "gru"}, r"must divide num_envs \(whole environments"),
        ("CartPole-v1", {"core": "rnn"}, "core must be one of 'none', 'gru', 'lstm'"),
        ("CartPole-v1", {"trace_decay": 1.01}, r"trace_decay must be in \[0, 1\]"),
        ("CartPole-v1", {"reward_scale": 0.0}, "reward_scale must be > 0"),
        ("CartPole-v1", {"layer_norm": 1}, "layer_norm must be of type bool"),
    ],
)
def test_what_does_not_fit_is_refused(environment, fields, message):
    with pytest.raises((ValueError, TypeError), match=message):
        pqn.make(make(environment), pqn.Config(**SMALL | fields))


@pytest.mark.parametrize(("environment", "core"), [("FrozenLake-misc", "gru"), ("Breakout-MinAtar", "none")])
def test_every_kind_of_observation(environment, core):
    *_, metrics = first_step(environment, core=core, minibatches=2, epochs=2)
    assert all(np.isfinite(value) for value in metrics.values())


def returns_of_memory_chain(core: str, length: int, steps: int, seeds: int) -> np.ndarray:
    """The greedy return of every seed after `steps` environment steps."""
    environment = make("MemoryChain-bsuite", memory_length=length)
    algorithm = pqn.make(environment, pqn.Config(**CHAIN, core=core))
    iterations = steps // algorithm.env_steps_per_iteration

    def one_seed(key):
        state = train(algorithm, key, iterations).state
        return jnp.mean(evaluate(algorithm.policy(state), environment, jax.random.key(1), 2000).returns)

    return np.asarray(jax.jit(jax.vmap(one_seed))(jax.random.split(jax.random.key(0), seeds)))


@pytest.mark.parametrize("core", ["gru", pytest.param("lstm", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("compiled_as_users")
def test_a_core_remembers_for_thirty_steps(core):
    returns = returns_of_memory_chain(core, length=30, steps=100_000, seeds=4)
    print(core, returns)
    assert np.all(returns >= 0.95)


def test_without_a_core_there_is_only_chance():
    returns = returns_of_memory_chain("none", length=30, steps=100_000, seeds=4)
    print(returns)
    assert np.all(np.abs(returns) <= 0.1)
