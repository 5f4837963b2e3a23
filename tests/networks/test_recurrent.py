"""Recurrent cores: against flax's cells, against episodes unrolled one by one, and one step at a time."""

from types import ModuleType

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.networks import recurrent
from purerl.networks.recurrent import RecurrentCore, RecurrentQNetwork
from purerl.types import Box, Discrete

LENGTH, BATCH, FEATURES, WIDTH = 24, 3, 5, 8
KINDS = ["gru", "lstm"]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
VECTOR, IMAGE = Box(-1.0, 1.0, (4,)), Box(False, True, (10, 10, 4), jnp.bool_)


def case(kind: str, seed: int = 0):
    """A core, its parameters (biases included), features, resets and a memory that is not zero."""
    rng = np.random.default_rng(seed)
    core = RecurrentCore(kind, WIDTH)
    features = jnp.asarray(rng.normal(size=(LENGTH, BATCH, FEATURES)), jnp.float32)
    resets = jnp.asarray(rng.random((LENGTH, BATCH)) < 0.2)
    memory = jax.tree.map(lambda x: x + rng.normal(size=x.shape).astype(np.float32), core.initial_memory((BATCH,)))
    params = jax.jit(core.init)(jax.random.key(seed), memory, features, resets)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)
    return core, params, memory, features, resets


def flax_cell(kind: str, params) -> tuple[nn.RNNCellBase, dict]:
    """Flax's cell with the same weights."""
    weights = params["params"]
    gates = ["r", "z", "n"] if kind == "gru" else ["i", "f", "g", "o"]
    columns = {gate: slice(i * WIDTH, (i + 1) * WIDTH) for i, gate in enumerate(gates)}
    cell = {}
    for gate, column in columns.items():
        cell[f"i{gate}"] = {"kernel": weights["input"]["kernel"][:, column]}
        cell[f"h{gate}"] = {"kernel": weights["recurrent"][:, column]}
        biased = cell[f"i{gate}"] if kind == "gru" else cell[f"h{gate}"]
        biased["bias"] = weights["input"]["bias"][column]
    if kind == "gru":
        cell["hn"]["bias"] = weights["candidate_bias"]
    return (nn.GRUCell if kind == "gru" else nn.LSTMCell)(WIDTH), {"params": cell}


def check_episodes(module: ModuleType) -> None:
    """The whole, with resets inside, equals every episode unrolled alone by flax's cell from a memory of its own."""
    for kind in KINDS:
        _, params, memory, features, resets = case(kind)
        last, outputs = jax.jit(module.RecurrentCore(kind, WIDTH).apply)(params, memory, features, resets)
        cell, weights = flax_cell(kind, params)
        one_step = jax.jit(cell.apply)
        for b in range(BATCH):
            carry = jax.tree.map(lambda x, b=b: np.asarray(x)[b], memory)
            for t in range(LENGTH):
                if resets[t, b]:  # a new episode
                    carry = jax.tree.map(np.zeros_like, carry)
                carry, expected = one_step(weights, carry, features[t, b])
                np.testing.assert_allclose(outputs[t, b], expected, **TOLERANCE)
            jax.tree.map(lambda x, y, b=b: np.testing.assert_allclose(x[b], y, **TOLERANCE), last, carry)


def test_every_episode_is_that_of_the_cell_of_flax():
    check_episodes(recurrent)  # asserts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 5])
