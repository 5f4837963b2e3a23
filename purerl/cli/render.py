"""`purerl render`: films of a run's agents, of a sweep's, or of random actions in any environment."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from purerl.cli.options import UNSAID, Flag, read_options

SHOWN = 200  # steps of a film of random actions, unless told otherwise


@dataclasses.dataclass(frozen=True)
class RenderOptions:
    """Film an episode of one agent of a run or a sweep, or of several side by side; or random actions (--env)."""

    directory: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """The directory of a run or a sweep."""
    env: Annotated[str | None, UNSAID] = None
    """Without a directory: the environment to film, with random actions (all of them: purerl list)."""
    env_param: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """With --env: a parameter of the environment as NAME=VALUE; may be given several times."""
    env_params: Annotated[str | None, UNSAID] = None
    """With --env: the same as one JSON object."""
    agent: Annotated[int | None, UNSAID] = None
    """Of a sweep: the number of the agent, see agents.csv (default: the first one of the best setting)."""
    seed_index: Annotated[int | None, UNSAID] = None
    """Of a run: which of its agents, from 0 (the default)."""
    agents: Annotated[str | None, UNSAID] = None
    """Several agents side by side, by their numbers: 0,1,2,3 or 0-3 or all."""
    grid: Annotated[int | None, UNSAID] = None
    """So many agents side by side: the first ones of a run; of a sweep the first one of each of its best settings;
    with --env so many episodes."""
    columns: Annotated[int | None, UNSAID] = None
    """Agents in a row of the picture (default: about as many as there are rows)."""
    out: Annotated[Path | None, UNSAID] = None
    """The film to write, a .gif or an .mp4; what is there already is replaced (default: episode.gif or agents.gif in
    the directory of a run, in figures/ of a sweep; with --env NAME.gif here)."""
    seed: int = 0
    """Seed of the episode. Agents side by side begin in the same state."""
    max_steps: Annotated[int | None, UNSAID] = None
    """Cut the episode after so many steps (default: the environment's bound, with --env at most 200)."""
    every: int = 1
    """Draw only every so many steps: a smaller and faster film."""
    frames_per_second: float = 30.0
    """Speed of the film (a GIF: at most 50)."""
    width: Annotated[int | None, UNSAID] = None
    """Of the picture of one agent, in pixels (default: the environment's; side by side, so that 1280 are enough)."""
    captions: bool = True
    """Write name, step and return below the picture."""
    best: Flag = False
    """The parameters that evaluated best during training."""
    last: Flag = False
    """The parameters of the newest checkpoint (the default)."""
    sampled: Flag = False
    """Sample actions instead of acting greedily."""


def render(words: list[str]) -> None:
    """`purerl render DIR` or `purerl render --env NAME`."""
    options = read_options(RenderOptions, "purerl render", words)
    _check(options)
    if options.directory is None:
        _render_random(options)
        return
    from purerl.sweeps.directory import is_sweep

    if is_sweep(options.directory):
        _render_sweep(options, options.directory)
    else:
        _render_run(options, options.directory)


def _check(options: RenderOptions) -> None:
    """Raise ValueError for options that contradict each other, and for what cannot be saved."""
    from purerl.report.films import check_output

    if (options.directory is None) == (options.env is None):
        raise ValueError("give the directory of a run or a sweep, or --env NAME to film random actions (not both)")
    if options.env is None and (options.env_param or options.env_params):
        raise ValueError("--env-param is for --env NAME: the environment of a run is known")
    if options.best and options.last:
        raise ValueError("--best and --last contradict each other")
    several = ("agent", "seed_index", "agents", "grid")
    given = [f"--{name.replace('_', '-')}" for name in several if getattr(options, name) is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} contradict each other: give one of them")
    of_policies = options.best or options.last or options.sampled
    if options.env is not None and (given not in ([], ["--grid"]) or of_policies):
        raise ValueError("--env films random actions, not agents: with it only --grid is of use")
    for name in ("grid", "columns", "width", "max_steps", "every"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    check_output(options.out or "film.gif", options.frames_per_second)


def _render_random(options: RenderOptions) -> None:
    import jax

    from purerl import environments
    from purerl.cli.runs import own_stream
    from purerl.cli.train import parse_parameters
    from purerl.data import random_policy
    from purerl.report.rendering import film_agents

    assert options.env is not None
    environment = environments.make(options.env, **parse_parameters(options.env_param, options.env_params))
    count = options.grid or 1
    film = film_agents(
        lambda _: random_policy(environment),
        jax.numpy.arange(count),
        environment,
        jax.random.split(own_stream(options.seed), count),
        [options.env if count == 1 else f"episode {i}" for i in range(count)],
        options.max_steps or min(environment.max_steps, SHOWN),
        **_layout(options),
        every=options.every,
    )
    _save(film, options, Path(f"{options.env.replace('/', '_')}.gif"), f"{options.env}, random actions")


def _render_run(options: RenderOptions, directory: Path) -> None:
    import jax
    import jax.numpy as jnp

    from purerl import saved
    from purerl.cli.runs import asks_for_an_agent, own_stream
    from purerl.report.rendering import film_agents
    from purerl.train import require_best

    asks_for_an_agent(options)
    run = saved.load(directory)
    environment, seeds = run.evaluated_on, run.metadata["seeds"]
    if environment is None:
        raise ValueError(f"{run.metadata['algorithm']} has no environment to film")
    numbers = _numbers(options, len(seeds), "--seed-index")
    if numbers is None:
        numbers = list(range(min(options.grid or 1, len(seeds))))
    policies = saved.load_policies(run)
    if options.best:
        require_best(policies.best_score, directory)
    chosen = jnp.array(numbers)
    film = film_agents(
        lambda state: run.algorithm.policy(state, greedy=not options.sampled),
        jax.tree.map(lambda x: x[chosen], policies.best if options.best else policies.last),
        environment,
        own_stream(options.seed),
        [f"{run.metadata['algorithm']}, seed {seeds[i]}" for i in numbers],
        options.max_steps,
        **_layout(options),
        every=options.every,
    )
    default = directory / ("episode.gif" if _alone(options) else "agents.gif")
    _save(film, options, default, f"{environment.name}: " + ", ".join(f"seed {seeds[i]}" for i in numbers))


def _render_sweep(options: RenderOptions, directory: Path) -> None:
    from purerl.cli.agents import described, of_best_settings
    from purerl.cli.runs import own_stream
    from purerl.report.rendering import lay_out
    from purerl.report.sweep_films import play_agents
    from purerl.sweep import load
    from purerl.sweeps.directory import FIGURES

    if options.seed_index is not None:
        raise ValueError(f"--seed-index is for runs, and {directory} is a sweep: give --agent")
    result = load(directory)
    numbers = _numbers(options, len(result.trials) * len(result.seeds), "--agent")
    if numbers is None:
        numbers = of_best_settings(result, options.grid or 1)
    episodes = play_agents(
        result,
        numbers,
        own_stream(options.seed),
        options.max_steps,
        best=options.best,
        greedy=not options.sampled,
        every=options.every,
    )
    film = lay_out(episodes, **_layout(options))
    default = directory / FIGURES / (f"agent_{numbers[0]}.gif" if _alone(options) else "agents.gif")
    count = len(result.seeds)
    shown = [described(number, result.trials[number // count], result.seeds[number % count]) for number in numbers]
    _save(film, options, default, "\n".join(shown))


def _numbers(options: RenderOptions, count: int, option: str) -> list[int] | None:
    """The agents that are asked for by number, None if they are not. Raises ValueError for one that there is not."""
    one = options.agent if options.agent is not None else options.seed_index
    if options.agents is not None:
        option, numbers = "--agents", parse_numbers(options.agents, count)
    elif one is not None:
        numbers = [one]
    else:
        return None
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong:
        raise ValueError(f"{option} must be between 0 and {count - 1}, got {wrong[0]}")
    return numbers


def parse_numbers(text: str, count: int) -> list[int]:
    """The numbers that "0,1,2,3", "0-3" or "all" (of `count`) mean. Raises ValueError for anything else, or beyond."""
    if text == "all":
        return list(range(count))
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = [word.strip() for word in ((first, last) if dash else (first, first))]
        if not all(map(str.isdecimal, ends)) or int(ends[0]) > int(ends[1]):
            raise ValueError(f"--agents must look like 0,1,2,3 or 0-3 or all, got {text!r}")
        if int(ends[1]) >= count:
            raise ValueError(f"--agents must be between 0 and {count - 1}, got {ends[1]}")
        numbers += range(int(ends[0]), int(ends[1]) + 1)
    return numbers


def _alone(options: RenderOptions) -> bool:
    return options.grid is None and options.agents is None


def _layout(options: RenderOptions) -> dict[str, Any]:
    return {"columns": options.columns, "width": options.width, "captions": options.captions}


def _save(film: Any, options: RenderOptions, default: Path, what: str) -> None:
    """Write the film and say what it shows."""
    path = film.save(options.out or default, options.frames_per_second)
    print(f"{what}\n{path}: {len(film.frames)} frames, return {_listed(film.returns)}")


def _listed(returns: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in returns)
