"""What the commands have in common: kinds of options, and how a command line is read."""

import dataclasses
import textwrap
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from purerl.configuration import nearest, whole_number


def _hint(default: str) -> str:
    """What the help says behind an option: its default, unless that says nothing."""
    return "" if default in ("None", "False", "") else f"(default: {default})"


UNSAID = tyro.conf.arg(help_behavior_hint=_hint)  # of options whose text says what happens without them
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, UNSAID]
Positionals = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FIELD=VALUES ...", help_behavior_hint="")
]
Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
Runs = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR ...", help_behavior_hint="")]
HELP = ("-h", "--help", "help")
NUMBERS = ConstructorRegistry()


@NUMBERS.primitive_rule
def _numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Integers that may be written 1e6, and sentences about what is no number."""
    kind: Any = next((kind for kind in (int, float) if info.type in (kind, kind | None)), None)
    if kind is None:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=lambda words: _number(kind, words[0]),
        is_instance=lambda x: x is None or (isinstance(x, kind) and not isinstance(x, bool)),
        str_from_instance=lambda x: [str(x)],
    )


def _number(kind: type, word: str) -> int | float:
    try:
        number = float(word)
    except ValueError as error:
        several = "; several values are for purerl sweep" if "," in word else ""
        raise ValueError(f"expected one number, got {word!r}{several}") from error
    if kind is float:
        return number
    return int(word) if word.lstrip("+-").replace("_", "").isdigit() else whole_number("it", number)


def read_options(
    kind: Any, prog: str, words: Sequence[str], *, advice: str = "", complete: str = "", **rest: Any
) -> Any:
    """`tyro.cli` for a dataclass of options, or of such dataclasses. Exits with help, or with 2 for a bad value.

    Args:
        kind: the dataclass.
        prog: the command, for its help.
        words: the command line after it.
        advice: what to say, besides the help, to somebody who has given an option that there is not.
        complete: the command that lists all options (default: `prog` with --help).
        rest: passed on.

    Raises ValueError for such an option, with the nearest ones.
    """
    known = sorted(set(_flags(kind)))
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if word.startswith("--") and flag not in ("--help", *known) and not flag.startswith("--tyro-"):
            raise ValueError(
                f"{prog} has no option {flag}: {_nearest(flag, known, complete or f'{prog} --help')}{advice}"
            )
    markers = (tyro.conf.DisallowNone, tyro.conf.OmitArgPrefixes)
    return tyro.cli(kind, prog=prog, args=words, registry=NUMBERS, config=markers, **rest)


def _flags(kind: Any) -> Iterator[str]:
    """The options that a dataclass stands for, those of its parts included."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _flags(hints[field.name])
            continue
        name = field.name.replace("_", "-")
        yield f"--{name}"
        if hints[field.name] is bool:
            yield f"--no-{name}"


def _nearest(flag: str, known: Sequence[str], complete: str) -> str:
    """'did you mean --learning-rate?', else where all of them are explained."""
    names = [name.removeprefix("--").replace("-", "_") for name in known if not name.startswith("--no-")]
    found = nearest(flag.removeprefix("--").replace("-", "_"), names)
    if not found.startswith("did you mean "):
        return f"{complete} lists them"
    words = found.removeprefix("did you mean ").removesuffix("?").split(" or ")
    return f"did you mean {' or '.join('--' + word.replace('_', '-') for word in words)}?"


def wrapped(names: Iterable[str]) -> str:
    """Names in lines of a terminal's width, indented."""
    return textwrap.fill(", ".join(names), 100, initial_indent="  ", subsequent_indent="  ")


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
