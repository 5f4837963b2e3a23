"""What a rollout says of itself is what its networks say of it afterwards, with and without a memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import rollout as rollout_module
from purerl.environments import make, rescale_actions, select_observation, time_limit, vectorize
from purerl.networks.heads import ActorCritic
from purerl.normalization import normalize as normalize_with
from purerl.rollout import as_sequences, collector, pass_over, random_order

STEPS, ENVS, DISCOUNT = 12, 3, 0.9


def collect(
    core="none", shared=False, normalize=False, scale=False, clip=np.inf, environment=None, module=rollout_module
):
    """A rollout that began in the middle of episodes, with what is needed to look at it again."""
    environment = environment or time_limit(make("CartPole-v1"), 5)
    network = ActorCritic(
        environment.observation_space, environment.action_space, (8,), shared=shared, core=core, core_width=6
    )
    actor = module.collector(
        environment,
        network,
        num_envs=ENVS,
        rollout_length=STEPS,
        discount=DISCOUNT,
        normalize_observations=normalize,
        scale_rewards=scale,
        reward_clip=clip,
    )

    @jax.jit
    def both(key):
        params, state = actor.init(key)
        state, first = actor.collect(params, state, jax.random.key(1))
        after, second = actor.collect(params, state, jax.random.key(2))
        return params, state, first, after, second

    return network, *both(jax.random.key(0))


def test_a_rollout_is_valued_anew_by_other_parameters():
    network, params, _, _, _, rollout = collect(normalize=True)
    environment = time_limit(make("CartPole-v1"), 5)
    actor = collector(environment, network, num_envs=ENVS, rollout_length=STEPS, discount=DISCOUNT)
    again = actor.revalue(params, rollout)
    np.testing.assert_allclose(again.value, rollout.value, atol=1e-6)
    np.testing.assert_allclose(again.successor_value, rollout.successor_value, atol=1e-6)
    others = jax.tree.map(lambda x: x + 0.1, params)
    again = actor.revalue(others, rollout)
    expected = network.apply(others, rollout.observation, method=network.value)
    np.testing.assert_allclose(again.value, expected, atol=1e-6)
    goes_on = ~np.asarray(rollout.terminated | rollout.truncated)[:-1]
    assert goes_on.any()
    np.testing.assert_allclose(again.successor_value[:-1][goes_on], again.value[1:][goes_on], atol=1e-5)


def check_recurrent(module, core="gru", shared=False) -> None:
    """Unrolled from the memory the rollout began with, the network says what was noted while acting."""
    network, params, state, _, _, rollout = collect(core, shared, module=module)
    _, distribution, value = network.apply(params, rollout.observation, state.memory, rollout.reset)
    np.testing.assert_allclose(value, rollout.value, atol=1e-5)
    np.testing.assert_allclose(distribution.log_probability(rollout.action), rollout.log_probability, atol=1e-5)
    done = np.asarray(rollout.terminated | rollout.truncated)
    assert done.any()
    assert not done.all(axis=0).any()
    np.testing.assert_array_equal(rollout.reset[1:], done[:-1])
    np.testing.assert_array_equal(rollout.reset[0], state.reset)
    goes_on = ~done[:-1]
    np.testing.assert_allclose(rollout.successor_value[:-1][goes_on], rollout.value[1:][goes_on], atol=1e-5)
    assert np.abs(rollout.successor_value[:-1][~goes_on] - rollout.value[1:][~goes_on]).min() > 1e-5


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_a_recurrent_rollout_unrolled_from_the_memory_it_began_with(core, shared):
    check_recurrent(rollout_module, core, shared)  # asserts


def check_memoryless(module) -> None:
    """Values and probabilities are the network's, and successors the true ones: not what a reset shows."""
    network, params, _, _, _, rollout = collect(module=module)
    _, distribution, value = network.apply(params, rollout.observation)
    np.testing.assert_allclose(value, rollout.value, atol=1e-6)
    np.testing.assert_allclose(distribution.log_probability(rollout.action), rollout.log_probability, atol=1e-6)
    goes_on = ~np.asarray(rollout.terminated | rollout.truncated)[:-1]
    np.testing.assert_allclose(rollout.successor_value[:-1][goes_on], rollout.value[1:][goes_on], atol=1e-6)
    assert np.abs(rollout.successor_value[:-1][~goes_on] - rollout.value[1:][~goes_on]).min() > 1e-5
    assert rollout.truncated.any()  # after 5 steps no pole has fallen
    assert not rollout.terminated.any()
    samples = module.as_sequences(rollout, 2.0 * rollout.value, False)
    np.testing.assert_allclose(samples.target, 3.0 * rollout.value.reshape(1, -1), rtol=1e-6)


