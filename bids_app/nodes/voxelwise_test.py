"""Some permutations of one contrast of the voxelwise test."""

from pathlib import Path

import numpy as np

from bids_app.dataset.grid import Grid
from bids_app.evaluation import voxelwise
from bids_app.planning.voxelwise_test import design_columns, permutation_file
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
    """Some permutations of one comparison (`voxelwise.permute_tfce`) -> its file."""
    people = tables.read_table(Path(work) / "people.tsv")
    x = voxelwise.average_sessions(np.load(array, mmap_mode="r"), people["participant_id"].tolist())
    grid = Grid.read(Path(work) / f"grid_{map_name}.npz")
    design = design_columns(people, tuple(classes), explained, tuple(columns))
    found = voxelwise.permute_tfce(x, *design, grid, permutations=permutations, seed=seed)
    # not an argument: nipype hashes files that are there, and would compute again what it finds
    left = permutation_file(Path(work), map_name, explained, number)
    left.parent.mkdir(parents=True, exist_ok=True)
    np.savez(left, **vars(found))
    return str(left)
