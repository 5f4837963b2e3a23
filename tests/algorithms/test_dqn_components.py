"""DQN's components: off they are plain DQN bit for bit; on, each does what its paper says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import Time, dqn, make, train
from purerl.algorithms.value_based import c51, qr_dqn, rainbow
from purerl.experience import example_step
from purerl.replay import uniform_replay
from purerl.train import advance, start
from tests.algorithms import plain_dqn

SMALL = {
    "num_envs": 4,
    "steps_per_iteration": 4,
    "updates_per_iteration": 3,
    "batch_size": 16,
    "replay_capacity": 320,
    "warm_up_steps": 64,
    "target_period": 48,
    "widths": (16, 16),
}


def clock(iteration: int) -> Time:
    return Time(jnp.int32(iteration), jnp.float32(iteration / 100))


def state_after(algorithm, iterations: int):
    training = jax.jit(lambda key: start(algorithm, key))(jax.random.key(0))
    go = jax.jit(lambda t: advance(algorithm, t, jnp.int32(0), iterations=iterations, total_iterations=100))
    return go(training)[0].state


@pytest.mark.parametrize("loss", ["huber", "squared"])
@pytest.mark.parametrize("environment", ["CartPole-v1", "Catch-bsuite"])
def test_with_every_switch_off_it_is_plain_dqn_bit_for_bit(environment, loss):
    """Compiled as written: the optimiser contracts products and sums of different programs differently (to 1e-8)."""
    as_written = {"xla_backend_optimization_level": 0}
    fields = SMALL | {"loss": loss, "normalize_observations": environment == "CartPole-v1"}
    results = []
    for module in (dqn, plain_dqn):
        algorithm = module.make(make(environment), module.Config(**fields))
        program = jax.jit(lambda key, one=algorithm: train(one, key, 60), compiler_options=as_written)
        results.append(program(jax.random.key(3)))
    ours, plain = results
    for name in ("params", "target_params", "optimizer", "observation_statistics", "environments"):
        a, b = (jax.tree.leaves(getattr(result.state, name)) for result in results)
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    for metric, values in plain.metrics.items():
        np.testing.assert_array_equal(ours.metrics[metric], values)


def test_double_and_single_targets_coincide_while_the_target_is_the_online_network():
    """The first update sees two equal networks; later ones do not."""
    losses = []
    for double in (False, True):
        config = dqn.Config(**SMALL | {"updates_per_iteration": 1, "double": double, "learning_rate": 1e-2})
        algorithm = dqn.make(make("CartPole-v1"), config)
        losses.append(jax.jit(lambda key, one=algorithm: train(one, key, 30).metrics["loss"])(jax.random.key(0)))
    np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-6)
    assert not np.allclose(losses[0][1:], losses[1][1:], rtol=1e-4)


def test_an_environment_follows_one_member_from_reset_to_reset():
    config = dqn.Config(**SMALL | {"members": 5, "prior_scale": 1.0, "epsilon_start": 0.0, "epsilon_end": 0.0})
    algorithm = dqn.make(make("CartPole-v1"), config)
    state, step = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.step)
    changed_while_running = changed = 0
    for iteration in range(40):
        before, length = state.member, state.environments.episode_length
        state, _ = step(state, clock(iteration))
        running = state.environments.episode_length == length + SMALL["steps_per_iteration"]
        changed_while_running += int(jnp.sum(running & (before != state.member)))
        changed += int(jnp.sum(before != state.member))
    assert changed_while_running == 0
    assert changed > 20


def test_members_learn_apart_and_priors_never():
    config = dqn.Config(**SMALL | {"members": 3, "prior_scale": 1.0, "mask_probability": 0.5})
    algorithm = dqn.make(make("CartPole-v1"), config)
    before, after = state_after(algorithm, 0), state_after(algorithm, 10)
    kinds = before.params["params"].keys()
    assert len(kinds) == 2  # the networks and the priors
    for kind in kinds:
        moved = jax.tree.map(
            lambda a, b: not np.array_equal(a, b), before.params["params"][kind], after.params["params"][kind]
        )
        assert jax.tree.all(moved) == ("Prior" not in kind)
        assert any(jax.tree.leaves(moved)) == ("Prior" not in kind)


def test_a_member_that_learns_from_nothing_stays_as_it_was():
    config = dqn.Config(**SMALL | {"members": 3, "mask_probability": 0.0})
    algorithm = dqn.make(make("CartPole-v1"), config)
    training = jax.jit(lambda key: start(algorithm, key))(jax.random.key(0))
    after = jax.jit(lambda t: advance(algorithm, t, jnp.int32(0), iterations=5, total_iterations=9))(training)[0]
    for a, b in zip(jax.tree.leaves(training.state.params), jax.tree.leaves(after.state.params), strict=True):
        np.testing.assert_array_equal(a, b)


NOBODY_LEARNS = {
    "what a time limit cut, where successors are shared": {"share_observations": True},
    "what no member takes": {"members": 2, "mask_probability": 0.5, "epsilon_start": 0.0},
}


@pytest.mark.parametrize("fields", NOBODY_LEARNS.values(), ids=NOBODY_LEARNS)
def test_what_nobody_learns_from_has_no_priority(fields):
    """Its error never falls: it would be drawn again and again."""
    config = dqn.Config(**SMALL | {"sampling": "proportional", "priority_epsilon": 1e-5} | fields)
    algorithm = dqn.make(make("probe/truncation", steps=3), config)
    state = state_after(algorithm, 60)
    capacity = config.replay_capacity
    steps = algorithm_replay(config, algorithm.environment).read(state.replay, jnp.arange(capacity))
    nobody = steps.truncated if config.share_observations else ~jnp.any(steps.mask, axis=-1)
    weights = state.priorities.weights[0][:capacity]
    least = (weights > 0.0) & (weights <= 1.01e-5**config.priority_exponent)  # no surprise, only epsilon
    assert jnp.sum(nobody & least) > 30  # the others have not been drawn since they were written
    assert not jnp.any(~nobody & least)


def algorithm_replay(config, environment):
    """The replay as DQN makes it."""
    example = example_step(environment, config.share_observations, config.members)
    block = config.num_envs * config.steps_per_iteration
    return uniform_replay(config.replay_capacity, block, example, config.num_envs)


def test_noisy_layers_act_anew_at_every_step_and_not_in_evaluation():
    algorithm = rainbow.make(make("CartPole-v1"), rainbow.Config(**SMALL, noise_deviation=20.0))
    state = state_after(algorithm, 1)
    observation, keys = jnp.array([0.01, 0.02, 0.03, 0.04]), jax.random.split(jax.random.key(0), 64)
    for greedy in (True, False):
        policy = algorithm.policy(state, greedy=greedy)
        chosen = jax.vmap(lambda key, act=policy.act: act(key, (), observation)[1])(keys)
        assert len(np.unique(chosen)) == (1 if greedy else 2)


def test_boltzmann_explores_by_the_gap_of_the_values():
    config = dqn.Config(**SMALL | {"exploration": "boltzmann", "temperature_end": 0.5, "exploration_fraction": 0.1})
    algorithm = dqn.make(make("CartPole-v1"), config)
    state = state_after(algorithm, 30)
    observation = jnp.array([0.01, 0.02, 0.03, 0.04])
    values = dqn.q_function(algorithm.environment, config).apply(state.params, observation).mean()
    act = algorithm.policy(state, greedy=False).act
    chosen = jax.vmap(lambda key: act(key, (), observation)[1])(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(np.mean(chosen), jax.nn.softmax(values / 0.5)[1], atol=0.03)


def test_the_support_of_c51_bounds_its_values():
    config = c51.Config(**SMALL, support_low=0.0, support_high=2.0, atoms=5, learning_rate=1e-2)
    algorithm = c51.make(make("CartPole-v1"), config)  # whose values are near 100
    state = state_after(algorithm, 100)
    observations = jax.random.normal(jax.random.key(0), (50, 4))
    values = dqn.q_function(algorithm.environment, config).apply(state.params, observations).mean()
    assert jnp.all((values >= 0.0) & (values <= 2.0))
    assert jnp.mean(values) > 1.5


def test_risk_aversion_changes_the_choice():
    """Of the same learned quantiles, the mean prefers one action and the worst tenth the other."""
    environment = make("CartPole-v1")
    neutral, averse = (qr_dqn.Config(**SMALL, atoms=10, risk_averse=averse, risk=0.1) for averse in (False, True))
    state = state_after(qr_dqn.make(environment, neutral), 1)
    head = next(name for name in state.params["params"] if name.startswith("Dense"))
    safe, risky = np.full(10, 0.4), np.repeat([0.0, 1.0], 5)
    params = jax.tree.map(jnp.zeros_like, state.params)
    params["params"][head]["bias"] = jnp.asarray(np.concatenate([safe, risky]), jnp.float32)
    state = state.replace(params=params)
    actions = [
        int(qr_dqn.make(environment, config).policy(state).act(jax.random.key(0), (), jnp.zeros(4))[1])
        for config in (neutral, averse)
    ]
    assert actions == [1, 0]


def test_minatar_observations_are_stored_once_if_shared():
    fields = SMALL | {"share_observations": True}
    stored = jax.eval_shape(dqn.make(make("Breakout-MinAtar"), dqn.Config(**fields)).init, jax.random.key(0)).replay
    assert stored["uint8"].shape == (320, 400)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"soft": True}, "soft backs up the value .* needs exploration"),
        ({"prior_scale": 3.0}, r"prior_scale=3.0 is for an ensemble and does nothing with members=1"),
        ({"mask_probability": 0.5}, r"mask_probability=0.5 is for an ensemble"),
        ({"members": 4, "head": "quantile"}, r"an ensemble \(members=4\) needs head"),
        ({"head": "categorical", "support_low": 3.0, "support_high": 3.0}, r"support_low \(3.0\) must be below"),
        ({"head": "categorical", "atoms": 1}, "at least 2 atoms"),
        ({"n_step": 0}, "n_step must be > 0"),
        ({"n_step": 15}, r"must leave batch_size \(16\) complete"),
        ({"risk": 0.0}, "risk must be > 0"),
        ({"risk_averse": True}, "risk_averse needs a head"),
        ({"sampling": "prioritised"}, "sampling must be one of 'uniform', 'proportional', 'rank'"),
        ({"head": "c51"}, "head must be one of 'expected', 'categorical'"),
    ],
)
def test_components_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dqn.make(make("CartPole-v1"), dqn.Config(**SMALL | fields))


@pytest.mark.parametrize("sampling", ["uniform", "proportional"])
def test_no_copy_of_the_replay_is_in_the_program_of_many_agents(sampling):
    """The working memory of 64 agents is the same for any capacity, and a fraction of one replay."""

    def working_memory(capacity: int) -> int:
        fields = SMALL | {"replay_capacity": capacity, "sampling": sampling}
        algorithm = dqn.make(make("CartPole-v1"), dqn.Config(**fields))
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 64))
        training = jax.eval_shape(jax.vmap(lambda key: start(algorithm, key)), keys)
        go = jax.vmap(lambda t, first: advance(algorithm, t, first, iterations=9, total_iterations=99), (0, None))
        compiled = jax.jit(go, donate_argnums=0).lower(training, jax.ShapeDtypeStruct((), jnp.int32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = working_memory(16_000), working_memory(160_000)
    assert large <= 1.1 * small
    assert large < 160_000 * 13 * 4  # one agent's replay: 13 words a step
