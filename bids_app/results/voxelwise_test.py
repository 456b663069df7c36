"""The results of the voxelwise test: tables, and the overlap of heatmaps with it."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app.dataset.grid import Grid
from bids_app.evaluation.voxelwise import PermutedStatistics, VoxelwiseComparison, familywise_p
from bids_app.planning.group import Analysis
from bids_app.planning.voxelwise_test import comparisons, count_nodes, permutation_file
from bids_app.planning.work_dir import atlas_of
from bids_app.regions import overlap
from bids_app.report.heatmap import Heatmap
from bids_app.report.voxelwise import Compared
from bids_app.results.reference_map import first_map, overlap_rows
from bids_app.settings import Settings

SIGNIFICANT = "the voxels with family-wise p < 0.05"


def collect_voxelwise_test(
    analysis: Analysis, settings: Settings, maps: Sequence[Heatmap], work: Path
) -> Compared | None:
    """What the nodes found, with its table and the overlap of heatmaps with it; None without the test."""
    count = settings.group.voxelwise_test
    if not count:
        return None
    tested = _comparisons_tested(analysis, count_nodes(count), work)
    return Compared(
        tested=tested,
        table=_table(tested, analysis, work),
        overlap=_overlap(tested, maps, settings),
        limits=_limits(analysis, settings),
    )


def _comparisons_tested(analysis: Analysis, parts: int, work: Path) -> list[VoxelwiseComparison]:
    """Every comparison, corrected over all of them."""
    every = list(comparisons(analysis))
    drawn = [_joined([permutation_file(work, *one, number) for number in range(1, parts + 1)]) for one in every]
    p = familywise_p([its.tfce for its in drawn], [its.null for its in drawn])
    people = analysis.used.groupby("class")["participant_id"].nunique()
    return [
        VoxelwiseComparison(
            map=name,
            explained=one,
            reference=analysis.classes[0],
            people={each: int(people[each]) for each in analysis.classes},
            covariates=analysis.adjust[name],
            family=len(every),
            grid=Grid.read(work / f"grid_{name}.npz"),
            statistics=its,
            p=own,
            p_within=familywise_p([its.tfce], [its.null])[0],
        )
        for (name, one), its, own in zip(every, drawn, p, strict=True)
    ]


def _table(tested: Sequence[VoxelwiseComparison], analysis: Analysis, work: Path) -> pd.DataFrame:
    """A row a comparison: voxels below 0.05 by sign, the least p, and the voxel with the largest |t| of them."""
    rows = []
    for one in tested:
        labels, about = atlas_of(work, analysis.grids[one.map], analysis.atlases[one.map][0])
        place = np.argwhere(one.grid.mask)[one.peak]
        x, y, z = nib.affines.apply_affine(one.grid.affine, place).round(1)
        rows.append({
            "map": one.map,
            "contrast": one.contrast,
            "people": sum(one.people.values()),
            "covariates": ", ".join(one.covariates) or "none",
            "permutations": len(one.statistics.null),
            "comparisons": one.family,
            "voxels": one.grid.voxels,
            "voxels_higher": int((one.significant & (one.statistics.t > 0)).sum()),
            "voxels_lower": int((one.significant & (one.statistics.t < 0)).sum()),
            "p": one.p.min(),
            "p_within_map": one.p_within.min(),
            "peak_t": one.statistics.t[one.peak],
            **{"x": x, "y": y, "z": z},
            "region": about["names"].get(str(int(labels[tuple(place)])), "outside the atlas"),
            "atlas": about["name"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _overlap(tested: Sequence[VoxelwiseComparison], maps: Sequence[Heatmap], settings: Settings) -> pd.DataFrame:
    """Every heatmap against the tests of its first map, of the class that it explains (of all for the reference).

    Columns of `reference.table`, and `contrast`.
    """
    rows = []
    for one in tested:
        inside, words = one.significant, SIGNIFICANT
        if not inside.any() or inside.all():
            inside, words = overlap.binarise_reference(one.grid.volume(one.statistics.t), one.grid.mask)
        about = {
            "contrast": one.contrast,
            "reference": f"t-map of {one.map}: {words}",
            "voxels": int(inside.sum()),
            "share": float(inside.mean()),
        }
        for heatmap in maps:
            if first_map(heatmap) == one.map and heatmap.explained in (one.explained, one.reference):
                rows += overlap_rows(heatmap, about, one.grid, inside, seed=settings.compute.random_seed)
    return pd.DataFrame(rows)


def _limits(analysis: Analysis, settings: Settings) -> list[str]:
    """What the test leaves out of account in these people, in sentences."""
    told, used = [], analysis.used
    if analysis.ica:
        told.append(
            f"The maps of {', '.join(analysis.ica.maps)} tested here are of one ICA of everybody, whose labels it "
            "did not know; each classifier saw those of an ICA of its own training people."
        )
    if settings.group.keep_together and len(set(analysis.splits[0].groups)) < used["participant_id"].nunique():
        told.append(
            f"Labels were shuffled as if people who share a value of {settings.group.keep_together} were strangers, so "
            "that p can be too small."
        )
    adjusted = {column.partition("[")[0] for columns in analysis.adjust.values() for column in columns}
    if analysis.label_column != "site" and used["site"].nunique() > 1 and not adjusted & {"site", settings.group.site}:
        told.append(
            "People are of several sites, and labels were shuffled across them: --adjust-for site takes what sites "
            f"shift out of the test{', which ComBat did not touch' if settings.group.harmonize else ''}."
        )
    return told


def _joined(files: Sequence[Path]) -> PermutedStatistics:
    """The permutations of all nodes of one comparison."""
    parts = [np.load(file) for file in files]
    return PermutedStatistics(parts[0]["t"], parts[0]["tfce"], np.concatenate([part["null"] for part in parts]))
