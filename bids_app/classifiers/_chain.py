"""Convolutions and pools one after another: what is left of an image, and what it takes that something is."""

from collections.abc import Sequence

from bids_app.errors import DataError

Steps = Sequence[tuple[int, int]]  # of each convolution the voxels that it takes off an axis, and of the pool after it


def left(shape: tuple[int, ...], steps: Steps, *, name: str) -> tuple[int, ...]:
    """Cells an axis after all steps of an image of `shape`. Raises DataError, with what it takes, if none is left."""
    if min(shape) < (needed := least(steps)):
        raise DataError(
            f"{name} needs maps of at least {needed} voxels along each axis, and the box round the mask has "
            f"{' x '.join(map(str, shape))}: make the maps of smaller voxels (--resolution), or choose another of "
            "--classifiers"
        )
    for lost, pool in steps:
        shape = tuple((edge - lost) // pool for edge in shape)
    return shape


def least(steps: Steps) -> int:
    """The shortest axis of which one cell is left."""
    edge = 1
    for lost, pool in reversed(steps):
        edge = edge * pool + lost
    return edge
