"""Sphinx: `.venv/bin/sphinx-build docs docs/_build`."""

from bids_app import __version__

project = "Pellucid"
author = "The Pellucid developers"
release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Pellucid {release}"
myst_heading_anchors = 3
