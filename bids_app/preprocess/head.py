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
    method: str,
) -> ants.ANTsImage:
    """Brain mask of a whole head by nonlinear registration to a template that has a head and a mask.

    All images in their own spaces; `method` as in `normalise.register`. Returns a float image of 0 and 1 on the grid
    of `head`.
    """
    rough = head  # local correlation needs no correction of the bias field
    if method == "ants":
        rough = ants.n4_bias_field_correction(head, shrink_factor=4, convergence={"iters": [30, 30, 20], "tol": 1e-6})
    bright = ants.iMath(rough, "TruncateIntensity", 0.01, 0.995)
    if sloppy:
        template = ants.resample_image(template, (SLOPPY_MM,) * 3, use_voxels=False, interp_type=0)
    warps = normalise.register(template, bright, folder=folder, name="head", seed=seed, sloppy=sloppy, method=method)[
        "nonlinear"
    ]
    mask = ants.apply_transforms(head, template_mask, warps.inverse, whichtoinvert=warps.invert, interpolator="linear")
    values = mask.numpy() > 0.5
    pieces, _ = ndimage.label(values)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if values.any() else values
    return head.new_image_like(ndimage.binary_fill_holes(largest).astype(np.float32))