def test_a_rollout_without_memory():
    check_memoryless(rollout_module)  # asserts


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return_and_clipped():
    environment = time_limit(make("Pendulum-v1"), 5)
    _, _, state, first, _, _ = collect(scale=True, clip=0.4, environment=environment)
    _, _, _, raw, _, _ = collect(environment=environment)
    running, returns = np.zeros(ENVS), []
    for reward, done in zip(np.asarray(raw.reward, float), np.asarray(raw.truncated), strict=True):
        running = DISCOUNT * running + reward
        returns.append(running)
        running = np.where(done, 0.0, running)
    expected = np.asarray(raw.reward) / np.std(returns)
    np.testing.assert_allclose(first.reward, np.clip(expected, -0.4, 0.4), rtol=1e-4)
    assert (np.abs(first.reward) == np.float32(0.4)).any()
    assert (np.abs(first.reward) < 0.4).any()
    np.testing.assert_allclose(state.discounted_return, running, rtol=1e-5)


def test_observations_are_seen_with_the_statistics_of_past_rollouts():
    _, _, state, first, after, second = collect(normalize=True, environment=make("Pendulum-v1"))
    _, _, _, raw_first, _, _ = collect(environment=make("Pendulum-v1"))
    flat = np.asarray(raw_first.observation).reshape(-1, 3)
    np.testing.assert_allclose(first.observation, np.clip(raw_first.observation, -10, 10), rtol=1e-6)
    np.testing.assert_allclose(state.observation_statistics.mean, flat.mean(0), atol=1e-5)
    seen = normalize_with(state.observation_statistics, state.environments.observation)
    np.testing.assert_allclose(second.observation[0], seen, rtol=1e-5, atol=1e-6)
    assert after.observation_statistics.count == 2 * STEPS * ENVS


def test_what_is_remembered_raw_can_be_seen_again_with_the_statistics_of_later():
    environment = time_limit(make("Pendulum-v1"), 5)
    network = ActorCritic(environment.observation_space, environment.action_space, (8,))
    fields = {"normalize_observations": True, "scale_rewards": True, "reward_clip": 1.0}
    actor = collector(environment, network, num_envs=ENVS, rollout_length=STEPS, discount=DISCOUNT, **fields)
    params, state = actor.init(jax.random.key(0))
    state, _ = actor.collect(params, state, jax.random.key(1))
    after, second = actor.collect(params, state, jax.random.key(2))
    np.testing.assert_allclose(actor.prepare(state, second.raw_observation), second.observation, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(actor.rescale(after, second.raw_reward), second.reward, rtol=1e-5)
    assert second.raw_reward.min() < -2.0 < -1.0 == second.reward.min()


def test_a_squashed_action_is_stored_before_it_is_squashed():
    environment = make("Pendulum-v1")
    network = ActorCritic(environment.observation_space, environment.action_space, (8,), kind="tanh_gaussian")
    actor = collector(environment, network, num_envs=ENVS, rollout_length=STEPS, discount=DISCOUNT)
    params, state = actor.init(jax.random.key(0))
    _, rollout = actor.collect(params, state, jax.random.key(1))
    assert np.abs(rollout.action).max() > 1.0
    environments = vectorize(rescale_actions(environment), ENVS)
    keys = jax.random.split(jax.random.key(1), (STEPS, 2))
    _, timestep = environments.step(keys[0, 1], state.environments, jnp.tanh(rollout.action[0]))
    np.testing.assert_allclose(timestep.reward, rollout.reward[0], rtol=1e-6)


def test_every_sequence_is_in_one_minibatch_of_every_epoch():
    *_, rollout = collect("gru", environment=select_observation(make("CartPole-v1"), (0, 2)))
    for recurrent, count in ((True, ENVS), (False, STEPS * ENVS)):
        samples = as_sequences(rollout, jnp.zeros((STEPS, ENVS)), recurrent)
        number = jnp.broadcast_to(jnp.arange(count), samples.advantage.shape)

        def see(carry, batch, memory):
            assert batch.shape[1] == memory.shape[0]
            return carry + 1, {"seen": batch[0], "memory": memory}

        updates, seen = pass_over(see, 0, jax.random.key(3), number, jnp.arange(count), epochs=2, minibatches=3)
        assert updates == 6
        assert seen["seen"].shape == (2, 3, count // 3)
        np.testing.assert_array_equal(np.sort(seen["seen"].reshape(2, -1)), [np.arange(count)] * 2)
        np.testing.assert_array_equal(seen["seen"], seen["memory"])


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 1024, 1025, 3000, 100_000])
def test_a_random_order_has_every_number_once(count):
    first, second = (random_order(jax.random.key(seed), count) for seed in (0, 1))
    np.testing.assert_array_equal(np.sort(first), np.arange(count))
    if count > 3:
        assert np.mean(np.asarray(first) == second) < 0.01
        assert abs(np.corrcoef(first, np.arange(count))[0, 1]) < 5 / count**0.5


def test_all_orders_are_equally_likely():
    draws = 24_000
    orders = jax.vmap(lambda key: random_order(key, 4))(jax.random.split(jax.random.key(0), draws))
    kinds, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(kinds) == 24
    np.testing.assert_allclose(counts, draws / 24, atol=4 * (draws / 24) ** 0.5)
