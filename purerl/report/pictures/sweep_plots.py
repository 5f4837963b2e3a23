"""The pictures of a sweep, and of several sweeps and runs against each other, as PNG and SVG.

    from purerl.report.pictures.sweep_plots import draw_sweep

    draw_sweep(result, result.directory)  # or: purerl plot DIR

Which figure is drawn by which function: `comparison_plots` (learning curves, scores, profiles, improvements),
`field_plots` (slices, importance) and `field_pair_plots` (heat maps).
"""

import warnings
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from purerl.report import run_directory
from purerl.report.pictures import comparison_plots, field_pair_plots, field_plots
from purerl.report.pictures.learning_curve import read_curve, save
from purerl.report.pictures.style import finish
from purerl.report.pictures.sweep_scores import (
    MOST,
    SETTING,
    Frame,
    Groups,
    best_of_each,
    best_settings,
    by_value,
    is_numeric,
    prepared,
    score_matrix,
    varying,
)
from purerl.sweeps import directory as files

if TYPE_CHECKING:
    from purerl.sweeps.results import SweepResult

ROWS = 10  # settings in a list of scores
COMPARED = 5  # settings in a picture of lines
PAIRED = 4  # numeric fields whose pairs are drawn
FOREST = 16  # settings from which a forest can tell what matters
COMPETITOR = "sweep or run"
Named = tuple[str, Figure]


class Tables(NamedTuple):
    """What the pictures of a sweep are drawn from."""

    name: str
    table: Frame  # one row per agent and evaluation
    agents: Frame  # one row per agent
    expected: int  # agents when it is finished


