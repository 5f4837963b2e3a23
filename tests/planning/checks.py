"""What the backups must compute, as functions of the module under test so that mutants can be tried."""

from types import ModuleType

import numpy as np

from tests.planning import oracles
from tests.planning.problems import random_policy, random_problem

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def hard_backups(backups: ModuleType) -> None:
    for seed in range(4):
        mdp, rng = random_problem(seed), np.random.default_rng(seed)
        values, policy = rng.normal(size=mdp.num_states).astype(np.float32), random_policy(mdp, seed)
        np.testing.assert_allclose(
            backups.optimal_backup(mdp, values), oracles.optimal_backup(oracles.slow(mdp), values), **TOLERANCE
        )
        found, expected = (
            backups.policy_backup(mdp, policy, values),
            oracles.policy_backup(oracles.slow(mdp), policy, values),
        )
        np.testing.assert_allclose(found, expected, **TOLERANCE)
        q_values = rng.normal(size=(mdp.num_states, mdp.num_actions)).astype(np.float32)
        np.testing.assert_allclose(
            backups.q_backup(mdp, q_values), oracles.q_backup(oracles.slow(mdp), q_values), **TOLERANCE
        )


def soft_backups(soft: ModuleType) -> None:
    for seed in range(4):
        mdp, rng = random_problem(seed), np.random.default_rng(seed)
        values = rng.normal(size=mdp.num_states).astype(np.float32)
        for temperature in (0.3, 2.0):
            found, expected = (
                soft.soft_backup(mdp, values, temperature),
                oracles.soft_backup(oracles.slow(mdp), values, temperature),
            )
            np.testing.assert_allclose(found, expected, **TOLERANCE)
            found = soft.soft_backup(mdp, values, temperature, optimistic=True)
            np.testing.assert_allclose(
                found, oracles.optimistic_backup(oracles.slow(mdp), values, temperature), **TOLERANCE
            )


def messages(soft: ModuleType) -> None:
    for seed, horizon in ((0, 1), (1, 2), (2, 3), (3, 4)):
        mdp = random_problem(seed, states=3 + seed % 2, actions=2)
        found = soft.control_as_inference(mdp, horizon, temperature=0.7)
        marginals, joint = oracles.posterior(oracles.slow(mdp), horizon, temperature=0.7)
        np.testing.assert_allclose(found.marginals, marginals, **TOLERANCE)
        np.testing.assert_allclose(found.marginals[0][:, None] * found.policy[0], joint, **TOLERANCE)
