"""Maps of several sites (`--maps-from`): values are addressed by site and path, tables and settings are compared."""

import os

import nibabel as nib
import numpy as np
import pytest

from bids_app.dataset import arrays
from bids_app.dataset.grid import Grid
from bids_app.nodes.ica import read_series

MASK = np.ones((4, 5, 6), bool)
TIME = 1_700_000_000_000_000_000  # of modification, the same for all files


def write_volume(path, values):
    """Write an image (not compressed: its size does not depend on its values) with the common time stamp."""
    path.parent.mkdir(parents=True)
    nib.Nifti1Image(np.asarray(values, np.float32), np.diag([4.0, 4, 4, 1])).to_filename(path)
    os.utime(path, ns=(TIME, TIME))
    return path


@pytest.fixture
def twins(tmp_path):
    """The maps of two sites' `sub-01`: the same name, size and time stamp, and the values 1 and 2."""
    return [
        write_volume(tmp_path / site / "sub-01" / "anat" / "sub-01_probseg.nii", np.full(MASK.shape, number))
        for number, site in enumerate(("north", "south"), start=1)
    ]


def test_stacks_of_two_sites_with_the_same_names_sizes_and_times_hold_their_own_values(twins, tmp_path):
    grid = Grid(MASK, np.diag([4.0, 4, 4, 1]))
    north, south = (np.load(arrays.stack_images([twin], grid, tmp_path / "work")) for twin in twins)
    assert (north == 1).all()
    assert (south == 2).all()


def test_series_of_two_sites_with_the_same_names_sizes_and_times_hold_their_own_values(tmp_path):
    random = np.random.default_rng(1)
    values = [random.normal(size=(*MASK.shape, 8)) for _ in range(2)]
    runs = [
        write_volume(tmp_path / site / "sub-01" / "func" / "sub-01_task-rest_bold.nii", series)
        for site, series in zip(("north", "south"), values, strict=True)
    ]
    (tmp_path / "work").mkdir()
    files = read_series([[str(run)] for run in runs], Grid(MASK, np.diag([4.0, 4, 4, 1])), str(tmp_path / "work"))
    for (file,), series in zip(files, values, strict=True):
        np.testing.assert_allclose(np.load(file), series[MASK], rtol=1e-6)


def test_stack_is_reused_after_out_dir_was_moved(twins, tmp_path):
    grid, out = Grid(MASK, np.diag([4.0, 4, 4, 1])), tmp_path / "north"
    before = arrays.stack_images([twins[0]], grid, out / ".work")
    moved = out.rename(tmp_path / "moved")
    after = arrays.stack_images([moved / twins[0].relative_to(out)], grid, moved / ".work")
    assert after == moved / before.relative_to(out)
