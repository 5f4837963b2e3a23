"""The contracts of an algorithm as checks that anybody can run, on an algorithm of their own too.

    from purerl.testing import Case, check

    check(Case(my_algorithm, "CartPole-v1", {"num_envs": 4, "batch_size": 16}))

A `Case` is a small way to configure the algorithm; each contract is a function of it that raises AssertionError where
the contract is broken. purerl's own tests run the same functions over every algorithm in the table. They train a few
agents for a few iterations in three ways: side by side, alone, and side by side in halves with an evaluation
after each. What they train is kept, however many contracts need it.
"""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purerl import trees
from purerl.algorithms import load
from purerl.environments import make
from purerl.evaluate import Evaluation
from purerl.train import EvaluationPlan, Training, TrainResult, advance, start, train
from purerl.types import Algorithm, Array, Environment, Key, Metrics, Time

TOLERANCE = 1e-4  # of what two programs compute that differ only in how they were cut
SEEDS = 3  # agents that differ in nothing else
KEPT = lru_cache(maxsize=2)  # the programs of so many cases: they are large


@dataclass(frozen=True, eq=False)
class Case:
    """What the contracts need to know of an algorithm, or of one way to configure it."""

    algorithm: Any  # a name in the table, or a module (anything with `Config` and `make(environment, config)`)
    environment: str  # something it can be made for
    config: dict[str, Any] = field(default_factory=dict)  # fields that make it small
    idle: tuple[str, ...] = ()  # float fields that do nothing in this configuration
    wrong_environment: str | None = None  # something it must refuse
    iterations: int = 4  # an even number: some contracts train by halves

    @property
    def module(self) -> Any:
        """Where the algorithm's `Config` and `make` are."""
        return load(self.algorithm) if isinstance(self.algorithm, str) else self.algorithm

    def made(self, **floats: Any) -> Algorithm:
        """The algorithm, with some float fields replaced (they may be traced)."""
        return self.module.make(self.environment_made(), self.module.Config(**self.config | floats))

    def environment_made(self) -> Environment:
        """The environment it is made for."""
        return make(self.environment)

    def floats(self) -> dict[str, np.float32]:
        """The hyperparameters that one program sweeps, with their values in the case."""
        config = self.made().config
        fields = [f.name for f in dataclasses.fields(config) if f.type in (float, "float")]
        return {name: np.float32(getattr(config, name)) for name in fields}


def check(case: Case, say: Callable[[str], Any] = print) -> None:
    """Hold the algorithm to every contract and `say` which ones it keeps; AssertionError at the first that is broken.

    The contract that is broken is named in the traceback; its docstring says what it asks for.
    """
    for contract in CONTRACTS:
        contract(case)
        say(f"kept: {contract.__name__.replace('_', ' ')}")


# The contracts


def the_state_is_strongly_typed_arrays_and_stays_so(case: Case) -> None:
    """A step keeps the structure, shapes and types of the state, none of them weak or empty; metrics are scalars."""
    one = case.made()
    training = jax.eval_shape(partial(start, one), jax.random.key(0))
    after, metrics = jax.eval_shape(one.step, training.state, Time(jnp.int32(0), jnp.float32(0)))
    _require(jax.tree.structure(training.state) == jax.tree.structure(after), "a step changes the state's structure")
    places = jax.tree_util.tree_leaves_with_path(training.state)
    for (path, before), later in zip(places, jax.tree.leaves(after), strict=True):
        where = f"state{jax.tree_util.keystr(path)}"
        _require(isinstance(before, jax.ShapeDtypeStruct), f"{where} is not an array")
        same = (before.shape, before.dtype) == (later.shape, later.dtype)
        _require(same, f"{where} is {before.dtype}{before.shape} and becomes {later.dtype}{later.shape}")
        _require(not before.weak_type and not later.weak_type, f"{where} is weakly typed: see trees.strongly_typed")
        _require(0 not in before.shape, f"{where} is empty: its shape is {before.shape}")
    _require(bool(metrics), "there are no metrics")
    for name, value in metrics.items():
        _require(value.shape == (), f"the metric {name} must be a scalar, its shape is {value.shape}")


def seeds_differ_and_a_seed_repeats_bitwise(case: Case) -> None:
    """Training again, traced anew, gives the same bits; three seeds give three different policies."""
    assert_same(_train(case), _trained(case))
    params = jax.vmap(case.made().snapshot)(_trained(case).state)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        differ = [not np.array_equal(leaf[i], leaf[j]) for leaf in _arrays(params)]
        _require(any(differ), f"seeds {i} and {j} end with the same policy")


def a_vmapped_agent_is_the_agent_run_alone(case: Case) -> None:
    """Agents trained side by side do not see one another."""
    for i in (0, SEEDS - 1):
        assert_close(_agent(_trained(case), i), _alone(case)(*_agent(_agents(case), i)))


