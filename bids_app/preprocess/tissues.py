"""Native T1w -> three tissue probabilities, by a mixture or by Atropos (Avants et al. 2011, Neuroinformatics 9:381)."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import ants
import numpy as np

from bids_app.preprocess.bias import estimate_bias_field
from bids_app.preprocess.conform import find_box
from bids_app.preprocess.mixture import estimate_fractions

PRIOR_WEIGHT = 0.25
LABELS = {"GM": 1, "WM": 2, "CSF": 3}


def correct_bias(t1w: ants.ANTsImage, mask: ants.ANTsImage, *, sloppy: bool, method: str) -> ants.ANTsImage:
    """The image without the bias field of its brain mask, in the units of `t1w`.

    method: "fast" (`bias.estimate_bias_field`) or "ants" (N4; Tustison et al. 2010, IEEE TMI 29:1310).
    """
    if method == "fast":
        inside, values = mask.numpy() > 0, t1w.numpy()
        box = find_box(inside, (0, 0, 0))
        field = estimate_bias_field(np.ascontiguousarray(values[box]), inside[box], t1w.spacing)
        margins = [(part.start, count - part.stop) for part, count in zip(box, values.shape, strict=True)]
        return t1w.new_image_like(values / np.pad(field, margins, mode="edge"))
    scale = _mean_intensity(t1w, mask)
    shrink = 4 if max(t1w.spacing) < 1.5 else 2
    iterations = [20, 20, 10] if sloppy else [50, 50, 50, 50]
    corrected = ants.n4_bias_field_correction(
        t1w / scale, mask=mask, shrink_factor=shrink, convergence={"iters": iterations, "tol": 1e-7}
    )
    return corrected * scale


def _mean_intensity(t1w: ants.ANTsImage, mask: ants.ANTsImage) -> float:
    """The mean absolute intensity in the mask.

    Divided by it, an image and a multiple of it are the same but for rounding, which ITK's own single-precision sums
    are not: 16 times the intensities changed GM by up to 0.06 in a voxel.
    """
    return float(np.abs(t1w.numpy()[mask.numpy() > 0]).mean(dtype=np.float64))


def segment(
    t1w: ants.ANTsImage,
    mask: ants.ANTsImage,
    prior_gm: ants.ANTsImage,
    prior_wm: ants.ANTsImage,
    *,
    folder: str,
    sloppy: bool,
    method: str,
) -> dict[str, ants.ANTsImage]:
    """Probabilities of GM, WM and CSF on the grid of `t1w`; they sum to 1 in the mask and are 0 outside.

    The priors are probabilities on the same grid; that of CSF is the mask minus GM and WM. method: "fast"
    (`mixture.estimate_fractions`) or "ants" (Atropos).
    """
    if method == "fast":
        arrays = (t1w.numpy(), mask.numpy() > 0, prior_gm.numpy(), prior_wm.numpy())
        fractions = estimate_fractions(*arrays, t1w.spacing)
        return {name: t1w.new_image_like(fractions[name]) for name in LABELS}
    box = ants.crop_image(t1w / _mean_intensity(t1w, mask), mask)
    # antspyx passes the priors as files, whose origin is float32, and ITK wants all origins equal.
    box.set_origin(tuple(float(np.float32(mm)) for mm in box.origin))
    inside = box.new_image_like(ants.crop_image(mask, mask).numpy())
    gm, wm = (ants.crop_image(prior, mask).numpy().clip(0, 1) * inside.numpy() for prior in (prior_gm, prior_wm))
    csf = (inside.numpy() - gm - wm).clip(0, 1)
    priors = [box.new_image_like(values.astype(np.float32)) for values in (gm, wm, csf)]
    with _temporary_files(folder):
        probabilities = ants.atropos(
            a=box,
            x=inside,
            i=priors,
            priorweight=PRIOR_WEIGHT,
            m="[0.1,1x1x1]",
            c="[2,0.0001]" if sloppy else "[5,0.0001]",
            r=0,  # otherwise the order of voxels is seeded from the clock
        )["probabilityimages"]
    return {name: ants.decrop_image(image, t1w * 0) for name, image in zip(LABELS, probabilities, strict=True)}


@contextmanager
def _temporary_files(folder: str) -> Iterator[None]:
    """antspyx's atropos leaves files in the shared temporary folder; here they are created in `folder` and removed."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        tempfile.tempdir = fresh
        try:
            yield
        finally:
            tempfile.tempdir = before


def volumes(tissues: dict[str, np.ndarray], *, voxel_ml: float) -> dict[str, float]:
    """Millilitres of each tissue; TIV is their sum."""
    by_tissue = {name: float(values.sum(dtype=np.float64) * voxel_ml) for name, values in tissues.items()}
    return {**by_tissue, "TIV": sum(by_tissue.values())}


def labels(tissues: dict[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """The most probable tissue of each voxel (X, Y, Z): 1 GM, 2 WM, 3 CSF, 0 outside the mask."""
    stacked = np.stack([tissues[name] for name in LABELS])
    return np.where(mask > 0, stacked.argmax(axis=0) + 1, 0).astype(np.uint8)
