"""The results of the voxelwise test: tables, and the overlap of heatmaps with it."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app.dataset.grid import Grid
from bids_app.evaluation.voxelwise import PermutedStatistics, VoxelwiseComparison, familywise_p
from bids_app.planning.group import GroupPlan
from bids_app.planning.voxelwise_test import count_voxelwise_nodes, list_contrasts
from bids_app.planning.work_dir import WorkDir
from bids_app.regions import overlap
from bids_app.report.heatmap import Heatmap
from bids_app.report.voxelwise_test import VoxelwiseTest
from bids_app.results.reference_map import first_map, overlap_rows
from bids_app.settings import Settings

SIGNIFICANT = "the voxels with family-wise p < 0.05"


def collect_voxelwise_test(
    analysis: GroupPlan, settings: Settings, maps: Sequence[Heatmap], work_dir: WorkDir
) -> VoxelwiseTest | None:
    """The results of the test, its table, and the overlap of heatmaps with it; None without the test."""
    count = settings.group.voxelwise_test
    if not count:
        return None
    tested = _corrected_contrasts(analysis, count_voxelwise_nodes(count), work_dir)
    return VoxelwiseTest(
        tested=tested,
        table=_table(tested, analysis, work_dir),
        overlap=_overlap(tested, maps, settings),
        limits=_limitations(analysis, settings),
    )


def _corrected_contrasts(analysis: GroupPlan, parts: int, work_dir: WorkDir) -> list[VoxelwiseComparison]:
    """Every contrast, corrected over all contrasts."""
    contrasts = list(list_contrasts(analysis))
    permutations = [
        _join_permutations([work_dir.voxelwise_permutations(*contrast, number) for number in range(1, parts + 1)])
        for contrast in contrasts
    ]
    p = familywise_p([part.tfce for part in permutations], [part.null for part in permutations])
    counts = analysis.used.groupby("class")["participant_id"].nunique()
    return [
        VoxelwiseComparison(
            map=name,
            explained=explained,
            reference=analysis.classes[0],
            people={group: int(counts[group]) for group in analysis.classes},
            covariates=analysis.adjust[name],
            family=len(contrasts),
            grid=Grid.read(work_dir.grid(name)),
            statistics=statistics,
            p=p_corrected,
            p_within=familywise_p([statistics.tfce], [statistics.null])[0],
        )
        for (name, explained), statistics, p_corrected in zip(contrasts, permutations, p, strict=True)
    ]


def _table(tested: Sequence[VoxelwiseComparison], analysis: GroupPlan, work_dir: WorkDir) -> pd.DataFrame:
    """A row per contrast: voxels with p < 0.05 by sign, the smallest p, and the voxel with the largest |t|."""
    rows = []
    for test in tested:
        labels, about = work_dir.read_atlas(analysis.grids[test.map], analysis.atlases[test.map][0])
        place = np.argwhere(test.grid.mask)[test.peak]
        x, y, z = nib.affines.apply_affine(test.grid.affine, place).round(1)
        rows.append({
            "map": test.map,
            "contrast": test.contrast,
            "people": sum(test.people.values()),
            "covariates": ", ".join(test.covariates) or "none",
            "permutations": len(test.statistics.null),
            "comparisons": test.family,
            "voxels": test.grid.voxels,
            "voxels_higher": int((test.significant & (test.statistics.t > 0)).sum()),
            "voxels_lower": int((test.significant & (test.statistics.t < 0)).sum()),
            "p": test.p.min(),
            "p_within_map": test.p_within.min(),
            "peak_t": test.statistics.t[test.peak],
            **{"x": x, "y": y, "z": z},
            "region": about["names"].get(str(int(labels[tuple(place)])), "outside the atlas"),
            "atlas": about["name"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _overlap(tested: Sequence[VoxelwiseComparison], maps: Sequence[Heatmap], settings: Settings) -> pd.DataFrame:
    """Every heatmap against the tests of its first map, of the class that it explains (of all for the reference).

    Columns of `reference_map.overlap_table`, and `contrast`.
    """
    rows = []
    for test in tested:
        inside, words = test.significant, SIGNIFICANT
        if not inside.any() or inside.all():
            inside, words = overlap.binarise_reference(test.grid.volume(test.statistics.t), test.grid.mask)
        about = {
            "contrast": test.contrast,
            "reference": f"t-map of {test.map}: {words}",
            "voxels": int(inside.sum()),
            "share": float(inside.mean()),
        }
        for heatmap in maps:
            if first_map(heatmap) == test.map and heatmap.explained in (test.explained, test.reference):
                rows += overlap_rows(heatmap, about, test.grid, inside, seed=settings.compute.random_seed)
    return pd.DataFrame(rows)


def _limitations(analysis: GroupPlan, settings: Settings) -> list[str]:
    """Sentences on the limitations of the test in these participants."""
    sentences, used = [], analysis.used
    if analysis.ica:
        sentences.append(
            f"The maps of {', '.join(analysis.ica.maps)} tested here are from one ICA of all participants, which did "
            "not use the labels; each classifier used maps from an ICA of its own training participants."
        )
    if settings.group.groups and len(set(analysis.splits[0].groups)) < used["participant_id"].nunique():
        sentences.append(
            f"Labels were permuted as if participants with the same value of {settings.group.groups} were "
            "unrelated, so p may be too small."
        )
    adjusted = {column.partition("[")[0] for columns in analysis.adjust.values() for column in columns}
    if analysis.label_column != "site" and used["site"].nunique() > 1 and not adjusted & {"site", settings.group.site}:
        sentences.append(
            "Participants are from several sites, and labels were permuted across sites: --covariates site removes "
            f"mean site differences from the test{', which ComBat did not touch' if settings.group.harmonize else ''}."
        )
    return sentences


def _join_permutations(files: Sequence[Path]) -> PermutedStatistics:
    """The permutations of all nodes of one contrast."""
    parts = [np.load(file) for file in files]
    return PermutedStatistics(parts[0]["t"], parts[0]["tfce"], np.concatenate([part["null"] for part in parts]))
