"""Sphinx configuration; the tables of methods, models and data sets are written from the registries."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import tables  # noqa: E402

import optaxaccel  # noqa: E402

project = "optaxaccel"
author = "The optaxaccel authors"
version = release = optaxaccel.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "generated"]
html_theme = "furo"
html_title = "optaxaccel"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
suppress_warnings = ["myst.xref_missing"]  # links from the README to files outside the site

generated = HERE / "generated"
generated.mkdir(exist_ok=True)
for name in ("methods", "models", "datasets"):
    (generated / f"{name}.md").write_text(getattr(tables, name)() + "\n")
