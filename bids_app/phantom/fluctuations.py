"""Slow fluctuations of grey matter, and the three ways in which those of patients can differ.

A voxel's fluctuation is a sum of four independent ones of the same band, whose shares of its variance add up to 1: the
network's and the region's (each one course for all of their voxels), a local one (smooth in space), and its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from bids_app.errors import UsageError
from bids_app.phantom.deformation import Array

KINDS = ("amplitude", "coherence", "connectivity")
BAND_HZ = (0.01, 0.08)
MIN_BINS = 3
LOCAL_MM = 5.0  # SD of the kernel: neighbours at 3 mm share 0.9 of it
REGIONAL_SPREAD = 0.1

Complex = NDArray[np.complex64]


@dataclass(frozen=True)
class Shares:
    """Parts of the variance, and what the whole is multiplied by."""

    network: float = 0.25
    regional: float = 0.2
    local: float = 0.1
    own: float = 0.45
    factor: float = 1.0


@dataclass(frozen=True)
class Parcels:
    """The parcel of each voxel of a participant (N,), and the network of each parcel; `planted` is a parcel."""

    of_voxel: NDArray[np.intp]
    network: NDArray[np.intp]
    planted: int


def effect_shares(kind: str, size: float) -> Shares:
    """The shares in a patient's region; those elsewhere, and of controls, have a `size` of 0.

    amplitude: the fluctuation is 1 + size times as large, with the same shares.
    coherence: the part `size` of each voxel's own share becomes local; below 0, of the local share its own.
    connectivity: the part `size` of the region's share becomes the network's; below 0, of the network's the region's.
    Amplitude leaves the shares unchanged, coherence the links between regions, connectivity those between neighbours.
    """
    plain = Shares()
    if kind == "amplitude":
        return Shares(factor=1 + size)
    if kind == "coherence":
        moved = size * (plain.own if size > 0 else plain.local)
        return Shares(local=plain.local + moved, own=plain.own - moved)
    moved = size * (plain.regional if size > 0 else plain.network)
    return Shares(network=plain.network + moved, regional=plain.regional - moved)


def bins(volumes: int, tr: float) -> NDArray[np.intp]:
    """The frequencies of the band, as multiples of 1 / (volumes * tr); UsageError where they are too few."""
    frequencies = np.arange(volumes // 2 + 1) / (volumes * tr)
    in_band = np.flatnonzero((frequencies >= BAND_HZ[0]) & (frequencies <= BAND_HZ[1]))
    if len(in_band) < MIN_BINS:
        raise UsageError(
            f"--bold-volumes {volumes} with --tr {tr:g}: {volumes * tr:g} s contain {len(in_band)} frequencies "
            f"from {BAND_HZ[0]} to {BAND_HZ[1]} Hz, and {MIN_BINS} are required; use more volumes"
        )
    return in_band


def draw_courses(shape: tuple[int, ...], rng: np.random.Generator) -> Complex:
    """Random amplitudes of the bins (..., bins), of a power that is 1 in the mean: flat in the band."""
    parts = rng.standard_normal((2, *shape), dtype=np.float32) / np.float32(np.sqrt(2 * shape[-1]))
    amplitudes: Complex = parts[0] + np.complex64(1j) * parts[1]
    return amplitudes


def draw_coefficients(
    parcels: Parcels,
    voxels: NDArray[np.intp],
    shape: tuple[int, ...],
    rng: np.random.Generator,
    *,
    count: int,
    voxel_mm: float,
    special: Shares,
) -> Complex:
    """Amplitudes (N, count) of the bins in some voxels of a grid, power 1; `special` holds in the planted parcel.

    The random numbers do not depend on `special`, nor on where the parcels lie.
    """
    networks = _normalise_power(draw_courses((int(parcels.network.max()) + 1, count), rng))
    regional = draw_courses((len(parcels.network), count), rng)
    spread = np.exp(REGIONAL_SPREAD * rng.standard_normal(len(parcels.network)))
    individual, local = (
        draw_courses((len(voxels), count), rng),
        _local_amplitudes(voxels, shape, rng, count=count, voxel_mm=voxel_mm),
    )
    network_of = networks[parcels.network]
    # Without a part along its network's, so that the two shares add up in each participant.
    regional -= (regional * network_of.conj()).sum(axis=1, keepdims=True).real * network_of
    regional = _normalise_power(regional)
    every = [special if index == parcels.planted else Shares() for index in range(len(parcels.network))]
    scale = {name: _parcel_scale(every, name, spread) for name in ("network", "regional", "local", "own")}
    coherent = scale["network"] * network_of + scale["regional"] * regional
    at = parcels.of_voxel
    whole: Complex = coherent[at] + scale["local"][at] * local + scale["own"][at] * individual
    return whole


def make_series(
    amplitudes: Complex, *, bins: NDArray[np.intp], volumes: int, later: Array | float = 0.0, tr: float
) -> Array:
    """Series (N, volumes), SD 1 for a power of 1, sampled `later` s (one number, or one a voxel) than every TR."""
    turn = np.exp(2j * np.pi * np.multiply.outer(np.asarray(later), bins / (volumes * tr))).astype(np.complex64)
    spectrum = np.zeros((len(amplitudes), volumes // 2 + 1), np.complex64)
    spectrum[:, bins] = amplitudes * turn * np.float32(volumes / np.sqrt(2))
    values: Array = fft.irfft(spectrum, volumes, axis=1)
    return values


def _local_amplitudes(
    voxels: NDArray[np.intp], shape: tuple[int, ...], rng: np.random.Generator, *, count: int, voxel_mm: float
) -> Complex:
    """Amplitudes (N, count) that are smooth in space, of a power that is 1 in the mean."""
    smooth = np.empty((len(voxels), count), np.complex64)
    for index in range(count):
        for part, unit in enumerate((np.complex64(1), np.complex64(1j))):
            noise = rng.standard_normal(shape, dtype=np.float32)
            field = ndimage.gaussian_filter(noise, LOCAL_MM / voxel_mm, mode="wrap", truncate=3.0)
            values = unit * (field / field.std()).ravel()[voxels]
            smooth[:, index] = values if part == 0 else smooth[:, index] + values
    return smooth / np.float32(np.sqrt(2 * count))


def _normalise_power(amplitudes: Complex) -> Complex:
    normed: Complex = amplitudes / np.linalg.norm(amplitudes, axis=1, keepdims=True)
    return normed


def _parcel_scale(every: list[Shares], name: str, spread: Array) -> Array:
    """What a share's amplitudes are multiplied by in each parcel (parcels, 1)."""
    values = [each.factor * np.sqrt(getattr(each, name)) for each in every]
    return (np.array(values) * spread).astype(np.float32)[:, None]
