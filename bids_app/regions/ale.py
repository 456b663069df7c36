"""Activation likelihood estimation: coordinates of several studies as one map of their convergence.

A study's map is a Gaussian around each of its foci, the maximum where they overlap: the probability that the true
location of the focus lies in a voxel of 2 mm. Its width follows from the distance between matching locations of
subjects (11.6 mm on average, divided by the root of their number) and of templates (5.7 mm). The likelihood is 1 minus
the product over studies of 1 - map.

Eickhoff et al. 2009, Human Brain Mapping 30:2907-2926, doi:10.1002/hbm.20718 (widths); Turkeltaub et al. 2012, Human
Brain Mapping 33:1-13, doi:10.1002/hbm.21186 (the largest within a study); Eickhoff et al. 2012, NeuroImage
59:2349-2361, doi:10.1016/j.neuroimage.2011.09.017.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
SIGMA_PER_DISTANCE = 1 / (2 * np.sqrt(2 / np.pi))  # of two places, each as uncertain as the other
SUBJECTS_MM, TEMPLATES_MM = 11.6, 5.7
VOXEL_MM3 = 8.0  # whatever the grid, so that values do not depend on it


@dataclass(frozen=True, eq=False)
class Study:
    """Foci (foci, 3), mm MNI, and the study's sample size."""

    foci: NDArray[np.float64]
    people: float


def fwhm_mm(people: float) -> float:
    """Return the full width at half maximum of the Gaussian for a sample size."""
    distance = np.sqrt(SUBJECTS_MM**2 / people + TEMPLATES_MM**2)
    return float(distance * SIGMA_PER_DISTANCE * FWHM_PER_SIGMA)


def activation_likelihood(places: NDArray[np.floating], studies: Iterable[Study]) -> NDArray[np.float64]:
    """Return the likelihood (voxels,) at places (voxels, 3), mm MNI; zero where no study has a focus within one FWHM.

    At that distance the Gaussian has fallen to a sixteenth: voxels beyond count as not covered rather than weak.
    """
    missed, covered = np.ones(len(places)), np.zeros(len(places), bool)
    for study in studies:
        width = fwhm_mm(study.people)
        sigma = width / FWHM_PER_SIGMA
        distance, _ = KDTree(study.foci).query(places)
        missed *= 1 - VOXEL_MM3 * (2 * np.pi * sigma**2) ** -1.5 * np.exp(-((distance / sigma) ** 2) / 2)
        covered |= distance <= width
    return np.where(covered, 1 - missed, 0.0)
