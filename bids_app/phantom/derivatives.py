"""Derivatives of the phantom in fMRIPrep's layout, from the true deformation and motion: nothing is estimated."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.phantom import bold, confounds, warp
from bids_app.phantom.deformation import Array, positions, transform
from bids_app.phantom.description import STATEMENT, write_json
from bids_app.phantom.function import TISSUES, Function
from bids_app.phantom.image import save_series
from bids_app.preprocess import conform
from bids_app.preprocess.spline import Spline

SPACE = "MNI152NLin2009cAsym"
BIDSIGNORE = ("*_timeseries.*", "*_xfm.*", "*_boldref.*")


def describe(folder: Path) -> None:
    """Write the files at the top of the tree."""
    made_by = {"Name": "pellucid-phantom", "Version": __version__, "Description": STATEMENT}
    write_json(
        folder / "dataset_description.json",
        {
            "Name": "Phantom in the format of fMRIPrep derivatives",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "Authors": ["Pellucid phantom"],
            "Acknowledgements": STATEMENT,
            "GeneratedBy": [made_by],
        },
    )
    text = "Computed from the ground truth of a phantom, with the file names of fMRIPrep. fMRIPrep was not run."
    (folder / "README").write_text(f"# Phantom, preprocessed\n\n{STATEMENT}\n\n{text}\n", encoding="utf-8")
    (folder / ".bidsignore").write_text("\n".join(BIDSIGNORE) + "\n", encoding="utf-8")


def write_anatomy(root: Path, person: str, brain: Array, tissues: Array, scanner: Array, deformed: warp.Warp) -> None:
    """Write the T1w without shading and noise, its mask, tissue probabilities (3, X, Y, Z) and the transforms."""
    folder = _make_folder(root, person, "anat")
    mask = brain > 0
    seen = np.clip(np.rint(brain * 10), 0, np.iinfo(np.int16).max).astype(np.int16)
    _save(folder / outputs.filename(person, None, "T1w", ".nii.gz", desc="preproc"), seen, scanner, SkullStripped=True)
    name = outputs.filename(person, None, "mask", ".nii.gz", desc="brain")
    _save(folder / name, mask.astype(np.uint8), scanner, Type="Brain")
    share = tissues / np.maximum(tissues.sum(axis=0), 1e-6) * mask
    for tissue, values in zip(TISSUES, share, strict=True):
        _save(folder / outputs.filename(person, None, "probseg", ".nii.gz", label=tissue), values, scanner)
    for source, target in (("T1w", SPACE), (SPACE, "T1w")):
        name = outputs.filename(person, None, "xfm", ".h5", from_=source, to=target, mode="image")
        warp.write(folder / name, deformed, to_template=target == SPACE)


def write_function(
    root: Path,
    person: str,
    run: bold.Run,
    grid: tuple[tuple[int, int, int], Array],
    function: Function,
    deformed: warp.Warp,
    *,
    plan: bold.Plan,
) -> None:
    """Write the run on a grid (shape, affine) of the template, its mean, its mask and its confounds."""
    folder = _make_folder(root, person, "func")
    shape, affine = grid
    points = transform(positions(shape).reshape(3, -1), affine)
    inside = np.flatnonzero(function.tissues_at(points).sum(axis=0) > 0.5)
    voxels = transform(deformed.in_scanner(points[:, inside]), np.linalg.inv(run.affine))
    values = interpolate_cubic(voxels, run.seen, run.raw.shape[:3], run.still)
    whole = np.zeros((plan.volumes, int(np.prod(shape))), np.int16)
    whole[:, inside] = np.clip(np.rint(values.T), 0, np.iinfo(np.int16).max)
    series = np.moveaxis(whole.reshape(plan.volumes, *shape), 0, -1)
    called = {"task": "rest", "space": SPACE}
    name = outputs.filename(person, None, "bold", ".nii.gz", **called, desc="preproc")
    about = {"SliceTimingCorrected": True, "StartTime": plan.tr / 2}
    save_series(folder / name, series, affine, tr=plan.tr, sidecar=about)
    mean = series.mean(axis=-1, dtype=np.float32)
    _save(folder / outputs.filename(person, None, "boldref", ".nii.gz", **called), mean, affine, SkullStripped=True)
    mask = np.zeros(shape, np.uint8)
    mask.ravel()[inside] = 1
    _save(
        folder / outputs.filename(person, None, "mask", ".nii.gz", **called, desc="brain"), mask, affine, Type="Brain"
    )
    name = outputs.filename(person, None, "timeseries", ".tsv", task="rest", desc="confounds")
    confounds.write(folder / name, *confounds.columns(run, tr=plan.tr))


def interpolate_cubic(voxels: Array, seen: NDArray[np.intp], shape: tuple[int, ...], still: Array) -> Array:
    """Series (N, volumes) at voxel coordinates (3, N), by cubic B-splines, of `still` (M, volumes), which is `seen`.

    Voxels not seen count as 0. fMRIPrep resamples BOLD in this way; linear interpolation would make neighbours more
    similar, depending on the obliqueness of a participant's grid, and hide a simulated coherence.
    """
    values = np.empty((voxels.shape[1], still.shape[1]), np.float32)
    volume, points = np.zeros(shape, np.float32), voxels.T.astype(np.float32)
    for number in range(still.shape[1]):
        volume.ravel()[seen] = still[:, number]
        values[:, number], _ = Spline(volume).sample(points, np.eye(4), clip=False)
    return values


def _make_folder(root: Path, person: str, datatype: str) -> Path:
    folder = outputs.folder(root, person, None, datatype)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _save(path: Path, values: NDArray[np.generic], affine: Array, **sidecar: object) -> None:
    conform.save(conform.to_nifti(values, affine), path)
    if sidecar:
        write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), sidecar)
