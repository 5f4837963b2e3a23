"""The contracts that every algorithm in the table keeps (DESIGN, section 6)."""

import dataclasses
import inspect
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.algorithms import load
from purerl.environments import make
from purerl.train import EvaluationPlan, advance, start, train
from purerl.types import Time
from tests.contracts.cases import CASES, EVERY_CASE, algorithm, float_fields

pytestmark = pytest.mark.parametrize("name", EVERY_CASE)


def arrays(tree) -> list[np.ndarray]:
    """Leaves as NumPy arrays, typed keys as their data."""

    def leaf(x):
        return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    return [np.asarray(leaf(x)) for x in jax.tree.leaves(tree)]


def assert_same(one, other) -> None:
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(one, other, tolerance=1e-5) -> None:
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def train_three(name: str):
    """Three agents trained in one program, traced anew."""
    return jax.jit(jax.vmap(lambda key: train(algorithm(name), key, CASES[name].iterations)))(seeds())


trained = cache(train_three)


@cache
def alone(name: str):
    """The compiled training of one agent with these floats and this key: its state and metrics."""
    return jax.jit(lambda floats, key: train(algorithm(name, **floats), key, CASES[name].iterations))


def defaults(name: str) -> dict[str, np.float32]:
    """The values of the case for what one program sweeps."""
    return {field: np.float32(value) for field, value in float_fields(name).items()}


@cache
def piece(name: str):
    """The compiled iteration of three agents with these floats, and the list of how often it was traced."""
    traces = []

    def one(floats, training, first):
        traces.append(name)
        total = CASES[name].iterations
        return advance(algorithm(name, **floats), training, first, iterations=1, total_iterations=total)[0]

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None))), traces


def in_pieces(name: str, scale: float):
    """What three agents are after each iteration, every one a call; `scale` times the floats of the case."""
    floats = {field: jnp.full(3, np.float32(scale) * value) for field, value in defaults(name).items()}
    training = jax.jit(jax.vmap(partial(start, algorithm(name))))(seeds())
    for first in range(CASES[name].iterations):
        training = piece(name)[0](floats, training, jnp.int32(first))
        yield training


@cache
def pieces(name: str):
    """The same for the floats of the case."""
    return tuple(in_pieces(name, 1.0))


def seeds() -> jax.Array:
    return jax.random.split(jax.random.key(0), 3)


def test_the_state_is_strongly_typed_arrays_and_stays_so(name):
    one = algorithm(name)
    training = jax.eval_shape(partial(start, one), jax.random.key(0))
    after, metrics = jax.eval_shape(one.step, training.state, Time(jnp.int32(0), jnp.float32(0)))
    assert jax.tree.structure(training.state) == jax.tree.structure(after)
    for before, later in zip(jax.tree.leaves(training.state), jax.tree.leaves(after), strict=True):
        assert isinstance(before, jax.ShapeDtypeStruct)
        assert (before.shape, before.dtype) == (later.shape, later.dtype)
        assert not before.weak_type
        assert not later.weak_type
        assert 0 not in before.shape
    assert metrics
    assert all(value.shape == () for value in metrics.values())


def test_seeds_differ_and_a_seed_repeats_bitwise(name):
    again = train_three(name)
    assert_same(again, trained(name))
    params = jax.vmap(algorithm(name).snapshot)(again.state)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        differ = [not np.array_equal(leaf[i], leaf[j]) for leaf in arrays(params)]
        assert any(differ)


def test_a_vmapped_agent_is_the_agent_run_alone(name):
    for i in (0, 2):
        together = jax.tree.map(lambda leaf, i=i: leaf[i], trained(name))
        assert_close(together, alone(name)(defaults(name), seeds()[i]), tolerance=1e-4)


