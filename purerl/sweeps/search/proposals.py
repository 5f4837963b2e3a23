"""Which settings to try next, by Optuna, asked and told a generation at a time.

A study is a pure function of what it has been told: the sampler of every generation is made anew from (sample_seed,
study, generation), so whoever tells the same generations again, in order, is proposed the same settings, whatever the
process did before.

A trial is told as complete with its value, or as pruned with what it had reached. One with a diverged seed is told as
pruned without any value, which TPE ranks behind all others and every other sampler passes over; NaN is never told.
"""

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from purerl.configuration import nearest
from purerl.sweeps.space import Uniform

SAMPLERS = ("tpe", "cmaes", "random")
MakeSampler = Callable[[int], Any]  # from a seed: an optuna sampler
State = Literal["complete", "pruned", "failed"]


class Told(NamedTuple):
    """What became of a proposal."""

    number: int  # of the trial in the whole search
    parameters: dict[str, float]
    reports: tuple[tuple[int, float], ...]  # (iterations done, value) at the end of every rung that it reached
    state: State


def require() -> Any:
    """Optuna. Raises ImportError saying how to install it."""
    if importlib.util.find_spec("optuna") is None:
        raise ImportError('purerl.search needs Optuna: pip install "purerl[search]"')
    import optuna

    return optuna


def maker(sampler: str | MakeSampler, generation: int, pruned: bool, axes: int) -> MakeSampler:
    """A function from a seed to a new sampler.

    Args:
        sampler: a name, or such a function.
        generation: trials asked for at a time: the population of CMA-ES.
        pruned: whether most trials end early: CMA-ES then takes what they had reached for their values.
        axes: how many are searched, at least.

    Raises ValueError for an unknown name and for CMA-ES on a single axis, ImportError for what is not installed.
    """
    samplers = require().samplers
    if not isinstance(sampler, str):
        return sampler
    if sampler not in SAMPLERS:
        raise ValueError(f"there is no sampler {sampler!r}: {nearest(sampler, SAMPLERS)}")
    if sampler == "random":
        return lambda seed: samplers.RandomSampler(seed=seed)
    if sampler == "tpe":
        return lambda seed: samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    if axes < 2:
        raise ValueError("sampler='cmaes' searches at least 2 axes together: add one, or use sampler='tpe'")
    if importlib.util.find_spec("cmaes") is None:
        raise ImportError("sampler='cmaes' needs the package cmaes: pip install cmaes, or use sampler='tpe'")
    population = generation if generation >= 4 else None

    def cmaes(seed: int) -> Any:
        with warnings.catch_warnings(category=require().exceptions.ExperimentalWarning, action="ignore"):
            return samplers.CmaEsSampler(seed=seed, popsize=population, consider_pruned_trials=pruned)

    return cmaes


def name_of(sampler: str | MakeSampler) -> str:
    """How `search.json` calls a sampler."""
    if isinstance(sampler, str):
        return sampler
    return f"<{getattr(sampler, '__module__', '?')}.{getattr(sampler, '__qualname__', type(sampler).__qualname__)}>"


def seed_of(sample_seed: int, study: int, generation: int) -> int:
    """The seed of the sampler of one generation."""
    return int(np.random.SeedSequence([sample_seed, study, generation]).generate_state(1)[0])


def new_study(name: str) -> Any:
    """An empty study that maximises."""
    with _quiet():
        return require().create_study(study_name=name, direction="maximize")


def ask(study: Any, sampler: Any, axes: Mapping[str, Uniform], count: int) -> list[Any]:
    """`count` new Optuna trials of a study; `trial.params` are the proposals, within their bounds."""
    space = _distributions(axes)
    study.sampler = sampler
    with _quiet():
        return [study.ask(space) for _ in range(count)]


def tell(study: Any, asked: Sequence[Any], results: Sequence[Told]) -> None:
    """Tell the study what became of the trials that it was asked for."""
    states = require().trial.TrialState
    for trial, told in zip(asked, results, strict=True):
        for name, value in _attributes(told).items():
            trial.set_user_attr(name, value)
        for iteration, value in () if told.state == "failed" else told.reports:
            trial.report(value, iteration)
        with _quiet():
            if told.state == "complete":
                study.tell(trial, told.reports[-1][1])
            else:
                study.tell(trial, state=states.PRUNED)


def finished_study(name: str, axes: Mapping[str, Uniform], results: Sequence[Told]) -> Any:
    """The study that has been told all this, made without any sampler."""
    optuna, study = require(), new_study(name)
    for told in results:
        complete = told.state == "complete"
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
            value=None if told.state == "failed" else told.reports[-1][1],
            params=told.parameters,
            distributions=_distributions(axes),
            intermediate_values={} if told.state == "failed" else dict(told.reports),
            user_attrs=_attributes(told),
        )
        study.add_trial(trial)
    return study


def _distributions(axes: Mapping[str, Uniform]) -> dict[str, Any]:
    """Sorted, so that the order in which the space names its fields changes nothing."""
    make = require().distributions.FloatDistribution
    return {name: make(axis.low, axis.high, log=axis.log) for name, axis in sorted(axes.items())}


def _attributes(told: Told) -> dict[str, Any]:
    return {"trial": told.number, "diverged": told.state == "failed"}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's remarks about its own doings off the console; warnings still come through."""
    logging = require().logging
    level = logging.get_verbosity()
    logging.set_verbosity(max(level, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(level)
