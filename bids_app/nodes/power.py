"""Simulated studies of --power N, some in a node."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.dataset.grid import Grid
from bids_app.planning.power import FOLDER, LABELLINGS
from bids_app.training import seeds


def simulate_studies(
    *,
    array: str,
    atlas: str,
    map_name: str,
    cells: list[str],
    splits: list[dict[str, Any]],
    studies: list[int],
    sizes: dict[str, list[float]],
    plan: dict[str, Any],
) -> str:
    """Scores of linear classifiers in some simulated studies -> their file.

    `scores` (studies, patterns, sizes, cells), balanced accuracy out of fold; `percent` (studies, patterns): the shift
    of d = 1 in % of the map's mean in the place, NaN for maps with values below 0.
    """
    from bids_app.dataset.effect_patterns import draw_pattern
    from bids_app.training import tables
    from bids_app.training.effect_simulation import score_simulated_studies, unit_shift

    work, keep = Path(plan["work"]), None if plan["keep"] is None else tuple(plan["keep"])
    table, columns = tables.read_table(work / "people.tsv"), tuple(plan["adjust"][map_name])
    everyone = tables.load_samples(table, {map_name: Path(array)}, {map_name: columns}, keep)
    grid = Grid.read(work / f"grid_{map_name}.npz")
    labels = np.asarray(nib.load(Path(atlas) / "labels.nii.gz").dataobj)
    numbers = range(*studies)
    drawn: dict[tuple[int, str], tuple[np.ndarray, float]] = {}
    for number in numbers:
        for pattern in sizes:
            random = np.random.default_rng(seeds.derive(plan["seed"], "power", map_name, pattern, number))
            volumes = draw_pattern(pattern, labels, grid, random)
            shifts = [
                unit_shift(everyone, map_name, one, grid, columns, plan["smoothing"][map_name]) for one in volumes
            ]
            drawn[number, pattern] = sum(one for one, _ in shifts), float(np.median([share for _, share in shifts]))
    scores = score_simulated_studies(
        everyone,
        map_name,
        splits,
        cells,
        np.load(work / LABELLINGS)[numbers.start : numbers.stop] == 1,
        [[drawn[number, pattern][0] for pattern in sizes] for number in numbers],
        list(sizes.values()),
        columns=columns,
        keep=keep,
        grid=grid,
        people=table["participant_id"].tolist(),
    )
    file = work / FOLDER / map_name / f"{numbers.start}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, scores=scores, percent=[[drawn[number, pattern][1] for pattern in sizes] for number in numbers])
    return str(file)
