"""Kinds of options that several commands have."""

from typing import Annotated

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
