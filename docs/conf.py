"""Sphinx's configuration. The site is built by

    sphinx-build -W --keep-going -b html docs docs/_build/html

from the root of the repository. Pages about algorithms, environments and functions are written by `docs.machinery`
before Sphinx reads its sources; those folders are not in git.
"""

import logging
import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from docs.machinery import algorithms, environments, reference  # noqa: E402

project = "purerl"
copyright = "the purerl developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "docs.machinery.links",
]
exclude_patterns = ["_build", "machinery"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!purerl\.).*"),  # other packages' names lead nowhere, ours must lead somewhere,
    ("py:class", r"purerl\..*\.(Tree|Carry)"),  # but for type variables
    ("py:class", r"purerl\.algorithms\..*\.(State|Move)"),  # and what an algorithm keeps to itself
]

smartquotes = False  # the prime of s' is no apostrophe

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries = False

html_theme = "furo"
html_title = "purerl"
html_static_path = ["_static"]
html_css_files = ["purerl.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True


# A folder of guides, or a gallery, that is not there yet is no mistake.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: "glob pattern" not in str(record.msg))


def write_pages(app):
    """Write every generated page whose text has changed, and remove those that no longer exist."""
    pages = algorithms.pages() | environments.pages() | reference.pages()
    for name, text in pages.items():
        path = DOCS / f"{name}.rst"
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    for folder in ("algorithms", "reference"):
        for path in (DOCS / folder).glob("*.rst"):
            if f"{folder}/{path.stem}" not in pages:
                path.unlink()


def setup(app):
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", reference.process_docstring)
    app.connect("autodoc-skip-member", reference.skip_member)
