"""How Sphinx builds these pages: `make docs`. Markdown by MyST, commands from click, the API from docstrings; no network."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # importing lm_eval must not ask the hub

project = "ssn_eval"
author = "The ssn_eval contributors"
copyright = author
release = version = metadata.version("ssn-eval")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "ssn_eval"
html_copy_source = False

highlight_language = "none"
default_role = "code"  # docstrings write `names` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!ssn_eval\.).*")]
"""other projects' names, and short names in signatures, have no page here; our own full names must lead somewhere"""
nitpick_ignore = [("py:class", "ssn_eval.core.params.T")]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("sphinx-click-process-description", example_as_code)


def example_as_code(_app: Any, _ctx: Any, lines: list[str]) -> None:
    """sphinx-click makes a line block of an example, in which `*` would be markup."""
    found = [line for line in lines if not line.startswith("| ")]
    example = [line.removeprefix("| ").removeprefix("Example: ") for line in lines if line.startswith("| ")]
    if example:
        found += ["", ".. code-block:: sh", "", *(f"   {line}" for line in example), ""]
    lines[:] = found
