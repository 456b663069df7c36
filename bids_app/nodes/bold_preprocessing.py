"""The steps of raw BOLD as nodes call them, up to what fMRIPrep would have left of it; files in, files out.

ANTs is imported by the functions that use it, since the process that builds the graph does not need it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bids_app.planning.participant_records import AlignedRun, Anatomy, BoldRun, MotionCorrectedRun, PreprocessedRun
from bids_app.preprocess.conform import read_image, to_nifti


def correct_motion(*, run: BoldRun) -> MotionCorrectedRun:
    """Remove dummy scans, correct slice times, estimate motion."""
    from bids_app.preprocess import bold, motion

    here = str(Path.cwd())
    prepared = bold.prepare(
        Path(run["bold"]),
        folder=here,
        tr=run["tr"],
        dummies=run["dummies"],
        slice_times=run["slice_times"],
        slice_direction=run["slice_direction"],
    )
    steady = read_image(prepared.steady)
    values = np.asarray(steady.dataobj)
    reference = motion.reference(values, steady.affine)
    estimate = motion.estimate(values, steady.affine, reference, folder=here)
    to_nifti(reference, steady.affine).to_filename("reference.nii")
    np.save("parameters.npy", estimate.parameters)
    return {
        "steady": prepared.steady,
        "timed": prepared.timed,
        "tr": prepared.tr,
        "dropped": prepared.dropped,
        "slice_time": prepared.slice_time,
        "reference": f"{here}/reference.nii",
        "moved": estimate.files,
        "parameters": f"{here}/parameters.npy",
    }


def align_to_t1w(*, corrected: MotionCorrectedRun, anat: Anatomy, seed: int) -> AlignedRun:
    """Align the reference to the T1w and extract confounds from its tissues."""
    import ants

    from bids_app.preprocess import confounds, coregister, motion, transforms

    here, native, tissues = str(Path.cwd()), anat["native"], anat["tissues"]
    image = read_image(corrected["reference"])
    reference = np.asarray(image.dataobj, np.float32)
    t1w, mask = ants.image_read(native["t1w"]), ants.image_read(native["mask"])
    alignment = coregister.register(reference, image.affine, t1w, mask, folder=here, seed=seed)
    files = {"GM": tissues["gm"], "WM": tissues["wm"], "CSF": tissues["csf"]}
    probabilities = coregister.resample_tissues_to_bold(
        transforms.to_ants(reference, image.affine),
        {name: ants.image_read(file) for name, file in files.items()},
        alignment.transform,
    )
    timed = read_image(corrected["timed"])
    series = motion.series(np.asarray(timed.dataobj), timed.affine, corrected["moved"], alignment.brain)
    table, components = confounds.table(
        series,
        alignment.brain,
        confounds.masks(probabilities, alignment.brain),
        parameters=np.load(corrected["parameters"]),
        tr=corrected["tr"],
    )
    file = confounds.write(table, Path(here) / "desc-confounds_timeseries.tsv", components=components)
    return {"transform": alignment.transform, "confounds": str(file), "overlap": alignment.overlap}


def warp_run_to_template(
    *, corrected: MotionCorrectedRun, aligned: AlignedRun, anat: Anatomy, kind: str, grid: list[Any]
) -> PreprocessedRun:
    """The run within the brain, and that brain, on the grid [shape, affine]."""
    import ants

    from bids_app.preprocess import bold, transforms

    here, forward = Path.cwd(), anat["warps"][kind]["forward"]
    target = transforms.to_ants(np.zeros(grid[0], np.float32), np.array(grid[1]))
    timed, moved, transform = read_image(corrected["timed"]), corrected["moved"], aligned["transform"]
    brain = transforms.warp(ants.image_read(anat["native"]["mask"]), transforms.follow(forward, target)) > 0.5
    path = bold.to_template(timed, moved, transform, forward, target, here / "bold.nii", inside=brain)
    warped = read_image(path)
    to_nifti((brain & bold.field_of_view(warped)).astype(np.float32), warped.affine).to_filename("mask.nii")
    return {
        "bold": str(path),
        "mask": str(here / "mask.nii"),
        "confounds": aligned["confounds"],
        "transform": transform,
        "overlap": aligned["overlap"],
        "tr": corrected["tr"],
        "skipped": 0,
        "dummies": corrected["dropped"],
        "slice_time": corrected["slice_time"],
    }
