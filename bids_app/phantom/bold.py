"""A BOLD run of a simulated participant: slow fluctuations, drift, noise of several kinds, and a head that moves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.phantom import anatomy, fluctuations, movement
from bids_app.phantom.deformation import Array
from bids_app.phantom.function import TISSUES, Function
from bids_app.phantom.region import Field
from bids_app.preprocess.spline import Spline

SIGNAL = {"GM": 1000.0, "WM": 850.0, "CSF": 1300.0}
EDGE = 20.0  # a voxel that is darker lies outside
# All of these in percent of a voxel's mean, but the white noise, of that of grey matter.
FLUCTUATION, WHITE, SMOOTH, DRIFT, ARTEFACT, DROP_PER_MM = 2.0, 1.0, 0.4, 0.5, 0.2, 0.5
PULSE = {"GM": (0.2, 0.2), "WM": (0.6, 0.2), "CSF": (0.2, 1.5)}  # of white matter's course and of CSF's
SMOOTH_FIELDS, DRIFTS = 20, 3
SMOOTH_MM, ARTEFACT_MM, DRIFT_MM = 8.0, 15.0, 20.0
PERSON_SPREAD = 0.1


@dataclass(frozen=True)
class Plan:
    """The acquisition, and the effect in patients: its kind and size (`effect_shares`)."""

    kind: str
    size: float
    volumes: int
    tr: float
    resolution_mm: float


@dataclass(frozen=True)
class Run:
    """The acquired run, and the ground truth.

    raw: int16 (X, Y, Z, volumes) on the grid with `affine`; slice_times (Z,) in s. still: float32 (N, volumes), the
    voxels `seen` (flat indices, N) as if the head were still and all slices measured in the middle of the TR.
    tissues (3, N) in the order of TISSUES; moved: the six parameters (volumes, 6).
    """

    raw: NDArray[np.int16]
    affine: Array
    slice_times: Array
    still: Array
    seen: NDArray[np.intp]
    tissues: Array
    moved: Array


def acquire(
    brain: anatomy.Brain,
    function: Function,
    fields: list[Field],
    posed: Array,
    grid: tuple[tuple[int, ...], Array],
    *,
    plan: Plan,
    patient: bool,
    rng: np.random.Generator,
) -> Run:
    """One run on a scanner's grid (shape, affine); `fields` and `posed` are those of the participant's T1w.

    The random numbers do not depend on the effect.
    """
    shape, scanner = grid
    slow, structured, head, white = rng.spawn(4)
    visible, points = anatomy.visible_voxels(brain, fields, posed, shape, scanner)
    tissues = function.tissues_at(points)
    base = np.zeros(shape, np.float32)
    base.ravel()[visible] = np.array(list(SIGNAL.values()), np.float32) @ tissues
    inside = ndimage.binary_dilation(base > EDGE, iterations=2).ravel()[visible]
    times = slice_times(shape[2], plan.tr)
    later = times[np.unravel_index(visible, shape)[2]][inside] - plan.tr / 2
    still, sliced = _make_fluctuations(
        function, points, visible, shape, inside, later, plan=plan, patient=patient, rng=slow
    )
    moved = movement.draw_parameters(plan.volumes, head)
    shared = _structured_noise(visible, shape, tissues, moved, structured, plan=plan)[inside]
    noise = white.standard_normal((len(visible), plan.volumes), dtype=np.float32)[inside]
    noise *= np.float32(WHITE / 100 * SIGNAL["GM"])
    for percent in (still, sliced):
        percent *= tissues[TISSUES.index("GM"), inside][:, None]
        percent += shared
    seen = visible[inside]
    still = base.ravel()[seen][:, None] * (1 + still / 100) + noise
    raw = _move_head(base, seen, scanner, moved, 1 + sliced / 100, noise)
    return Run(raw, scanner, times, still, seen, tissues[:, inside], moved)


def slice_times(slices: int, tr: float) -> Array:
    """When each slice is measured, s after the volume begins: every second one first, from below."""
    order = np.r_[0:slices:2, 1:slices:2]
    times = np.empty(slices)
    times[order] = (np.arange(slices) * tr / slices).round(4)
    return times


def drifts(volumes: int, count: int) -> Array:
    """The slowest cosines (count, volumes) of the discrete cosine transform, from half a period in the run."""
    middle = (np.arange(volumes) + 0.5) / volumes
    cosines: Array = np.cos(np.pi * np.outer(np.arange(1, count + 1), middle))
    return cosines


def _make_fluctuations(
    function: Function,
    points: Array,
    visible: NDArray[np.intp],
    shape: tuple[int, ...],
    inside: NDArray[np.bool_],
    later: Array,
    *,
    plan: Plan,
    patient: bool,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Fluctuations (N, volumes) of pure grey matter, percent: in the middle of the TR and at each slice's time."""
    frequencies = fluctuations.bins(plan.volumes, plan.tr)
    parcels = fluctuations.Parcels(function.parcel_at(points), function.network, len(function.network) - 1)
    amplitudes = fluctuations.draw_coefficients(
        parcels,
        visible,
        shape,
        rng,
        count=len(frequencies),
        voxel_mm=plan.resolution_mm,
        special=fluctuations.effect_shares(plan.kind, plan.size if patient else 0.0),
    )[inside]
    amplitudes *= np.float32(FLUCTUATION * np.exp(PERSON_SPREAD * rng.standard_normal()))
    still = fluctuations.make_series(amplitudes, bins=frequencies, volumes=plan.volumes, tr=plan.tr)
    sliced = fluctuations.make_series(amplitudes, bins=frequencies, volumes=plan.volumes, tr=plan.tr, later=later)
    return still, sliced


