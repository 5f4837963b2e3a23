"""Policy gradients in a learned model: values and actions that are known, what masks do, and that few steps suffice."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import evaluate, make, presets, run
from purerl.algorithms.model_based import model_policy_gradient
from purerl.networks.heads import Readout
from purerl.train import train
from tests.algorithms.test_pets import corridor

SMALL = {
    "horizon": 4, "rollouts": 32, "updates_per_iteration": 40, "members": 2, "model_widths": (16,), "widths": (16,),
    "learning_rate": 1e-2, "critic_learning_rate": 1e-2, "target_rate": 0.1, "discount": 0.9,
    "model_learning_rate": 3e-3, "updates_per_round": 50, "max_rounds": 4, "steps_per_iteration": 25,
    "replay_capacity": 200, "warm_up_steps": 50,
}  # fmt: skip
BOTH = pytest.mark.parametrize("gradient", ["pathwise", "likelihood_ratio"])


def trained(algorithm, iterations: int, seed: int = 0):
    """The state after so many iterations."""
    program = jax.jit(lambda key: train(algorithm, key, iterations).state)
    return program(jax.random.key(seed))


def value(algorithm, state, observation: jax.Array) -> np.ndarray:
    """V as the learner sees it, `[N]`."""
    config = algorithm.config
    network = Readout(
        algorithm.environment.observation_space, 1, (), config.widths, config.activation, False, scale=1.0
    )
    return np.asarray(network.apply(state.learners.critic, observation))[:, 0]


def check_action(module: ModuleType, gradient: str = "pathwise") -> None:
    """The action that the probe asks for: half the observation, at the cost of its square distance."""
    one_step = {"horizon": 1, "bootstrap": False, "gradient": gradient, "updates_per_iteration": 100}
    environment = make("probe/continuous_observation_action")
    algorithm = module.make(environment, module.Config(**SMALL | one_step))
    state = trained(algorithm, 4)
    returns = evaluate(algorithm.policy(state), environment, jax.random.key(1), episodes=16).returns
    assert np.mean(returns) > -0.02


def check_values(module: ModuleType) -> None:
    """Reward 0, then 1, then the end, which the termination function knows: V(0) = discount, V(1) = 1."""
    ended = lambda o, a, after: o[0] > 0.5  # noqa: E731
    known = lambda o, a, after: jnp.where(o[0] > 0.5, 1.0, 0.0)  # noqa: E731
    environment = make("probe/discount", continuous=True)
    config = module.Config(**SMALL | {"updates_per_iteration": 200, "critic_learning_rate": 2e-2})
    algorithm = module.make(environment, config, known, ended)
    found = value(algorithm, trained(algorithm, 3), jnp.array([[0.0], [1.0]]))
    np.testing.assert_allclose(found, [0.9, 1.0], atol=0.07)


def check_endless_values(module: ModuleType) -> None:
    """Reward 1 for ever, cut every five steps: imagined episodes are not, and V = 1 / (1 - discount)."""
    environment = make("probe/truncation", continuous=True)
    config = module.Config(**SMALL | {"updates_per_iteration": 200, "critic_learning_rate": 2e-2})
    algorithm = module.make(environment, config)
    np.testing.assert_allclose(value(algorithm, trained(algorithm, 4), jnp.zeros((1, 1))), 10.0, atol=0.7)


@BOTH
def test_the_right_action_of_a_probe(gradient):
    check_action(model_policy_gradient, gradient)  # asserts


def test_values_before_a_known_end():
    check_values(model_policy_gradient)  # asserts


def test_values_without_an_end():
    check_endless_values(model_policy_gradient)  # asserts


@pytest.mark.parametrize(("gradient", "bootstrap"), [("pathwise", True), ("likelihood_ratio", False)])
def test_it_goes_where_the_reward_is_after_a_few_episodes(gradient, bootstrap):
    environment = corridor()
    distance = lambda o, a, after: -jnp.abs(after[0] - 1.0)  # noqa: E731
    algorithm = model_policy_gradient.make(
        environment, model_policy_gradient.Config(**SMALL | {"gradient": gradient, "bootstrap": bootstrap}), distance
    )
    state = trained(algorithm, 6)
    play = jax.jit(lambda key: evaluate(algorithm.policy(state), environment, key, episodes=16).returns)
    # three steps of half a unit lead from -0.5 to 1, for -1.5; standing still earns -18
    assert np.mean(play(jax.random.key(1))) > -5.0


def test_a_known_reward_is_not_learned():
    config = model_policy_gradient.Config(**SMALL)
    known = model_policy_gradient.make(corridor(), config, reward=lambda o, a, after: after[0])
    assert jax.eval_shape(known.init, jax.random.key(0)).model.output_mean.shape == (1,)
    learned = model_policy_gradient.make(corridor(), config)
    assert jax.eval_shape(learned.init, jax.random.key(0)).model.output_mean.shape == (2,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"replay_capacity": 90}, "multiple of the block of 25"),
        ({"warm_up_steps": 5}, "at least 10"),
        ({"gradient": "likelihood_ratio", "bootstrap": False, "rollouts": 1}, "raise it"),
        ({"trace_decay": 1.5}, "trace_decay"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        model_policy_gradient.make(corridor(), model_policy_gradient.Config(**SMALL | fields))


def test_a_squashed_policy_needs_bounds():
    unbounded = corridor()._replace(action_space=make("Pendulum-v1").action_space._replace(low=-jnp.inf, high=jnp.inf))
    with pytest.raises(ValueError, match="state_gaussian"):
        model_policy_gradient.make(unbounded, model_policy_gradient.Config(**SMALL))
    model_policy_gradient.make(unbounded, model_policy_gradient.Config(**SMALL | {"policy": "gaussian"}))


@pytest.mark.slow
def test_the_pendulum_is_swung_up_after_five_thousand_steps():
    preset = presets.load("model_policy_gradient", "Pendulum-v1")
    steps = preset.pop("total_steps")
    algorithm = model_policy_gradient.make(make("Pendulum-v1"), model_policy_gradient.Config(**preset))
    result = run(algorithm, total_steps=steps, seeds=4, evaluations=1, episodes=16, sinks=())
    returns = np.asarray(result.summary["evaluation"]["return_per_seed"])
    print(np.sort(returns))
    assert np.median(returns) >= -200
