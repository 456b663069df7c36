"""The ICA of each fold in a report: how well components are the networks they are called, and a picture of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.report.figures import heat_colors, heat_limits
from bids_app.report.mosaic import Mosaic
from bids_app.report.page import number

OUTLINED = 0.9  # of the brain lies outside the reference's outline


@dataclass(frozen=True)
class Matched:
    """A network's component in one fold, and the reference that it was matched with, on one grid (X, Y, Z)."""

    network: str
    fold: str
    component: Nifti1Image
    reference: Nifti1Image


def words(*, components: int, networks: str, smoothing_mm: float, least_r: float) -> str:
    """How the maps were made, for the methods; `networks`: the name of their file."""
    return (
        f"In each fold a group ICA of {components} components (CanICA; Varoquaux 2010) was fitted on the series of "
        f"the training people alone: smoothed by {number(smoothing_mm)} mm FWHM, each voxel at SD 1, the components "
        f"not thresholded. Each network of {networks} was given one component, no two the same, so that the sum of "
        "the absolute spatial correlations was largest, with the sign that makes its correlation positive; an "
        f"absolute correlation of at least {number(least_r)} was asked for in every fold. Everybody's maps of a fold "
        "are by dual regression on all of its components (Beckmann 2009; Nickerson 2017): coefficients of time "
        "courses at SD 1. An ICA of everybody served to look for copies of scans and for maps of groups, and for no "
        "prediction."
    )


def section(
    folder: Path,
    table: pd.DataFrame,
    matched: list[Matched],
    *,
    template: Nifti1Image,
    mask: Nifti1Image,
    radiological: bool,
) -> dict[str, Any]:
    """Rows of a table by network, and pictures, which are written into `folder`/figures."""
    rows = [
        {
            "network": str(network),
            "folds": str(len(its)),
            "least r": f"{its['r'].min():.2f}",
            "median r": f"{its['r'].median():.2f}",
        }
        for network, its in table.groupby("network", sort=False)
    ]
    pictures = []
    for one in matched:
        file = f"figures/ica-{one.network}.png"
        _draw(folder / file, one, template, mask, radiological=radiological)
        pictures.append({"network": one.network, "file": file, "fold": one.fold})
    return {"rows": rows, "pictures": pictures}


def _draw(path: Path, one: Matched, template: Nifti1Image, mask: Nifti1Image, *, radiological: bool) -> None:
    """The strongest tenth of a component, and the outline of the reference's, or of the whole of one without grades."""
    values = np.asarray(one.component.dataobj)
    component = Nifti1Image(values / (values[values != 0].std() or 1.0), one.component.affine)
    low, threshold, high = heat_limits(component, mask, sign="both")
    colormap = heat_colors(low, threshold, high)
    title = f"{one.network}: component of {one.fold}"
    mosaic = Mosaic(template, mask, margin_mm=2.0, radiological=radiological, title=title, bar=True)
    mosaic.overlay(component, threshold=threshold, colormap=colormap, limits=(low, high))
    given = np.asarray(one.reference.dataobj)
    level = float(np.quantile(given[values != 0], OUTLINED))
    if not given.min() < level < given.max():  # a map of ones and zeros
        level = float(given.min() + given.max()) / 2
    mosaic.outline(one.reference, level=level, color="#00c000", label=f"{one.network} as it was given")
    mosaic.scale(label="component (SD)", colormap=colormap, limits=(low, high), extend="both")
    mosaic.save(path)
