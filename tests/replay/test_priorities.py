"""Priorities against slow oracles: what may be sampled, how often, and what it costs."""

from itertools import pairwise
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from purerl.replay import importance_weights, priorities, proportional, rank_based, ranks, sum_tree

KINDS = {"proportional": proportional, "rank-based": rank_based}


class SlowRing:
    """What the rows of a ring weigh: row number g lies at slot g % capacity."""

    def __init__(self, capacity, block, ahead):
        self.capacity, self.block, self.ahead, self.rows = capacity, block, ahead, {}

    def enter(self, written, fresh):
        end = (written + 1) * self.block
        self.rows = {g: w for g, w in self.rows.items() if g >= end - self.capacity}
        for g in range(max(0, end - self.block - self.ahead), end - self.ahead):
            self.rows[g] = fresh

    def weights(self):
        weights = np.zeros(self.capacity)
        for g, weight in self.rows.items():
            weights[g % self.capacity] = weight
        return weights

    def set(self, slot, weight):
        (g,) = (g for g in self.rows if g % self.capacity == slot)
        self.rows[g] = weight


def leaves(state, capacity):
    assert not np.any(state.weights[0][capacity:])
    return np.asarray(state.weights[0][:capacity])


def assert_sums(levels):
    for lower, upper in pairwise(levels):
        sums = np.asarray(lower, np.float64).reshape(-1, sum_tree.BRANCHES).sum(axis=1)
        np.testing.assert_allclose(upper[: sums.size], sums, rtol=1e-6)


