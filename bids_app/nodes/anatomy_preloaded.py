"""What the processes of anatomical nodes share: the server that they are forked from imports it once, as it takes
seconds.
"""

from bids_app import jit
from bids_app.preprocess import _registration_loops, _spline_loops, mixture, normalise, tissues

__all__ = ["normalise", "tissues"]

for module in (_registration_loops, _spline_loops, mixture):
    jit.compile_loops(module)
