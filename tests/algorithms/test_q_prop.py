"""Q-Prop without its control variate is TRPO; with it, the step is that of the paper's gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from purerl import Time, make, train
from purerl.algorithms.policy_gradient import q_prop, trpo
from purerl.evaluate import evaluate
from purerl.networks.critics import Critics
from purerl.networks.heads import actor_critic, split_parameters
from purerl.operators.control_variate import control_variate, controlled_surrogate
from purerl.operators.natural_gradient import fisher_vector_product
from purerl.rollout import advantages, collector

SMALL = {"num_envs": 4, "rollout_length": 32, "minibatches": 2, "epochs": 2, "widths": (8,)}
SMALL_CRITIC = {"replay_capacity": 512, "critic_widths": (8,), "batch_size": 16}


def test_without_a_control_variate_it_is_trpo_bit_by_bit():
    environment, key = make("Pendulum-v1"), jax.random.key(0)
    fields = SMALL | {"normalize_observations": True, "scale_rewards": True, "entropy_coefficient": 0.01}
    one = q_prop.make(environment, q_prop.Config(**fields, control_variate="none"))
    other = trpo.make(environment, trpo.Config(**fields))
    mine, expected = (jax.jit(lambda algorithm=x: train(algorithm, key, 3))() for x in (one, other))
    assert mine.state.learner is None
    jax.tree.map(np.testing.assert_array_equal, mine.state.params, expected.state.params)
    jax.tree.map(np.testing.assert_array_equal, mine.metrics, expected.metrics)


def check_gradient(module) -> None:
    """The step, multiplied by the Fisher matrix, points along the paper's gradient, computed sample by sample.

    Both terms in the unit of the raw advantage: dividing them by one number leaves the direction as it is.
    """
    environment = make("Pendulum-v1")
    fields = SMALL | SMALL_CRITIC | {"max_kl": 1e-6, "damping": 0.1, "conjugate_gradient_steps": 40}
    config = module.Config(**fields, control_variate="full", trace_decay=0.0)
    algorithm = module.make(environment, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    steep = jax.tree.map(lambda x: 30.0 * x, state.learner.critic)  # so that the critic's part is not small
    state = state.replace(learner=state.learner.replace(critic=steep))
    after, metrics = jax.jit(algorithm.step)(state, Time(jnp.int32(0), jnp.float32(0)))
    assert metrics["accepted"] == 1
    network = actor_critic(environment, config)
    critic = Critics(environment.observation_space, 1, (8,), config.critic_activation, False)
    act_key = jax.random.split(jax.random.fold_in(state.key, 0), 3)[0]
    actor = collector(environment, network, num_envs=4, rollout_length=32, discount=config.discount)
    _, rollout = actor.collect(state.params, state.collector, act_key)
    estimated = advantages(rollout, config.discount, 0.0)
    estimated = estimated - estimated.mean()  # the average baseline that standardising brings
    old, value = split_parameters(state.params)

    def policy(params):
        return network.apply({"params": params | value}, rollout.observation, method=network.policy)[1]

    mean = policy(old).mean
    slope = jax.grad(lambda action: critic.apply(state.learner.critic, rollout.observation, action).sum())(mean)
    bar = (slope * (rollout.action - mean)).sum(-1)
    assert 0.1 < bar.std() / estimated.std() < 10

    def paper(params):
        new = policy(params)
        score = new.log_probability(rollout.action) * (estimated - bar)
        return (score + (slope * new.mean).sum(-1)).mean()

    gradient = jax.grad(paper)(old)
    step = jax.tree.map(jnp.subtract, split_parameters(after.params)[0], old)
    product = fisher_vector_product(lambda params: policy(old).kl(policy(params)).mean(), old, step, config.damping)
    assert cosine(product, gradient) > 0.999


def cosine(a, b) -> float:
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (a, b))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_step_is_along_the_natural_gradient_of_the_paper():
    check_gradient(q_prop)  # asserts


PROBE = {"num_envs": 8, "rollout_length": 10, "minibatches": 2, "epochs": 4, "widths": (32,), "discount": 0.9}
PROBE_CRITIC = {
    "critic_widths": (32,),
    "critic_learning_rate": 1e-2,
    "target_rate": 0.05,
    "batch_size": 32,
    "replay_capacity": 1600,
}


def learned(module, environment, iterations: int, **fields):
    config = module.Config(**PROBE | PROBE_CRITIC | {"value_learning_rate": 3e-3, "max_kl": 0.05} | fields)
    algorithm = module.make(environment, config)
    keys = jax.random.split(jax.random.key(0), 3)
    return algorithm, jax.jit(jax.vmap(lambda key: train(algorithm, key, iterations).state))(keys)


def critic_of(algorithm):
    return Critics(algorithm.environment.observation_space, 1, (32,), algorithm.config.critic_activation, False)


def check_critic(module) -> None:
    """Reward 1 at every step and a time limit, which is not the end: Q = 1 / (1 - discount) for any action."""
    algorithm, states = learned(module, make("probe/truncation", continuous=True), 60)
    critic, observation = critic_of(algorithm), jnp.zeros((2, 1))
    action = jnp.array([[-0.5], [0.5]])
    values = jax.vmap(lambda state: critic.apply(state.learner.critic, observation, action))(states)
    np.testing.assert_allclose(values, 10.0, atol=0.5)


def test_the_critic_bootstraps_beyond_a_truncation():
    check_critic(q_prop)  # asserts


@pytest.mark.parametrize("kind", ["conservative", "adaptive"])
def test_it_learns_which_action_an_observation_asks_for(kind):
    environment = make("probe/continuous_observation_action")
    algorithm, states = learned(q_prop, environment, 200, control_variate=kind)
    returns = jax.vmap(lambda s: evaluate(algorithm.policy(s), environment, jax.random.key(1), episodes=32).returns)
    np.testing.assert_allclose(returns(states).mean(-1), 0.0, atol=0.02)


def test_a_fitted_critic_saves_a_third_of_the_variance():
    """One policy, which does not move while the critic learns; then batches of 80 fresh steps, closer to its mean.

    With the deviation of 1 that the policy begins with, a third of the actions are beyond their bounds, where nothing
    rises any more: the slope at the mean is then so much too steep that all of it would double the variance.
    """
    environment = make("probe/continuous_observation_action")
    algorithm, states = learned(q_prop, environment, 40, max_kl=1e-12)
    state, config, critic = jax.tree.map(lambda x: x[0], states), algorithm.config, critic_of(algorithm)
    network = actor_critic(environment, config)
    actor = collector(environment, network, num_envs=8, rollout_length=10, discount=config.discount)
    old, value = split_parameters(state.params)
    old = old | {"actor": old["actor"] | {"log_deviation": jnp.log(jnp.full(1, 0.2))}}

    def gradients(key):
        _, rollout = actor.collect({"params": old | value}, state.collector, key)
        advantage = advantages(rollout, config.discount, config.trace_decay).ravel()
        advantage = advantage - advantage.mean()
        observation, action = rollout.observation.reshape(-1, 1), rollout.action.reshape(-1, 1)

        def policy(params):
            return network.apply({"params": params | value}, observation, method=network.policy)[1]

        mean = policy(old).mean
        slope = jax.grad(lambda action: critic.apply(state.learner.critic, observation, action).sum())(mean)

        def objective(params, kind):
            control, new = control_variate(slope, action, mean, advantage, kind), policy(params)
            before = rollout.log_probability.ravel()
            return controlled_surrogate(new.log_probability(action), before, advantage, control, new.mean)

        kinds = ("none", "full", "conservative")
        return jnp.stack([ravel_pytree(jax.grad(objective)(old, kind))[0] for kind in kinds])

    found = jax.jit(jax.vmap(gradients))(jax.random.split(jax.random.key(2), 1000))
    plain, full, conservative = np.moveaxis(np.asarray(found, np.float64), 1, 0)
    variance = [x.var(0).sum() for x in (plain, full, conservative)]
    assert variance[1] < 0.7 * variance[0]
    assert variance[2] < 0.7 * variance[0]
    along = (full - plain) @ plain.mean(0) / np.linalg.norm(plain.mean(0))
    assert abs(along.mean()) < 3 * along.std() / np.sqrt(len(along))


@pytest.mark.parametrize(
    ("environment", "fields", "error", "message"),
    [
        ("CartPole-v1", {}, TypeError, "q_prop needs continuous actions"),
        ("Pendulum-v1", {"policy": "beta"}, ValueError, "memoryless Gaussian policy; policy='beta'"),
        ("Pendulum-v1", {"core": "gru"}, ValueError, "with core='gru' is not"),
        ("Pendulum-v1", {"update_to_data": (1, 3)}, ValueError, r"update_to_data=\(1, 3\) must be two positive"),
        ("Pendulum-v1", {"replay_capacity": 1000}, ValueError, "1000 must be a positive multiple of the block of 128"),
        ("Pendulum-v1", {"rollout_length": 1}, ValueError, "rollout_length must be at least 2"),
        ("Pendulum-v1", {"target_rate": 2.0}, ValueError, r"target_rate must be in \[0, 1\]"),
        ("Pendulum-v1", {"control_variate": "some"}, ValueError, "control_variate must be one of 'none'"),
    ],
)
def test_what_does_not_fit_is_refused(environment, fields, error, message):
    with pytest.raises(error, match=message):
        q_prop.make(make(environment), q_prop.Config(**SMALL | SMALL_CRITIC | fields))
