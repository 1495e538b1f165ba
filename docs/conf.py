"""How Sphinx builds these pages: `sphinx-build -W docs docs/_build`, with the extra `docs`."""

from amos_dask import __version__

project = "amos-dask"
author = "The amos-dask developers"
copyright = author  # noqa: A001  (Sphinx asks for this name)
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_click"]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "amos-dask"
html_show_sourcelink = False
smartquotes = False  # they would make one dash of the two of an option
html_theme_options = {"navigation_with_keys": False, "show_prev_next": False}
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True  # so that notebooks name no temporary folder
# Its outputs are kept with it: it wants PyTorch, and is run by tests/peers.
nb_execution_excludepatterns = ["notebooks/train_on_the_exports.ipynb"]
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds a cell; the first run compiles the kernels
numpydoc_show_class_members = False
