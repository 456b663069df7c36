"""One raw BOLD run: checked, dummy scans removed, and later resampled once to the template."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.bids import images
from bids_app.errors import DataError, UsageError
from bids_app.preprocess import conform, slicetiming, transforms
from bids_app.preprocess.spline import Spline
from bids_app.preprocess.timing import repetition_time

LOOK_AT = 50  # number of volumes searched for non-steady-state ones
BRIGHT_SD = 3.5
MAD_TO_SD = 0.6745
MIN_SPREAD = 1e-4  # of the median: a steadier run is simulated, and any change would be an outlier
MIN_VOXELS = 4


@dataclass(frozen=True)
class PreparedRun:
    """`steady`: the run without its dummy scans, RAS+, float32; `timed`: the same after slice-time correction.

    Both are files; `timed` is `steady` without slice-time correction, and `slice_time` (s) is None then.
    """

    steady: str
    timed: str
    tr: float
    dropped: int
    slice_time: float | None


def load(path: Path, *, tr: float | None = None) -> nib.Nifti1Image:
    """Read and check a BOLD run; axes stay in the order of the file, since slice times belong to that order.

    `tr` is that of the sidecar, s. Returns a float32 image (X, Y, Z, T) with its TR in the header, in seconds.
    Raises DataError for an image that is not 4D, unreadable, without orientation, not finite, constant, or has an empty
    volume; and for its TR as `repetition_time`.
    """
    path = Path(path)
    seconds = repetition_time(path, sidecar_tr=tr)
    stored = images.open_image(path, axes=(4,))
    if min(stored.shape[:3]) < MIN_VOXELS:
        raise DataError(f"{path.name} has the shape {stored.shape}; a 4D series of whole-brain volumes is required")
    values = images.read_voxels(stored, path.name)
    _check_values(path.name, values)
    return make_image(values, stored.affine, tr=seconds)


def make_image(values: NDArray[np.float32], affine: NDArray[np.float64], *, tr: float) -> nib.Nifti1Image:
    """A 4D image (X, Y, Z, T) with a plain header that has the TR in seconds."""
    image = conform.to_nifti(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    return image


def count_dummy_scans(data: NDArray[np.float32]) -> int:
    """How many volumes at the start are brighter than the steady state.

    data (X, Y, Z, T). A volume counts if its mean lies more than 3.5 robust standard deviations (by the median absolute
    deviation; Iglewicz & Hoaglin 1993) above the median of the first 50, and all before it do: fMRIPrep's rule, except
    that darker volumes do not count, since the approach to the steady state never produces them.
    """
    means = data[..., :LOOK_AT].mean(axis=(0, 1, 2), dtype=np.float64)
    middle = np.median(means)
    spread = max(float(np.median(np.abs(means - middle))), MIN_SPREAD * abs(float(middle)))
    bright = MAD_TO_SD * (means - middle) > BRIGHT_SD * spread
    return int(bright.argmin())


def drop_dummy_scans(run: nib.Nifti1Image, count: int | None = None) -> tuple[nib.Nifti1Image, int]:
    """The run without its first `count` volumes (default: that of `count_dummy_scans`), and their number.

    Raises UsageError if fewer than two volumes would remain.
    """
    values = np.asarray(run.dataobj)
    dropped = count_dummy_scans(values) if count is None else count
    if not 0 <= dropped <= values.shape[3] - 2:
        raise UsageError(
            f"--dummy-scans {dropped}: the run has {values.shape[3]} volumes, and at least two must remain"
        )
    return make_image(values[..., dropped:], run.affine, tr=float(run.header.get_zooms()[3])), dropped


def prepare(
    path: Path,
    *,
    folder: str,
    tr: float | None = None,
    dummies: int | None = None,
    slice_times: Sequence[float] | None = None,
    slice_direction: str | None = None,
) -> PreparedRun:
    """Read `path`, drop dummy scans, correct slice times; writes `steady.nii` and `timed.nii` in `folder`.

    `slice_times` and `slice_direction` are the sidecar's SliceTiming and SliceEncodingDirection. Motion is estimated
    from `steady`, since the correction would spread a sudden movement over neighbouring volumes.
    Raises as `load`, `drop_dummy_scans` and `slicetiming.correct`.
    """
    run, dropped = drop_dummy_scans(load(path, tr=tr), dummies)
    seconds = float(run.header.get_zooms()[3])
    steady = f"{folder}/steady.nii"
    _reorient(run).to_filename(steady)
    if slice_times is None or len(set(slice_times)) < 2:
        return PreparedRun(steady, steady, seconds, dropped, None)
    axis, backwards = slicetiming.slice_axis(slice_direction)
    times = list(slice_times)[::-1] if backwards else list(slice_times)
    values = slicetiming.correct(np.asarray(run.dataobj), times=times, tr=seconds, axis=axis)
    timed = f"{folder}/timed.nii"
    _reorient(make_image(values, run.affine, tr=seconds)).to_filename(timed)
    return PreparedRun(steady, timed, seconds, dropped, slicetiming.middle(times))


def to_template(
    run: nib.Nifti1Image,
    moved: Sequence[str],
    to_t1w: str,
    t1w_to_template: Sequence[str],
    grid: ants.ANTsImage,
    path: Path,
    *,
    inside: NDArray[np.bool_],
) -> Path:
    """Bring every volume to the template in one interpolation (cubic B-spline), and write them as one float32 file.

    `moved`: one transform file per volume; `to_t1w`: from the BOLD reference to the T1w; `t1w_to_template`: from there
    to the template, in ANTs' order. `grid`: a 3D image of the template's space, of which the voxels `inside` (X, Y, Z)
    are computed; all others are 0. Transforms are composed, not applied one after the other; all but a volume's own are
    composed once, at the voxels of `grid`, so that the field itself is not interpolated. Voxels outside a volume's
    field of view are 0 there.
    Raises DataError unless there is one transform per volume.
    """
    if len(moved) != run.shape[3]:
        raise DataError(f"{len(moved)} transforms for {run.shape[3]} volumes")
    values, affine = run.dataobj, transforms.world_affine(grid)
    points = transforms.follow([*t1w_to_template, to_t1w], grid)[inside]
    resampled = np.zeros((*grid.shape, run.shape[3]), np.float32, order="F")
    for number, transform in enumerate(moved):
        to_voxels = np.linalg.inv(run.affine) @ transforms.read_matrix(Path(transform))
        spline = Spline(np.asarray(values[..., number], np.float32))
        resampled[inside, number], _ = spline.sample(points, to_voxels, clip=False)
    make_image(resampled, affine, tr=float(run.header.get_zooms()[3])).to_filename(path)
    return Path(path)


def field_of_view(run: nib.Nifti1Image) -> NDArray[np.bool_]:
    """The voxels (X, Y, Z) of a run at the template that lie in the field of view of every volume.

    The background of a skull-stripped run, 0 at all times, is excluded as well.
    """
    inside = np.ones(run.shape[:3], bool)
    for number in range(run.shape[3]):
        inside &= np.asarray(run.dataobj[..., number]) != 0
    return inside


def _reorient(run: nib.Nifti1Image) -> nib.Nifti1Image:
    """The run with its axes in RAS+ order."""
    turned = nib.as_closest_canonical(run)
    return make_image(np.asarray(turned.dataobj, np.float32), turned.affine, tr=float(run.header.get_zooms()[3]))


def _check_values(name: str, values: NDArray[np.float32]) -> None:
    bad = sum(int((~np.isfinite(values[..., number])).sum()) for number in range(values.shape[3]))
    if bad:
        raise DataError(f"{name} has {bad} values that are NaN or infinite; replace them (by 0 in the background)")
    if all(np.array_equal(values[..., number], values[..., 0]) for number in range(1, values.shape[3])):
        what = "0" if not values[..., 0].any() else "constant in time"
        raise DataError(f"{name} is {what} everywhere and contains no signal")
    empty = [number + 1 for number in range(values.shape[3]) if np.ptp(values[..., number]) == 0]
    if empty:
        shown = ", ".join(str(number) for number in empty[:5])
        raise DataError(f"{name} has {len(empty)} empty volumes of {values.shape[3]} (volume {shown}); remove them")
