"""The ICA of each fold in a report: how well components match their reference networks, with a figure of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.report.figures import heatmap_colors, heatmap_limits
from bids_app.report.mosaic import Mosaic
from bids_app.report.page import format_number

OUTLINE_QUANTILE = 0.9  # proportion of the brain outside the outline of the reference


@dataclass(frozen=True)
class MatchedComponent:
    """A network's component in one fold and the reference with which it was matched, on one grid (X, Y, Z)."""

    network: str
    fold: str
    component: Nifti1Image
    reference: Nifti1Image


def describe_group_ica(*, components: int, networks: str, smoothing_mm: float, least_r: float) -> str:
    """How the maps were computed, for the methods; `networks`: the name of their file."""
    return (
        f"In each fold a group ICA with {components} components (CanICA; Varoquaux 2010) was fitted to the time series "
        f"of the training participants only. The series were smoothed by {format_number(smoothing_mm)} mm FWHM and "
        "each voxel was scaled to SD 1; components were not thresholded. Each network of "
        f"{networks} was assigned a different component, so that the sum of the absolute spatial correlations was "
        "largest, and components were flipped where needed to make this correlation positive; an absolute correlation "
        f"of at least {format_number(least_r)} was required in every fold. The maps of all participants in a fold are "
        "from dual regression on all of its components (Beckmann 2009; Nickerson 2017): coefficients of time courses "
        "scaled to SD 1. An ICA of all participants was used only to detect duplicate scans and to compute group maps, "
        "not for prediction."
    )


def ica_section(
    folder: Path,
    table: pd.DataFrame,
    matched: list[MatchedComponent],
    *,
    template: Nifti1Image,
    mask: Nifti1Image,
    radiological: bool,
) -> dict[str, Any]:
    """Rows of the table by network, and the figures, which are written into `folder`/figures."""
    rows = [
        {
            "network": str(network),
            "folds": str(len(matches)),
            "lowest r": f"{matches['r'].min():.2f}",
            "median r": f"{matches['r'].median():.2f}",
        }
        for network, matches in table.groupby("network", sort=False)
    ]
    pictures = []
    for match in matched:
        file = f"figures/ica-{match.network}.png"
        _draw_component(folder / file, match, template, mask, radiological=radiological)
        pictures.append({"network": match.network, "file": file, "fold": match.fold})
    return {"rows": rows, "pictures": pictures}


def _draw_component(
    path: Path, match: MatchedComponent, template: Nifti1Image, mask: Nifti1Image, *, radiological: bool
) -> None:
    """The strongest 10 % of a component, with the outline of the reference (of its strongest 10 % unless binary)."""
    values = np.asarray(match.component.dataobj)
    component = Nifti1Image(values / (values[values != 0].std() or 1.0), match.component.affine)
    low, threshold, high = heatmap_limits(component, mask, sign="both")
    colormap = heatmap_colors(low, threshold, high)
    title = f"{match.network}: component in {match.fold}"
    mosaic = Mosaic(template, mask, margin_mm=2.0, radiological=radiological, title=title, bar=True)
    mosaic.overlay(component, threshold=threshold, colormap=colormap, limits=(low, high))
    reference = np.asarray(match.reference.dataobj)
    level = float(np.quantile(reference[values != 0], OUTLINE_QUANTILE))
    if not reference.min() < level < reference.max():  # a binary map
        level = float(reference.min() + reference.max()) / 2
    mosaic.outline(match.reference, level=level, color="#00c000", label=f"{match.network}, reference")
    mosaic.scale(label="component (SD)", colormap=colormap, limits=(low, high), extend="both")
    mosaic.save(path)
