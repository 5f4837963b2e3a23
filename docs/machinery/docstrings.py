"""The package's plain docstrings as reStructuredText.

A docstring is paragraphs with `code` between backticks, indented blocks (equations, programs, or names with what they
mean in two columns), bullets, and sections such as `Args:`. Everything else in it is meant as it stands, so all that
reStructuredText would take for markup is escaped.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator

SECTION = re.compile(r"(Args|Returns|Raises|Yields):$")
NAMED = re.compile(r"(?P<name>\*{0,2}[\w`, .*]+?): +(?P<text>\S.*)$")
TERM = r'"?[a-z][\w"]*(?:, "?\w[\w"]*)*'
TWO_COLUMNS = re.compile(rf"(?P<term>{TERM})(?P<gap> {{2,}})(?P<text>\S.*)$")
EQUATION_WORDS = ("maximise", "minimise", "or", "and")  # before an equation they are no names
TERM_ALONE = re.compile(rf"{TERM}$")


def to_rst(docstring: str) -> str:
    """A docstring, indented as in its source or not, as reStructuredText that means the same."""
    return "\n\n".join(_rendered(block) for block in _blocks(inspect.cleandoc(docstring))).strip() + "\n"


def inline(text: str) -> str:
    """One paragraph: `code` becomes literal, everything else is escaped."""
    parts = re.split(r"`([^`]+)`", " ".join(text.split()))
    words = [_escaped(part) if i % 2 == 0 else f"``{part}``" for i, part in enumerate(parts)]
    joined = words[0]
    for i, word in enumerate(words[1:], 1):
        following = word if i % 2 == 0 else parts[i - 1]
        touches = following[:1].isalnum() if i % 2 == 0 else following[-1:].isalnum()
        joined += ("\\ " if touches else "") + word
    return joined


def first_sentence(docstring: str) -> str:
    """The first line of a docstring, without its full stop."""
    return inspect.cleandoc(docstring).partition("\n")[0].rstrip(".")


def _escaped(text: str) -> str:
    text = re.sub(r"([\\*|])", r"\\\1", text)
    return re.sub(r"_(?!\w)", r"\_", text).replace("::", ":\\:").replace("`", "\\`")


def _blocks(text: str) -> Iterator[list[str]]:
    """Runs of lines that belong together: an indented block keeps its blank lines, a section its entries."""
    block: list[str] = []
    for line in text.splitlines():
        if block and _begins_new_block(block, line):
            yield _without_blank_end(block)
            block = []
        if line.strip() or block:
            block.append(line)
    if block:
        yield _without_blank_end(block)


def _begins_new_block(block: list[str], line: str) -> bool:
    if not line.strip():
        return False  # decided by the line after it
    indented, was_indented, after_blank = line.startswith("    "), block[0].startswith("    "), not block[-1].strip()
    if SECTION.match(block[0]):
        return not line.startswith(" ")
    if was_indented:
        return not indented
    return after_blank or bool(SECTION.match(line)) or (_is_bullet(line) and not _is_bullet(block[0]))


def _without_blank_end(block: list[str]) -> list[str]:
    while not block[-1].strip():
        block = block[:-1]
    return block


def _rendered(block: list[str]) -> str:
    if SECTION.match(block[0]):
        return _section(block[0].rstrip(":"), block[1:])
    if block[0].startswith("    "):
        return _indented(textwrap.dedent("\n".join(block)).splitlines())
    if _is_bullet(block[0]):
        items = _items([line.strip() for line in block if line.strip()], _is_bullet)
        return "\n".join(f"- {inline(item[2:])}" for item in items)
    return inline(" ".join(block))


def _is_bullet(line: str) -> bool:
    return line.lstrip().startswith("- ")


def _items(lines: list[str], begins: Callable[[str], bool]) -> list[str]:
    items: list[str] = []
    for line in lines:
        if begins(line) or not items:
            items.append(line)
        else:
            items[-1] += " " + line.strip()
    return items


def _section(title: str, lines: list[str]) -> str:
    dedented = textwrap.dedent("\n".join(lines)).splitlines()
    entries = _items([line for line in dedented if line.strip()], lambda line: not line.startswith(" "))
    matches = [NAMED.match(entry) for entry in entries]
    if not all(matches):
        return f"**{title}**: {inline(' '.join(entries))}"
    terms = [(match["name"].strip("`"), match["text"]) for match in matches if match]
    return f"**{title}**\n\n" + definitions(terms)


def _indented(lines: list[str]) -> str:
    """Names with meanings become definitions, what lies between them code with its blank lines."""
    parts: list[str] = []
    program: list[str] = []
    for part in "\n".join(lines).split("\n\n"):
        terms = two_columns(part.splitlines())
        if not terms:
            program.append(part)
            continue
        parts += [_program("\n\n".join(program))] if program else []
        parts.append(definitions(terms))
        program = []
    parts += [_program("\n\n".join(program))] if program else []
    return "\n\n".join(parts)


def _program(text: str) -> str:
    return f".. code-block:: {'python' if _is_python(text) else 'none'}\n\n{textwrap.indent(text, '    ')}"


def two_columns(lines: list[str]) -> list[tuple[str, str]]:
    """(name, meaning) of a block of names with their meanings in a second column; empty if it is not one."""
    first = TWO_COLUMNS.match(lines[0])
    if not first:
        return []
    column = first.start("text")
    terms: list[tuple[str, str]] = []
    for line in lines:
        match = TWO_COLUMNS.match(line)
        if match and match["term"] in EQUATION_WORDS:
            return []
        if match and match.start("text") == column:
            terms.append((match["term"], match["text"]))
        elif TERM_ALONE.match(line):
            terms.append((line, ""))
        elif line.startswith(" " * column):
            terms[-1] = (terms[-1][0], f"{terms[-1][1]} {line.strip()}")
        else:
            return []
    return terms


def definitions(terms: list[tuple[str, str]]) -> str:
    """A definition list. Names are code, each of them where several stand between commas; without meaning, a line."""
    return "\n".join(_definition(name, text) for name, text in terms).strip("\n")


def _definition(term: str, text: str) -> str:
    names = ", ".join(f"``{name.strip()}``" for name in term.split(","))
    return f"{names}\n    {inline(text)}" if text else f"\n{names}\n"


def _is_python(text: str) -> bool:
    """Whether it is a program: assignments, imports and calls. `Q <- Q + rate (r - Q)` parses as well, and is none."""
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return False
    called = any(isinstance(node, ast.Call) for statement in statements for node in ast.walk(statement))
    return called and not any(isinstance(s, ast.Expr) and not isinstance(s.value, ast.Call) for s in statements)
