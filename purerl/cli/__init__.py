"""The command line: `purerl train | sweep | search | evaluate | render | plot | list`.

This module imports nothing itself, so that help and mistakes answer soon; every command imports what it needs.
"""

import os
import sys
from collections.abc import Callable, Sequence

USAGE = """usage: purerl COMMAND ...

purerl trains reinforcement-learning agents as single compiled JAX programs.

commands:
  train ALGORITHM --env NAME [--seeds N] [--total-steps N] [--out DIR] ...
                    train, evaluate on the way, save everything   (flags: purerl train ALGORITHM --help)
  train --resume DIR
                    continue a run that was stopped or killed, to the same bits
  sweep ALGORITHM --env NAME FIELD=VALUES ... [--seeds N] ...
                    train every setting with every seed, in few programs   (more: purerl sweep --help)
  sweep --resume DIR
                    go on with a sweep that was stopped or killed
  search ALGORITHM --env NAME "FIELD=log_uniform(LOW, HIGH)" ... [--trials N] ...
                    let Optuna find the best setting   (more: purerl search --help)
  search --resume DIR
                    go on with a search that was stopped or killed
  evaluate DIR      play episodes with the saved policies and print their returns
  render DIR [--agents 0,1,2,3]
                    film an episode of one agent, or of several side by side, as a GIF or an MP4
  render --env NAME film random actions in an environment
  plot DIR...       draw the learning curves of runs, every picture of a sweep, or several against each other
  list              name the algorithms and environments there are

example:
  purerl train ppo --env CartPole-v1 --seeds 8

`purerl COMMAND --help` explains a command. An error is one line; with PURERL_TRACEBACK=1 it is the whole traceback.
"""
TRACEBACK = "PURERL_TRACEBACK"  # set this environment variable to see where an error came from


EXPECTED = (
    ValueError,
    IndexError,
    ImportError,
    OSError,
    MemoryError,
)  # what mistakes raise; their messages say what to do


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 an error (one clear line), 130 Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if words[0] in ("--version", "version"):
        from importlib.metadata import version

        print(f"purerl {version('purerl')}")
        return 0
    try:
        command = _command(words[0])
        command(words[1:])
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if TRACEBACK in os.environ:
            raise
        from purerl.configuration import UsageError

        hint = (
            ""
            if isinstance(error, (*EXPECTED, UsageError))
            else f" ({type(error).__name__}; {TRACEBACK}=1 shows where)"
        )
        print(f"purerl {words[0]}: error: {error}{hint}", file=sys.stderr)
        return 2
    return 0


def _command(name: str) -> Callable[[list[str]], None]:
    if name == "train":
        from purerl.cli.train import train

        return train
    if name == "sweep":
        from purerl.cli.sweep import sweep

        return sweep
    if name == "search":
        from purerl.cli.search import search

        return search
    if name == "render":
        from purerl.cli.render import render

        return render
    if name in ("evaluate", "plot", "list"):
        from purerl.cli import runs

        commands = {"evaluate": runs.evaluate, "plot": runs.plot}
        return commands.get(name, runs.list_names)
    from purerl.configuration import nearest

    commands = ["train", "sweep", "search", "evaluate", "render", "plot", "list"]
    raise ValueError(f"there is no such command: {nearest(name, commands)}")
