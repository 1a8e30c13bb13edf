"""How Sphinx builds these pages: `tox run -e docs`; no network is needed."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from inventories import written  # noqa: E402

import phylozoo_parallel  # noqa: E402

project = "phylozoo-parallel"
author = "The phylozoo-parallel developers"
copyright = f"2026, {author}"
version = release = phylozoo_parallel.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "inventories.txt"]
nitpicky = True
# Type variables and the words of NumPy docstrings that are no names.
nitpick_ignore_regex = [
    ("py:.*", r"(phylozoo_parallel\.executors\.)?[TRP]|optional|path-like|module")
]

myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True

highlight_language = "none"  # of blocks that do not say theirs

napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_typehints = "none"  # the docstrings say them
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"

intersphinx_mapping = written(HERE / "inventories.txt", HERE / "_build" / "inventories")

html_theme = "pydata_sphinx_theme"
html_title = "phylozoo-parallel"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 4,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"**": []}  # the pages have no pages below them
