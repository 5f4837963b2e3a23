"""Q networks and noisy layers, against the equations written out for their parameters."""

from types import ModuleType

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purerl.action_values import CategoricalReturn, ExpectedReturn, QuantileReturn
from purerl.networks import noisy as noisy_module
from purerl.networks import q_network as q_network_module
from purerl.networks.initializers import orthogonal
from purerl.networks.noisy import NoisyDense
from purerl.networks.q_network import QNetwork
from purerl.networks.torsos import as_features, torso
from purerl.operators.temporal_difference import half_square
from purerl.types import Box, Discrete

IMAGE, VECTOR = Box(0, 1, (10, 10, 4), jnp.bool_), Box(-1.0, 1.0, (3,))
HEADS = ("expected", "categorical", "quantile", "implicit_quantile")
BATCH, ACTIONS, ATOMS = 5, 4, 6
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


class PlainQNetwork(nn.Module):
    """The network of DQN, written out: what the plain QNetwork must be bit for bit."""

    observation_space: Box | Discrete
    num_actions: int
    widths: tuple[int, ...]
    layer_norm: bool = False

    @nn.compact
    def __call__(self, observation):
        x = as_features(observation, self.observation_space)
        x = torso(self.observation_space, self.widths, "relu", self.layer_norm)(x)
        return nn.Dense(self.num_actions, kernel_init=orthogonal(0.01))(x)


def observations(space: Box | Discrete, seed: int = 0) -> jax.Array:
    return jax.vmap(space.sample)(jax.random.split(jax.random.key(seed), BATCH))


