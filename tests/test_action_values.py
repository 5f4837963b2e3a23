"""Beliefs about returns: against oracles, on batches, and what they learn of a return that is known.

The guards take the module under test: a mutant fits in its place.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from purerl import action_values
from purerl.operators.distributional import quantile_midpoints
from purerl.operators.temporal_difference import half_square, huber
from tests.compilation import AS_USERS
from tests.operators import test_distributional as oracles

BATCH, ACTIONS, ATOMS = 6, 3, 9
SUPPORT = np.linspace(-4.0, 4.0, ATOMS).astype(np.float32)
TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}


def example(module: ModuleType, kind: str, seed: int = 0, batch: tuple[int, ...] = (BATCH,)):
    """A random Z(s, .) of that kind over a batch of states."""
    keys = jax.random.split(jax.random.key(seed))
    values = 2.0 * jax.random.normal(keys[0], (*batch, ACTIONS, ATOMS))
    if kind == "expected":
        return module.ExpectedReturn(values[..., 0])
    if kind == "categorical":
        return module.CategoricalReturn(values, jnp.broadcast_to(SUPPORT, (*batch, ATOMS)))
    return module.QuantileReturn(values, jax.random.uniform(keys[1], (*batch, ATOMS)))


def transitions(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Actions, rewards and discounts; some discounts are 0 (terminated)."""
    rng = np.random.default_rng(seed)
    discount = np.where(rng.random(BATCH) < 0.4, 0.0, 0.9).astype(np.float32)
    return rng.integers(ACTIONS, size=BATCH), rng.normal(size=BATCH).astype(np.float32), discount


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def expected_return(module: ModuleType) -> None:
    z, (action, reward, discount) = example(module, "expected"), transitions()
    values = np.asarray(z.values)
    target = example(module, "expected", 1).of(action).bellman(reward, discount)
    goal = [r + d * v[a] for r, d, v, a in zip(reward, discount, z_values(module, 1), action, strict=True)]
    np.testing.assert_allclose(target.values, goal, **TOLERANCE)
    error = [v[a] - y for v, a, y in zip(values, action, goal, strict=True)]
    for loss, expected in ((half_square, [e**2 / 2 for e in error]), (huber, [oracle_huber(e) for e in error])):
        np.testing.assert_allclose(z.of(action).loss(target, loss), expected, **TOLERANCE)
    np.testing.assert_allclose(z.of(action).surprise(target), np.abs(error), **TOLERANCE)
    np.testing.assert_array_equal(z.mean(), values)
    np.testing.assert_array_equal(z.cvar(0.25), values)


def z_values(module: ModuleType, seed: int) -> np.ndarray:
    return np.asarray(example(module, "expected", seed).values)


def oracle_huber(error: float) -> float:
    return error**2 / 2 if abs(error) <= 1 else abs(error) - 0.5


def categorical_return(module: ModuleType) -> None:
    z, (action, reward, discount) = example(module, "categorical"), transitions()
    other = example(module, "categorical", 1)
    target = other.of(action).bellman(reward, discount)
    probabilities, bootstrap = softmax(np.asarray(z.logits)), softmax(np.asarray(other.logits))
    np.testing.assert_allclose(z.mean(), (probabilities * SUPPORT).sum(-1), **TOLERANCE)
    loss, surprise = z.of(action).loss(target, half_square), z.of(action).surprise(target)
    for i in range(BATCH):
        mass = oracles.projection_oracle(SUPPORT, bootstrap[i, action[i]], reward[i] + discount[i] * SUPPORT)
        prediction = probabilities[i, action[i]]
        np.testing.assert_allclose(target.probabilities()[i], mass, **TOLERANCE)
        np.testing.assert_allclose(
            loss[i], -sum(m * np.log(p) for m, p in zip(mass, prediction, strict=True)), rtol=1e-4
        )
        np.testing.assert_allclose(surprise[i], scipy.stats.entropy(mass, prediction), rtol=1e-3, atol=1e-5)
        for a, level in ((0, 0.1), (1, 0.5), (2, 1.0)):
            expected = oracles.cvar_oracle(SUPPORT, probabilities[i, a], level)
            np.testing.assert_allclose(z.cvar(level)[i, a], expected, rtol=1e-4, atol=1e-5)