def _structured_noise(
    visible: NDArray[np.intp],
    shape: tuple[int, ...],
    tissues: Array,
    moved: Array,
    rng: np.random.Generator,
    *,
    plan: Plan,
) -> Array:
    """Nuisance signals (N, volumes) shared by many voxels, percent: smooth noise, drift, motion and pulsation."""
    steps = np.diff(moved, axis=0, prepend=moved[:1])
    of_motion = np.hstack([moved, steps]).T
    of_motion = of_motion / np.maximum(of_motion.std(axis=1, keepdims=True), 1e-9)
    smooth = rng.standard_normal((SMOOTH_FIELDS, plan.volumes)) / np.sqrt(SMOOTH_FIELDS)
    kinds = (
        (SMOOTH * smooth, SMOOTH_MM),
        (DRIFT * drifts(plan.volumes, DRIFTS), DRIFT_MM),
        (ARTEFACT * of_motion, ARTEFACT_MM),
    )
    percent = np.zeros((len(visible), plan.volumes), np.float32)
    for courses, smoothness_mm in kinds:
        sigma = smoothness_mm / plan.resolution_mm
        fields = np.stack([_draw_field(visible, shape, rng, sigma=sigma) for _ in courses], axis=1)
        percent += fields @ courses.astype(np.float32)
    pulses = rng.standard_normal((2, plan.volumes)).astype(np.float32)
    percent += tissues.T @ (np.array([PULSE[name] for name in TISSUES], np.float32) @ pulses)
    percent -= np.float32(DROP_PER_MM) * np.nan_to_num(movement.framewise_displacement(moved)).astype(np.float32)
    return percent


def _draw_field(visible: NDArray[np.intp], shape: tuple[int, ...], rng: np.random.Generator, *, sigma: float) -> Array:
    """Smooth random values (N,) of mean 0 and SD 1 over the grid."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3.0)
    values: Array = ((field - field.mean()) / field.std()).ravel()[visible]
    return values


def _move_head(
    base: Array, seen: NDArray[np.intp], scanner: Array, moved: Array, relative: Array, noise: Array
) -> NDArray[np.int16]:
    """The volumes int16 (X, Y, Z, volumes) of a moving head; fluctuations stay at their voxels.

    relative, noise: (N, volumes) of the voxels `seen`. Outside the brain all is 0, inside nothing.
    """
    spline = Spline(base)
    indices = np.stack(np.unravel_index(seen, base.shape), axis=1).astype(np.float32)
    centre = scanner[:3, :3] @ ndimage.center_of_mass(base) + scanner[:3, 3]
    raw = np.zeros((len(moved), base.size), np.int16)
    for number, six in enumerate(moved):
        back = np.linalg.inv(scanner) @ np.linalg.inv(movement.rigid_matrix(six, centre)) @ scanner
        here, _ = spline.sample(indices, back, clip=False)
        values = np.clip(np.rint(here * relative[:, number] + noise[:, number]), 1, np.iinfo(np.int16).max)
        raw[number, seen] = np.where(here > EDGE, values, 0)
    return np.moveaxis(raw.reshape(len(moved), *base.shape), 0, -1)
