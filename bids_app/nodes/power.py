"""Simulated studies of --power N."""

from pathlib import Path

import numpy as np

from bids_app.dataset.grid import Grid
from bids_app.planning.group_records import FoldRows, TrainingPlan
from bids_app.planning.work_dir import WorkDir
from bids_app.preprocess.conform import read_image
from bids_app.training import seeds


def simulate_studies(
    *,
    array: str,
    atlas: str,
    map_name: str,
    cells: list[str],
    splits: list[FoldRows],
    studies: list[int],
    sizes: dict[str, list[float]],
    plan: TrainingPlan,
) -> str:
    """Score linear classifiers in some simulated studies; returns the file.

    `scores` (studies, patterns, sizes, cells), balanced accuracy out of fold; `percent` (studies, patterns): the shift
    of d = 1 in % of the map's mean there, NaN for maps with values below 0.
    """
    from bids_app.dataset.effect_patterns import draw_pattern
    from bids_app.training import tables
    from bids_app.training.effect_simulation import score_simulated_studies, unit_shift

    work_dir, keep = WorkDir(Path(plan["work"])), None if plan["keep"] is None else tuple(plan["keep"])
    table, columns = tables.read_table(work_dir.participants), tuple(plan["adjust"][map_name])
    everyone = tables.load_samples(table, {map_name: Path(array)}, {map_name: columns}, keep)
    grid = Grid.read(work_dir.grid(map_name))
    labels = np.asarray(read_image(Path(atlas) / "labels.nii.gz").dataobj)
    numbers = range(*studies)
    planted: dict[tuple[int, str], tuple[np.ndarray, float]] = {}
    for number in numbers:
        for pattern in sizes:
            random = np.random.default_rng(seeds.derive(plan["seed"], "power", map_name, pattern, number))
            volumes = draw_pattern(pattern, labels, grid, random)
            shifts = [
                unit_shift(everyone, map_name, volume, grid, columns, plan["smoothing"][map_name]) for volume in volumes
            ]
            shift = np.asarray(sum(values for values, _ in shifts))
            planted[number, pattern] = shift, float(np.median([share for _, share in shifts]))
    scores = score_simulated_studies(
        everyone,
        map_name,
        splits,
        cells,
        np.load(work_dir.power_labellings)[numbers.start : numbers.stop] == 1,
        [[planted[number, pattern][0] for pattern in sizes] for number in numbers],
        list(sizes.values()),
        columns=columns,
        keep=keep,
        grid=grid,
        people=table["participant_id"].tolist(),
    )
    file = work_dir.power_scores(map_name, numbers.start)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, scores=scores, percent=[[planted[number, pattern][1] for pattern in sizes] for number in numbers])
    return str(file)