def draw_sweep(result: "SweepResult", directory: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Draw the pictures that make sense for a sweep into `directory`/figures; returns their paths.

    Of a sweep that is not finished they show what there is, and say so.

    Raises ValueError if no agent has a return yet.
    """
    directory, expected = Path(directory), len(result.trials) * len(result.seeds)
    tables = Tables(directory.absolute().name, result.table(), result.agents(), expected)
    return draw(tables, directory / files.FIGURES, formats)


def read_tables(directory: Path) -> Tables:
    """The tables that a finished sweep has written. Raises ValueError if it is not finished, like `directory.read`."""
    files.read(directory)  # checks the format
    if not (directory / files.TABLE).exists() or not (directory / files.AGENTS).exists():
        raise ValueError(
            f"the sweep in {directory} is not finished: go on with it (purerl sweep --resume {directory}), or draw "
            "what there is in Python (purerl.report.pictures.sweep_plots.draw_sweep)"
        )
    table, agents = (_read(directory / name) for name in (files.TABLE, files.AGENTS))
    return Tables(directory.absolute().name, table, agents, len(agents))


def draw(tables: Tables, into: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Draw the pictures of a sweep from its tables into a directory. Raises ValueError if no agent has a return."""
    lacking = tables.expected - len(_checked(tables).agents)
    note = f" ({len(tables.agents)} of {tables.expected} agents so far)" if lacking else ""
    return _save(figures(tables), into, formats, note)


def figures(tables: Tables) -> Iterator[Named]:
    """The pictures that make sense for a sweep, one after the other, each with its name."""
    table, agents = tables.table, prepared(tables.agents, _episodes(tables.table))
    several = agents["algorithm"].nunique() > 1
    compared = best_of_each(agents) if several else best_settings(agents, COMPARED)
    yield from _curves(table, agents, several)
    if agents[SETTING].nunique() > 1:
        yield "scores", comparison_plots.score_intervals(best_settings(agents, ROWS))
    yield from _comparisons(compared)
    if varying(agents):
        yield "slices", field_plots.slices(agents)
    yield from _importance(agents)
    for algorithm, own in agents.groupby("algorithm", sort=False):
        numeric = [name for name in varying(own) if is_numeric(own, name)][:PAIRED]
        for x, y in combinations(numeric, 2):
            yield _name(f"return_over_{x}_and_{y}", algorithm, several), field_pair_plots.return_over(own, x, y)


def compare(directories: Sequence[Path], into: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Draw sweeps and runs against each other: the best setting of each algorithm of a sweep, a run as it is.

    Raises ValueError for a sweep that is not finished or has no returns, FileNotFoundError for what is neither.
    """
    agents, table = _competitors(directories)
    return _save(_compared(agents, table), into, formats)


def _curves(table: Frame, agents: Frame, several: bool) -> Iterator[Named]:
    """Learning curves of the best settings, and over all settings for each value of a field with few values."""
    if table.groupby("agent").size().max() < 2:
        return
    best = best_of_each(agents) if several else best_settings(agents, COMPARED)
    yield "learning_curves", comparison_plots.learning_curves(table, best)
    if several and agents[SETTING].nunique() > agents["algorithm"].nunique():
        yield "learning_curves_by_algorithm", comparison_plots.learning_curves(table, by_value(agents, "algorithm"))
    for algorithm, own in agents.groupby("algorithm", sort=False):
        few = [name for name in varying(own) if own[name].nunique() <= MOST]
        for name in [name for name in few if own[name].nunique() < own[SETTING].nunique()]:
            figure = comparison_plots.learning_curves(table, by_value(own, name))
            yield _name(f"learning_curves_by_{name}", algorithm, several), figure


def _comparisons(groups: Groups) -> Iterator[Named]:
    """Profiles and improvements, where there are groups with several runs on the same environments."""
    shared = comparison_plots.common_environments(groups)
    runs = [len(score_matrix(one, environments=shared)) for one in groups.members.values()]
    if len(runs) < 2 or not shared or min(runs) < 2:
        return
    yield "performance_profile", comparison_plots.performance_profiles(groups)
    yield "probability_of_improvement", comparison_plots.improvements(groups)


def _importance(agents: Frame) -> Iterator[Named]:
    """The importance of the fields of those algorithms that have several, and settings enough to tell."""
    frames = [own for _, own in agents.groupby("algorithm", sort=False) if len(varying(own)) > 1]
    frames = [own for own in frames if field_plots.is_full_grid(own) or own[SETTING].nunique() >= FOREST]
    if not frames:
        return
    try:
        yield "importance", field_plots.importance(pd.concat(frames))
    except (ImportError, ValueError) as error:
        warnings.warn(f"the picture of importance is left out: {error}", stacklevel=2)


def _compared(members: Frame, table: Frame) -> Iterator[Named]:
    agents = prepared(members, _episodes(table))
    firsts = best_of_each(agents, COMPETITOR)
    chosen = {str(one[COMPETITOR].iloc[0]): one for one in firsts.members.values()}
    how = (
        "Of a sweep: the best setting of each algorithm by final score, chosen on the same seeds." if firsts.how else ""
    )
    groups = Groups(chosen, how, firsts.left_out)
    yield "learning_curves", comparison_plots.learning_curves(table, groups)
    yield from _comparisons(groups)


def _competitors(directories: Sequence[Path]) -> tuple[Frame, Frame]:
    """The agents and the curves of sweeps and runs as one pair of tables, the competitors in a column of their own."""
    directories = list({Path(directory).resolve(): Path(directory) for directory in directories}.values())
    names = [directory.absolute().name for directory in directories]
    names = names if len(set(names)) == len(names) else [str(directory) for directory in directories]
    parts = [
        read_tables(directory) if files.is_sweep(directory) else _tables_of_run(directory) for directory in directories
    ]
    kinds = {_episodes(_checked(part).table) for part in parts}
    if len(kinds) > 1:
        raise ValueError("returns of evaluations cannot be compared with those of training episodes")
    agents, tables, first = [], [], 0
    for name, part in zip(names, parts, strict=True):
        several = part.agents["algorithm"].nunique() > 1
        competitor = name + (": " + part.agents["algorithm"] if several else "")
        agents.append(part.agents.assign(**{COMPETITOR: competitor, "agent": part.agents["agent"] + first}))
        tables.append(part.table.assign(agent=part.table["agent"] + first))
        first += int(part.agents["agent"].max()) + 1
    return pd.concat(agents, ignore_index=True), pd.concat(tables, ignore_index=True)


def _tables_of_run(directory: Path) -> Tables:
    """A run as a sweep of one setting."""
    curve, (config, _) = read_curve(directory), run_directory.read_config(directory)
    lost = run_directory.diverged_seeds(directory)
    column = "return" if "evaluation" in curve.quantity else "episode_return"
    rows, table = [], []
    for number, seed in enumerate(config["seeds"]):
        returns = pd.Series(curve.returns[:, number]).ffill()  # the policy of a diverged seed is frozen
        agent = {"agent": number, "trial": 0, "seed": seed, "algorithm": curve.algorithm, "env": curve.environment}
        scores = {"final_return": returns.iloc[-1], "best_return": returns.max(), "diverged": seed in lost}
        rows.append({**agent, **scores})
        table.append(pd.DataFrame({"agent": number, "env_steps": curve.env_steps, column: returns}))
    return Tables(directory.absolute().name, pd.concat(table), pd.DataFrame(rows), len(rows))


def _name(name: str, algorithm: str, several: bool) -> str:
    """The name of a picture of one algorithm, of several."""
    return (f"{algorithm}_{name}" if several else name).replace("env.", "")


def _checked(tables: Tables) -> Tables:
    if tables.agents.empty or "final_return" not in tables.agents or tables.agents["final_return"].isna().all():
        raise ValueError(f"no agent of {tables.name} has a return to draw")
    return tables


def _episodes(table: Frame) -> str:
    """What the returns of a sweep are of: evaluations, or training episodes where nothing was evaluated."""
    return "evaluation" if "return" in table and table["return"].notna().any() else "training"


def _read(path: Path) -> Frame:
    return pd.read_csv(path, low_memory=False)


def _save(drawn: Iterator[Named], into: Path, formats: Sequence[str], note: str = "") -> list[Path]:
    into.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in drawn:
        finish(figure, note)
        paths += [save(figure, into / f"{name}.{kind}") for kind in formats]
    return paths