def test_every_float_can_be_swept_and_changes_nothing_but_itself(name):
    values = float_fields(name)
    assert values
    lanes = 1 + len(values)
    batch = {field: np.full(lanes, value, np.float32) for field, value in values.items()}
    for lane, field in enumerate(values, start=1):
        batch[field][lane] = 0.7 * values[field] if values[field] else 0.01

    key, iterations = jax.random.key(1), CASES[name].iterations

    def final(result):
        return algorithm(name).snapshot(result.state), result.metrics

    swept = jax.jit(jax.vmap(lambda floats: final(train(algorithm(name, **floats), key, iterations))))(batch)
    for lane in range(lanes):
        expected = final(alone(name)({field: column[lane] for field, column in batch.items()}, key))
        assert_close(jax.tree.map(lambda leaf, lane=lane: leaf[lane], swept), expected, tolerance=1e-4)
    base = jax.tree.map(lambda leaf: leaf[0], swept)
    for lane, field in enumerate(values, start=1):
        changed = jax.tree.map(lambda leaf, lane=lane: leaf[lane], swept)
        same = all(np.array_equal(a, b) for a, b in zip(arrays(base), arrays(changed), strict=True))
        assert same == (field in CASES[name].idle), f"{field} has {'no' if same else 'an'} effect"


def test_evaluation_does_not_perturb_training(name):
    one = algorithm(name)
    plan = EvaluationPlan(one.environment, episodes=3)
    iterations = CASES[name].iterations
    training = jax.vmap(lambda key: train(one, key, iterations, evaluate_every=iterations // 2, plan=plan))
    watched = jax.jit(training)(seeds())
    assert_same((watched.state, watched.metrics), (trained(name).state, trained(name).metrics))
    assert watched.evaluations.returns.shape == (3, 2, 3)
    means = watched.evaluations.returns.mean(-1)
    np.testing.assert_allclose(watched.best.score, means.max(1), rtol=1e-6)
    halfway = pieces(name)[iterations // 2 - 1]
    for agent in range(3):
        source = (halfway if means[agent, 0] >= means[agent, 1] else watched).state
        best, expected = (
            jax.tree.map(lambda x, i=agent: x[i], tree)
            for tree in (watched.best.snapshot, jax.vmap(one.snapshot)(source))
        )
        assert_close(best, expected, tolerance=1e-4)


def test_one_program_for_all_chunks_seeds_and_values(name):
    pieces(name)
    list(in_pieces(name, 0.9))
    program, traces = piece(name)
    assert len(traces) == 1
    assert program._cache_size() == 1


def test_pieces_of_training_are_the_whole(name):
    assert_close(pieces(name)[-1].state, trained(name).state, tolerance=1e-4)


def test_the_snapshot_is_enough_to_act(name):
    one = algorithm(name)
    state = jax.tree.map(lambda x: x[0], trained(name).state)
    observation = jnp.ones(make(CASES[name].environment).observation_space.shape)
    key = jax.random.key(0)
    for greedy in (True, False):
        whole, small = (one.policy(s, greedy=greedy) for s in (state, one.snapshot(state)))
        assert_same(whole.act(key, whole.init(key), observation), small.act(key, small.init(key), observation))
    sizes = [sum(x.size for x in jax.tree.leaves(s)) for s in (one.snapshot(state), state)]
    assert sizes[0] < sizes[1]


def test_a_wrong_environment_is_refused(name):
    wrong = CASES[name].wrong_environment
    if wrong is None:
        pytest.skip("no environment in the table is wrong for it")
    module = load(CASES[name].algorithm)
    with pytest.raises(TypeError, match=f"{wrong}.*use"):
        module.make(make(wrong), module.Config())


def test_bad_values_are_refused_before_anything_is_compiled(name):
    module, environment = load(CASES[name].algorithm), make(CASES[name].environment)
    for field in dataclasses.fields(module.Config):
        if field.type in (float, "float"):
            for value in (float("nan"), "fast", [1.0, 2.0]):
                with pytest.raises((TypeError, ValueError), match=field.name):
                    module.make(environment, module.Config(**{field.name: value}))
        else:
            with pytest.raises((TypeError, ValueError), match=field.name):
                module.make(environment, module.Config(**{field.name: 3.5}))

            def traced(value, field=field):
                module.make(environment, module.Config(**{field.name: value}))
                return value

            with pytest.raises(TypeError, match=f"{field.name} chooses a program"):
                jax.vmap(traced)(jnp.arange(1, 3))


def test_every_field_is_documented(name):
    config = load(CASES[name].algorithm).Config
    lines = "".join(inspect.getsource(kind) for kind in config.__mro__ if dataclasses.is_dataclass(kind))
    for field in dataclasses.fields(config):
        assert f"    {field.name}: " in lines
        documentation = lines.split(f"    {field.name}: ", 1)[1].split("\n")[1].strip()
        assert documentation.startswith('"""'), f"{field.name} has no line of documentation"
        assert documentation.endswith('."""')
