"""R2D2: one update against loops over single steps, what is stored, and what is learned.

The checks take the module under test: a mutant can be put in its place.
"""

from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from purerl import trees
from purerl.algorithms.value_based import dqn, r2d2
from purerl.environments import make
from purerl.evaluate import evaluate
from purerl.experience import example_step
from purerl.presets import load
from purerl.replay import importance_weights, proportional
from purerl.replay.sequences import sequence_replay
from purerl.train import train
from purerl.types import Box, Discrete, Environment, Time, Timestep

SMALL: dict[str, Any] = {
    "num_envs": 3,
    "period": 4,
    "burn_in": 2,
    "sequence_length": 5,
    "n_step": 3,
    "updates_per_iteration": 1,
    "batch_size": 4,
    "replay_capacity": 60,
    "warm_up_steps": 60,
    "core_width": 6,
    "widths": (8,),
    "discount": 0.9,
    "max_gradient_norm": float("inf"),
}
LEARNER: dict[str, Any] = {
    "learning_rate": 5e-3,
    "anneal_learning_rate": True,
    "num_envs": 8,
    "period": 6,
    "burn_in": 3,
    "sequence_length": 6,
    "n_step": 2,
    "updates_per_iteration": 2,
    "replay_capacity": 4_800,
    "warm_up_steps": 480,
    "target_period": 240,
    "core_width": 16,
    "widths": (16,),
    "discount": 0.9,
}
SEEDS = 3


def flipping(terminate: float = 0.0, truncate: float = 0.3) -> Environment:
    """A sign that flips at every step and is the reward; episodes end at any step. V = sign / (1 + discount).

    That holds where they never terminate, and only if truncated steps bootstrap from the flipped sign, not from the
    fresh one of a reset. The second number of the observation is noise.
    """

    def observe(key, sign):
        return jnp.stack([sign, jax.random.uniform(key)])

    def reset(key):
        sign_key, key = jax.random.split(key)
        sign = jax.random.rademacher(sign_key, (), jnp.float32)
        return sign, observe(key, sign)

    def step(key, sign, action):
        key, *end_keys = jax.random.split(key, 3)
        ends = (jax.random.bernoulli(k, p) for k, p in zip(end_keys, (terminate, truncate), strict=True))
        return -sign, Timestep(observe(key, -sign), sign, *ends, info={})

    return Environment("flipping", reset, step, Box(-1.0, 1.0, (2,)), Discrete(2), max_steps=100)


def clock(iteration: int) -> Time:
    return Time(jnp.int32(iteration), jnp.float32(0.0))


def parts(algorithm):
    """The network, the replay of sequences and the priorities of an agent, made once more."""
    config, environment = algorithm.config, algorithm.environment
    network = r2d2.q_network(environment, config)
    length = config.burn_in + config.sequence_length + config.n_step - 1 + config.share_observations
    replay = sequence_replay(
        config.replay_capacity,
        config.period,
        config.num_envs,
        length,
        example_step(environment, config.share_observations),
        network.initial_memory(()),
    )
    priorities = proportional(
        replay.sequences, config.num_envs, config.priority_exponent, ahead_slots=replay.incomplete
    )
    return network, replay, priorities


@partial(jax.jit, static_argnums=0)
def one_step(network, params, memory, observation):
    within = jnp.zeros((1, *observation.shape[:-1]), bool)
    memory, values = network.apply(params, memory, observation[None], within)
    return memory, values[0]


def paper_h(x):
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1) - 1) + 1e-3 * x


def paper_inverse_of_h(y):
    return jnp.sign(y) * (((jnp.sqrt(1 + 4e-3 * (jnp.abs(y) + 1 + 1e-3)) - 1) / 2e-3) ** 2 - 1)


def values_along(network, config, params, memory, steps):
    """Q of every step and of its successor, a step at a time; None for successors that are not known."""
    values, successor_values = [], []
    for t in range(len(steps.reward)):
        if t == config.burn_in:
            memory = jax.lax.stop_gradient(memory)
        memory, value = one_step(network, params, memory, steps.observation[t])
        values.append(value)
        if steps.successor is not None:
            successor_values.append(one_step(network, params, memory, steps.successor[t])[1])
        if steps.terminated[t] or steps.truncated[t]:
            memory = jax.tree.map(jnp.zeros_like, memory)
    return values, successor_values or [*values[1:], None]


def slow_errors(network, config, params, target_params, memory, steps):
    """y - h(Q) of every step of one sequence that is learned from, and the Qs."""
    values, successor_values = values_along(network, config, params, memory, steps)
    _, target_values = values_along(network, config, target_params, memory, steps)
    errors, chosen = [], []
    for t in range(config.burn_in, config.burn_in + config.sequence_length):
        total, weight, bootstrap = 0.0, 1.0, None
        for k in range(t, t + config.n_step):
            if steps.successor is None and steps.truncated[k] and not steps.terminated[k]:
                bootstrap = k - 1  # its successor is the observation of the truncated step
                break
            total += weight * steps.reward[k]
            weight *= config.discount
            bootstrap = None if steps.terminated[k] else k
            if steps.terminated[k] or steps.truncated[k]:
                break
        chosen.append(values[t][steps.action[t]])
        if bootstrap is not None and bootstrap < t:
            errors.append(jnp.zeros(()))
            continue
        if bootstrap is not None:
            chooser = successor_values if config.double else target_values
            value = target_values[bootstrap][jnp.argmax(chooser[bootstrap])]
            total += weight * paper_inverse_of_h(value)
        errors.append(jax.lax.stop_gradient(paper_h(total)) - chosen[-1])
    return jnp.stack(errors), jnp.stack(chosen)