def quantile_return(module: ModuleType) -> None:
    z, (action, reward, discount) = example(module, "quantile"), transitions()
    other = example(module, "quantile", 1)
    target = other.of(action).bellman(reward, discount)
    values, levels = np.asarray(z.values), np.asarray(z.levels)
    np.testing.assert_allclose(z.mean(), values.mean(-1), **TOLERANCE)
    loss, surprise = z.of(action).loss(target, half_square), z.of(action).surprise(target)
    for i in range(BATCH):
        goal = reward[i] + discount[i] * np.asarray(other.values)[i, action[i]]
        prediction = values[i, action[i]]
        np.testing.assert_allclose(target.values[i], goal, **TOLERANCE)
        np.testing.assert_allclose(loss[i], oracles.quantile_huber_oracle(prediction, levels[i], goal, 1.0), rtol=1e-4)
        np.testing.assert_allclose(surprise[i], abs(goal.mean() - prediction.mean()), **TOLERANCE)
        for a, level in ((0, 0.1), (1, 0.5), (2, 1.0)):
            expected = oracles.cvar_oracle(values[i, a], np.full(ATOMS, 1 / ATOMS), level)
            np.testing.assert_allclose(z.cvar(level)[i, a], expected, rtol=1e-4, atol=1e-5)


GUARDS = {"expected": expected_return, "categorical": categorical_return, "quantile": quantile_return}
KINDS = pytest.mark.parametrize("kind", list(GUARDS))


@KINDS
def test_every_method_equals_its_oracle(kind):
    GUARDS[kind](action_values)  # asserts


@KINDS
def test_leading_axes_are_a_batch_and_vmap_gives_the_same(kind):
    z, other = (example(action_values, kind, seed, (2, 3)) for seed in (0, 1))
    action, reward, discount = jnp.array([[0, 1, 2], [2, 1, 0]]), jnp.ones((2, 3)), jnp.array([[0.9, 0, 0.9]] * 2)

    def everything(z, other, action, reward, discount):
        target = other.of(action).bellman(reward, discount)
        chosen = z.of(action)
        return z.mean(), z.cvar(0.3), chosen.mean(), chosen.loss(target, huber), chosen.surprise(target)

    batched = jax.jit(everything)(z, other, action, reward, discount)
    mapped = jax.jit(jax.vmap(jax.vmap(everything)))
    for whole, alone in zip(batched, mapped(z, other, action, reward, discount), strict=True):
        np.testing.assert_allclose(whole, alone, rtol=1e-5, atol=1e-5)
    assert batched[3].shape == (2, 3)


@KINDS
def test_gradients_are_finite_where_the_target_has_no_mass(kind):
    z = example(action_values, kind)

    def loss(z):
        chosen = z.of(jnp.zeros(BATCH, int))
        return chosen.loss(chosen.bellman(jnp.full(BATCH, 9.0), jnp.zeros(BATCH)), huber).sum()

    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(jax.jit(jax.grad(loss))(z)))


def test_a_prediction_that_equals_its_target_does_not_surprise():
    for kind in GUARDS:
        z = example(action_values, kind).of(jnp.zeros(BATCH, int))
        np.testing.assert_allclose(z.surprise(z), 0.0, atol=1e-6)


def test_a_terminal_target_is_the_reward_alone():
    z = example(action_values, "categorical").of(jnp.zeros(BATCH, int))
    target = z.bellman(jnp.full(BATCH, 2.0), jnp.zeros(BATCH)).probabilities()
    np.testing.assert_array_equal(target, np.tile(SUPPORT == 2.0, (BATCH, 1)))


