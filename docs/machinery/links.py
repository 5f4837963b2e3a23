"""Links to files of the repository, for Sphinx: each is checked, and leads to a page of the site with the file on it.

Three ways to name a file are looked at: a relative link (`[the script](../experiments/ppo_brax.py)`), a path as code
(`experiments/ppo_brax.py` between backticks, which becomes a link), and a command in a code block
(`python experiments/ppo_brax.py`). A file that is not there is a warning. Paths with a word in capitals that stands for
another (`purerl/presets/NAME.toml`) are left alone, and so is a path that the reader is to create, if it is written
with the role `file`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = "purerl|experiments|tests|notebooks|docs"
PATH = re.compile(rf"(?:{FOLDERS})/[\w./-]+$")
PLACEHOLDER = re.compile(r"/[A-Z_]{3,}(?:/|\.(?!md))")
COMMAND = re.compile(r"\bpython ((?:experiments|notebooks|tests)/[\w/]+\.py)")
LEXERS = {".py": "python", ".toml": "toml", ".json": "json", ".xml": "xml", ".md": "markdown", ".sh": "bash"}

logger = logging.getLogger(__name__)


class RepositoryLinks(SphinxTransform):
    """Turns links to and mentions of files into references of type `repository`; warns of missing ones."""

    default_priority = 500

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(addnodes.download_reference)):
            self._replace_link(node)
        for node in list(self.document.findall(nodes.literal)):
            self._link_mention(node)
        for node in self.document.findall(nodes.literal_block):
            for path in COMMAND.findall(node.astext()):
                self._check(path, node)

    def _replace_link(self, node: addnodes.download_reference) -> None:
        _, absolute = self.env.relfn2path(node["reftarget"], self.env.docname)
        path = Path(absolute).resolve()
        if path.suffix in LEXERS and path.is_relative_to(ROOT):
            node.replace_self(self._reference(path.relative_to(ROOT).as_posix(), *node.children))

    def _link_mention(self, node: nodes.literal) -> None:
        text, inside = node.astext(), node.parent
        marked = "file" in node["classes"] or isinstance(inside, nodes.reference | addnodes.pending_xref)
        if marked or not PATH.match(text) or PLACEHOLDER.search(text) or not self._check(text, node):
            return
        if (ROOT / text).suffix in LEXERS:
            node.replace_self(self._reference(text, node.deepcopy()))

    def _check(self, path: str, node: nodes.Node) -> bool:
        if not (ROOT / path).exists():
            logger.warning("the repository has no %s", path, location=node, type="repository", subtype="missing")
            return False
        return True

    def _reference(self, path: str, *children: nodes.Node) -> addnodes.pending_xref:
        repository_files(self.env).setdefault(self.env.docname, set()).add(path)
        return addnodes.pending_xref(
            "", *children, refdomain="", reftype="repository", reftarget=path, refdoc=self.env.docname, refwarn=True
        )


def repository_files(env: BuildEnvironment) -> dict[str, set[str]]:
    """The files that each page links to."""
    if not hasattr(env, "repository_files"):
        env.repository_files = {}  # type: ignore[attr-defined]
    return env.repository_files  # type: ignore[attr-defined]


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element) -> Any:
    """A reference to the file's page, where the node is a `repository` one."""
    if node["reftype"] != "repository":
        return None
    return make_refnode(app.builder, node["refdoc"], page_of(node["reftarget"]), None, list(node.children))


def page_of(path: str) -> str:
    """The page that shows a file of the repository."""
    return f"source/{path}"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page with the text of each file that is linked to."""
    for path in sorted(set().union(*repository_files(app.env).values())):
        text, lexer = (ROOT / path).read_text(encoding="utf-8"), LEXERS[Path(path).suffix]
        code = app.builder.highlighter.highlight_block(text, lexer)  # type: ignore[attr-defined]
        yield page_of(path), {"title": path, "body": f"<h1>{path}</h1>\n{code}"}, "page.html"


def _purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    repository_files(env).pop(docname, None)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    repository_files(env).update({name: repository_files(other).get(name, set()) for name in docnames})


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry point."""
    app.add_transform(RepositoryLinks)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", pages)
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