def check_proportional(priorities: ModuleType) -> None:
    """Entering and updating, with windows, repeated slots and many turns of the ring."""
    for capacity, block, ahead in ((60, 5, 0), (60, 5, 3), (40, 10, 25), (400, 100, 7), (33, 3, 30)):
        exponent, epsilon, rng = 0.7, 0.01, np.random.default_rng(ahead)
        parts = priorities.proportional(capacity, block, exponent, epsilon, ahead_slots=ahead)
        enter, update = jax.jit(parts.enter), jax.jit(parts.update)
        state, slow, largest = parts.init(), SlowRing(capacity, block, ahead), 1.0
        for written in range(3 * capacity // block):
            state = enter(state, jnp.int32(written))
            slow.enter(written, largest)
            np.testing.assert_allclose(leaves(state, capacity), slow.weights(), rtol=1e-5)
            assert_sums(state.weights)
            alive = np.flatnonzero(slow.weights())
            if not alive.size:
                continue
            slots = rng.choice(alive, 8)
            surprise = rng.normal(size=8).astype(np.float32) * 3
            state = update(state, jnp.asarray(slots, jnp.int32), jnp.asarray(surprise))
            for slot in set(slots):
                slow.set(slot, (np.abs(surprise[slots == slot]).max() + epsilon) ** exponent)
            largest = max(largest, (np.abs(surprise).max() + epsilon) ** exponent)
            np.testing.assert_allclose(leaves(state, capacity), slow.weights(), rtol=1e-5)
            assert_sums(state.weights)


def exact_weights(order, before, exponent):
    """rank^-exponent of replayed rows (equals in the order of slots); the others keep what they have."""
    weights, rank = np.array(before, float), 0
    for slot in np.argsort(order, kind="stable"):
        if np.isfinite(order[slot]):
            rank += 1
            weights[slot] = rank**-exponent
    return weights


def check_ranks(ranks: ModuleType) -> None:
    """Exact after a sort; between sorts an updated row is ranked as of the last one."""
    capacity, block, exponent, rng = 96, 6, 0.6, np.random.default_rng(0)
    parts = ranks.rank_based(capacity, block, exponent, ahead_slots=4, sorts=4)
    enter, update, ring = jax.jit(parts.enter), jax.jit(parts.update), SlowRing(capacity, block, 4)
    state, order = parts.init(), {}
    ranking = np.array([])
    for written in range(40):
        state = enter(state, jnp.int32(written))
        ring.enter(written, 1.0)
        order = {g: d for g, d in order.items() if g in ring.rows}
        if (written + 1) % 4 == 0:
            ranking = np.sort(list(order.values()))[::-1]
            by_slot = np.full(capacity, np.inf)
            for g, d in order.items():
                by_slot[g % capacity] = -d
            exact = exact_weights(by_slot, ring.weights(), exponent)
            for g in order:
                ring.rows[g] = exact[g % capacity]
        np.testing.assert_allclose(leaves(state, capacity), ring.weights(), rtol=1e-5)
        slots = rng.choice(np.flatnonzero(ring.weights()), 2, replace=False)
        surprise = rng.normal(size=2).astype(np.float32)
        state = update(state, jnp.asarray(slots, jnp.int32), jnp.asarray(surprise))
        for slot, delta in zip(slots, np.abs(surprise), strict=True):
            ring.set(slot, (1 + np.sum(ranking > delta)) ** -exponent)
            order[next(g for g in ring.rows if g % capacity == slot)] = delta
        np.testing.assert_allclose(leaves(state, capacity), ring.weights(), rtol=1e-5)
        assert_sums(state.weights)


@pytest.mark.parametrize(("check", "module"), [(check_proportional, priorities), (check_ranks, ranks)])
def test_weights_equal_those_of_a_slow_ring(check, module):
    check(module)


def test_ranks_are_sorted_early_while_the_ring_fills():
    parts = rank_based(4096, 8, 0.5, sorts=4)
    enter, state = jax.jit(parts.enter), parts.init()
    for written in range(15):
        state = enter(state, jnp.int32(written))
    surprise = jax.random.permutation(jax.random.key(0), 120) + 1.0
    state = parts.update(state, jnp.arange(120), surprise)
    assert set(leaves(state, 120).tolist()) == {1.0}  # nothing has been ranked yet
    state = enter(state, jnp.int32(15))
    ranks_of_surprise = 121 - np.asarray(surprise)
    np.testing.assert_allclose(leaves(state, 4096)[:120], ranks_of_surprise**-0.5, rtol=1e-6)
    assert leaves(state, 4096)[120:128].tolist() == [1.0] * 8
    assert_sums(state.weights)


def test_equal_surprises_share_their_ranks_evenly():
    """As many rewards of 0: neither all first nor all last."""
    parts = rank_based(1000, 1000, 0.7)
    every = jnp.arange(1000)
    surprise = jnp.where(every < 10, 1.0, 0.0)
    ranked = parts.sort(parts.update(parts.enter(parts.init(), jnp.int32(0)), every, surprise))
    again = parts.update(ranked, every, surprise)
    for chosen in (slice(0, 10), slice(10, 1000)):
        sums = [np.sum(state.weights[0][:1000][chosen]) for state in (ranked, again)]
        np.testing.assert_allclose(sums[1], sums[0], rtol=0.15)


def surprised(kind, capacity=200, exponent=0.7):
    parts = KINDS[kind](capacity, 20, exponent, 1e-3, ahead_slots=20)
    state = parts.init()
    for written in range(13):
        state = parts.enter(state, jnp.int32(written))
    alive = jnp.flatnonzero(state.weights[0])
    surprise = jax.random.normal(jax.random.key(1), alive.shape) ** 2
    return parts, parts.sort(parts.update(state, alive.astype(jnp.int32), surprise)), np.asarray(surprise, float)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 64])
