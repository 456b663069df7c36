"""Slice-time correction: a series as if each volume were measured at one time.

Splines of order 5 along time (Unser 1999, IEEE Signal Process Mag 16:22), which are closer to the sinc of Sladky et al.
2011 (NeuroImage 58:588) than cubic ones.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from bids_app.errors import DataError

ORDER = 5
LATEST = 1.001  # of the TR: sidecars are rounded
AXES = {"i": 0, "j": 1, "k": 2}


def slice_axis(direction: str | None) -> tuple[int, bool]:
    """The image axis along which slices lie, and whether SliceTiming counts them from its end (BIDS).

    `direction` is the sidecar's SliceEncodingDirection: i, j, k, i-, j-, k-; None is k, as BIDS has it.
    Raises DataError for any other value.
    """
    word = "k" if direction is None else str(direction)
    if word.removesuffix("-") not in AXES:
        raise DataError(f"SliceEncodingDirection is {direction!r}; it must be one of i, j, k, i-, j-, k-")
    return AXES[word.removesuffix("-")], word.endswith("-")


def middle(times: Sequence[float]) -> float:
    """The time, s after the onset of a volume, half-way between its first and last slice."""
    return (min(times) + max(times)) / 2


def correct(
    data: NDArray[np.float32],
    *,
    times: Sequence[float],
    tr: float,
    reference: float | None = None,
    axis: int = 2,
) -> NDArray[np.float32]:
    """Interpolate every slice to one time of its volume.

    data (X, Y, Z, T) in the order of the file; `times`: when each slice along `axis` is measured, s after the
    onset of the volume; `reference`: the target time, s (default: `middle`). Before the first and after the last
    measurement of a slice its nearest measurement is used. Returns a new array.
    Raises DataError if times and slices differ in number, for times outside the TR, for fewer than 6 volumes.
    """
    slice_times = np.asarray(times, dtype=np.float64)
    check(slice_times, data.shape, tr, axis)
    target_time = middle(times) if reference is None else reference
    volumes = data.shape[3]
    corrected = np.array(data, dtype=np.float32, order="F")
    layers, measured = np.moveaxis(corrected, axis, 0), np.moveaxis(data, axis, 0)  # views
    every = make_interp_spline(np.arange(volumes), np.eye(volumes), k=ORDER)  # a spline's value is linear in the data
    for number, time in enumerate(slice_times):
        where = np.clip(np.arange(volumes) + (target_time - time) / tr, 0, volumes - 1)
        if np.array_equal(where, np.arange(volumes)):
            continue
        plane = measured[number].reshape(-1, volumes).astype(np.float64)
        layers[number] = (plane @ every(where).T).reshape(layers[number].shape)
    return corrected


def check(
    times: NDArray[np.float64], shape: tuple[int, ...], duration: float, axis: int, *, title: str = "SliceTiming"
) -> None:
    """Raise DataError unless there is one time per slice, within the `duration` (s) of a volume, in 6 volumes or more.

    `title` is what messages call the times.
    """
    if times.shape != (shape[axis],):
        raise DataError(f"{title} has {times.size} times for {shape[axis]} slices; correct the sidecar")
    if not (np.isfinite(times).all() and times.min() >= 0 and times.max() <= duration * LATEST):
        hint = ""
        if times.min() >= 0 and times.max() <= 1000 * duration * LATEST:
            hint = ", if they are in milliseconds divide them by 1000"
        raise DataError(
            f"{title} ranges from {times.min():g} to {times.max():g} s, and a volume takes {duration:g} s (the "
            f"repetition time without DelayTime); times are in seconds from the start of the volume: correct the "
            f"sidecar{hint}"
        )
    if shape[3] <= ORDER:
        raise DataError(f"{title} cannot be used with {shape[3]} volumes: the correction requires {ORDER + 1}")
