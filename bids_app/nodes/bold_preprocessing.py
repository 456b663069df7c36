"""The steps of raw BOLD as nodes call them, up to what fMRIPrep would have left of it; files in, files out.

ANTs is imported by the functions that use it: the process that builds the graph has no need of it.
"""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.preprocess.conform import to_nifti

Files = dict[str, Any]


def correct_motion(*, run: Files, seed: int) -> Files:
    """Drop dummy scans, correct slice times, find how the head moved -> `steady`, `timed`, `reference`, `moved`."""
    from bids_app.preprocess import bold, motion

    here = str(Path.cwd())
    made = bold.prepare(
        Path(run["bold"]),
        folder=here,
        tr=run["tr"],
        dummies=run["dummies"],
        slice_times=run["slice_times"],
        slice_direction=run["slice_direction"],
    )
    steady = nib.load(made.steady)
    values = np.asarray(steady.dataobj)
    reference = motion.reference(values, steady.affine, folder=here, seed=seed)
    moved = motion.estimate(values, steady.affine, reference, folder=here, seed=seed)
    to_nifti(reference, steady.affine).to_filename("reference.nii")
    np.save("parameters.npy", moved.parameters)
    return {
        **vars(made),
        "reference": f"{here}/reference.nii",
        "moved": moved.files,
        "parameters": f"{here}/parameters.npy",
    }


def align_to_t1w(*, still: Files, anat: Files, seed: int) -> Files:
    """Lay the reference on the T1w and take the confounds where its tissues are -> `transform`, `confounds`."""
    import ants

    from bids_app.preprocess import confounds, coregister, motion

    here, native, tissues = str(Path.cwd()), anat["native"], anat["tissues"]
    image = nib.load(still["reference"])
    reference = np.asarray(image.dataobj, np.float32)
    images = {name: ants.image_read(native[name]) for name in ("t1w", "mask")}
    found = coregister.register(reference, image.affine, images["t1w"], images["mask"], folder=here, seed=seed)
    probabilities = {name: ants.image_read(tissues[name.lower()]) for name in ("GM", "WM", "CSF")}
    placed = coregister.resample_tissues_to_bold(
        motion.to_ants(reference, image.affine), probabilities, found.transform
    )
    timed = nib.load(still["timed"])
    series = motion.series(np.asarray(timed.dataobj), timed.affine, still["moved"], found.brain)
    table, about = confounds.table(
        series,
        found.brain,
        confounds.masks(placed, found.brain),
        parameters=np.load(still["parameters"]),
        tr=still["tr"],
    )
    written = confounds.write(table, Path(here) / "desc-confounds_timeseries.tsv", about=about)
    return {"transform": found.transform, "confounds": str(written), "overlap": found.overlap}


def warp_run_to_template(*, still: Files, aligned: Files, anat: Files, kind: str, grid: list[Any]) -> Files:
    """The run and its brain on the grid [shape, affine], as `bold_maps.clean_series` takes it."""
    import ants

    from bids_app.preprocess import bold, motion

    here, forward = Path.cwd(), anat["warps"][kind]["forward"]
    target = motion.to_ants(np.zeros(grid[0], np.float32), np.array(grid[1]))
    run = nib.load(still["timed"])
    path = bold.to_template(
        run, still["moved"], aligned["transform"], forward, target, here / "bold.nii", folder=str(here)
    )
    made = nib.load(path)
    brain = ants.apply_transforms(target, ants.image_read(anat["native"]["mask"]), forward).numpy() > 0.5
    to_nifti((brain & bold.field_of_view(made)).astype(np.float32), made.affine).to_filename("mask.nii")
    return {
        "bold": str(path),
        "mask": str(here / "mask.nii"),
        "confounds": aligned["confounds"],
        "transform": aligned["transform"],
        "overlap": aligned["overlap"],
        "tr": still["tr"],
        "skipped": 0,
        "dummies": still["dropped"],
        "slice_time": still["slice_time"],
    }
