"""When the volumes and slices of a BOLD run were acquired, by its sidecars (BIDS 1.10) and its header.

BIDS allows either RepetitionTime, with DelayTime for sparse acquisitions, or VolumeTiming, with
FrameAcquisitionDuration (AcquisitionDuration before BIDS 1.10.1) or SliceTiming.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import nibabel as nib
import numpy as np

from bids_app.bids.images import time_unit
from bids_app.errors import DataError
from bids_app.preprocess import slicetiming
from bids_app.preprocess.series import open_series

log = logging.getLogger("pellucid")

SHORTEST_TR, LONGEST_TR = 0.05, 30.0  # s: beyond, the value is in another unit
TOLERANCE = 0.01  # of the TR: headers are float32, and sidecars are rounded
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
HEADER = "image header"


@dataclass(frozen=True)
class Timing:
    """`tr` (s) and where it is stated; `delay`: the part of it at the end in which nothing is acquired, s.

    `slice_times`: s after the onset of a volume, one per slice along `slice_direction`; None without correction.
    """

    tr: float
    source: str
    delay: float = 0.0
    slice_times: list[float] | None = None
    slice_direction: str | None = None


def read_timing(bold: Path, fields: Mapping[str, object], *, preprocessed: bool = False) -> Timing:
    """The timing of a run by the `fields` of its sidecars, checked against its header.

    The header's TR is used only where no sidecar states one, and must have a unit. In preprocessed runs the sidecar
    wins over the header, which fMRIPrep 23.2.0 sets to 1 s, and slice times are those of the raw run: ignored here.
    Raises DataError for contradictions, values in another unit, uneven VolumeTiming, and a run without TR.
    """
    image, title = open_series(bold), f"the sidecar of {bold.name}"
    stated = {field: value for field, value in fields.items() if value is not None}
    spacing = _volume_spacing(stated["VolumeTiming"], image.shape[3], title) if "VolumeTiming" in stated else None
    if "RepetitionTime" in stated or spacing is None:
        lenient = preprocessed or spacing is not None
        tr = repetition_time(bold, sidecar_tr=stated.get("RepetitionTime"), preprocessed=lenient)
        source = "RepetitionTime" if "RepetitionTime" in stated else HEADER
    else:
        tr, source = repetition_time(bold, sidecar_tr=spacing, preprocessed=True), "VolumeTiming"
    if spacing is not None and abs(spacing - tr) > TOLERANCE * tr:
        raise DataError(
            f"{title} states RepetitionTime {tr:g} and VolumeTiming at intervals of {spacing:g} s, which exclude each "
            "other in BIDS: remove the wrong one"
        )
    delay = _delay(stated, tr, title)
    if preprocessed or "SliceTiming" not in stated:
        return Timing(tr, source, delay)
    direction = _slice_direction(stated.get("SliceEncodingDirection"), image, title)
    times = _slice_times(stated["SliceTiming"], image, tr - delay, direction, title)
    return Timing(tr, source, delay, times, direction)


def repetition_time(bold: Path, *, sidecar_tr: object = None, preprocessed: bool = False) -> float:
    """The TR in seconds: that of the sidecar, else of the header.

    Raises DataError for one that is missing, implausible or without unit, and, unless `preprocessed`, for different
    ones in header and sidecar; a header with no unit or an implausible value states none.
    """
    image = open_series(bold)
    unit, written = time_unit(image), float(image.header.get_zooms()[3])
    seconds = written * SECONDS[unit] if unit in SECONDS else math.nan
    shown = f"{seconds:g} s" if unit in SECONDS else f"{written:g} without a unit of time"
    usable = SHORTEST_TR <= seconds <= LONGEST_TR
    if sidecar_tr is None:
        if not usable:
            hint = " (milliseconds?)" if max(written, seconds) > LONGEST_TR else ""
            raise DataError(
                f"{bold.name} has no repetition time: its header states {shown}{hint} and no sidecar states "
                "RepetitionTime; write RepetitionTime, in seconds, into the sidecar"
            )
        log.warning("%s: no sidecar states RepetitionTime; using the header's, %g s", bold.name, seconds)
        return seconds
    tr = _check_repetition_time(sidecar_tr, f"the sidecar of {bold.name}")
    unset = written == 0 or (written == 1 and unit not in SECONDS)  # libraries write these if no TR was set
    if unset or abs(seconds - tr) <= TOLERANCE * tr:
        return tr
    if usable and not preprocessed:
        raise DataError(
            f"{bold.name} has a repetition time of {seconds:g} s in its header and of {tr:g} s in its sidecar; correct "
            "the wrong one"
        )
    log.warning("%s: using the repetition time of the sidecar, %g s; the header states %s", bold.name, tr, shown)
    return tr


def _check_repetition_time(value: object, title: str) -> float:
    words = f"{title} states RepetitionTime {value!r}; a number of seconds above 0 is required"
    if not _is_number(value):
        hint = f": write it without quotes, as {value}" if isinstance(value, str) and _is_text_of_number(value) else ""
        raise DataError(words + hint)
    if not value > 0:
        raise DataError(words)
    if value > LONGEST_TR:
        hint = f": if these are milliseconds, write {value / 1000:g}" if value / 1000 >= SHORTEST_TR else ""
        raise DataError(f"{title} states RepetitionTime {value:g}; it is in seconds, at most {LONGEST_TR:g}{hint}")
    if value < SHORTEST_TR:
        raise DataError(f"{title} states RepetitionTime {value:g}; it is in seconds, at least {SHORTEST_TR:g}")
    return float(value)


def _volume_spacing(value: object, volumes: int, title: str) -> float:
    """The interval between volumes, s. Raises DataError unless there is one onset per volume, at equal intervals."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(map(_is_number, value)):
        raise DataError(f"{title} states VolumeTiming {_shorten(value)}; a list of onsets in seconds is required")
    onsets = np.array(value, dtype=np.float64)
    if len(onsets) != volumes:
        raise DataError(f"{title} states VolumeTiming of {len(onsets)} volumes, and the run has {volumes}: correct it")
    intervals = np.diff(onsets)
    if onsets[0] < 0 or intervals.min() <= 0:
        raise DataError(f"{title} states VolumeTiming that is negative or does not increase: write each volume's onset")
    spacing = float((onsets[-1] - onsets[0]) / (volumes - 1))
    if np.abs(onsets - onsets[0] - spacing * np.arange(volumes)).max() > TOLERANCE * spacing:
        raise DataError(
            f"{title} states VolumeTiming at unequal intervals ({intervals.min():g} to {intervals.max():g} s), from "
            "which no map of BOLD can be computed: exclude the run with --bids-filter-file or the participant with "
            "--exclude"
        )
    if not SHORTEST_TR <= spacing <= LONGEST_TR:
        raise DataError(f"{title} states VolumeTiming at intervals of {spacing:g}; write onsets in seconds")
    return round(spacing, 6)


