"""Brain extraction from a whole head, by registration to a template with a head and a mask."""

import ants
import numpy as np
from scipy import ndimage

from bids_app.preprocess import normalise

SLOPPY_MM = 4.0


def brain_mask(
    head: ants.ANTsImage,
    template: ants.ANTsImage,
    template_mask: ants.ANTsImage,
    *,
    folder: str,
    seed: int,
    sloppy: bool,
) -> ants.ANTsImage:
    """Brain mask of a whole head by nonlinear registration to a template that has a head and a mask.

    All images in their own spaces; returns a float image of 0 and 1 on the grid of `head`.
    """
    rough = ants.n4_bias_field_correction(head, shrink_factor=4, convergence={"iters": [30, 30, 20], "tol": 1e-6})
    bright = ants.iMath(rough, "TruncateIntensity", 0.01, 0.995)
    if sloppy:
        template = ants.resample_image(template, (SLOPPY_MM,) * 3, use_voxels=False, interp_type=0)
    affine = normalise.affine(template, bright, folder=folder, name="head", seed=seed)
    warps = normalise.syn(template, bright, affine, folder=folder, name="head", seed=seed, sloppy=sloppy)
    mask = ants.apply_transforms(head, template_mask, warps.inverse, whichtoinvert=warps.invert, interpolator="linear")
    values = mask.numpy() > 0.5
    pieces, _ = ndimage.label(values)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if values.any() else values
    return head.new_image_like(ndimage.binary_fill_holes(largest).astype(np.float32))