def slow_loss(params, network, config, target_params, memories, steps, weights):
    errors, chosen = [], []
    for b in range(config.batch_size):
        memory, one = jax.tree.map(lambda x, b=b: x[b], memories), jax.tree.map(lambda x, b=b: x[:, b], steps)
        error, value = slow_errors(network, config, params, target_params, memory, one)
        errors.append(error)
        chosen.append(value)
    errors = jnp.stack(errors)
    loss = jnp.mean(weights * jnp.mean(0.5 * errors**2, axis=1))
    return loss, (errors, jnp.mean(paper_inverse_of_h(jnp.stack(chosen))))


def check_one_update(module: ModuleType, **overrides: Any) -> None:
    """Loss, gradient and priorities of an update, target network and priorities being anything but fresh."""
    algorithm = module.make(flipping(terminate=0.15, truncate=0.2), module.Config(**SMALL | overrides))
    config, (network, replay, priorities) = algorithm.config, parts(algorithm)
    init = jax.jit(algorithm.init)
    before, other = init(jax.random.key(0)), init(jax.random.key(5))
    noise = jax.random.normal(jax.random.key(1), (replay.sequences,))
    before = before.replace(
        target_params=jax.tree.map(lambda x: 3.0 * x, other.params),  # large enough to tell actions apart
        priorities=priorities.update(before.priorities, jnp.arange(2 * config.num_envs), noise[: 2 * config.num_envs]),
    )
    after, metrics = jax.jit(algorithm.step)(before, clock(0))

    written = jnp.int32(algorithm.env_steps_of_init // algorithm.env_steps_per_iteration)
    sample_key = jax.random.split(jax.random.fold_in(before.key, 0), 2 + config.period)[0]
    entered = priorities.enter(before.priorities, written)
    sequences, probability = priorities.sample(entered, jax.random.split(sample_key, 1)[0], config.batch_size)
    weights = importance_weights(probability, replay.complete(written + 1), config.importance_exponent)
    memories, steps = replay.read(after.replay, sequences)
    if not config.stored_state:
        memories = jax.tree.map(jnp.zeros_like, memories)
    assert (steps.terminated | steps.truncated)[config.burn_in :].any()
    assert steps.truncated.any()

    slow = jax.value_and_grad(slow_loss, has_aux=True)
    (loss, (errors, q_value)), gradient = slow(
        before.params, network, config, before.target_params, memories, steps, weights
    )
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-3)
    np.testing.assert_allclose(metrics["q_value"], q_value, rtol=1e-3, atol=1e-4)
    momentum = after.optimizer[1][0].mu  # a tenth of the gradient after one step of Adam
    np.testing.assert_allclose(10 * momentum, ravel_pytree(gradient)[0], rtol=1e-2, atol=1e-5)
    size = np.abs(errors)
    priority = (0.9 * size.max(1) + 0.1 * size.mean(1) + 1e-6) ** config.priority_exponent
    expected = [priority[np.asarray(sequences) == i].max() for i in sequences]
    np.testing.assert_allclose(after.priorities.weights[0][sequences], expected, rtol=1e-3)


def check_stored_memories(module: ModuleType, **overrides: Any) -> None:
    """The memory stored with a block is what its environment's episode has left so far; parameters do not change."""
    algorithm = module.make(flipping(terminate=0.15, truncate=0.2), module.Config(**SMALL | overrides))
    config, (network, replay, _) = algorithm.config, parts(algorithm)
    state = jax.jit(algorithm.init)(jax.random.key(2))
    blocks = algorithm.env_steps_of_init // algorithm.env_steps_per_iteration
    memory = network.initial_memory((config.num_envs,))
    for block in range(blocks - replay.incomplete // config.num_envs):
        sequences = block * config.num_envs + jnp.arange(config.num_envs)
        stored, steps = replay.read(state.replay, sequences)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), stored, memory)
        for t in range(config.period):
            memory, _ = one_step(network, state.params, memory, steps.observation[t])
            done = steps.terminated[t] | steps.truncated[t]
            memory = trees.where(done, jax.tree.map(jnp.zeros_like, memory), memory)


