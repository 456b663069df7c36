"""Scanner effects: shading, noise and an arbitrary intensity scale."""

import itertools

import numpy as np
from numpy.typing import NDArray

from bids_app.phantom.deformation import Array

BIAS = 0.15
NOISE = 0.03
SCALES = (0.5, 2.0)
UNIT = 10.0  # so that integers resolve a tenth or less of a template with values up to 100


def acquire(brain: Array, rng: np.random.Generator, *, white: float) -> NDArray[np.int16]:
    """An image (X, Y, Z), int16, of a brain that is 0 outside; that background stays exactly 0.

    Smooth shading up to 15 % either way, Rician noise with 3 % of the intensity `white` of white matter, a scale of 0.5
    to 2. Noise of magnitudes: Gudbjartsson and Patz, Magn Reson Med 34, 910 (1995), doi:10.1002/mrm.1910340618.
    """
    inside = brain > 0
    shaded = brain * draw_bias(brain.shape, inside, rng)
    real, imaginary = rng.standard_normal((2, *brain.shape), dtype=np.float32) * np.float32(NOISE * white)
    seen = np.hypot(shaded + real, imaginary)
    scale = np.exp(rng.uniform(*np.log(SCALES))) * UNIT
    whole = np.clip(np.rint(seen * scale), 1, np.iinfo(np.int16).max).astype(np.int16)
    return np.where(inside, whole, np.int16(0))


def draw_bias(shape: tuple[int, ...], inside: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """A shading (X, Y, Z) from 1 / 1.15 to 1.15 in the brain: the exponential of a random polynomial of degree 2."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij", sparse=True)
    field = np.zeros(shape, np.float32)
    for degree in (1, 2):
        for term in itertools.combinations_with_replacement(axes, degree):
            field = field + np.float32(rng.standard_normal()) * np.prod(np.broadcast_arrays(*term), axis=0)
    low, high = field[inside].min(), field[inside].max()
    centred = (field - (low + high) / 2) / ((high - low) / 2)
    shading: Array = np.exp(np.log1p(np.float32(BIAS)) * centred)
    return shading
