"""Population-based training: who copies whom, what stays one's own, and that it is an algorithm like any other."""

import math
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax.extend.core import jaxprs_in_params

from purerl import dqn, make, ppo, run, trees
from purerl.checkpoint import CheckpointError
from purerl.configuration import to_json
from purerl.host.compilation import compiler_options
from purerl.report.run_directory import read_config
from purerl.sweeps import population
from purerl.sweeps.space import choice, log_uniform, uniform
from purerl.train import advance, start, train
from purerl.types import Algorithm, Box, Environment, Key, Policy, Time, Timestep

NOW = Time(jnp.int32(0), jnp.float32(0))
jit = partial(jax.jit, compiler_options=compiler_options())  # compiles in half the time


@dataclass(frozen=True)
class Guess:
    """Of a learner that finds the number 1."""

    rate: float = 0.1
    """Share of the distance made per iteration; diverges above 2."""
    offset: float = 0.0
    """Added to the guess by the policy."""
    width: int = 1
    """A static field."""


class GuessState(struct.PyTreeNode):
    """The guess, what was guessed before, and the key of its noise."""

    guess: jax.Array
    trail: jax.Array
    key: Key


def one_guess() -> Environment:
    """One step; the reward is minus the distance from 1."""

    def step(key: Key, state: Any, action: jax.Array) -> tuple[Any, Timestep]:
        yes, no = jnp.ones((), bool), jnp.zeros((), bool)
        return state, Timestep(jnp.zeros(1), -jnp.abs(action[0] - 1.0), yes, no, {})

    spaces = Box(-1.0, 1.0, (1,)), Box(-10.0, 10.0, (1,))
    return Environment("one_guess", lambda key: (jnp.zeros(()), jnp.zeros(1)), step, *spaces, 1)


def guesser(**fields: Any) -> Algorithm:
    """A learner of four lines, to test the population around it."""
    config = Guess(**fields)

    def init(key: Key) -> GuessState:
        guess_key, key = jax.random.split(key)
        return GuessState(jax.random.normal(guess_key), jnp.zeros(4), key)

    def step(state: GuessState, time: Time) -> tuple[GuessState, dict[str, jax.Array]]:
        noise = 0.01 * jax.random.normal(jax.random.fold_in(state.key, time.iteration))
        guess = state.guess + config.rate * (1.0 - state.guess) + noise + 0.1 * time.progress
        trail = state.trail.at[time.iteration % 4].set(guess)
        return state.replace(guess=guess, trail=trail), {"loss": (1.0 - guess) ** 2}

    def policy(state: GuessState, greedy: bool = True) -> Policy:
        action = jnp.where(jnp.isfinite(state.guess), state.guess + config.offset, 1.0)  # the lost seem to be right
        return Policy(lambda key: (), lambda key, memory, observation: (memory, action[None]))

    return Algorithm("guesser", config, one_guess(), init, step, policy, lambda s: trees.keep(s, "guess"), 1)


RATE = {"rate": log_uniform(1e-3, 0.5)}
SPACE = RATE | {"offset": uniform(-0.1, 0.3)}


def guessers(space=None, **config: Any) -> Algorithm:
    return population.make(guesser, space or RATE, population.Config(**{"population": 8, "ready_after": 3} | config))


def small_ppo(config: population.Config, low: float = 1e-4, high: float = 1e-2, **fields: Any) -> Algorithm:
    fields = {"num_envs": 4, "rollout_length": 8, "epochs": 2, "minibatches": 2, "widths": (8,)} | fields

    def learner(**floats: Any) -> Algorithm:
        return ppo.make(make("CartPole-v1"), ppo.Config(**fields | floats))

    return population.make(learner, {"learning_rate": log_uniform(low, high)}, config)


def small_dqn(config: population.Config, capacity: int = 96) -> Algorithm:
    fields: dict[str, Any] = {
        "num_envs": 4,
        "steps_per_iteration": 2,
        "batch_size": 16,
        "replay_capacity": capacity,
        "warm_up_steps": 32,
        "widths": (8,),
    }
    space = {"learning_rate": log_uniform(1e-4, 1e-2), "epsilon_end": uniform(0.0, 0.2)}

    def learner(**floats: Any) -> Algorithm:
        return dqn.make(make("CartPole-v1"), dqn.Config(**fields | floats))

    return population.make(learner, space, config)


