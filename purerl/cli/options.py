"""Kinds of options that several commands have."""

from typing import Annotated, Any

import tyro

Flag = tyro.conf.FlagCreatePairsOff[bool]
Positionals = Annotated[tuple[str, ...], tyro.conf.Positional]


def join_resume(words: list[str]) -> list[str]:
    """`--resume DIR` as `--resume --out DIR`; a bare `--resume` stays."""
    result: list[str] = []
    for i, word in enumerate(words):
        takes_next = word == "--resume" and i + 1 < len(words) and not words[i + 1].startswith("-")
        result += ["--resume", "--out"] if takes_next else [word]
    return result


def resumes(words: list[str], *names: str) -> bool:
    """Whether a command is `--resume DIR` alone: it names no algorithm and has none of the options `names`."""
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    return words[0].startswith("-") and "--resume" in given and not given & set(names)


def sweep_display(quiet: bool) -> Any:
    """Who is told how a sweep or a search goes."""
    from purerl.report.sweep_console import silent, sweep_console

    return silent() if quiet else sweep_console()
