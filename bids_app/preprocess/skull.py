"""Detection of images that are already skull-stripped."""

import numpy as np
from scipy import ndimage

from bids_app.errors import DataError
from bids_app.preprocess.conform import find_box

BRAIN_ML = (650.0, 2300.0)
MASK_ML = (150.0, 3500.0)  # of a human brain at any age, or of one and all round it
NEGATIVE_SHARE = 0.1  # of the brain; interpolation alone leaves far fewer
BACKGROUND_SHARE = 0.3
BORDER_SHARE = 0.02


def check_volume(title: str, mask: np.ndarray, *, voxel_ml: float) -> None:
    """Raise DataError for a brain mask (X, Y, Z) that is far too small or too large for a human brain."""
    volume = float(mask.sum()) * voxel_ml
    if not MASK_ML[0] <= volume <= MASK_ML[1]:
        raise DataError(
            f"{title} has {volume:.0f} mL inside, which is no human brain ({MASK_ML[0]:.0f} to {MASK_ML[1]:.0f} mL); "
            "use the mask that belongs to the image"
        )


def check_intensities(title: str, values: np.ndarray, mask: np.ndarray) -> None:
    """Raise DataError for an image (X, Y, Z) that is negative in much of its brain, as standardised images are."""
    negative = float((values[mask] < 0).mean())
    if negative > NEGATIVE_SHARE:
        raise DataError(
            f"{title} is negative in {100 * negative:.0f} % of the brain, so that its bias field and tissues cannot be "
            "estimated; use the image as it was before its intensities were standardised"
        )


def find_stripped_brain(values: np.ndarray, *, voxel_ml: float) -> np.ndarray | None:
    """The mask (X, Y, Z) of an image that has no skull, or None if it has one.

    A skull-stripped image has one exact background value over much of the field, and the rest is one piece as large
    as a brain (650 to 2300 mL) that hardly touches the border; a whole head, even a de-faced one, is larger or noisy
    outside.
    """
    background = values.flat[0]
    inside = values != background
    if (~inside).mean() < BACKGROUND_SHARE or not inside.any():
        return None
    box = find_box(inside, (1, 1, 1))
    pieces, _ = ndimage.label(inside[box])
    mask = np.zeros(values.shape, bool)
    mask[box] = ndimage.binary_fill_holes(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)
    volume = mask.sum() * voxel_ml
    faces = np.concatenate([mask.take(end, axis).ravel() for axis in range(3) for end in (0, -1)])
    whole = BRAIN_ML[0] <= volume <= BRAIN_ML[1] and faces.mean() < BORDER_SHARE
    return mask if whole else None


def remove_offset(values: np.ndarray) -> np.ndarray:
    """The values (X, Y, Z) of a skull-stripped image with 0 outside: a bias field multiplies the signal, no offset.

    Unchanged where the value outside is not the lowest. Not for whole heads, whose corners may be padding.
    """
    background = values.flat[0]
    return values - background if background == values.min() else values