def test_chunks_and_single_steps_equal_the_whole(kind, chunk):
    core, params, memory, features, resets = case(kind)
    apply = jax.jit(core.apply)
    last, outputs = apply(params, memory, features, resets)
    pieces = []
    for start in range(0, LENGTH, chunk):
        piece = slice(start, start + chunk)
        memory, output = apply(params, memory, features[piece], resets[piece])
        pieces.append(output)
    np.testing.assert_allclose(np.concatenate(pieces), outputs, **TOLERANCE)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **TOLERANCE), memory, last)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_crosses_a_reset_neither_forwards_nor_backwards(kind):
    core, params, memory, features, resets = case(kind)
    resets = resets.at[10].set(True).at[11:].set(False)

    def after(features, memory):
        return jnp.sum(core.apply(params, memory, features, resets)[1][10:] ** 2)

    gradients, memory_gradients = jax.jit(jax.grad(after, argnums=(0, 1)))(features, memory)
    assert not jnp.any(gradients[:10])
    assert not any(jnp.any(x) for x in jax.tree.leaves(memory_gradients))
    assert jnp.all(jnp.any(gradients[10:], axis=-1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gate_that_keeps_starts_open_and_recurrent_kernels_orthogonal(kind):
    core = RecurrentCore(kind, WIDTH, retention=2.0)
    start = core.initial_memory((1,))
    params = jax.jit(core.init)(jax.random.key(0), start, jnp.zeros((1, 1, FEATURES)), jnp.zeros((1, 1), bool))[
        "params"
    ]
    expected = np.zeros(len(params["input"]["bias"]))
    expected[WIDTH : 2 * WIDTH] = 2.0
    np.testing.assert_array_equal(params["input"]["bias"], expected)
    kernels = np.split(np.asarray(params["recurrent"]), len(expected) // WIDTH, axis=1)
    for kernel in kernels:
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(WIDTH), atol=1e-5)
    assert not np.allclose(kernels[0], kernels[1])


@pytest.mark.parametrize("kind", KINDS)
def test_vmapped_networks_equal_networks_alone(kind):
    core, _, memory, features, resets = case(kind)
    keys = jax.random.split(jax.random.key(3), 4)
    params = jax.jit(jax.vmap(lambda key: core.init(key, memory, features, resets)))(keys)
    apply = jax.jit(lambda p: core.apply(p, memory, features, resets)[1])
    together = jax.jit(jax.vmap(apply))(params)
    for i in range(4):
        alone = apply(jax.tree.map(lambda x, i=i: x[i], params))
        np.testing.assert_allclose(together[i], alone, **TOLERANCE)


@pytest.mark.parametrize(
    ("core", "dueling", "space"),
    [("none", False, IMAGE), ("gru", True, IMAGE), ("gru", False, Discrete(6)), ("lstm", False, VECTOR)],
)
def test_a_recurrent_q_network_remembers_what_its_core_does(core, dueling, space):
    network = RecurrentQNetwork(space, 3, (16,), layer_norm=True, core=core, core_width=WIDTH, dueling=dueling)
    observation = jax.vmap(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), (6, 2)))
    resets, start = jnp.zeros((6, 2), bool), network.initial_memory((2,))
    params = jax.jit(network.init)(jax.random.key(1), start, observation, resets)
    apply = jax.jit(network.apply)
    memory, values = apply(params, start, observation, resets)
    assert values.shape == (6, 2, 3)
    assert jax.tree.map(jnp.shape, memory) == jax.tree.map(jnp.shape, start)
    assert jnp.abs(values).max() < 0.2
    _, other = apply(params, start, observation.at[0].set(observation[1]), resets)
    assert np.any(np.abs(other[5] - values[5]) > 0) == (core != "none")


def test_dueling_values_do_not_move_with_a_constant_in_the_advantages():
    network = RecurrentQNetwork(VECTOR, 3, (16,), core_width=WIDTH, dueling=True)
    observation, resets, start = jnp.ones((4, 2, 4)), jnp.zeros((4, 2), bool), network.initial_memory((2,))
    params = jax.jit(network.init)(jax.random.key(1), start, observation, resets)
    apply = jax.jit(network.apply)
    _, values = apply(params, start, observation, resets)
    params["params"]["advantage"]["bias"] += 5.0
    _, shifted = apply(params, start, observation, resets)
    np.testing.assert_allclose(values, shifted, atol=1e-5)
    params["params"]["value"]["bias"] += 5.0
    _, raised = apply(params, start, observation, resets)
    np.testing.assert_allclose(values + 5.0, raised, atol=1e-5)


def test_resets_of_another_shape_or_type_are_refused():
    core, params, memory, features, resets = case("gru")
    with pytest.raises(AssertionError):
        core.apply(params, memory, features, resets[:, 0])
    with pytest.raises(AssertionError):
        core.apply(params, memory, features, resets.astype(jnp.float32))