def test_rows_are_drawn_as_often_as_their_priorities_say(kind, n):
    parts, state, surprise = surprised(kind)
    slots, probability = jax.vmap(lambda key: parts.sample(state, key, n))(
        jax.random.split(jax.random.key(0), 40_000 // n)
    )
    counts = np.bincount(slots.ravel(), minlength=200)
    alive = np.flatnonzero(state.weights[0])
    assert set(np.flatnonzero(counts)) <= set(alive)
    by_rank = scipy.stats.rankdata(-surprise, "ordinal") ** -0.7
    expected = by_rank if kind == "rank-based" else (surprise + 1e-3) ** 0.7
    expected = expected / expected.sum()
    assert scipy.stats.chisquare(counts[alive], slots.size * expected).pvalue > 1e-3
    both = dict(zip(alive, expected, strict=True))
    np.testing.assert_allclose(probability.ravel(), [both[s] for s in slots.ravel().tolist()], rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_rows_are_drawn_uniformly(kind):
    parts = KINDS[kind](60, 20, 0.7)
    state = parts.enter(parts.init(), jnp.int32(0))
    slots, probability = parts.sample(state, jax.random.key(0), 10_000)
    assert scipy.stats.chisquare(np.bincount(slots, minlength=20)).pvalue > 1e-3
    np.testing.assert_allclose(probability, 1 / 20, rtol=1e-6)


def test_draws_are_stratified():
    tree = sum_tree.rebuild((jnp.ones(64), *sum_tree.zeros(64)[1:]))
    slots, _ = sum_tree.draw(tree, jax.random.key(0), 64)
    assert slots.tolist() == list(range(64))


@pytest.mark.parametrize("uniform", [0.0, 1.0])
@pytest.mark.parametrize("weights", [(0, 3, 0), (0, 1e-30, 1e30, 0, 0), (0, 1, 1e-8, 0), (0.1,) * 3])
def test_a_row_of_weight_0_is_not_drawn_at_the_edges(monkeypatch, uniform, weights):
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, uniform))
    spread = jnp.zeros((len(weights), 50)).at[:, 7].set(jnp.asarray(weights)).ravel()
    tree = sum_tree.zeros(spread.size)
    tree = sum_tree.rebuild((tree[0].at[: spread.size].set(spread), *tree[1:]))
    slots, weight = sum_tree.draw(tree, jax.random.key(0), 9)
    assert (spread[slots] > 0).all()
    np.testing.assert_array_equal(spread[slots], weight)


def test_a_row_of_weight_0_is_never_drawn():
    weights = jax.random.uniform(jax.random.key(0), (5_000,)) ** 30
    weights = jnp.where(jax.random.bernoulli(jax.random.key(1), 0.5, (5_000,)), weights, 0.0)
    tree = sum_tree.zeros(5_000)
    tree = sum_tree.rebuild((tree[0].at[:5_000].set(weights), *tree[1:]))
    slots, _ = sum_tree.draw(tree, jax.random.key(2), 200_000)
    assert (weights[slots] > 0).all()


def test_small_rows_are_drawn_evenly_though_a_float_cannot_tell_them_apart(monkeypatch):
    """16 leaves share 2^-20 of the total, in which float32 has 16 places, half of them used by a uniform draw."""
    small = jnp.zeros(32).at[0].set(1.0).at[16:].set(2.0**-24)
    tree = sum_tree.rebuild((small, *sum_tree.zeros(32)[1:]))
    draw_uniform = jax.random.uniform

    def at_the_end(key, shape):
        return draw_uniform(key, shape).at[0].multiply(2.0**-20).at[0].add(1 - 2.0**-20)

    monkeypatch.setattr(jax.random, "uniform", at_the_end)
    slots = jax.vmap(lambda key: sum_tree.draw(tree, key, 1)[0])(jax.random.split(jax.random.key(0), 20_000))
    counts = np.bincount(slots.ravel(), minlength=32)[17:31]  # not the two at the edges
    assert counts.min() > 0.6 * counts.mean()


