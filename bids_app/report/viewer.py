"""An interactive viewer of a heatmap: one HTML file that needs no network."""

import html
import re
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from nilearn import plotting

from bids_app.report.figures import heatmap_colors, heatmap_limits
from bids_app.report.mosaic import crop_to_mask, dilate_mask, resample_to

RANDOM_ID = re.compile(r"div_viewer-([0-9a-f]{32})")  # nilearn draws it for each viewer, for pages with several


def write_viewer(
    image: Nifti1Image,
    template: Nifti1Image,
    path: Path,
    *,
    mask: Nifti1Image,
    threshold: float,
    title: str,
    unit: str,
    sign: str = "both",
    radiological: bool = False,
) -> None:
    """Write nilearn's viewer of a heatmap over the template's brain, on the heatmap's grid so that the file is small.

    Voxels below the threshold (absolute value, the heatmap's unit) are clear. Raises DataError as `heatmap` does.
    """
    low, _, high = heatmap_limits(image, mask, sign=sign)
    inside = resample_to(mask, image, interpolation="nearest")
    values = np.where(np.asarray(inside.dataobj) > 0, np.asarray(image.dataobj, dtype=np.float32), np.float32(0))
    if sign == "positive":
        values = np.maximum(values, np.float32(0))
    background = crop_to_mask(resample_to(template, image, interpolation="linear"), dilate_mask(inside, margin_mm=2.0))
    shown = resample_to(Nifti1Image(values, image.affine), background, interpolation="nearest")
    view = plotting.view_img(
        shown,
        bg_img=background,
        cut_coords=_peak_coordinates(shown),
        threshold=threshold,
        vmax=high,
        vmin=low,
        symmetric_cmap=low < 0,
        cmap=heatmap_colors(low, threshold, high),
        black_bg=True,
        resampling_interpolation="nearest",
        radiological=radiological,
        draw_cross=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    page = re.sub(r'<link rel="icon"[^>]*>', "", view.get_standalone())  # it would be fetched from the network
    if drawn := RANDOM_ID.search(page):
        page = page.replace(drawn[1], path.stem)  # the same heatmap gives the same file
    words = html.escape(f"{title}; unit: {unit}")
    heading = f'<p style="font: 14px sans-serif; margin: 4px 0; max-width: 620px; overflow-wrap: anywhere">{words}</p>'
    path.write_text(page.replace("<body>", f"<body>\n{heading}", 1), encoding="utf-8")


def _peak_coordinates(image: Nifti1Image) -> tuple[float, float, float]:
    data = np.abs(np.asarray(image.dataobj))
    voxel = np.unravel_index(int(data.argmax()), data.shape)
    x, y, z, _ = image.affine @ [*voxel, 1.0]
    return float(x), float(y), float(z)