def every_float_can_be_swept_and_changes_nothing_but_itself(case: Case) -> None:
    """One program trains with many values of each float; each value does what it does alone, and (unless `idle`) some.

    A float with a value is tried at 0.7 times it, one that is 0 at 0.01.
    """
    names = list(case.floats())
    _require(bool(names), "its Config has no float field, so there is nothing to sweep")

    def final(result: TrainResult) -> tuple[Any, Any]:
        return case.made().snapshot(result.state), result.metrics

    base = final(_agent(_trained(case), SEEDS))
    for i, name in enumerate(names, start=SEEDS + 1):
        changed = final(_agent(_trained(case), i))
        assert_close(changed, final(_alone(case)(*_agent(_agents(case), i))))
        same = all(np.array_equal(a, b) for a, b in zip(_arrays(base), _arrays(changed), strict=True))
        _require(same == (name in case.idle), f"{name} has {'no' if same else 'an'} effect")


def evaluation_does_not_perturb_training(case: Case) -> None:
    """Training is the same with evaluation on and off, and the best snapshot is that of the best evaluation."""
    one, halves = case.made(), _halves(case)
    watched = halves[1].training
    metrics = {name: np.concatenate([half.metrics[name] for half in halves], axis=1) for name in halves[0].metrics}
    assert_same((watched.state, metrics), (_trained(case).state, _trained(case).metrics))
    returns = np.stack([half.evaluation.returns for half in halves], axis=1)
    _require(returns.shape[1:] == (2, 3), "two evaluations of three episodes were asked for")
    means = returns.mean(-1)
    np.testing.assert_allclose(watched.best.score, means.max(1), rtol=1e-6)
    for i, better in enumerate(means.argmax(1)):
        source = halves[better].training.state
        assert_close(_agent(watched.best.snapshot, i), one.snapshot(_agent(source, i)))


def one_program_serves_all_chunks_seeds_and_values(case: Case) -> None:
    """Both halves of a training, and other values of the floats, are one program, traced and compiled once."""
    program, traces = _half(case)
    floats = {name: np.float32(0.9) * values for name, values in _agents(case)[0].items()}
    program(floats, _halves(case)[0].training, jnp.int32(0))
    _require(len(traces) == 1, f"half of it was traced {len(traces)} times")
    _require(program._cache_size() == 1, f"half of it was compiled {program._cache_size()} times")


def pieces_of_training_are_the_whole(case: Case) -> None:
    """Two halves, called one by one, end where one scan does: nothing is carried outside of the state."""
    assert_close(_halves(case)[1].training.state, _trained(case).state)


def the_snapshot_is_enough_to_act(case: Case) -> None:
    """`policy(snapshot(state))` acts like `policy(state)`, greedy or not, and the snapshot is smaller."""
    one = case.made()
    state = _agent(_trained(case).state, 0)
    observation = jnp.ones(case.environment_made().observation_space.shape)
    key = jax.random.key(0)
    for greedy in (True, False):
        whole, small = (one.policy(s, greedy=greedy) for s in (state, one.snapshot(state)))
        assert_same(whole.act(key, whole.init(key), observation), small.act(key, small.init(key), observation))
    sizes = [sum(x.size for x in jax.tree.leaves(s)) for s in (one.snapshot(state), state)]
    _require(sizes[0] < sizes[1], f"the snapshot has {sizes[0]} numbers, as many as the state")


def a_wrong_environment_is_refused(case: Case) -> None:
    """TypeError with the environment's name and a way out. Nothing to do where no environment is wrong for it."""
    wrong = case.wrong_environment
    if wrong is None:
        return
    _refused(lambda: case.module.make(make(wrong), case.module.Config()), (TypeError,), wrong, "use")


def bad_values_are_refused_before_anything_is_compiled(case: Case) -> None:
    """NaN, text and lists as floats; fractions and traced numbers as anything else: an error that names the field."""
    module, environment = case.module, case.environment_made()
    for one in dataclasses.fields(module.Config):

        def given(value: Any, name: str = one.name) -> Any:
            module.make(environment, module.Config(**{name: value}))
            return value

        if one.type in (float, "float"):
            for value in (float("nan"), "fast", [1.0, 2.0]):
                _refused(partial(given, value), (TypeError, ValueError), one.name)
        else:
            _refused(partial(given, 3.5), (TypeError, ValueError), one.name)
            _refused(
                lambda given=given: jax.vmap(given)(jnp.arange(1, 3)), (TypeError,), f"{one.name} chooses a program"
            )


def every_field_is_documented(case: Case) -> None:
    """A line of documentation, a docstring that ends with a full stop, under every field of the Config."""
    config: type = case.module.Config
    lines = "".join(inspect.getsource(kind) for kind in config.__mro__ if dataclasses.is_dataclass(kind))
    for one in dataclasses.fields(config):
        _require(f"    {one.name}: " in lines, f"{one.name} is not in the source of {config.__name__}")
        documentation = lines.split(f"    {one.name}: ", 1)[1].split("\n")[1].strip()
        _require(documentation.startswith('"""'), f"{one.name} has no line of documentation")
        _require(documentation.endswith('."""'), f"the documentation of {one.name} does not end with a full stop")


