"""A heatmap drawn with nilearn, with the threshold and the colours of the report."""

from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image
from nilearn import plotting

from bids_app.atlases import templates
from bids_app.report.figures import heatmap_colors, heatmap_limits


def plot_heatmap(image: Nifti1Image, *, space: str, sign: str, **options: Any) -> Any:
    """Draw a heatmap (X, Y, Z) on its template; returns what `nilearn.plotting.plot_stat_map` returns.

    `sign` is 'both' (cold to hot, symmetric) or 'positive' (hot, from 0); options: of `plot_stat_map`. Raises
    MissingInputError without the template, DataError where a value in its mask is not finite.
    """
    brain = templates.brain(space)
    mask = templates.brain_mask(brain, image.shape, image.affine)
    low, threshold, high = heatmap_limits(image, mask, sign=sign)
    low, high = options.get("vmin", low), options.get("vmax", high)
    threshold = options.get("threshold", threshold)
    values = np.where(mask.get_fdata() > 0, image.get_fdata(), 0.0).astype(np.float32)
    shown = Nifti1Image(np.maximum(values, 0.0) if sign == "positive" else values, image.affine)
    defaults = {
        "bg_img": brain,
        "threshold": threshold,
        "vmin": low,
        "vmax": high,
        "cmap": heatmap_colors(low, threshold, high),
        "black_bg": True,
    }
    return plotting.plot_stat_map(shown, **{**defaults, **options})
