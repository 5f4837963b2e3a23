"""From the tables of a sweep to what its pictures compare: settings, groups of agents and their scores.

An `agents` table has one row per agent (`SweepResult.agents()`). A *setting* is one value of every swept field but the
environment; the agents of a setting differ in their seed and environment. Where a sweep has several environments, their
returns are made comparable: 0 is the lowest and 1 the highest of all agents of the sweep in that environment.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from purerl.report.statistics import interquartile_mean

Frame = Any  # a pandas DataFrame: its stubs do not know the types of columns
KEYS = ("agent", "trial", "seed")
OUTCOMES = ("env_steps", "final_return", "best_return", "best_iteration", "diverged", "diverged_at")
SETTING, FINAL, BEST, EPISODES, SCALED = OWN = ("_setting", "_final", "_best", "_episodes", "_scaled")
MOST = 7  # lines in one picture that can be told apart
SPELLED_OUT = 4  # fields of a setting in a legend; with more it goes by the number of its trial


class Groups(NamedTuple):
    """Sets of agents to compare."""

    members: dict[str, Frame]  # label -> its agents
    how: str  # they were chosen: a sentence for the caption, or nothing
    left_out: int  # groups that are not among the members


def prepared(agents: Frame, episodes: str = "evaluation") -> Frame:
    """The table with columns of our own: the setting's number, and the scores, comparable between environments.

    Args:
        agents: see the module.
        episodes: what the returns are of, "evaluation" or "training".
    """
    if SETTING in agents:
        return agents
    names = [name for name in fields(agents) if name != "env" and agents[name].nunique(dropna=False) > 1]
    number = agents.groupby(names, dropna=False, sort=False).ngroup() if names else 0
    scaled = agents["env"].nunique() > 1
    scores = {own: _comparable(agents, of) for own, of in ((FINAL, "final_return"), (BEST, "best_return"))}
    return agents.assign(**{SETTING: number, **scores, EPISODES: episodes, SCALED: scaled})


def score_name(agents: Frame, column: str = FINAL) -> str:
    """What a score is, for the label of an axis."""
    kind = "final" if column == FINAL else "best"
    if agents[SCALED].iloc[0]:
        return f"normalised {kind} return\n(0, 1: lowest, highest agent\nof each environment)"
    if agents[EPISODES].iloc[0] == "training":
        return f"{kind} return of training episodes\n(undiscounted)"
    return f"{kind} return (undiscounted)"


def fields(agents: Frame) -> list[str]:
    """The columns that say how an agent was made, in the order of the space."""
    return [str(name) for name in agents.columns if name not in (*KEYS, *OUTCOMES, *OWN)]


def varying(agents: Frame) -> list[str]:
    """The fields with at least two values, the environment apart."""
    return [name for name in fields(agents) if name != "env" and agents[name].nunique() > 1]


def is_numeric(agents: Frame, name: str) -> bool:
    """Whether the values of a field are numbers (those of a `bool` are not)."""
    return agents[name].dtype.kind in "iuf"


def is_log_spaced(values: ArrayLike) -> bool:
    """Whether numbers lie more evenly on a logarithmic axis: positive, far apart, evener in the logarithm."""
    known = np.unique(np.asarray(values, float))
    known = known[np.isfinite(known)]
    if len(known) < 2 or known[0] <= 0 or known[-1] / known[0] < (10 if len(known) == 2 else 4):
        return False
    return len(known) == 2 or _unevenness(np.log(known)) < _unevenness(known)


def score_matrix(agents: Frame, column: str = FINAL, environments: Sequence[str] | None = None) -> np.ndarray:
    """`[runs, environments]`, a run being a seed of a setting; without those that lack a number in an environment."""
    wide = agents.pivot(index=[SETTING, "seed"], columns="env", values=column)
    if environments is not None:
        wide = wide.reindex(columns=list(environments))
    return wide.dropna().to_numpy(float)


def aligned_curves(table: Frame, score: str) -> tuple[np.ndarray, np.ndarray]:
    """`[points]` environment steps and `[agents, points]` returns of agents, all at the same steps.

    Agents that were evaluated at other steps are interpolated, at the steps of the one with the fewest, within what
    all have reached. An agent without a number from somewhere on (it has diverged) keeps its last one; one that never
    had a number is left out.
    """
    curves = []
    for _, of_agent in table.groupby("agent", sort=True):
        steps, returns = of_agent["env_steps"].to_numpy(float), of_agent[score].to_numpy(float)
        there = np.isfinite(returns)
        if there.any():
            curves.append((steps, steps[there], returns[there]))
    if not curves:
        return np.zeros(0), np.zeros((0, 0))
    start, end = max(known[0] for _, known, _ in curves), min(steps[-1] for steps, *_ in curves)
    fewest = min((steps for steps, *_ in curves), key=len)
    grid = fewest[(fewest >= start) & (fewest <= end)]
    return grid, np.stack([np.interp(grid, known, returns) for _, known, returns in curves])


def ranking(agents: Frame) -> list[Frame]:
    """The agents of each setting, the best first: by the interquartile mean of the final scores.

    As in `SweepResult.ranking`, settings with a diverged agent come last. Those without any score are left out.
    """
    found = []
    for _, of_setting in agents.groupby(SETTING, sort=True):
        scores = score_matrix(of_setting)
        if scores.size:
            found.append((bool(of_setting["diverged"].any()), -float(interquartile_mean(scores)), of_setting))
    return [of_setting for *_, of_setting in sorted(found, key=lambda one: one[:2])]


def best_settings(agents: Frame, most: int = MOST) -> Groups:
    """The best settings of a sweep."""
    ranked = ranking(agents)
    shown = ranked[:most]
    how = "The best settings by final score, chosen on the same seeds." if len(ranked) > len(shown) else ""
    members = _labelled(shown, agents)
    named = any(label.rpartition(", ")[2].startswith("trial ") for label in members)
    return Groups(members, how + " agents.csv says what the trials are." * named, len(ranked) - len(shown))


def best_of_each(agents: Frame, field: str = "algorithm", most: int = MOST) -> Groups:
    """The best setting for each value of a field, in the order of the table; of too many values the best ones'."""
    firsts: dict[Any, Frame] = {}
    for of_setting in ranking(agents):
        firsts.setdefault(of_setting[field].iloc[0], of_setting)
    chosen = dict(list(firsts.items())[:most])
    shown = [chosen[value] for value in agents[field].unique() if value in chosen]
    tried = [agents[agents[field] == value][SETTING].nunique() for value in chosen]
    of = f"{min(tried)}" if len(set(tried)) == 1 else f"{min(tried)} to {max(tried)}"
    how = f"Each {in_words(field)}: the best of {of} settings by final score, chosen on the same seeds."
    names = varying(agents) if max(tried) > 1 else [field]
    return Groups(_labelled(shown, agents, names), how if max(tried) > 1 else "", len(firsts) - len(shown))