CONTRACTS: tuple[Callable[[Case], None], ...] = (
    the_state_is_strongly_typed_arrays_and_stays_so,
    seeds_differ_and_a_seed_repeats_bitwise,
    a_vmapped_agent_is_the_agent_run_alone,
    every_float_can_be_swept_and_changes_nothing_but_itself,
    evaluation_does_not_perturb_training,
    one_program_serves_all_chunks_seeds_and_values,
    pieces_of_training_are_the_whole,
    the_snapshot_is_enough_to_act,
    a_wrong_environment_is_refused,
    bad_values_are_refused_before_anything_is_compiled,
    every_field_is_documented,
)


# What they compare


def assert_same(one: Any, other: Any) -> None:
    """AssertionError unless two trees hold the same bits."""
    for a, b in zip(_arrays(one), _arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(one: Any, other: Any, tolerance: float = TOLERANCE) -> None:
    """AssertionError unless two trees hold the same numbers, within a relative or absolute tolerance."""
    for a, b in zip(_arrays(one), _arrays(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def _arrays(tree: Any) -> list[np.ndarray]:
    """Leaves as NumPy arrays, typed keys as their data."""
    leaves = jax.tree.leaves(tree)
    return [np.asarray(jax.random.key_data(x) if trees.is_key(x) else x) for x in leaves]


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _refused(attempt: Callable[[], Any], errors: tuple[type[Exception], ...], *words: str) -> None:
    """AssertionError unless the attempt raises one of `errors` whose message has the words in this order."""
    try:
        attempt()
    except errors as error:
        message, begin = str(error), 0
        for word in words:
            begin = message.find(word, begin) + 1
            _require(begin > 0, f"the error should speak of {word!r}: {message}")
        return
    raise AssertionError(f"nothing was raised where an error about {words[0]} was called for")


# What they train


class Half(NamedTuple):
    """What half of a training and an evaluation after it return."""

    training: Training
    metrics: Metrics
    evaluation: Evaluation


def _agents(case: Case) -> tuple[dict[str, np.ndarray], Key]:
    """Floats and keys of the agents: three that differ in their seeds, one more, and that with each float changed."""
    values = case.floats()
    floats = {name: np.full(SEEDS + 1 + len(values), value, np.float32) for name, value in values.items()}
    for i, (name, value) in enumerate(values.items(), start=SEEDS + 1):
        floats[name][i] = 0.7 * value if value else 0.01
    seeds, another = jax.random.split(jax.random.key(0), SEEDS), jax.random.key(1)
    return floats, jnp.concatenate([seeds, jnp.repeat(another, 1 + len(values))])


def _agent(tree: Any, i: int) -> Any:
    """One of the agents."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


@KEPT
def _alone(case: Case) -> Callable[..., TrainResult]:
    """The compiled training of one agent with these floats and this key."""
    return jax.jit(lambda floats, key: train(case.made(**floats), key, case.iterations))


def _begun(case: Case) -> tuple[dict[str, np.ndarray], Training]:
    """Floats and beginnings of the agents, traced anew."""
    floats, keys = _agents(case)
    return floats, jax.jit(jax.vmap(lambda floats, key: start(case.made(**floats), key)))(floats, keys)


def _train(case: Case) -> TrainResult:
    """Train the agents side by side, traced anew."""
    n = case.iterations

    def one(floats: dict[str, Array], training: Training) -> TrainResult:
        made = case.made(**floats)
        training, metrics, _ = advance(made, training, jnp.int32(0), iterations=n, total_iterations=n)
        return TrainResult(training.state, metrics, training.best, None)

    return jax.jit(jax.vmap(one))(*_begun(case))


_trained = KEPT(_train)


@KEPT
def _half(case: Case) -> tuple[Any, list[None]]:
    """Half of it with an evaluation after it, compiled, and a list as long as it was traced often."""
    traces: list[None] = []
    n = case.iterations

    def one(floats: dict[str, Array], training: Training, first: Array) -> Any:
        traces.append(None)
        made = case.made(**floats)
        plan = EvaluationPlan(made.environment, episodes=3)
        return advance(made, training, first, iterations=n // 2, total_iterations=n, plan=plan)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None))), traces


@KEPT
def _halves(case: Case) -> tuple[Half, Half]:
    """What its two calls return for the agents."""
    (floats, training), (program, _) = _begun(case), _half(case)
    first = Half(*program(floats, training, jnp.int32(0)))
    return first, Half(*program(floats, first.training, jnp.int32(case.iterations // 2)))
