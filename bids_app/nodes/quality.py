"""Quality measures of a session, by their names in qc.tsv, as the index of OUT_DIR reads them."""

from collections.abc import Sequence

import numpy as np

from bids_app.planning.participant_records import CleanedRun, TemplateFiles, WarpedAnatomy
from bids_app.preprocess.conform import read_image
from bids_app.preprocess.coregister import dice
from bids_app.report.quality import FD_THRESHOLD_MM

Measures = dict[str, str | float | int]


def measure_anatomy(volumes: dict[str, float], sources: dict[str, WarpedAnatomy], templates: TemplateFiles) -> Measures:
    """Volumes (mL) and their shares of the TIV, and the overlap of the brains by the best registration there is."""
    measures: Measures = {f"{name.lower()}_ml": round(volumes[name], 1) for name in ("TIV", "GM", "WM", "CSF")}
    if volumes["TIV"]:
        measures |= {f"icvs_{name.lower()}": round(volumes[name] / volumes["TIV"], 4) for name in ("GM", "WM", "CSF")}
    if sources:
        warped = sources.get("nonlinear") or next(iter(sources.values()))
        brains = [np.asarray(read_image(file).dataobj) > 0.5 for file in (warped["mask"], templates["mask"])]
        measures["dice_template"] = round(dice(*brains), 4)
    return measures


def measure_runs(runs: Sequence[CleanedRun]) -> Measures:
    """Motion and length of a session's BOLD: sums over runs, the mean of their mean FD, and the lowest overlap.

    FD (mm) is left out where it is not known. Counts are of volumes without dummy scans.
    """
    masks = [np.load(run["sample_mask"]) for run in runs]
    size = sum(mask.size for mask in masks)
    retained = [int(mask.sum()) for mask in masks]
    seconds = sum(count * run["tr"] for count, run in zip(retained, runs, strict=True))
    measures: Measures = {
        "size_t": size,
        "spacing_tr": runs[0]["tr"],
        "dummy_trs": sum(run["dummies"] for run in runs),
        "censored_perc": round(100 * (size - sum(retained)) / size, 2),
        "minutes_retained": round(seconds / 60, 2),
    }
    if known := [fd for fd in (np.load(run["fd"]) for run in runs) if np.isfinite(fd).any()]:
        high = sum(int((fd > FD_THRESHOLD_MM).sum()) for fd in known)
        measures |= {
            "fd_mean": round(float(np.mean([np.nanmean(fd) for fd in known])), 4),
            "fd_num": high,
            "fd_perc": round(100 * high / sum(fd.size for fd in known), 2),
        }
    if overlaps := [run["overlap"] for run in runs if run["overlap"] is not None]:
        measures["dice_bold"] = round(min(overlaps), 4)
    return measures