def by_value(agents: Frame, field: str, most: int = MOST) -> Groups:
    """All agents with each value of a field, over every other field; of too many values some, from first to last."""
    values = list(agents[field].dropna().unique())
    values = sorted(values) if is_numeric(agents, field) else values
    places = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))
    own = f"{in_words(field)} " if field != "algorithm" else ""
    names = {i: own + value_in_words(values[i], _numbers(agents, field)) for i in places}
    members = {names[i]: agents[agents[field] == values[i]] for i in places}
    others = agents[SETTING].nunique() > len(values)
    how = f"Each {in_words(field)}: all of its agents, whatever their other fields." if others else ""
    return Groups(members, how, len(values) - len(members))


def in_words(field: str) -> str:
    """A field's name as one writes it on an axis."""
    return field.removeprefix("env.").replace("_", " ")


def value_in_words(value: Any, among: Any = ()) -> str:
    """A value of a field, with three digits; small ones among logarithmically spaced ones as powers of ten."""
    if isinstance(value, bool | np.bool_):
        return "on" if value else "off"
    if not isinstance(value, int | float | np.number):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e5:
        return f"{value:.0f}"
    small = 0.1 if len(among) and min(among) < 1e-2 and is_log_spaced(among) else 1e-2
    mantissa, _, exponent = (f"{value:.2e}" if 0 < abs(value) < small else f"{value:.3g}").partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"


def counted(number: int, noun: str) -> str:
    """'1 seed', '8 seeds'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def seeds_in_words(agents: Frame) -> str:
    """'8 seeds', '8 seeds in each of 3 environments'."""
    environments = agents["env"].nunique()
    where = f" in each of {environments} environments" if environments > 1 else ""
    return counted(int(agents.groupby(SETTING)["seed"].nunique().max()), "seed") + where


def _comparable(agents: Frame, column: str) -> Any:
    """A column of returns; with several environments between 0 and 1 in each."""
    if agents["env"].nunique() < 2:
        return agents[column].astype(float)
    by_environment = agents.groupby("env")[column]
    low, high = by_environment.transform("min"), by_environment.transform("max")
    return (agents[column] - low) / (high - low).where(high > low, 1.0)


def _numbers(agents: Frame, name: str) -> Any:
    """The numbers that a field takes; none of a field of other values."""
    return agents[name].dropna().to_numpy() if is_numeric(agents, name) else ()


def _unevenness(values: np.ndarray) -> float:
    """The largest distance between the values' distribution function and that of a uniform distribution."""
    scaled = (values - values[0]) / (values[-1] - values[0])
    return float(np.abs(scaled - np.linspace(0, 1, len(values))).max())


def _labelled(settings: Sequence[Frame], agents: Frame, names: Sequence[str] = ()) -> dict[str, Frame]:
    """Settings under labels of these fields (default: those in which they differ); of too many, of their trials."""
    unlike = [n for n in varying(agents) if len({value_in_words(one[n].iloc[0]) for one in settings}) > 1]
    names = list(names) or unlike
    own = [n for n in names if n != "algorithm"]
    result = {}
    for one in settings:
        parts = [str(one["algorithm"].iloc[0])] if "algorithm" in names or not own else []
        if len(own) > SPELLED_OUT:
            parts.append("trial " + ", ".join(map(str, sorted(one["trial"].unique()))))
        else:
            there = [n for n in own if one[n].notna().all()]
            parts += [f"{in_words(n)} {value_in_words(one[n].iloc[0], _numbers(agents, n))}" for n in there]
        label = ", ".join(parts)
        result[label if label not in result else f"{label} (trial {one['trial'].iloc[0]})"] = one
    return result