def randomised(params, seed: int = 7):
    """Parameters far from their small start, so that no part can be forgotten."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), params)


@pytest.mark.parametrize("space", [IMAGE, VECTOR, Discrete(5)])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_without_any_switch_it_is_the_plain_network_bit_for_bit(space, layer_norm):
    plain, ours = (Q(space, ACTIONS, (32, 16), layer_norm=layer_norm) for Q in (PlainQNetwork, QNetwork))
    observation = observations(space)
    params = jax.jit(plain.init)(jax.random.key(1), observation)
    jax.tree.map(np.testing.assert_array_equal, params, jax.jit(ours.init)(jax.random.key(1), observation))
    values = ours.apply(params, observation)
    assert isinstance(values, ExpectedReturn)
    np.testing.assert_array_equal(values.values, plain.apply(params, observation))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("dueling", "noisy"), [(False, False), (True, True)])
def test_shapes_on_images_with_any_leading_axes(head, dueling, noisy):
    network = QNetwork(IMAGE, ACTIONS, (16, 8), dueling=dueling, noisy=noisy, head=head, atoms=ATOMS)
    observation = observations(IMAGE)[:4].reshape(2, 2, *IMAGE.shape)
    params = jax.jit(network.init)(jax.random.key(0), observation)
    z = jax.jit(network.apply)(params, observation)
    kind = {"expected": ExpectedReturn, "categorical": CategoricalReturn}.get(head, QuantileReturn)
    assert isinstance(z, kind)
    assert z.mean().shape == (2, 2, ACTIONS)
    alone = network.apply(params, observation[1, 0])
    np.testing.assert_allclose(alone.mean(), z.mean()[1, 0], **TOLERANCE)
    if head == "quantile":
        np.testing.assert_allclose(z.levels[0, 1], (np.arange(ATOMS) + 0.5) / ATOMS, rtol=1e-6)
    if not noisy:
        low, high = (-10.0, 10.0) if head == "categorical" else (0.0, 0.0)
        np.testing.assert_allclose(z.mean(), (low + high) / 2, atol=0.3)  # starts small
    if noisy:
        assert "kernel_deviation" in str(jax.tree_util.tree_structure(params))


def dense(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def relu(x):
    return np.maximum(x, 0)


def dueling_equation(q_network: ModuleType) -> None:
    """Q = V + A - mean_a A for every atom, from the parameters; so mean_a Q = V, and A + c changes nothing."""
    for head in ("expected", "categorical", "quantile"):
        network = q_network.QNetwork(VECTOR, ACTIONS, (8, 7), dueling=True, head=head, atoms=ATOMS)
        observation = observations(VECTOR)
        params = randomised(jax.jit(network.init)(jax.random.key(0), observation))
        p, outputs = params["params"], 1 if head == "expected" else ATOMS
        x = relu(dense(p["MLP_0"]["Dense_0"], np.asarray(observation)))
        value = dense(p["Dense_0"], relu(dense(p["MLP_1"]["Dense_0"], x)))
        advantage = dense(p["Dense_1"], relu(dense(p["MLP_2"]["Dense_0"], x))).reshape(BATCH, ACTIONS, outputs)
        expected = value[:, None] + advantage - advantage.mean(1, keepdims=True)
        apply = jax.jit(network.apply)
        z = apply(params, observation)
        ours = z.logits if head == "categorical" else z.values.reshape(expected.shape)
        np.testing.assert_allclose(ours, expected, **TOLERANCE)
        np.testing.assert_allclose(ours.mean(1), value, **TOLERANCE)
        shifted = {**p, "Dense_1": {**p["Dense_1"], "bias": p["Dense_1"]["bias"] + 3.0}}
        np.testing.assert_allclose(apply({"params": shifted}, observation).mean(), z.mean(), **TOLERANCE)


def dueling_gradient(q_network: ModuleType) -> None:
    """The streams send 1 / sqrt 2 of their gradient into the shared layers, and keep all of it for themselves."""
    network = q_network.QNetwork(VECTOR, ACTIONS, (8, 7), dueling=True)
    observation = observations(VECTOR)
    params = randomised(jax.jit(network.init)(jax.random.key(0), observation))

    def unscaled(params):
        p = params["params"]
        x = jax.nn.relu(observation @ p["MLP_0"]["Dense_0"]["kernel"] + p["MLP_0"]["Dense_0"]["bias"])
        streams = []
        for hidden, last in (("MLP_1", "Dense_0"), ("MLP_2", "Dense_1")):
            h = jax.nn.relu(x @ p[hidden]["Dense_0"]["kernel"] + p[hidden]["Dense_0"]["bias"])
            streams.append(h @ p[last]["kernel"] + p[last]["bias"])
        return jnp.sum(jnp.sin(streams[0] + streams[1] - streams[1].mean(-1, keepdims=True)))

    def scaled(params):
        return jnp.sum(jnp.sin(network.apply(params, observation).values))

    ours, expected = (jax.jit(jax.grad(function))(params)["params"] for function in (scaled, unscaled))
    expected["MLP_0"] = jax.tree.map(lambda x: 2**-0.5 * x, expected["MLP_0"])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), ours, expected)


def implicit_quantiles(q_network: ModuleType) -> None:
    """Z_tau = f(features * relu(W cos(pi k tau) + b)), from the parameters, at levels that differ between samples."""
    network = q_network.QNetwork(VECTOR, ACTIONS, (8,), head="implicit_quantile", atoms=ATOMS, cosines=10)
    observation = observations(VECTOR)
    params = randomised(jax.jit(network.init)(jax.random.key(0), observation))
    p = params["params"]
    features = relu(dense(p["MLP_0"]["Dense_0"], np.asarray(observation)))
    for risk_level in (None, 0.25):
        z = jax.jit(network.apply)(params, observation, risk_level, rngs={"levels": jax.random.key(3)})
        levels = np.asarray(z.levels)
        assert levels.shape == (BATCH, ATOMS)
        assert len(np.unique(levels)) == BATCH * ATOMS
        assert 0.0 <= levels.min() < levels.max() < (risk_level or 1.0)
        for i in range(BATCH):
            for n in range(ATOMS):
                cosines = np.cos(np.pi * np.arange(10) * levels[i, n])
                psi = relu(dense(p["LevelEmbedding_0"]["Dense_0"], cosines))
                np.testing.assert_allclose(z.values[i, :, n], dense(p["Dense_0"], features[i] * psi), **TOLERANCE)


def noise_equation(noisy: ModuleType) -> None:
    """Unit vectors find the noise of one key; the equation with explicit weights then gives y for any x."""
    inputs, outputs = 4, 3
    layer = noisy.NoisyDense(outputs, deviation=0.7)
    params = randomised(layer.init(jax.random.key(0), jnp.zeros((1, inputs))))
    p = {name: np.asarray(x) for name, x in params["params"].items()}

    @jax.jit
    def apply(x):
        return layer.apply(params, x[None], rngs={"noise": jax.random.key(5)})[0]

    f_out = (apply(np.zeros(inputs, np.float32)) - p["bias"]) / p["bias_deviation"]
    response = np.stack([apply(np.eye(inputs, dtype=np.float32)[i]) for i in range(inputs)]) - apply(np.zeros(inputs))
    f_in = ((response - p["kernel"]) / p["kernel_deviation"] / f_out)[:, 0]
    x = np.random.default_rng(0).normal(size=inputs).astype(np.float32)
    weights = p["kernel"] + p["kernel_deviation"] * np.outer(f_in, f_out)
    expected = x @ weights + p["bias"] + p["bias_deviation"] * f_out
    np.testing.assert_allclose(apply(x), expected, rtol=1e-3, atol=1e-4)


def noise_moments(noisy: ModuleType) -> None:
    """Over the noise the mean is the layer of the means, and with E f(e)^2 = E|e| = sqrt(2 / pi) =: c,

    Var y_j = c (c sum_i x_i^2 sigma_ij^2 + sigma_j^2), and no two outputs are correlated.
    """
    draws, outputs = 40_000, 3
    layer = noisy.NoisyDense(outputs, deviation=0.5)
    x = jnp.array([0.5, -1.0, 2.0, 0.1])
    params = randomised(layer.init(jax.random.key(0), x))
    p = {name: np.asarray(one) for name, one in params["params"].items()}
    keys = jax.random.split(jax.random.key(1), draws)
    y = np.asarray(jax.vmap(lambda key: layer.apply(params, x, rngs={"noise": key}))(keys))
    c = np.sqrt(2 / np.pi)
    variance = c * (c * np.asarray(x) ** 2 @ p["kernel_deviation"] ** 2 + p["bias_deviation"] ** 2)
    standard_error = np.sqrt(variance / draws)
    assert np.all(np.abs(y.mean(0) - (np.asarray(x) @ p["kernel"] + p["bias"])) < 5 * standard_error)
    np.testing.assert_allclose(y.var(0), variance, rtol=0.06)
    correlation = np.corrcoef(y.T) - np.eye(outputs)
    np.testing.assert_allclose(correlation, 0.0, atol=0.04)


GUARDS = [
    (dueling_equation, q_network_module),
    (dueling_gradient, q_network_module),
    (implicit_quantiles, q_network_module),
    (noise_equation, noisy_module),
    (noise_moments, noisy_module),
]


@pytest.mark.parametrize(("guard", "module"), GUARDS, ids=lambda x: x.__name__.rpartition(".")[2])
def test_it_is_its_equation(guard, module):
    guard(module)  # asserts


def test_without_noise_a_noisy_layer_is_dense_and_starts_in_its_range():
    x = jax.random.normal(jax.random.key(0), (BATCH, 16))
    noise = {"noise": jax.random.key(2)}
    layer, silent = NoisyDense(200, deviation=0.5), NoisyDense(200, deviation=0.0)
    params, silent_params = layer.init(jax.random.key(1), x), silent.init(jax.random.key(1), x)
    mean = {"params": {name: params["params"][name] for name in ("kernel", "bias")}}
    expected = nn.Dense(200).apply(mean, x)
    np.testing.assert_allclose(layer.apply(params, x), expected, rtol=1e-6)
    np.testing.assert_allclose(silent.apply(silent_params, x, rngs=noise), expected, rtol=1e-6)
    assert not np.allclose(layer.apply(params, x, rngs=noise), expected)
    assert 0.24 < jnp.abs(mean["params"]["kernel"]).max() <= 0.25  # 1 / sqrt(16)
    np.testing.assert_allclose(params["params"]["kernel_deviation"], 0.5 / 4, rtol=1e-6)


def test_noise_is_fresh_for_every_key_and_shared_by_a_batch():
    x = jnp.ones((BATCH, 3))
    layer = NoisyDense(2)
    params = layer.init(jax.random.key(0), x)
    first, second = (layer.apply(params, x, rngs={"noise": jax.random.key(seed)}) for seed in (1, 2))
    assert not np.any(first == second)
    np.testing.assert_array_equal(first, layer.apply(params, x, rngs={"noise": jax.random.key(1)}))
    np.testing.assert_allclose(first, np.tile(first[:1], (BATCH, 1)), rtol=1e-6)
    apart = jax.vmap(lambda x, key: layer.apply(params, x, rngs={"noise": key}))
    own = np.asarray(apart(x, jax.random.split(jax.random.key(1), BATCH)))
    assert len(np.unique(own)) == own.size


@pytest.mark.parametrize("dueling", [False, True])
def test_every_dense_layer_of_a_noisy_network_is_noisy(dueling):
    network = QNetwork(VECTOR, ACTIONS, (8, 7), dueling=dueling, noisy=True)
    observation = jnp.ones((BATCH, 3))
    params = randomised(jax.jit(network.init)(jax.random.key(0), observation))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    assert all("NoisyDense" in path for path in paths)
    assert len(paths) == 4 * (5 if dueling else 3)
    apply = jax.jit(network.apply)
    one, other = (apply(params, observation, rngs={"noise": jax.random.key(seed)}).values for seed in (1, 2))
    assert np.mean(np.isclose(one, other)) < 0.2

    def loss(params):
        values = network.apply(params, observations(VECTOR), rngs={"noise": jax.random.key(1)}).values
        return jnp.sum(jnp.sin(values))

    assert all(np.any(x != 0) for x in jax.tree.leaves(jax.jit(jax.grad(loss))(params)))
    silent = apply(params, observation).values
    np.testing.assert_allclose(silent, np.tile(silent[:1], (BATCH, 1)), rtol=1e-5, atol=1e-6)


def test_the_levels_of_a_sample_share_its_noise():
    """So that noise cannot make one draw of the network cross its quantiles more than the network does."""
    network = QNetwork(VECTOR, ACTIONS, (8,), noisy=True, head="implicit_quantile", atoms=ATOMS)
    observation = jnp.ones((BATCH, 3))
    params = jax.jit(network.init)(jax.random.key(0), observation)
    params["params"]["LevelEmbedding_0"] = jax.tree.map(jnp.zeros_like, params["params"]["LevelEmbedding_0"])
    params["params"]["LevelEmbedding_0"]["Dense_0"]["bias"] = jnp.ones(8)  # psi = 1: no level matters
    values = network.apply(params, observation, rngs={"noise": jax.random.key(1)}).values
    np.testing.assert_allclose(values, values[..., :1].repeat(ATOMS, -1), rtol=1e-5, atol=1e-6)


def test_one_program_serves_traced_noise_and_support():
    observation = observations(VECTOR)

    def program(deviation, high):
        network = QNetwork(
            VECTOR,
            ACTIONS,
            (8,),
            noisy=True,
            noise_deviation=deviation,
            head="categorical",
            atoms=ATOMS,
            support=(0.0, high),
        )
        params = network.init(jax.random.key(0), observation)
        return params, network.apply(params, observation, rngs={"noise": jax.random.key(1)}).mean()

    deviations, highs = jnp.array([0.0, 0.5]), jnp.array([5.0, 200.0])
    params, means = jax.jit(jax.vmap(program))(deviations, highs)
    for i in range(2):
        expected_params, expected = program(float(deviations[i]), float(highs[i]))
        np.testing.assert_allclose(means[i], expected, rtol=1e-4)
        jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-6), params, expected_params)


def test_a_single_width_makes_two_streams_on_the_input():
    network = QNetwork(VECTOR, ACTIONS, (8,), dueling=True)
    params = jax.jit(network.init)(jax.random.key(0), observations(VECTOR))["params"]
    assert [params[name]["Dense_0"]["kernel"].shape for name in ("MLP_1", "MLP_2")] == [(3, 8), (3, 8)]


def test_wrong_heads_and_risk_levels_are_refused():
    with pytest.raises(ValueError, match="choose one of expected"):
        QNetwork(VECTOR, ACTIONS, (8,), head="gaussian").init(jax.random.key(0), jnp.zeros(3))
    network = QNetwork(VECTOR, ACTIONS, (8,), head="quantile")
    with pytest.raises(ValueError, match="cvar"):
        network.init(jax.random.key(0), jnp.zeros(3), 0.25)


@pytest.mark.parametrize("head", ["categorical", "quantile", "implicit_quantile"])
def test_risk_decides_between_a_safe_and_a_risky_action(head):
    """Safe pays 8 always, risky 20 or 0 with equal probability: the mean picks risky, the worst quarter safe."""
    batch, steps = 64, 600
    network = QNetwork(VECTOR, 2, (32,), head=head, atoms=21, support=(-10.0, 30.0))
    optimizer, observation = optax.adam(optax.cosine_decay_schedule(1e-2, steps)), jnp.ones((batch, 3))

    def loss(params, keys):
        pays, action = jax.random.bernoulli(keys[0], shape=(batch,)), jnp.arange(batch) % 2
        reward = jnp.where(action == 0, 8.0, 20.0 * pays)
        z = network.apply(params, observation, rngs={"levels": keys[1]}).of(action)
        return z.loss(jax.lax.stop_gradient(z).bellman(reward, jnp.zeros(batch)), half_square).mean()

    def update(carry, keys):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, keys), state)
        return (optax.apply_updates(params, updates), state), None

    def learn(key):
        params = network.init(key, observation)
        (params, _), _ = jax.lax.scan(update, (params, optimizer.init(params)), jax.random.split(key, (steps, 2)))
        z = network.apply(params, observation[0])
        tail = z.cvar(0.25)
        if head == "implicit_quantile":
            tail = jnp.stack([tail, network.apply(params, observation[0], 0.25).mean()])
        return z.mean(), tail

    mean, tail = jax.jit(jax.vmap(learn))(jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose(mean, [[8.0, 10.0]] * 3, atol=1.0)
    assert jnp.all(jnp.argmax(mean, -1) == 1)
    assert jnp.all(jnp.argmax(tail, -1) == 0)