def test_the_mean_picks_the_risky_action_and_the_tail_the_safe_one():
    """Safe pays 0.4 always, risky 1 or 0 with equal probability: means 0.4 and 0.5, worst quarters 0.4 and 0."""
    support = jnp.linspace(0.0, 1.0, 11)
    probabilities = jnp.zeros((2, 11)).at[0, 4].set(1.0).at[1, jnp.array([0, 10])].set(0.5)
    categorical = action_values.CategoricalReturn(jnp.log(probabilities), support)
    values = jnp.array([[0.4] * 8, [1.0, 0.0] * 4])
    quantile = action_values.QuantileReturn(values, quantile_midpoints(8))
    for z in (categorical, quantile):
        np.testing.assert_allclose(z.mean(), [0.4, 0.5], atol=1e-6)
        np.testing.assert_allclose(z.cvar(0.25), [0.4, 0.0], atol=1e-6)
        np.testing.assert_allclose(z.cvar(1.0), z.mean(), atol=1e-6)


CHAIN_ATOMS, DISCOUNT = 51, 0.9
CHAIN_SUPPORT = jnp.linspace(-2.0, 12.0, CHAIN_ATOMS)


def chain_belief(kind: str, table: jax.Array):
    """Z of the two states, with one action, from a table `[2, 1, CHAIN_ATOMS]`."""
    if kind == "expected":
        return action_values.ExpectedReturn(table[..., 0])
    if kind == "categorical":
        return action_values.CategoricalReturn(table, CHAIN_SUPPORT)
    return action_values.QuantileReturn(table, jnp.broadcast_to(quantile_midpoints(CHAIN_ATOMS), (2, CHAIN_ATOMS)))


def learn_chain(kind: str, steps: int = 3000, **loss_options):
    """Temporal differences on a chain of two steps, the last one paying 0 or 10 with equal probability; 3 seeds."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, steps))
    only = jnp.zeros(2, int)

    def loss(table, key):
        successor = chain_belief(kind, jnp.roll(jax.lax.stop_gradient(table), -1, axis=0)).of(only)
        prediction = chain_belief(kind, table).of(only)

        def one(pays):
            target = successor.bellman(jnp.array([0.0, 10.0]) * pays, jnp.array([DISCOUNT, 0.0]))
            return prediction.loss(target, half_square, **loss_options)

        return jax.vmap(one)(jax.random.bernoulli(key, shape=(16,))).mean()

    def update(carry, key):
        table, state = carry
        updates, state = optimizer.update(jax.grad(loss)(table, key), state)
        return (optax.apply_updates(table, updates), state), None

    def learn(key):
        table = jnp.zeros((2, 1, CHAIN_ATOMS))
        carry, _ = jax.lax.scan(update, (table, optimizer.init(table)), jax.random.split(key, steps))
        return carry[0]

    program = jax.jit(jax.vmap(learn), compiler_options=AS_USERS)
    tables = program(jax.random.split(jax.random.key(0), 3))
    return [chain_belief(kind, table) for table in tables]


@pytest.mark.parametrize(("kind", "options"), [("expected", {}), ("categorical", {}), ("quantile", {"kappa": 0.1})])
def test_temporal_differences_learn_the_return_of_a_two_outcome_chain(kind, options):
    for z in learn_chain(kind, **options):
        np.testing.assert_allclose(z.mean()[:, 0], [DISCOUNT * 5.0, 5.0], atol=0.4)
        for state, best in enumerate((DISCOUNT * 10.0, 10.0)):
            if kind == "categorical":  # closer than the distance of two atoms
                values, mass, limit = CHAIN_SUPPORT, z.probabilities()[state, 0], 14.0 / (CHAIN_ATOMS - 1)
            elif kind == "quantile":
                values, mass, limit = z.values[state, 0], None, 0.05 * best
            else:
                continue
            assert scipy.stats.wasserstein_distance(values, [0.0, best], mass) < limit


def test_the_width_of_the_quantile_huber_loss_is_a_known_bias():
    """With kappa = 1 the minimiser for returns 0 or 10 is tau / (1 - tau) below the median, and the same from above."""
    levels = np.asarray(quantile_midpoints(CHAIN_ATOMS))
    low = np.minimum(levels, 1 - levels) / np.maximum(levels, 1 - levels)
    expected = np.where(levels < 0.5, low, 10.0 - low)
    off_median = np.abs(levels - 0.5) > 0.04  # at the median every value between is a minimum
    for z in learn_chain("quantile"):
        np.testing.assert_allclose(z.values[1, 0][off_median], expected[off_median], atol=0.15)
