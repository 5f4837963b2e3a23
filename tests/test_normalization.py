"""Running statistics against NumPy over everything seen."""

import jax.numpy as jnp
import numpy as np

from purerl.normalization import init_statistics, normalize, update_statistics


def test_statistics_are_those_of_all_batches():
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, size=(length, 4, 5)).astype(np.float32) for length in (1, 7, 20)]
    statistics = init_statistics((5,))
    for batch in batches:
        statistics = update_statistics(statistics, jnp.asarray(batch))
    everything = np.concatenate([batch.reshape(-1, 5) for batch in batches])
    np.testing.assert_allclose(statistics.mean, everything.mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.variance, everything.var(0), rtol=1e-4)
    assert statistics.count == len(everything)
    expected = (everything - everything.mean(0)) / everything.std(0)
    np.testing.assert_allclose(normalize(statistics, everything), expected, rtol=1e-3, atol=1e-4)


def test_large_offsets_do_not_cancel():
    batches = 1e4 + np.random.default_rng(0).normal(size=(50, 100)).astype(np.float32)
    statistics = init_statistics(())
    for batch in batches:
        statistics = update_statistics(statistics, jnp.asarray(batch))
    np.testing.assert_allclose(statistics.variance, batches.astype(np.float64).var(), rtol=0.02)


def test_scalars_bytes_and_clipping():
    statistics = update_statistics(init_statistics((2,)), jnp.array([[0, 255], [2, 255]], jnp.uint8))
    assert statistics.mean.tolist() == [1.0, 255.0]
    assert normalize(statistics, jnp.array([1.0, 256.0])).tolist() == [0.0, 10.0]
    assert normalize(init_statistics((1,)), jnp.array([100.0])).tolist() == [10.0]
