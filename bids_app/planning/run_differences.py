"""Runs of one session whose maps the group level would average although they were acquired differently."""

from pathlib import Path

import numpy as np

from bids_app.bids import images
from bids_app.bids.names import parse_entities
from bids_app.errors import DataError
from bids_app.planning.participant_records import BoldRun

TR_TOLERANCE = 0.01  # of the TR: sidecars are rounded
MM_TOLERANCE = 0.01


def check_comparable(runs: list[BoldRun], name: str) -> None:
    """Raise DataError where runs of `name` (sub-01_ses-1) differ in TR, or runs with other acq- labels in their grid.

    By BIDS, runs repeat an acquisition, and acq- marks other parameters: maps of another TR or field of view differ
    for that reason. Reads headers only.
    """
    first, *others = runs
    for run in others:
        if abs(run["tr"] - first["tr"]) > TR_TOLERANCE * first["tr"]:
            difference = f"{first['label']} has a repetition time of {first['tr']:g} s and {run['label']} {run['tr']:g}"
        elif _acquisition(run) != _acquisition(first) and _grid(run) != _grid(first):
            difference = f"{first['label']} has {_describe(first)} and {run['label']} {_describe(run)}"
        else:
            continue
        raise DataError(
            f"{name} has BOLD runs that cannot be averaged, {difference}: select runs of one kind in "
            f"--bids-filter-file, as in {_example(first, run)}."
        )


def _acquisition(run: BoldRun) -> str | None:
    return parse_entities(run["label"]).get("acq")


def _grid(run: BoldRun) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Voxels along each axis, and their sizes in steps of MM_TOLERANCE."""
    image = images.open_image(Path(run["bold"]), axes=(4,))
    sizes = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
    return image.shape[:3], tuple(np.round(sizes / MM_TOLERANCE).tolist())


def _describe(run: BoldRun) -> str:
    shape, sizes = _grid(run)
    return f"{' x '.join(map(str, shape))} voxels of {' x '.join(f'{size * MM_TOLERANCE:g}' for size in sizes)} mm"


def _example(first: BoldRun, run: BoldRun) -> str:
    if label := _acquisition(first):
        return f'{{"bold": {{"acquisition": "{label}"}}}}'
    if _acquisition(run):
        return '{"bold": {"acquisition": null}}'
    return f'{{"bold": {{"run": {first["run"] or "null"}}}}}'
