"""Sphinx configuration. What registries, records and measurements know is written into docs/generated first."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

import optaxaccel  # noqa: E402

project = "optaxaccel"
author = copyright = "The optaxaccel authors"
version = release = optaxaccel.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4
exclude_patterns = ["_build", "generated/parts"]
html_theme = "furo"
html_title = f"optaxaccel {version}"
html_context = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["urls"]
templates_path = ["_templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "repository.html",
        "sidebar/scroll-end.html",
    ]
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_custom_sections = ["Costs", "Deviations"]
napoleon_use_rtype = False

generate.write_all(HERE / "generated")