def _delay(stated: Mapping[str, object], tr: float, title: str) -> float:
    """The part of the TR without acquisition, s: DelayTime, or what the duration of a frame leaves of it."""
    if "VolumeTiming" not in stated:
        delay = stated.get("DelayTime", 0)
        if not _is_number(delay) or not 0 <= delay < tr:
            raise DataError(
                f"{title} states DelayTime {delay!r}; a number of seconds from 0 to below the repetition time of "
                f"{tr:g} s is required"
            )
        return float(delay)
    if "DelayTime" in stated:
        raise DataError(f"{title} states VolumeTiming and DelayTime, which exclude each other in BIDS: remove one")
    field = "FrameAcquisitionDuration" if "FrameAcquisitionDuration" in stated else "AcquisitionDuration"
    duration = stated.get(field, tr)
    if not _is_number(duration) or not 0 < duration <= tr * (1 + TOLERANCE):
        raise DataError(
            f"{title} states {field} {duration!r}; the seconds that a volume takes are required, at most the interval "
            f"of {tr:g} s"
        )
    return max(0.0, round(tr - float(duration), 6))


def _slice_direction(stated: object, image: nib.Nifti1Image, title: str) -> str | None:
    """SliceEncodingDirection; without it the slice axis of the header, if set. Raises DataError for another word."""
    axis = image.header.get_dim_info()[2]
    written = None if axis is None else "ijk"[axis]
    if stated is None:
        return written
    try:
        letter = "ijk"[slicetiming.slice_axis(str(stated))[0]]
    except DataError as error:
        raise DataError(f"{title}: {error}") from error
    if written not in (None, letter):
        log.warning("%s states SliceEncodingDirection %s, which is used; the header states %s", title, stated, written)
    return str(stated)


def _slice_times(
    value: object, image: nib.Nifti1Image, duration: float, direction: str | None, title: str
) -> list[float] | None:
    """SliceTiming, None for an empty list or a single time. Raises DataError unless it has one time per slice."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(map(_is_number, value)):
        raise DataError(f"{title} states SliceTiming {_shorten(value)}; a list of seconds is required, one per slice")
    axis, _ = slicetiming.slice_axis(direction)
    if len(value) < 2 and image.shape[axis] > 1:
        log.warning("%s states SliceTiming of %d slices: slice timing is not corrected", title, len(value))
        return None
    slicetiming.check(np.array(value, np.float64), image.shape, duration, axis, title=f"{title}: SliceTiming")
    return [float(time) for time in value]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text_of_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
