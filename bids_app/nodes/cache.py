"""Folders that are created once and cached in the work folder, under a name that reflects all dependencies."""

from collections.abc import Callable
from pathlib import Path

from bids_app.bids import outputs


def cached_folder(cache: str, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, filled by `make` unless it exists; several processes may do so at once."""
    place = Path(cache) / name
    if place.is_dir():
        return place
    with outputs.staging(Path(cache)) as stage:
        fresh = stage / name
        fresh.mkdir()
        make(fresh)
        try:
            fresh.rename(place)
        except OSError:  # another process was first, with the same content
            if not place.is_dir():
                raise
    return place
