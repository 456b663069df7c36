"""Layouts of data sets: small trees of given file names, and what the participant level plans for each."""

import gzip
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.bids import inputs
from bids_app.errors import PellucidError
from bids_app.planning import participant
from bids_app.settings import build

SPACE = "MNI152NLin2009cAsym"
ANATOMY = (
    f"desc-preproc_T1w desc-brain_mask label-GM_probseg label-WM_probseg label-CSF_probseg "
    f"from-T1w_to-{SPACE}_mode-image_xfm.h5"
)
REST = " ".join(
    f"task-rest_{end}"
    for end in (f"space-{SPACE}_desc-preproc_bold", f"space-{SPACE}_desc-brain_mask", "desc-confounds_timeseries.tsv")
)


def image(shape: tuple[int, ...], tr: float = 0.0) -> bytes:
    """An uncompressed NIfTI image of a ball, its voxels 8 mm wide; with four axes, of the given TR in s."""
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = -4.0 * (np.array(shape[:3]) - 1)
    places = np.moveaxis(np.indices(shape[:3]), 0, -1) @ affine[:3, :3] + affine[:3, 3]
    ball = np.where(np.linalg.norm(places, axis=-1) < 70, 100 + places.sum(axis=-1) % 50, 0).astype(np.uint8)
    made = nib.Nifti1Image(np.broadcast_to(ball.reshape(*shape[:3], *[1] * (len(shape) - 3)), shape), affine)
    made.set_qform(affine, 1)
    made.header.set_xyzt_units("mm", "sec")
    if len(shape) == 4:
        made.header["pixdim"][4] = tr
    return bytes(made.to_bytes())


VOLUME, SERIES = image((24, 24, 24)), image((12, 12, 8, 20), 2.0)
COMPRESSED = {VOLUME: gzip.compress(VOLUME, 1), SERIES: gzip.compress(SERIES, 1)}


def build_tree(root: Path, listing: str, contents: dict[str, object] | None = None) -> Path:
    """Write a data set: each line of `listing` is a folder and the ends of the names of its images, or a single path.

    "sub-01/ses-1/func task-rest_bold" is sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz. Other files are empty
    but for a line, unless `contents` gives their bytes, text or JSON object. A TR of 2 s is stated at the top.
    """
    files: dict[str, object] = {
        "dataset_description.json": {"Name": "Trial", "BIDSVersion": "1.10.0"},
        "task-rest_bold.json": {"RepetitionTime": 2.0, "TaskName": "rest"},
    }
    for line in filter(None, map(str.strip, listing.splitlines())):
        folder, *stems = line.split()
        prefix = "_".join(part for part in folder.split("/") if part.startswith(("sub-", "ses-")))
        names = [f"{folder}/{prefix}_{stem}" + ("" if "." in stem else ".nii.gz") for stem in stems] or [folder]
        files |= {name: _default(name) for name in names}
    for name, content in (files | (contents or {})).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, bytes | str) else json.dumps(content)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def _default(name: str) -> bytes:
    if name.endswith(".dtseries.nii") or not name.endswith((".nii", ".nii.gz")):
        return b"n/a\n"
    made = SERIES if name.split(".")[0].endswith("_bold") else VOLUME
    return COMPRESSED[made] if name.endswith(".gz") else made


@dataclass(frozen=True)
class Layout:
    """A tree (`files`), what its plans use, and the beginning of what they say of those that fail.

    `gm`: job -> T1w; `bold`: job -> T1w and runs, by the ends of their names without .nii.gz; `failed_gm` and
    `failed_bold`: a part of the message of each participant that fails, or of the one message for all. `derived`:
    fMRIPrep's folder, at `where`.
    """

    files: str
    gm: dict[str, str] = field(default_factory=dict)
    bold: dict[str, str] = field(default_factory=dict)
    failed_gm: tuple[str, ...] = ()
    failed_bold: tuple[str, ...] = ()
    contents: dict[str, object] = field(default_factory=dict)
    derived: str = ""
    filters: dict[str, object] = field(default_factory=dict)
    where: str = "fmriprep"


def plan(home: Path, layout: Layout, map_name: str) -> tuple[dict[str, str], list[str]]:
    """What a plan uses, as in `Layout`, and its messages."""
    options: dict[str, object] = {"maps": [map_name]}
    if layout.derived:
        options["derivatives"] = {"fmriprep": home / layout.where}
    if layout.filters:
        (home / "filters.json").write_text(json.dumps(layout.filters))
        options["bids_filter_file"] = home / "filters.json"
    try:
        dataset = inputs.open_dataset(home / "bids")
        planned = participant.plan_participants(
            dataset, build("participant", home / "bids", home / "out", options=options)
        )
    except PellucidError as error:
        return {}, [str(error)]
    used = {job.name: [Path(job.t1w).name] if job.t1w else [] for job in planned.jobs}
    for job in planned.jobs:
        used[job.name] += [Path(run["bold"]).name for run in job.runs]
    ends = {
        name: " ".join(re.sub(r"^(sub|ses)-[^_]*_(ses-[^_]*_)?|\.nii\.gz$", "", file) for file in files)
        for name, files in used.items()
    }
    return ends, [f"{name}: {reason}" for name, reason in planned.failed.items()]


def check(home: Path, layout: Layout) -> None:
    """Assert that the plans for gm and for reho use and refuse what `layout` states."""
    build_tree(home / "bids", layout.files, layout.contents)
    if layout.derived:
        build_tree(home / layout.where, layout.derived)
    plans = {"gm": (layout.gm, layout.failed_gm), "reho": (layout.bold, layout.failed_bold)}
    for map_name, (expected, failed) in plans.items():
        used, messages = plan(home, layout, map_name)
        assert used == expected
        assert [part for part in failed if not any(part in message for message in messages)] == []
        assert len(messages) == (len(failed) if expected else bool(failed)), messages
