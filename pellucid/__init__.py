"""Pellucid from Python: the results of an analysis as data frames, images and figures, and its trained models.

The code is in `bids_app`, of which only what is used is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bids_app import __version__

if TYPE_CHECKING:
    from bids_app.api.analysis import Analysis, load_analysis
    from bids_app.api.heatmap import Heatmap
    from bids_app.api.model import Model, load_model
    from bids_app.errors import PellucidError

__all__ = ["Analysis", "Heatmap", "Model", "PellucidError", "__version__", "load_analysis", "load_model"]

_MODULES = {
    "Analysis": "bids_app.api.analysis",
    "Heatmap": "bids_app.api.heatmap",
    "Model": "bids_app.api.model",
    "PellucidError": "bids_app.errors",
    "load_analysis": "bids_app.api.analysis",
    "load_model": "bids_app.api.model",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
