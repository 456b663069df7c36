"""What the voxelwise test found (--voxelwise-test): tables, the overlap of heatmaps with it, and images."""

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.dataset.grid import Grid
from bids_app.evaluation.voxelwise import Drawn, Tested, corrected
from bids_app.planning.group import Analysis
from bids_app.planning.work_dir import atlas_of
from bids_app.preprocess.conform import plain
from bids_app.regions import overlap
from bids_app.report.heatmap import Heatmap
from bids_app.report.voxelwise import Compared
from bids_app.settings import Settings
from bids_app.workflow import reference, voxelwise

SIGNIFICANT = "the voxels with family-wise p < 0.05"


def found(analysis: Analysis, settings: Settings, maps: Sequence[Heatmap], work: Path) -> Compared | None:
    """What the nodes found, with its table and the overlap of heatmaps with it; None without the test."""
    count = settings.group.voxelwise_test
    if not count:
        return None
    tested = _tested(analysis, voxelwise.parts(count), work)
    return Compared(
        tested=tested,
        table=_table(tested, analysis, work),
        overlap=_overlap(tested, maps, settings),
        limits=_limits(analysis, settings),
    )


def _tested(analysis: Analysis, parts: int, work: Path) -> list[Tested]:
    """Every comparison, corrected over all of them."""
    every = list(voxelwise.comparisons(analysis))
    drawn = [_joined([voxelwise.file(work, *one, number) for number in range(1, parts + 1)]) for one in every]
    p = corrected([its.tfce for its in drawn], [its.null for its in drawn])
    people = analysis.used.groupby("class")["participant_id"].nunique()
    return [
        Tested(
            map=name,
            explained=one,
            reference=analysis.classes[0],
            people={each: int(people[each]) for each in analysis.classes},
            covariates=analysis.adjust[name],
            family=len(every),
            grid=Grid.read(work / f"grid_{name}.npz"),
            drawn=its,
            p=own,
            p_within=corrected([its.tfce], [its.null])[0],
        )
        for (name, one), its, own in zip(every, drawn, p, strict=True)
    ]


def _table(tested: Sequence[Tested], analysis: Analysis, work: Path) -> pd.DataFrame:
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
            "permutations": len(one.drawn.null),
            "comparisons": one.family,
            "voxels": one.grid.voxels,
            "voxels_higher": int((one.significant & (one.drawn.t > 0)).sum()),
            "voxels_lower": int((one.significant & (one.drawn.t < 0)).sum()),
            "p": one.p.min(),
            "p_within_map": one.p_within.min(),
            "peak_t": one.drawn.t[one.peak],
            **{"x": x, "y": y, "z": z},
            "region": about["names"].get(str(int(labels[tuple(place)])), "outside the atlas"),
            "atlas": about["name"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _overlap(tested: Sequence[Tested], maps: Sequence[Heatmap], settings: Settings) -> pd.DataFrame:
    """Every heatmap against the tests of its first map, of the class that it explains (of all for the reference).

    Columns of `reference.table`, and `contrast`.
    """
    rows = []
    for one in tested:
        inside, words = one.significant, SIGNIFICANT
        if not inside.any() or inside.all():
            inside, words = overlap.region(one.grid.volume(one.drawn.t), one.grid.mask)
        about = {
            "contrast": one.contrast,
            "reference": f"t-map of {one.map}: {words}",
            "voxels": int(inside.sum()),
            "share": float(inside.mean()),
        }
        for heatmap in maps:
            if reference.first_map(heatmap) == one.map and heatmap.explained in (one.explained, one.reference):
                rows += reference.rows(heatmap, about, one.grid, inside, seed=settings.compute.random_seed)
    return pd.DataFrame(rows)


def write(folder: Path, tested: Sequence[Tested], analysis: Analysis, told: Sequence[str]) -> None:
    """Images of t, TFCE and -log10 p with their sidecars; told: what limits the test (`Compared.limits`)."""
    for one in tested:
        values = {"t": one.drawn.t, "tfce": one.drawn.tfce, "logp": -np.log10(one.p)}
        units = {"t": "t", "tfce": "TFCE", "logp": "-log10 p, family-wise"}
        for name, its in values.items():
            stem = outputs.filename(
                None,
                None,
                "statmap",
                "",
                space=analysis.space,
                res=f"{analysis.resolutions[one.map]:g}".replace(".", "p"),
                stat=name,
                desc=voxelwise.description(one.map, one.explained),
            )
            plain(one.grid.volume(its.astype(np.float32)), one.grid.affine).to_filename(folder / f"{stem}.nii.gz")
            sidecar = {
                "Description": f"{one.contrast} in {one.map}, voxel by voxel, without any classifier",
                "Test": "two-sided t in a linear model; TFCE (E 0.5, H 2); permutation after Freedman and Lane",
                "Contrast": one.contrast,
                "Map": one.map,
                "Permutations": len(one.drawn.null),
                "Covariates": list(one.covariates),
                "People": one.people,
                "Family": f"all voxels of {one.family} comparisons: every map, each class against {one.reference}",
                "Limits": list(told),
                "Units": units[name],
                "Space": analysis.space,
                "PellucidVersion": __version__,
            }
            (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n")


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


def _joined(files: Sequence[Path]) -> Drawn:
    """The permutations of all nodes of one comparison."""
    parts = [np.load(file) for file in files]
    return Drawn(parts[0]["t"], parts[0]["tfce"], np.concatenate([part["null"] for part in parts]))
