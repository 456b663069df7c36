"""Rigid registration of a BOLD run to the participant's T1w, and the T1w's brain and tissues on the BOLD grid.

The metric is mutual information (Mattes et al. 2003, IEEE TMI 22:120).

Susceptibility distortion is not corrected, so the match is only rigid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ants
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.errors import DataError
from bids_app.preprocess import motion, tissues, transforms
from bids_app.preprocess.normalise import fix_seed

MIN_OVERLAP = 0.6
MARGIN_MM = 6.0
SCHEDULE = {
    "aff_iterations": (500, 250, 100),
    "aff_shrink_factors": (4, 2, 1),
    "aff_smoothing_sigmas": (2, 1, 0),
    "aff_random_sampling_rate": 0.5,
}


@dataclass(frozen=True)
class Coregistration:
    """`transform`: a file from the BOLD reference to the T1w; `brain` (X, Y, Z): the T1w's brain on the BOLD grid.

    `overlap`: Dice coefficient of that brain and the bright part of the BOLD reference.
    """

    transform: str
    brain: NDArray[np.bool_]
    overlap: float


def register(
    reference: NDArray[np.float32],
    affine: NDArray[np.float64],
    t1w: ants.ANTsImage,
    t1w_mask: ants.ANTsImage,
    *,
    folder: str,
    seed: int,
) -> Coregistration:
    """Align the BOLD reference (X, Y, Z) rigidly to a bias-corrected T1w and its brain mask.

    The reference's own bias is corrected first (N4). Two initialisations are tried, scanner coordinates and centres
    of mass, and the result with more mutual information is used. Writes `bold-to-t1w.mat` in `folder`.
    Raises DataError where the two brains do not overlap afterwards.
    """
    rough = transforms.to_ants(reference, affine)
    bright = motion.head(rough)
    corrected = tissues.correct_bias(rough, rough.new_image_like(bright.astype(np.float32)), sloppy=True, method="ants")
    candidates = _candidates(corrected, bright, t1w * t1w_mask, folder=folder, seed=seed)
    best = max(candidates, key=lambda matrix: _information(corrected, bright, t1w * t1w_mask, matrix, folder))
    file = f"{folder}/bold-to-t1w.mat"
    transforms.write_matrix(np.asarray(np.linalg.inv(best)), Path(file))
    brain = resample_to_bold(rough, t1w_mask, file) > 0.5
    overlap = dice(brain, bright)
    if overlap < MIN_OVERLAP:
        raise DataError(
            "coregistration of the BOLD run and the T1w image failed: Dice overlap of their brains is "
            f"{overlap:.2f} (at least {MIN_OVERLAP} is required); check that both are from the same "
            "participant, and their orientations"
        )
    return Coregistration(file, brain & (reference > 0), overlap)


def resample_to_bold(reference: ants.ANTsImage, image: ants.ANTsImage, transform: str) -> NDArray[np.float32]:
    """An image of the T1w's space on the grid of the BOLD reference (X, Y, Z), linearly interpolated.

    It is first smoothed like a BOLD voxel: probabilities become fractions of a BOLD voxel.
    """
    widths = zip(reference.spacing, image.spacing, strict=True)
    sigma = [float(np.sqrt(max(bold**2 - t1w**2, 0) / 12)) for bold, t1w in widths]  # a box has this variance
    smooth = ants.smooth_image(image, tuple(sigma), sigma_in_physical_coordinates=True) if any(sigma) else image
    moved = ants.apply_transforms(reference, smooth, [transform], whichtoinvert=[True])
    return np.asarray(moved.numpy(), np.float32)


def resample_tissues_to_bold(
    reference: ants.ANTsImage, probabilities: Mapping[str, ants.ANTsImage], transform: str
) -> dict[str, NDArray[np.float32]]:
    """Tissue probabilities of the T1w, by name, on the grid of the BOLD reference (X, Y, Z), 0 to 1."""
    return {name: resample_to_bold(reference, image, transform).clip(0, 1) for name, image in probabilities.items()}


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks; 0 if both are empty."""
    return float(2 * (first & second).sum() / max(int(first.sum() + second.sum()), 1))


def _candidates(
    reference: ants.ANTsImage, bright: NDArray[np.bool_], brain: ants.ANTsImage, *, folder: str, seed: int
) -> list[NDArray[np.float64]]:
    """Matrices (4, 4) from the reference's world to the T1w's, one for each initialisation.

    The reference, with its few voxels, is the fixed image; its matrix is inverted afterwards.
    """
    steps = [max(1, round(MARGIN_MM / size)) for size in reference.spacing]
    around = ndimage.binary_dilation(bright, np.ones([2 * step + 1 for step in steps]))
    fixed = reference * reference.new_image_like(bright.astype(np.float32))
    mask = reference.new_image_like(around.astype(np.float32))
    matrices = []
    for name, start in (("scanner", "Identity"), ("centre", None)):
        prefix = f"{folder}/coregister-{name}_"
        with fix_seed(seed):
            ants.registration(fixed, brain, "Rigid", initial_transform=start, mask=mask, outprefix=prefix, **SCHEDULE)
        matrices.append(transforms.read_matrix(Path(f"{prefix}0GenericAffine.mat")))
        Path(f"{prefix}0GenericAffine.mat").unlink()
    return matrices


def _information(
    reference: ants.ANTsImage,
    bright: NDArray[np.bool_],
    brain: ants.ANTsImage,
    matrix: NDArray[np.float64],
    folder: str,
) -> float:
    """Mutual information, nats, of reference and T1w under a matrix, over the head within the T1w's field of view."""
    file = Path(folder) / "coregister-tried.mat"
    transforms.write_matrix(matrix, file)
    moved = ants.apply_transforms(reference, brain, [str(file)]).numpy()
    file.unlink()
    within = bright | (moved > 0)
    values = (reference.numpy() * bright)[within], moved[within]
    joint, _, _ = np.histogram2d(*values, bins=32)
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    occupied = joint > 0
    return float((joint[occupied] * np.log(joint[occupied] / apart[occupied])).sum())
