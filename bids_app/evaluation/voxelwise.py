"""Voxelwise comparison of classes: TFCE with permutation, family-wise corrected over voxels and maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bids_app.dataset import adjust
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError

MIN_PERMUTATIONS = 19  # permutations with which p can be 0.05
ALPHA = 0.05
RELATIVE_TOLERANCE = 1e-9  # relative: statistics closer than this are equal
MIN_RESIDUAL_SHARE = (
    1e-10  # the minimum unexplained share of a voxel's sum of squares; below it, it varies by rounding alone
)

Values = NDArray[np.float64]
Maps = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class PermutedStatistics:
    """`t`, `tfce` (voxels,), positive where the tested class is larger; `null` (permutations,): the maximum |TFCE|."""

    t: Values
    tfce: Values
    null: Values


@dataclass(frozen=True, eq=False, kw_only=True)
class VoxelwiseComparison:
    """One class compared with the reference in one map, out of a `family` of comparisons that share permutations.

    `statistics.null` has all permutations; `p` (voxels,) is corrected over voxels and the family, `p_within` over the
    voxels of this comparison alone. `people`: counts by class.
    """

    map: str
    explained: str
    reference: str
    people: dict[str, int]
    covariates: tuple[str, ...]
    family: int
    grid: Grid
    statistics: PermutedStatistics
    p: Values
    p_within: Values

    @property
    def contrast(self) -> str:
        """The name of the contrast in tables: `patient - control`."""
        return f"{self.explained} - {self.reference}"

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Where p is below 0.05, (voxels,)."""
        return np.asarray(self.p < ALPHA)

    @property
    def peak(self) -> int:
        """The index of the largest |t|, of significant voxels if there are any."""
        return int(np.argmax(np.where(self.significant | ~self.significant.any(), np.abs(self.statistics.t), -1.0)))


def permute_tfce(
    x: Maps, tested: Values, others: Values, grid: Grid, *, permutations: int, seed: int
) -> PermutedStatistics:
    """Return t and TFCE of one column of the design in every voxel, and the maximum |TFCE| of each permutation.

    x (participants, voxels of the grid's mask), a row per participant; tested (participants,); others (participants,
    k): covariates besides an intercept. One seed gives the same permutations for every x with as many participants.
    Voxels that the model explains entirely (above all constant ones) get 0. Covariates: Freedman & Lane 1983, as in
    Winkler 2014, NeuroImage 92:381; TFCE: Smith & Nichols 2009, NeuroImage 44:83, E 0.5, H 2, faces, 100 steps up to
    the largest |t|. Raises DataError where no voxel varies.
    """
    from nilearn.maskers import NiftiMasker  # slower to import than everything else a group run needs
    from nilearn.mass_univariate import permuted_ols

    others, values = _standardise_varying(others), np.asarray(x, np.float64)
    usable = _residual_share(values, np.column_stack([np.ones(len(x)), tested, others])) > MIN_RESIDUAL_SHARE
    if not usable.any():
        raise DataError("no voxel varies between participants beyond classes and covariates: nothing to test")
    box = grid.cropped
    image = Nifti1Image(box.volume(usable).astype(np.uint8), box.affine)
    statistics = permuted_ols(
        tested,
        values[:, usable],
        confounding_vars=others if others.size else None,
        n_perm=permutations,
        random_state=seed,
        masker=NiftiMasker(mask_img=image, standardize=None).fit(),
        tfce=True,
    )
    whole = {name: np.zeros(grid.voxels) for name in ("t", "tfce")}
    for name, values_of_voxels in whole.items():
        values_of_voxels[usable] = statistics[name][0]
    return PermutedStatistics(whole["t"], whole["tfce"], statistics["h0_max_tfce"][0])


def familywise_p(tfce: Sequence[Values], nulls: Sequence[Values]) -> list[Values]:
    """Return p (voxels,) of each map, family-wise corrected over the voxels of all maps, which share permutations.

    tfce: (voxels,) each; nulls: (permutations,) each, whose maximum over maps is the null distribution (Westfall &
    Young 1993; Nichols & Holmes 2002), including the observed labelling (Phipson & Smyth 2010).
    """
    most = np.sort(np.max(nulls, axis=0))
    reached = [len(most) - np.searchsorted(most, np.abs(values) * (1 - RELATIVE_TOLERANCE)) for values in tfce]
    return [np.asarray((1 + count) / (1 + len(most)), np.float64) for count in reached]


def average_sessions(values: Maps, people: Sequence[str]) -> Maps:
    """Average the rows (rows, ...) of each participant, in the order of their first rows: (participants, ...)."""
    rows: dict[str, list[int]] = {}
    for row, participant in enumerate(people):
        rows.setdefault(participant, []).append(row)
    return np.stack([np.asarray(values[person_rows]).mean(axis=0) for person_rows in rows.values()])


def check_design(tested: Values, others: Values) -> None:
    """Raise DataError where the tested column of `permute_tfce` is a linear combination of the others."""
    others = _standardise_varying(others)
    rest = len(tested) - 2 - np.linalg.matrix_rank(others) if others.size else len(tested) - 2
    if rest < 1:
        raise DataError(
            f"--voxelwise-test: {len(tested)} participants are too few for {others.shape[1]} columns in addition "
            "to the class"
        )
    if _residual_share(tested[:, None], np.column_stack([np.ones(len(tested)), others]))[0] <= MIN_RESIDUAL_SHARE:
        raise DataError("--voxelwise-test: the columns of --covariates determine the class; adjust for fewer")


def _standardise_varying(others: Values) -> Values:
    """Return the columns (participants, k) that vary, as z scores: nilearn mistakes a constant for the intercept."""
    spread = others.std(axis=0)
    varies = spread > adjust.CONSTANT_TOLERANCE * np.maximum(np.abs(others.mean(axis=0)), 1e-12)
    return np.ascontiguousarray((others[:, varies] - others[:, varies].mean(axis=0)) / spread[varies])


def _residual_share(x: Values, design: Values) -> Values:
    """Return the share of the sum of squares of x (participants, voxels) not explained by the design, (voxels,)."""
    basis = np.linalg.qr(design)[0]
    whole, rest = (np.square(values).sum(axis=0) for values in (x, x - basis @ (basis.T @ x)))
    share: Values = np.divide(rest, whole, out=np.zeros_like(whole), where=whole > 0)
    return share
