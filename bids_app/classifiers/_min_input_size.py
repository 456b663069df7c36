"""The size of an image after convolutions and pools, and the smallest image of which something is left."""

from collections.abc import Sequence

from bids_app.errors import DataError

Steps = Sequence[tuple[int, int]]  # per convolution: voxels removed along each axis, and the pool after it


def check_input_size(shape: tuple[int, ...], needed: int, *, name: str) -> None:
    """Raise DataError, which names the network, unless an image has `needed` voxels along each axis."""
    if min(shape) < needed:
        raise DataError(
            f"{name} requires maps of at least {needed} voxels along each axis, and the bounding box of the mask has "
            f"{' x '.join(map(str, shape))}: make maps of smaller voxels (--resolution), or choose another of "
            "--classifiers"
        )


def output_shape(shape: tuple[int, ...], steps: Steps, *, name: str) -> tuple[int, ...]:
    """Size along each axis after all steps. Raises DataError, with the size that is needed, if nothing is left."""
    check_input_size(shape, min_input_size(steps), name=name)
    for lost, pool in steps:
        shape = tuple((edge - lost) // pool for edge in shape)
    return shape


def min_input_size(steps: Steps) -> int:
    """The shortest axis of which one voxel is left."""
    edge = 1
    for lost, pool in reversed(steps):
        edge = edge * pool + lost
    return edge
