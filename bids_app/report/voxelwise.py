"""The voxelwise test as the group report shows it: a sentence, the table, a picture a comparison, and the overlap."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.evaluation.voxelwise import VoxelwiseComparison
from bids_app.report import figures
from bids_app.report.heatmap import shown_overlap
from bids_app.report.page import number

SHOWN = "family-wise p < 0.05"


@dataclass(frozen=True, eq=False, kw_only=True)
class Compared:
    """All comparisons; `table`, a row each; `overlap` of heatmaps with them; `limits` of the test, in sentences."""

    tested: Sequence[VoxelwiseComparison]
    table: pd.DataFrame
    overlap: pd.DataFrame
    limits: Sequence[str]

    @property
    def sentence(self) -> str:
        """What was found, first."""
        every = self.table
        hits = every[every["p"] < 0.05]
        what = "map" if every["map"].is_unique else "comparison"
        of = f"{len(hits)} of {len(every)} {what}s" if len(every) > 1 else f"the one {what}"
        how = f"family-wise p < 0.05 over all voxels{' of all of them' if len(every) > 1 else ''}, "
        how += f"{len(self.tested[0].statistics.null)} permutations"
        if hits.empty:
            least = every.sort_values("p", kind="stable").iloc[0]
            return (
                f"No voxel differs between classes ({how}); the smallest p is {number(least['p'])}, in {_named(least)}."
            )
        return f"In {of} voxels differ between classes ({how}): {'; '.join(map(_named, hits.to_dict('records')))}."

    def shown(self, folder: Path, template: Nifti1Image, mask: Nifti1Image, *, radiological: bool) -> dict[str, Any]:
        """What the page's section holds; the pictures are written into `folder`, `figures` beside the page."""
        return {
            "sentence": self.sentence,
            "limits": self.limits,
            "least": number(1 / (1 + len(self.tested[0].statistics.null))),
            "rows": [_row(row) for row in self.table.to_dict("records")],
            "maps": [
                self._one(one, at, folder, template, mask, radiological) for at, one in enumerate(self.tested, start=1)
            ],
        }

    def _one(
        self,
        one: VoxelwiseComparison,
        at: int,
        folder: Path,
        template: Nifti1Image,
        mask: Nifti1Image,
        radiological: bool,
    ) -> dict[str, Any]:
        stem = f"voxelwise-{at:02d}-" + re.sub(r"[^A-Za-z0-9]+", "", f"{one.map}{one.explained}")[:60]
        significant = one.grid.volume(one.significant.astype(np.float32))
        threshold = figures.heatmap(
            Nifti1Image(one.grid.volume(one.statistics.t.astype(np.float32)), one.grid.affine),
            template,
            mask,
            folder / f"{stem}.png",
            title=f"{one.map}: {one.contrast}",
            unit="t",
            radiological=radiological,
            outlined=(SHOWN, Nifti1Image(significant, one.grid.affine)) if one.significant.any() else None,
        )
        found = self.overlap
        if len(found):
            found = found[
                found["contrast"].eq(one.contrast) & found["reference"].str.startswith(f"t-map of {one.map}: ")
            ]
        outlined = "Outlined: " + SHOWN if one.significant.any() else "No voxel has " + SHOWN
        return {
            "title": f"{one.map}: {one.contrast}",
            "picture": f"figures/{stem}.png",
            "caption": f"t, above 0 where {one.explained} have more than {one.reference}. Drawn: the tenth of the "
            f"brain's voxels with the largest |t| (at least {number(threshold)}), significant or not. {outlined}.",
            "overlap": shown_overlap(found) if len(found) else None,
        }


def _named(row: Any) -> str:
    return f"{row['map']} ({row['contrast']})"


def _row(row: Any) -> dict[str, str]:
    return {
        "map": row["map"],
        "contrast": row["contrast"],
        "people": number(row["people"]),
        "adjusted for": row["covariates"],
        "voxels higher": number(row["voxels_higher"]),
        "voxels lower": number(row["voxels_lower"]),
        "of voxels": number(row["voxels"]),
        "least p": number(row["p"]),
        "least p within the map": number(row["p_within_map"]),
        "peak t": number(row["peak_t"], 2),
        "at x, y, z (mm)": ", ".join(f"{row[axis]:.0f}" for axis in "xyz"),
        "region": f"{row['region']} ({row['atlas']})",
    }