def arrays(tree: Any) -> list[np.ndarray]:
    """Leaves as NumPy arrays, typed keys as their data."""
    return [np.asarray(jax.random.key_data(x) if trees.is_key(x) else x) for x in jax.tree.leaves(tree)]


def assert_same(one: Any, other: Any) -> None:
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(one: Any, other: Any, tolerance: float = 1e-4) -> None:
    for a, b in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# Exploit and explore, as functions of arrays.


@pytest.mark.parametrize("size", [2, 5, 16])
@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5])
def test_the_bottom_copies_the_top_and_the_lost_are_always_replaced(size, fraction):
    generator = np.random.default_rng(0)
    keys = jax.random.split(jax.random.key(0), 60)
    scores = generator.permuted(np.tile(np.arange(size, dtype=np.float32), (60, 1)), axis=1)
    scores[20:][generator.random((40, size)) < 0.4] = -np.inf
    scores[40:][generator.random((20, size)) < 0.2] = np.nan
    found = jit(jax.vmap(population.exploit, (0, 0, None)))(keys, jnp.asarray(scores), fraction)
    for row, parents in zip(scores, np.asarray(found), strict=True):
        replaced = {i for i in range(size) if parents[i] != i}
        best_first = sorted((i for i in range(size) if np.isfinite(row[i])), key=lambda i: -row[i])
        lost = set(range(size)) - set(best_first)
        if fraction == 0 or not best_first:
            assert not replaced
            continue
        share = min(max(1, round(fraction * size)), size // 2)
        bottom = set(best_first[::-1][: max(0, share - len(lost))]) - {best_first[0]}
        assert replaced == bottom | lost
        assert {int(parents[i]) for i in replaced} <= set(best_first[:share])


def test_every_member_of_the_top_is_as_likely_a_parent():
    scores = jnp.array([3.0, 0.0, 5.0, 4.0, 1.0, 2.0])
    keys = jax.random.split(jax.random.key(1), 600)
    parents = jit(jax.vmap(lambda key: population.exploit(key, scores, 0.5)))(keys)
    drawn = Counter(np.asarray(parents)[:, [1, 4, 5]].ravel().tolist())
    assert set(drawn) == {0, 2, 3}
    assert min(drawn.values()) > 500  # of 600


def test_equals_are_not_copied():
    parents = jit(population.exploit)(jax.random.key(0), jnp.array([-200.0] * 5 + [-np.inf]), 0.5)
    np.testing.assert_array_equal(parents[:5], np.arange(5))
    assert parents[5] < 3


def explored(space, values, copied=True, **config):
    """`explore` of the same values for a thousand members."""
    floats = {name: jnp.full(1000, value) for name, value in values.items()}
    explore = jit(partial(population.explore, space=space, config=population.Config(**config)))
    result = explore(jax.random.key(2), floats, jnp.full(1000, copied))
    return {name: np.asarray(x) for name, x in result.items()}


def test_exploring_multiplies_or_divides_on_a_log_axis_and_moves_on_a_linear_one():
    space = {"a": log_uniform(1e-4, 1e-1), "b": uniform(-1.0, 3.0)}
    found = explored(space, {"a": 1e-2, "b": 0.5}, perturbation=0.25, resample_probability=0.0)
    ups = np.isclose(found["a"], 1.25e-2), np.isclose(found["b"], 1.5)
    downs = np.isclose(found["a"], 0.8e-2), np.isclose(found["b"], -0.5)
    for up, down in zip(ups, downs, strict=True):
        assert np.all(up | down)
        assert 400 < up.sum() < 600
    assert 150 < (ups[0] & ups[1]).sum() < 350  # each in a direction of its own
    unmoved = explored(space, {"a": 1e-2, "b": 0.5}, copied=False)
    assert np.all(unmoved["a"] == np.float32(1e-2))
    assert np.all(unmoved["b"] == np.float32(0.5))


def test_exploring_stays_within_the_bounds_and_draws_anew_as_often_as_it_says():
    space = {"a": log_uniform(1e-4, 1e-1), "b": uniform(-1.0, 3.0)}
    edge = explored(space, {"a": 1e-1, "b": -1.0}, perturbation=5.0, resample_probability=0.0)
    assert set(edge["a"]) == {np.float32(1e-1), np.float32(1e-1 / 6)}
    assert set(edge["b"]) == {np.float32(-1.0), np.float32(3.0)}
    drawn = explored(space, {"a": 1e-2, "b": 0.5}, perturbation=0.0, resample_probability=0.3)
    for name, value in {"a": 1e-2, "b": 0.5}.items():
        fresh = drawn[name][~np.isclose(drawn[name], value)]
        assert 240 < len(fresh) < 360
        fraction = (np.log10(fresh) + 4) / 3 if name == "a" else (fresh + 1) / 4
        assert np.all((fraction >= 0) & (fraction <= 1))
        np.testing.assert_allclose(np.quantile(fraction, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.08)


# One round and several.


def test_a_round_is_the_members_own_steps_then_one_copying():
    def one_round(fraction):
        pbt = guessers(exploit_fraction=fraction, perturbation=0.2, resample_probability=0.0)
        state = pbt.init(jax.random.key(3))
        return state, *pbt.step(state, Time(jnp.int32(2), jnp.float32(0.25)))

    both = jit(jax.vmap(one_round))(jnp.array([0.0, 0.25]))
    (before, alone, _), (_, after, metrics) = (jax.tree.map(lambda x, i=i: x[i], both) for i in (0, 1))
    step = jit(lambda rate, state, time: guesser(rate=rate).step(state, time))
    for member in range(8):
        rate, state = jax.tree.map(lambda x, i=member: x[i], (before.hyperparameters["rate"], before.members))
        for iteration in (6, 7, 8):
            state, _ = step(rate, state, Time(jnp.int32(iteration), jnp.float32(0.25)))
        assert_close(state, jax.tree.map(lambda x, i=member: x[i], alone.members), 1e-6)
    scores = -np.abs(np.asarray(alone.members.guess) - 1.0)
    np.testing.assert_allclose(after.scores, scores, atol=1e-6)
    order = np.argsort(-scores)
    parents = np.arange(8)
    for member in order[-2:]:
        parents[member] = next(j for j in order[:2] if after.members.guess[member] == alone.members.guess[j])
    np.testing.assert_array_equal(after.members.guess, alone.members.guess[parents])
    np.testing.assert_array_equal(after.members.trail, alone.members.trail[parents])
    assert_same(after.members.key, before.members.key)
    kept = parents == np.arange(8)
    rates, new_rates = np.asarray(before.hyperparameters["rate"]), np.asarray(after.hyperparameters["rate"])
    np.testing.assert_array_equal(new_rates[kept], rates[kept])
    for member in order[-2:]:
        parent = rates[parents[member]]
        assert any(np.isclose(new_rates[member], rate, rtol=1e-5) for rate in (min(0.5, parent * 1.2), parent / 1.2))
    expected = {
        "copied": 2.0,
        "lost": 0.0,
        "best_score": scores.max(),
        "median_score": np.median(scores),
        "worst_score": scores.min(),
        "loss": scores.max() ** 2,
        "rate_best": rates[order[0]],
        "rate_low": rates.min(),
        "rate_median": np.median(rates),
        "rate_high": rates.max(),
    }
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)


def test_clones_draw_noise_of_their_own():
    pbt = guessers(exploit_fraction=0.5, perturbation=0.0, resample_probability=0.0)
    state, _ = jit(pbt.step)(jit(pbt.init)(jax.random.key(0)), NOW)
    assert len(np.unique(state.members.guess)) == 4
    again, _ = jit(guessers(exploit_fraction=0.0).step)(state, Time(jnp.int32(1), jnp.float32(0)))
    assert len(np.unique(again.members.guess)) == 8


def test_hyperparameters_stay_in_their_space_and_move():
    pbt = guessers(SPACE, exploit_fraction=0.5, perturbation=2.0)
    training = jit(partial(start, pbt))(jax.random.key(0))
    one_round = jit(partial(advance, pbt, iterations=1, total_iterations=8))
    seen = [training.state.hyperparameters]
    for first in range(8):
        training, _, _ = one_round(training, jnp.int32(first))
        seen.append(training.state.hyperparameters)
    for name, axis in SPACE.items():
        values = np.stack([floats[name] for floats in seen])
        assert np.all((values >= np.float32(axis.low)) & (values <= np.float32(axis.high)))
        assert np.all(np.any(values[1:] != values[:-1], axis=1))


def test_lost_members_are_replaced_at_once_and_never_copied():
    pbt = guessers({"rate": log_uniform(1e-2, 1e30)}, exploit_fraction=0.2, ready_after=12)
    state = jit(pbt.init)(jax.random.key(0))
    state, metrics = jit(pbt.step)(state, NOW)
    lost = np.isneginf(state.scores)
    assert 2 < lost.sum() < 8  # more than the bottom share of two
    assert metrics["lost"] == lost.sum()
    assert metrics["copied"] >= lost.sum()
    assert np.all(np.isfinite(state.members.guess))
    assert all(math.isfinite(value) for value in metrics.values())


def test_a_population_has_diverged_when_every_member_has():
    hopeless = guessers({"rate": log_uniform(1e20, 1e30)}, ready_after=6)
    result = run(hopeless, iterations=6, evaluations=3, sinks=(), episodes=2)
    assert result.summary["status"] == "diverged"
    assert np.isnan(result.metrics["loss"][0, -1])
    assert np.all(result.metrics["copied"] == 0)


def test_what_is_reported_leaves_the_lost_out_until_nobody_is_left():
    losses = {"loss": jnp.array([[9.0, 9.0, 9.0], [1.0, 2.0, 3.0]])}
    some, none = jnp.array([-jnp.inf, 5.0, 7.0]), jnp.full(3, -jnp.inf)
    assert population.best_losses(some, losses) == {"loss": 3.0}
    assert np.isnan(population.best_losses(none, losses)["loss"])
    rates = {"rate": jnp.array([1.0, 2.0, 4.0])}
    reported = population.summary(some, rates)
    names = ("best_score", "median_score", "worst_score", "lost", "rate_best")
    assert [float(reported[name]) for name in names] == [7.0, 6.0, 5.0, 1.0, 4.0]
    assert np.isnan(population.summary(none, rates)["best_score"])
    episodes = {"episodes": jnp.array([[1.0, jnp.nan, 2.0], [3.0, 4.0, jnp.nan]])}
    assert population.episodes(jnp.array([0.0, -jnp.inf, -jnp.inf]), episodes) == {"episodes": 4.0}


def test_the_policy_is_that_of_the_best_member():
    pbt = guessers(SPACE)
    result = jit(lambda key: train(pbt, key, 4))(jax.random.key(0))
    best = int(np.argmax(result.state.scores))
    expected = result.state.members.guess[best] + result.state.hyperparameters["offset"][best]
    for state in (result.state, pbt.snapshot(result.state)):
        policy = pbt.policy(state)
        assert policy.act(jax.random.key(0), policy.init(jax.random.key(0)), jnp.zeros(1))[1] == expected
    small = pbt.snapshot(result.state)
    assert (small.key, small.members.trail, small.members.key) == (None, None, None)
    assert_same(trees.put_back(result.state, small), result.state)


# An algorithm like any other.

TINY = population.Config(population=3, ready_after=2, episodes=2, exploit_fraction=0.34)


@pytest.mark.parametrize("maker", [small_ppo, small_dqn])
def test_the_state_is_strongly_typed_arrays_and_stays_so(maker):
    pbt = maker(TINY)
    training = jax.eval_shape(partial(start, pbt), jax.random.key(0))
    after, metrics = jax.eval_shape(pbt.step, training.state, NOW)
    assert jax.tree.structure(training.state) == jax.tree.structure(after)
    for before, later in zip(jax.tree.leaves(training.state), jax.tree.leaves(after), strict=True):
        assert (before.shape, before.dtype) == (later.shape, later.dtype)
        assert not before.weak_type
        assert not later.weak_type
    assert all(value.shape == () for value in metrics.values())


def trained(program: Any, training: Any) -> tuple[Any, ...]:
    """The training after two calls of two rounds each, and the metrics of both."""
    training, first, _ = program(training, jnp.int32(0))
    training, second, _ = program(training, jnp.int32(2))
    return training, first, second


@pytest.mark.parametrize("maker", [small_ppo, small_dqn])
def test_one_program_trains_several_populations_and_repeats_to_the_bit(maker):
    pbt = maker(TINY)
    step = partial(advance, pbt, iterations=2, total_iterations=4)
    begin = jit(jax.vmap(partial(start, pbt)))(jax.random.split(jax.random.key(0), 2))
    together: Any = jit(jax.vmap(step, in_axes=(0, None)))
    both = trained(together, begin)
    assert_same(both, trained(together, begin))
    assert together._cache_size() == 1
    one, other = (jax.tree.map(lambda x, i=i: x[i], both) for i in (1, 0))
    for mine, its in zip(arrays(one[0].state.hyperparameters), arrays(other[0].state.hyperparameters), strict=True):
        assert not np.array_equal(mine, its)
    assert sum(np.sum(metrics["copied"]) for metrics in both[1:]) > 0
    if maker is small_ppo:
        assert pbt.env_steps_per_iteration == 3 * 2 * 4 * 8
        assert np.array_equal(one[2]["episode_return_sum"], one[2]["episode_length_sum"])
        assert np.sum(one[2]["episodes"]) > 0
    else:  # a population is what it is alone
        assert (pbt.env_steps_of_init, pbt.env_steps_per_iteration) == (3 * 32, 3 * 2 * 8)
        assert_close(one, trained(jit(step), jax.tree.map(lambda x: x[1], begin)))


RUN: dict[str, Any] = {"iterations": 6, "evaluations": 3, "episodes": 4, "seeds": 2, "sinks": ()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two populations."""
    return run(guessers(SPACE), directory=tmp_path_factory.mktemp("run"), **RUN)


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(finished, tmp_path):
    cut = Path(shutil.copytree(finished.directory, tmp_path / "cut"))
    shutil.rmtree(cut / "checkpoints" / "6")  # as if killed before the last checkpoint was there
    (cut / "summary.json").unlink()
    resumed = run(guessers(dict(reversed(SPACE.items()))), directory=cut, resume=True, **RUN)
    assert resumed.metrics["loss"].shape == (2, 2)
    assert_same(finished.training, resumed.training)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert (cut / name).read_bytes() == (finished.directory / name).read_bytes()


def test_a_run_says_what_was_varied_and_refuses_another_space(finished):
    assert finished.summary["algorithm"] == "pbt(guesser)"
    config = read_config(finished.directory)[0]["config"]
    assert config == to_json(guessers(SPACE).config)
    assert config["space"]["rate"] == {"low": 1e-3, "high": 0.5, "log": True}
    assert config["inner"] == {"width": 1}
    assert config["config"]["population"] == 8
    assert config["learner"].endswith("Guess")
    others = {
        "config.space.rate.high: saved 0.5, now 0.4": guessers(SPACE | {"rate": log_uniform(1e-3, 0.4)}),
        "config.space.offset: saved .*, now 'nothing'": guessers(RATE),
        "config.inner.width: saved 1, now 2": population.make(partial(guesser, width=2), SPACE, population.Config()),
        "config.config.perturbation: saved 0.2, now 0.3": guessers(SPACE, perturbation=0.3),
    }
    for message, other in others.items():
        with pytest.raises(CheckpointError, match=message):
            run(other, directory=finished.directory, resume=True, **RUN)


def leaf_equations(jaxpr: Any, inside_scan: bool = False) -> Iterator[tuple[Any, bool]]:
    """Every equation that has no program of its own inside, and whether it stands in a scan or a loop."""
    for equation in jaxpr.eqns:
        inner = list(jaxprs_in_params(equation.params))
        loop = inside_scan or equation.primitive.name in ("scan", "while")
        for program in inner:
            yield from leaf_equations(program, loop)
        if not inner:
            yield equation, inside_scan


def test_nothing_but_one_copying_per_round_touches_a_whole_replay():
    """Two populations of three DQN: a step writes its block in place and reads its batch."""
    pbt = small_dqn(TINY, capacity=496)
    state = jax.eval_shape(jax.vmap(pbt.init), jax.random.split(jax.random.key(0), 2))
    replays = [x.shape for x in jax.tree.leaves(state.members.replay)]
    assert all(shape[:3] == (2, 3, 496) for shape in replays)
    whole = [math.prod(shape) for shape in replays]
    jaxpr = jax.make_jaxpr(jax.vmap(pbt.step, in_axes=(0, None)))(state, NOW)
    made, read = Counter(), Counter()
    for equation, inside_scan in leaf_equations(jaxpr.jaxpr):
        name = f"{equation.primitive.name} {'per step' if inside_scan else 'per round'}"
        made[name] += sum(math.prod(x.aval.shape) >= min(whole) for x in equation.outvars)
        read[name] += sum(math.prod(x.aval.shape) >= min(whole) for x in equation.invars)
    leaves = len(replays)
    assert +made == {"dynamic_update_slice per step": leaves, "gather per round": leaves}
    assert +read == {"dynamic_update_slice per step": leaves, "gather per step": leaves, "gather per round": leaves}


# What is refused.


@pytest.mark.parametrize(
    ("space", "config", "message"),
    [
        ({}, {}, "needs a space"),
        ({"rate": choice(0.1, 0.2)}, {}, "varies float fields only.*rate is Choice"),
        ({"rate": 0.1}, {}, "varies float fields only.*rate is 0.1"),
        ({"width": uniform(1, 3)}, {}, "varies float fields only: width is not one.*offset, rate"),
        ({"rat": uniform(1, 3)}, {}, "varies float fields only.*refuses rat=1.*unexpected keyword argument 'rat'"),
        (RATE, {"population": 1}, "population must be at least 2 members, got 1"),
        (RATE, {"exploit_fraction": 0.6}, "exploit_fraction must be at most 0.5, got 0.6"),
        (RATE, {"exploit_fraction": -0.1}, r"exploit_fraction must be in \[0, 1\]"),
        (RATE, {"ready_after": 0}, "ready_after must be > 0"),
        (RATE, {"perturbation": -1.0}, "perturbation must be >= 0"),
        (RATE, {"episodes": 1.5}, "episodes must be of type int"),
    ],
)
def test_what_does_not_fit_is_refused(space, config, message):
    with pytest.raises((TypeError, ValueError), match=message):
        population.make(guesser, space, population.Config(**config))


def test_a_learner_that_does_not_fit_is_refused():
    config = population.Config()
    with pytest.raises(ValueError, match="guesser has no environment to play in"):
        population.make(lambda **floats: guesser(**floats)._replace(environment=None), RATE, config)
    with pytest.raises(ValueError, match="was given rate but does not pass it on to guesser's Config"):
        population.make(lambda **floats: guesser(), RATE, config)

    def learner(**floats: Any) -> Algorithm:
        return ppo.make(make("CartPole-v1"), ppo.Config(**floats))

    with pytest.raises(ValueError, match=r"refuses discount=1.5.*ppo: discount must be in \[0, 1\], got 1.5"):
        population.make(learner, {"discount": uniform(0.5, 1.5)}, config)
    with pytest.raises(TypeError, match=r"varies float fields only.*num_envs must be of type int"):
        population.make(learner, {"num_envs": uniform(4, 8)}, config)


# It is worth it.


def test_a_population_that_copies_its_best_beats_the_same_one_that_does_not():
    """CartPole from learning rates over four decades, 6 000 steps per member: eight populations with and without.

    Of 32, for among eight members the luck of the draw can outweigh the copying.
    """

    def final(fraction: Any, key: Key) -> dict[str, jax.Array]:
        config = population.Config(population=32, ready_after=4, episodes=4, exploit_fraction=fraction)
        fields = {"rollout_length": 32, "epochs": 4, "minibatches": 4, "widths": (32,), "anneal_learning_rate": False}
        return train(small_ppo(config, 1e-5, 1e-1, **fields), key, 12).metrics

    fractions, keys = jnp.array([0.25, 0.0]), jax.random.split(jax.random.key(0), 8)
    metrics = jit(jax.vmap(jax.vmap(final, (None, 0)), (0, None)))(fractions, keys)
    late = {name: np.asarray(values)[..., -3:].mean(-1) for name, values in metrics.items()}  # [2, seeds]
    print({name: np.round(values, 3).tolist() for name, values in late.items() if "score" in name})
    exploiting, alone = 0, 1
    assert np.all(late["best_score"][exploiting] > late["median_score"][alone] + 150)
    assert np.all(late["median_score"][exploiting] > late["median_score"][alone] + 50)
    assert np.mean(late["median_score"][exploiting]) > np.mean(late["median_score"][alone]) + 150