def test_importance_weights_correct_a_mean():
    parts, state, _ = surprised("proportional")
    alive = np.flatnonzero(state.weights[0])
    statistic = np.random.default_rng(0).normal(size=200)
    estimates = []
    for seed in range(200):
        slots, probability = parts.sample(state, jax.random.key(seed), 256)
        weight = importance_weights(probability, alive.size, 1.0)
        assert weight.max() == pytest.approx(1)
        estimates.append(np.sum(weight * statistic[slots]) / np.sum(weight))
    error = np.mean(estimates) - statistic[alive].mean()
    assert abs(error) < 4 * np.std(estimates) / np.sqrt(200) + 2e-3


def test_importance_weights_are_those_of_the_equation():
    probability = np.array([0.1, 0.02, 0.4], np.float32)
    raw = [(1 / (50 * p)) ** 0.4 for p in probability]
    np.testing.assert_allclose(importance_weights(probability, 50, 0.4), np.array(raw) / max(raw), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_vmapped_agents_equal_agents_alone(kind):
    def train(key, exponent):
        parts = KINDS[kind](64, 4, exponent, 1e-3, ahead_slots=6)

        def iteration(state, written):
            state = parts.enter(state, written)
            key_of_time = jax.random.fold_in(key, written)
            slots, probability = parts.sample(state, key_of_time, 8)
            surprise = jax.random.normal(key_of_time, (8,))
            return parts.update(state, slots, surprise), (slots, probability)

        state = parts.enter(parts.enter(parts.init(), jnp.int32(0)), jnp.int32(1))
        return jax.lax.scan(iteration, state, jnp.arange(2, 60))

    keys, exponents = jax.random.split(jax.random.key(0), 3), jnp.array([0.0, 0.5, 1.0])
    together, alone = jax.jit(jax.vmap(train))(keys, exponents), jax.jit(train)
    for i in range(3):
        mine = jax.tree.map(lambda x, i=i: x[i], together)
        jax.tree.map(np.testing.assert_array_equal, mine, alone(keys[i], exponents[i]))


@pytest.mark.parametrize("kind", KINDS)
def test_no_copy_and_no_cost_of_the_size_of_the_replay(kind):
    agents = 8

    def compiled(capacity):
        parts = KINDS[kind](capacity, 10, 0.6, ahead_slots=20)

        def iterations(state, key):
            def update(state, key):
                slots, probability = parts.sample(state, key, 32)
                return parts.update(state, slots, probability), None

            def iteration(state, written):
                state = parts.enter(state, written)
                return jax.lax.scan(update, state, jax.random.split(jax.random.fold_in(key, written), 3))

            return jax.lax.scan(iteration, state, jnp.arange(5))[0]

        keys = jax.random.split(jax.random.key(0), agents)
        states = jax.eval_shape(lambda: jax.vmap(lambda _: parts.init())(jnp.arange(agents)))
        return jax.jit(jax.vmap(iterations), donate_argnums=0).lower(states, keys).compile()

    small, large = compiled(10_000), compiled(300_000)
    copies = [line for line in large.as_text().splitlines() if f"= f32[{agents},300" in line and " copy(" in line]
    assert not copies
    if kind == "proportional":  # a sort works beside the ranks
        grown = large.memory_analysis().temp_size_in_bytes - small.memory_analysis().temp_size_in_bytes
        assert grown < 40_000 * agents


def test_levels_are_logarithmic():
    assert [len(sum_tree.zeros(sum_tree.BRANCHES**k)) for k in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_do_not_fit_are_refused(kind):
    with pytest.raises(ValueError, match="multiple of the block"):
        KINDS[kind](10, 3, 0.6)
    with pytest.raises(ValueError, match="leave nothing to sample"):
        KINDS[kind](12, 3, 0.6, ahead_slots=10)


def test_the_clock_must_be_shared():
    parts = proportional(12, 3, 0.6)
    states = jax.vmap(lambda _: parts.init())(jnp.arange(2))
    with pytest.raises(ValueError, match="clock must not be batched"):
        jax.vmap(parts.enter)(states, jnp.arange(2))
