"""Random finite problems with everything that can go wrong: terminal states, missing actions, rewards of successors."""

import numpy as np

from purerl.environments.finite import FiniteMDP, finite_mdp


def random_problem(seed: int, states: int = 7, actions: int = 3, discount: float = 0.9) -> FiniteMDP:
    """Sparse transitions, one or two terminal states, some actions missing."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(states, 0.3), size=(states, actions))
    available = rng.random((states, actions)) < 0.7
    available[np.arange(states), rng.integers(actions, size=states)] = True
    terminal = np.arange(states) >= states - 1 - seed % 2
    reward = rng.normal(size=(states, actions, states))
    return finite_mdp(transition, reward, discount, terminal=terminal, available=available)


def random_policy(mdp: FiniteMDP, seed: int) -> np.ndarray:
    """Probabilities over the available actions, `[S, A]`."""
    weights = np.random.default_rng(seed).exponential(size=mdp.available.shape) * np.asarray(mdp.available)
    return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30)
