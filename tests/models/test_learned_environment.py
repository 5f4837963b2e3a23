"""A learned model is an environment: model-free learners train in it unchanged, and act in the real one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import evaluate, train
from purerl.algorithms.policy_gradient import apg, ppo
from purerl.data.transitions import collect
from purerl.environments.wrappers import time_limit
from purerl.models.ensemble import EnsembleConfig, make_ensemble
from purerl.models.learned_environment import learned_environment
from tests.algorithms.test_pets import corridor

PPO = ppo.Config(num_envs=16, rollout_length=12, epochs=4, minibatches=2, learning_rate=1e-2, widths=(16,))
APG = apg.Config(num_envs=16, horizon=12, bootstrap=False, learning_rate=1e-2, widths=(16,))


@pytest.mark.parametrize(("module", "config", "iterations"), [(ppo, PPO, 40), (apg, APG, 60)], ids=["ppo", "apg"])
def test_a_learner_without_a_model_trains_inside_one(module, config, iterations):
    """Fitted to 400 random steps of the corridor; two seeds, model and all, in one program.

    The reward is known: a learned one is exploited to the right of the data, where it does not fall again.
    From -0.5 three steps of half a unit lead to 1, for -1.5; standing still earns -18.
    """
    environment = corridor()
    distance = lambda o, a, after: -jnp.abs(after[0] - 1.0)  # noqa: E731
    ensemble = make_ensemble(
        environment,
        EnsembleConfig(
            members=2, widths=(16,), learning_rate=3e-3, updates_per_round=100, max_rounds=5, learn_reward=False
        ),
    )

    def one(key):
        collect_key, init_key, fit_key, train_key, test_key = jax.random.split(key, 5)
        data = collect(environment, None, collect_key, 400)
        model, _ = ensemble.fit(ensemble.init(init_key), fit_key, data, jnp.asarray(400))
        imagined = time_limit(learned_environment(environment, ensemble, model, data.observation, distance), 12)
        algorithm = module.make(imagined, config)
        before = algorithm.init(train_key)
        after = train(algorithm, train_key, iterations).state
        return [jnp.mean(evaluate(algorithm.policy(x), environment, test_key, 16).returns) for x in (before, after)]

    program = jax.jit(jax.vmap(one))
    untrained, trained = (np.asarray(x) for x in program(jax.random.split(jax.random.key(0), 2)))
    assert np.all(trained > -5.0)
    assert np.all(trained > untrained + 5.0)
