"""n-step returns along sequences of several episodes, against loops over one step after another."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import sequence_returns


def sequence(rng: np.random.Generator, length: int) -> tuple[np.ndarray, ...]:
    terminated, truncated = rng.random((2, length)) < 0.2  # some steps are both
    return rng.normal(size=length).astype(np.float32), terminated, truncated, rng.normal(size=length).astype(np.float32)


def return_of_one(t, reward, terminated, truncated, successor_value, n_step, discount):
    total, weight = 0.0, 1.0
    for k in range(t, t + n_step):
        total += weight * reward[k]
        weight *= discount
        if terminated[k]:
            return total
        if truncated[k]:
            break
    return total + weight * successor_value[k]


def return_without_successors(t, reward, terminated, truncated, value, n_step, discount):
    """Only V(s_k) is known, not that of the successor of a truncated step; None if there is no target."""
    total, weight = 0.0, 1.0
    for k in range(t, t + n_step):
        if truncated[k] and not terminated[k]:
            return None if k == t else total + weight * value[k]
        total += weight * reward[k]
        weight *= discount
        if terminated[k]:
            return total
    return total + weight * value[t + n_step]


def check_returns(module: ModuleType) -> None:
    for seed, n_step in enumerate((1, 2, 3, 5) * 5):
        rng = np.random.default_rng(seed)
        one, discount = sequence(rng, 14), rng.uniform(0.8, 1.0)
        ours = module.sequence_returns(*map(jnp.asarray, one), n_step, discount)
        expected = [return_of_one(t, *one, n_step, discount) for t in range(14 - n_step + 1)]
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def check_returns_without_successors(module: ModuleType) -> None:
    for seed, n_step in enumerate((1, 2, 3, 5) * 5):
        rng = np.random.default_rng(seed)
        reward, terminated, truncated, value = map(jnp.asarray, sequence(rng, 15))
        ended, valid = module.without_truncated_successors(terminated, truncated)
        ours = module.sequence_returns(reward[:-1], terminated[:-1], ended, value[1:], n_step, 0.9)
        for t in range(14 - n_step + 1):
            expected = return_without_successors(t, reward, terminated, truncated, value, n_step, 0.9)
            assert bool(valid[t]) == (expected is not None)
            if expected is not None:
                np.testing.assert_allclose(ours[t], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("check", [check_returns, check_returns_without_successors])
def test_operators_equal_their_oracles(check):
    check(sequence_returns)


def test_a_batch_of_sequences_is_each_of_them():
    batch = [sequence(np.random.default_rng(seed), 10) for seed in range(4)]
    stacked = [np.stack(x, axis=1) for x in zip(*batch, strict=True)]
    over_batch = jax.vmap(sequence_returns.sequence_returns, in_axes=(1, 1, 1, 1, None, None), out_axes=1)
    together = jax.jit(over_batch, static_argnums=4)(*stacked, 3, 0.9)
    for b, one in enumerate(batch):
        alone = sequence_returns.sequence_returns(*map(jnp.asarray, one), 3, 0.9)
        np.testing.assert_allclose(together[:, b], alone, rtol=1e-6)


def test_columns_against_rows_are_refused():
    with pytest.raises(AssertionError):
        sequence_returns.sequence_returns(jnp.zeros((4, 1)), jnp.zeros(4, bool), jnp.zeros(4, bool), jnp.zeros(4), 1, 1)
