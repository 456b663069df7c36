"""Some permutations of one contrast of the voxelwise test."""

from pathlib import Path

import numpy as np

from bids_app.dataset.grid import Grid
from bids_app.evaluation import voxelwise
from bids_app.planning.voxelwise_test import design_columns
from bids_app.planning.work_dir import WorkDir
from bids_app.training import tables


def permute_contrast(
    *,
    array: str,
    map_name: str,
    explained: str,
    classes: list[str],
    columns: list[str],
    permutations: int,
    seed: int,
    number: int,
    work: str,
) -> str:
    """Write some permutations of one contrast (`voxelwise.permute_tfce`); returns the file."""
    work_dir = WorkDir(Path(work))
    participants = tables.read_table(work_dir.participants)
    x = voxelwise.average_sessions(np.load(array, mmap_mode="r"), participants["participant_id"].tolist())
    grid = Grid.read(work_dir.grid(map_name))
    design = design_columns(participants, tuple(classes), explained, tuple(columns))
    results = voxelwise.permute_tfce(x, *design, grid, permutations=permutations, seed=seed)
    # not an argument: nipype hashes files that exist, and would compute the node again
    file = work_dir.voxelwise_permutations(map_name, explained, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **vars(results))
    return str(file)
