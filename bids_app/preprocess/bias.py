"""The bias field of a T1w image: histogram sharpening as in N3, smoothness by a cosine basis.

Sharpening is that of Sled et al. 1998 (IEEE TMI 17:87); cosines that are not shorter than a cutoff stand for all fields
as in Ashburner & Friston 2005 (NeuroImage 26:839).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

SAMPLE_MM = 4.0
CUTOFFS_MM = (120.0, 60.0)
STEPS = 40
DONE = 2e-4  # SD of the change of the log field
BLUR_FWHM = 0.1  # of the log intensities, that the field and noise are taken to cause
NOISE = 0.01  # of the Wiener filter
BINS, PADDED_BINS = 200, 512
BENDING = 1e-3
QUANTILES = (0.005, 0.999)


def estimate_bias_field(t1w: Array, mask: NDArray[np.bool_], voxel_mm: Sequence[float]) -> Array:
    """The field (X, Y, Z) by which `t1w` is multiplied, with a geometric mean of 1 in the mask.

    Estimated from the voxels that are positive, 4 mm apart. Raises DataError if there are none.
    """
    strides = [max(1, round(SAMPLE_MM / mm)) for mm in voxel_mm]
    sampled = tuple(slice(stride // 2, None, stride) for stride in strides)
    inside = mask[sampled] & (t1w[sampled] > 0)
    values = t1w[sampled][inside]
    if not len(values):
        raise DataError("the T1w image has no intensity above 0 in its brain mask; is it the mask of this image?")
    # relative to the mean, so that a factor of the intensities changes nothing, to the last bit for powers of 2
    logarithms = np.log(values.astype(np.float64) / values.mean(dtype=np.float64))
    logarithms = logarithms.clip(*np.quantile(logarithms, QUANTILES))
    field, residual, coefficients = np.zeros(len(values)), np.zeros(inside.shape), np.zeros((1, 1, 1))
    for cutoff in CUTOFFS_MM:
        counts = [max(2, int(2 * size * mm / cutoff) + 1) for size, mm in zip(mask.shape, voxel_mm, strict=True)]
        waves = [_cosines(size, count) for size, count in zip(mask.shape, counts, strict=True)]
        coarse = [cosines[at] for cosines, at in zip(waves, sampled, strict=True)]
        bending = BENDING * len(values) * _bending(mask.shape, counts, voxel_mm)
        inverse = np.linalg.inv(_normal_matrix(inside, coarse) + np.diag(bending))
        for _ in range(STEPS):
            residual[inside] = logarithms - _sharpen(logarithms - field)
            fit = inverse @ _sum_products(residual, [cosines.T for cosines in coarse]).ravel()
            following = _sum_products(fit.reshape(counts), coarse)[inside]
            fit[0] -= following.mean()
            following -= following.mean()
            change, field = (following - field).std(), following
            if change < DONE:
                break
        coefficients = fit.reshape(counts)
    return np.asarray(np.exp(_sum_products(coefficients, waves).astype(np.float32)), np.float32)


def _sum_products(values: Doubles, matrices: Sequence[Doubles]) -> Doubles:
    """The sums (X, Y, Z) of values (A, B, C), each axis multiplied by its matrix: (X, A), (Y, B), (Z, C)."""
    for matrix in matrices:
        values = np.asarray(np.tensordot(values, matrix, axes=(0, 1)), np.float64)  # the axis that is done comes last
    return values


def _normal_matrix(inside: NDArray[np.bool_], cosines: Sequence[Doubles]) -> Doubles:
    """The sums over the voxels `inside` (X, Y, Z) of the products of two elements of the basis, (A * B * C) squared."""
    squares = [(along[:, :, None] * along[:, None]).reshape(len(along), -1) for along in cosines]
    a, b, c = (along.shape[1] for along in cosines)
    sums = _sum_products(inside.astype(np.float64), [square.T for square in squares])
    return sums.reshape(a, a, b, b, c, c).transpose(0, 2, 4, 1, 3, 5).reshape(a * b * c, -1)


def _cosines(size: int, count: int) -> Doubles:
    """The first `count` cosines of the discrete cosine transform (size, count)."""
    return np.cos(np.outer((np.arange(size) + 0.5) * np.pi / size, np.arange(count)))


def _bending(shape: Sequence[int], counts: Sequence[int], voxel_mm: Sequence[float]) -> Doubles:
    """The bending energy of each product of cosines, 1 for the largest."""
    squares = np.zeros(())
    for size, count, mm in zip(shape, counts, voxel_mm, strict=True):
        squares = np.add.outer(squares, np.square(np.arange(count) / (size * mm)))
    energy = np.square(squares.ravel())
    return np.asarray(energy / energy.max())


def _sharpen(values: Doubles) -> Doubles:
    """The expected log intensity without bias of each voxel, given that with bias.

    The histogram is deconvolved by a Gaussian with a Wiener filter.
    """
    low, high = values.min(), values.max()
    width = max((high - low) / (BINS - 1), 1e-9)
    place = (values - low) / width
    index = np.minimum(place.astype(int), BINS - 2)
    share = place - index
    start = (PADDED_BINS - BINS) // 2
    histogram = np.zeros(PADDED_BINS)
    histogram[start : start + BINS] = np.bincount(index, 1 - share, BINS) + np.bincount(index + 1, share, BINS)
    steps = np.arange(PADDED_BINS)
    distance = np.minimum(steps, PADDED_BINS - steps) * width
    blur = np.exp(-4 * np.log(2) * (distance / BLUR_FWHM) ** 2)
    spectrum = np.fft.rfft(blur / blur.sum()).real
    sharp = np.fft.irfft(np.fft.rfft(histogram) * spectrum / (spectrum**2 + NOISE)).clip(0)
    centres = low + (steps - start) * width
    moment = np.fft.irfft(np.fft.rfft(sharp * centres) * spectrum)
    total = np.fft.irfft(np.fft.rfft(sharp) * spectrum)
    expected = np.where(total > 1e-9 * total.max(), moment / np.maximum(total, 1e-12), centres)[start : start + BINS]
    return np.asarray(expected[index] * (1 - share) + expected[index + 1] * share)
