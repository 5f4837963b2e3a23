"""The fields of dataclasses and named tuples, with what their source says about each."""

import ast
import dataclasses
import inspect
import io
import tokenize
import types
import typing
from typing import Any, Literal, NamedTuple


class Field(NamedTuple):
    """A field as its class declares it."""

    name: str
    annotation: Any
    default: Any  # inspect.Parameter.empty where there is none
    documentation: str  # one line; empty if the source says nothing

    @property
    def is_traced(self) -> bool:
        """Whether one program sweeps it."""
        return self.annotation is float

    @property
    def has_default(self) -> bool:
        return self.default is not inspect.Parameter.empty


def fields_of(kind: type) -> list[Field]:
    """The fields of a dataclass or named tuple, inherited ones included, in their order."""
    hints = typing.get_type_hints(kind)
    documentation = documented(kind)
    return [Field(name, hints[name], default, documentation.get(name, "")) for name, default in _defaults(kind).items()]


def _defaults(kind: type) -> dict[str, Any]:
    empty = inspect.Parameter.empty
    if dataclasses.is_dataclass(kind):
        return {f.name: empty if f.default is dataclasses.MISSING else f.default for f in dataclasses.fields(kind)}
    defaults: dict[str, Any] = kind._field_defaults  # type: ignore[attr-defined]
    return {name: defaults.get(name, empty) for name in kind._fields}  # type: ignore[attr-defined]


def documented(kind: type) -> dict[str, str]:
    """What is written about each field, '' for nothing: the string below it or the comment behind it.

    Fields that classes of other packages declare are left out.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] == "purerl":
            found |= _documented_here(inspect.getsource(base))
    return found


def _documented_here(source: str) -> dict[str, str]:
    source = inspect.cleandoc("\n" + source)
    comments = _comments(source)
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for node, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        is_string = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        text = following.value.value if is_string else comments.get(node.end_lineno or 0, "")  # type: ignore[union-attr]
        found[node.target.id] = " ".join(str(text).split())
    return found


def _comments(source: str) -> dict[int, str]:
    """Comment by the line of code it stands behind; lines that hold nothing but its continuation belong to it."""
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    found: dict[int, str] = {}
    line = column = last = 0
    for token in tokens:
        row, start = token.start
        text = token.string.lstrip("#").strip()
        if token.line[:start].strip():
            line, column = row, start
            found[line] = text
        elif row == last + 1 and start == column:
            found[line] += " " + text
        last = row
    return found


def annotation_text(annotation: Any) -> str:
    """A type for people: 'float', 'tuple of int', '"a", "b" or "c"'."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return alternatives([f"`{value!r}`".replace("'", '"') for value in arguments])
    if origin is tuple:
        kinds = arguments[:1] if arguments[1:] == (Ellipsis,) else arguments
        return f"`tuple` of {' and '.join(annotation_text(kind) for kind in kinds)}"
    if origin in (typing.Union, types.UnionType):
        return alternatives([annotation_text(kind) for kind in arguments])
    if annotation is type(None):
        return "`None`"
    return f"`{getattr(annotation, '__name__', str(annotation))}`"


def alternatives(texts: list[str]) -> str:
    """'a, b or c'."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def value_text(value: Any) -> str:
    """A default as it is written in Python."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:_}"
    if isinstance(value, float) and len(repr(value)) > 10:
        return f"{value:.4g}"
    return repr(value).replace("'", '"')
