"""The voxelwise test as the group report shows it: a sentence, the table, a figure per comparison, and the overlap."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.evaluation.voxelwise import VoxelwiseComparison
from bids_app.report.figures import draw_heatmap
from bids_app.report.heatmap import format_overlap
from bids_app.report.page import format_number

SIGNIFICANT = "family-wise p < 0.05"


@dataclass(frozen=True, eq=False, kw_only=True)
class VoxelwiseTest:
    """All comparisons; `table`, one row each; `overlap` of heatmaps with them; `limits` of the test, in sentences."""

    tested: Sequence[VoxelwiseComparison]
    table: pd.DataFrame
    overlap: pd.DataFrame
    limits: Sequence[str]

    @property
    def sentence(self) -> str:
        """The main finding."""
        table = self.table
        significant = table[table["p"] < 0.05]
        noun = "map" if table["map"].is_unique else "comparison"
        count = f"In {len(significant)} of {len(table)} {noun}s" if len(table) > 1 else f"In the {noun} tested"
        correction = f"family-wise p < 0.05 over all voxels{f' of all {noun}s' if len(table) > 1 else ''}, "
        correction += f"{len(self.tested[0].statistics.null)} permutations"
        if significant.empty:
            lowest = table.sort_values("p", kind="stable").iloc[0]
            return (
                f"No voxel differs between classes ({correction}); the smallest p is {format_number(lowest['p'])}, in "
                f"{_contrast_name(lowest)}."
            )
        names = "; ".join(map(_contrast_name, significant.to_dict("records")))
        return f"{count}, voxels differ between classes ({correction}): {names}."

    def section(self, folder: Path, template: Nifti1Image, mask: Nifti1Image, *, radiological: bool) -> dict[str, Any]:
        """The content of the page's section; the figures are written into `folder`, `figures` beside the page."""
        return {
            "sentence": self.sentence,
            "limits": self.limits,
            "least": format_number(1 / (1 + len(self.tested[0].statistics.null))),
            "rows": [_table_row(row) for row in self.table.to_dict("records")],
            "maps": [
                self._draw_comparison(comparison, number, folder, template, mask, radiological)
                for number, comparison in enumerate(self.tested, start=1)
            ],
        }

    def _draw_comparison(
        self,
        comparison: VoxelwiseComparison,
        number: int,
        folder: Path,
        template: Nifti1Image,
        mask: Nifti1Image,
        radiological: bool,
    ) -> dict[str, Any]:
        grid, contrast = comparison.grid, comparison.contrast
        stem = f"voxelwise-{number:02d}-" + re.sub(r"[^A-Za-z0-9]+", "", f"{comparison.map}{comparison.explained}")[:60]
        significant = grid.volume(comparison.significant.astype(np.float32))
        any_significant = comparison.significant.any()
        threshold = draw_heatmap(
            Nifti1Image(grid.volume(comparison.statistics.t.astype(np.float32)), grid.affine),
            template,
            mask,
            folder / f"{stem}.png",
            title=f"{comparison.map}: {contrast}",
            unit="t",
            radiological=radiological,
            outlined=(SIGNIFICANT, Nifti1Image(significant, grid.affine)) if any_significant else None,
        )
        overlap = self.overlap
        if len(overlap):
            of_map = overlap["reference"].str.startswith(f"t-map of {comparison.map}: ")
            overlap = overlap[overlap["contrast"].eq(contrast) & of_map]
        outline = f"Outline: {SIGNIFICANT}" if any_significant else f"No voxel has {SIGNIFICANT}"
        return {
            "title": f"{comparison.map}: {contrast}",
            "picture": f"figures/{stem}.png",
            "caption": f"t values; positive where {comparison.explained} is higher than {comparison.reference}. Shown: "
            f"the 10 % of brain voxels with the largest |t| (at least {format_number(threshold)}), significant or not. "
            f"{outline}.",
            "overlap": format_overlap(overlap) if len(overlap) else None,
        }


def _contrast_name(row: Any) -> str:
    return f"{row['map']} ({row['contrast']})"


def _table_row(row: Any) -> dict[str, str]:
    return {
        "map": row["map"],
        "contrast": row["contrast"],
        "participants": format_number(row["people"]),
        "covariates": row["covariates"],
        "voxels higher": format_number(row["voxels_higher"]),
        "voxels lower": format_number(row["voxels_lower"]),
        "voxels tested": format_number(row["voxels"]),
        "smallest p": format_number(row["p"]),
        "smallest p within the map": format_number(row["p_within_map"]),
        "peak t": format_number(row["peak_t"], 2),
        "peak x, y, z (mm)": ", ".join(f"{row[axis]:.0f}" for axis in "xyz"),
        "region": f"{row['region']} ({row['atlas']})",
    }