def check_truncations_bootstrap_from_the_successor(module: ModuleType, **overrides: Any) -> None:
    """`flipping` is solved for every history of up to 4 steps."""
    one = module.make(flipping(), module.Config(**LEARNER | overrides))
    states = jax.jit(jax.vmap(lambda key: train(one, key, 300).state))(jax.random.split(jax.random.key(0), SEEDS))
    network = r2d2.q_network(one.environment, one.config)
    signs = jnp.array([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]]).T  # [T, B]
    observation = jnp.stack([signs, jnp.full_like(signs, 0.5)], axis=-1)
    resets = jnp.zeros(signs.shape, bool).at[0].set(True)
    _, rescaled = jax.vmap(lambda params: network.apply(params, network.initial_memory((2,)), observation, resets))(
        states.params
    )
    value = paper_inverse_of_h(jnp.max(rescaled, axis=-1))
    expected = jnp.broadcast_to(signs / (1 + one.config.discount), value.shape)
    np.testing.assert_allclose(value, expected, atol=0.06)


def check_memory(module: ModuleType, **overrides: Any) -> None:
    one = module.make(make("probe/memory"), module.Config(**LEARNER | overrides))
    states = jax.jit(jax.vmap(lambda key: train(one, key, 150).state))(jax.random.split(jax.random.key(0), SEEDS))
    key = jax.random.key(1)
    returns = jax.vmap(lambda state: evaluate(one.policy(state), one.environment, key, episodes=32).returns)(states)
    np.testing.assert_allclose(returns.mean(-1), 1.0)


@pytest.mark.parametrize(
    "overrides",
    [{}, {"share_observations": True, "core": "lstm", "double": False, "n_step": 2}],
    ids=["successors stored, GRU", "observations shared, LSTM"],
)
def test_an_update_is_that_of_the_equations(overrides):
    check_one_update(r2d2, **overrides)


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_the_stored_memory_is_that_of_the_episode_so_far(core):
    check_stored_memories(r2d2, core=core)


def test_truncations_bootstrap_from_the_true_successor():
    check_truncations_bootstrap_from_the_successor(r2d2)


def test_a_cue_is_remembered():
    check_memory(r2d2, core="lstm", burn_in=0, share_observations=True)


def test_environments_explore_at_their_own_rates():
    """With two actions, an environment takes its less frequent one in epsilon / 2 of all steps."""
    fields = {"num_envs": 4, "period": 1_000, "replay_capacity": 8_000, "warm_up_steps": 4_000, "epsilon_exponent": 2.0}
    algorithm = r2d2.make(make("probe/constant"), r2d2.Config(**SMALL | fields))
    state, _ = jax.jit(algorithm.step)(jax.jit(algorithm.init)(jax.random.key(0)), clock(0))
    one_memory = jax.tree.map(lambda x: x[0], state.memory)
    blocks = sequence_replay(8_000, 1_000, 4, 1_000, example_step(algorithm.environment), one_memory)
    for block, expected in ((0, [1.0] * 4), (1, 0.4 ** np.array([1, 5 / 3, 7 / 3, 3]))):
        _, steps = blocks.read(state.replay, block * 4 + jnp.arange(4))
        share = steps.action.mean(0)
        np.testing.assert_allclose(2 * jnp.minimum(share, 1 - share), expected, atol=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"replay_capacity": 62}, r"62 must be a positive multiple of the block of 12.*try 60"),
        ({"sequence_length": 60}, "need 192 steps of replay, of which there are 60"),
        ({"warm_up_steps": 61}, r"warm_up_steps \(61\) exceed replay_capacity"),
        ({"priority_mixture": 1.5}, r"priority_mixture must be in \[0, 1\]"),
        ({"epsilon_exponent": -1.0}, "epsilon_exponent must be >= 0"),
        ({"burn_in": -1}, "burn_in must be >= 0"),
        ({"n_step": 0}, "n_step must be > 0"),
        ({"core": "none"}, "core must be one of 'gru', 'lstm'"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        r2d2.make(make("CartPole-v1"), r2d2.Config(**SMALL | fields))


def test_sharing_observations_halves_their_memory():
    def elements(share):
        algorithm = r2d2.make(make("Breakout-MinAtar"), r2d2.Config(**SMALL | {"share_observations": share}))
        return jax.eval_shape(algorithm.init, jax.random.key(0)).replay.steps["uint8"].shape

    assert elements(share=False) == (60, 2 * 400)
    assert elements(share=True) == (60, 400)


@pytest.mark.slow
def test_memory_chain_of_length_30_is_solved_where_a_memoryless_learner_cannot():
    environment = make("MemoryChain-bsuite", memory_length=30)
    settings = load("r2d2", "MemoryChain-bsuite")
    steps = settings.pop("total_steps")

    def final_return(algorithm, key):
        state = train(algorithm, key, steps // algorithm.env_steps_per_iteration).state
        return evaluate(algorithm.policy(state), environment, jax.random.key(9), episodes=256).returns.mean()

    keys = jax.random.split(jax.random.key(0), 4)
    recurrent = r2d2.make(environment, r2d2.Config(**settings))
    assert (jax.jit(jax.vmap(partial(final_return, recurrent)))(keys) >= 0.95).all()
    memoryless = dqn.make(environment, dqn.Config(anneal_learning_rate=True))
    assert (jnp.abs(jax.jit(jax.vmap(partial(final_return, memoryless)))(keys)) <= 0.2).all()
