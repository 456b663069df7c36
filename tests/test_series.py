"""BOLD file and mask to series; nibabel and scipy interpolation are the reference."""

import gzip
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_app.errors import DataError
from bids_app.preprocess import series as module
from bids_app.preprocess.series import load
from bids_app.preprocess.timing import repetition_time

SHAPE = (7, 6, 5, 11)
AFFINE = np.array([[-3.0, 0, 0, 9], [0, 3, 0.2, -8], [0, -0.2, 3, -6], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).integers(-3000, 3000, SHAPE).astype(np.int16)


@pytest.fixture(scope="module")
def inside():
    return np.random.default_rng(1).random(SHAPE[:3]) < 0.4


def bold(folder, values, *, name="sub-01_bold.nii.gz", affine=AFFINE, tr=2.0, unit="sec"):
    image = nib.Nifti1Image(values, affine)
    if values.ndim > 3:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr, *([1] * (values.ndim - 4))))
        image.header.set_xyzt_units("mm", unit)
    path = folder / name
    image.to_filename(path)
    return path


def masked(folder, inside, *, affine=AFFINE, name="mask.nii.gz"):
    nib.Nifti1Image(inside.astype(np.uint8), affine).to_filename(folder / name)
    return folder / name


@pytest.mark.parametrize("kind", ["int16", "uint8", "int32", "float32", "float64", ">i2"])
@pytest.mark.parametrize("name", ["sub-01_bold.nii.gz", "sub-01_bold.nii"])
def test_series_equal_those_read_by_nibabel(tmp_path, data, inside, kind, name, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 2000)  # several blocks, the last one smaller
    path = bold(tmp_path, np.abs(data // 16).astype(kind), name=name)
    series, mask, affine = load(path, masked(tmp_path, inside))
    assert np.array_equal(series, nib.load(path).get_fdata(dtype=np.float32)[inside])
    assert series.dtype == np.float32
    assert series.flags.c_contiguous
    assert np.array_equal(mask, inside)
    assert np.allclose(affine, AFFINE)


def test_header_slope_and_intercept_are_applied(tmp_path, data, inside):
    path = tmp_path / "sub-01_bold.nii.gz"
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_slope_inter(0.25, 1200.5)
    image.to_filename(path)
    series, _, _ = load(path, masked(tmp_path, inside))
    truth = nib.load(path).get_fdata()[inside]
    assert nib.load(path).dataobj.slope == 0.25
    assert np.abs(series - truth).max() < 1e-6 * np.abs(truth).max()


def test_series_read_without_isal_are_identical(tmp_path, data, inside, monkeypatch):
    path, mask = bold(tmp_path, data), masked(tmp_path, inside)
    fast = load(path, mask)[0]
    monkeypatch.setitem(sys.modules, "isal", None)
    assert np.array_equal(load(path, mask)[0], fast)


def test_multi_member_gzip_file_is_read(tmp_path, data, inside):
    path, mask = bold(tmp_path, data), masked(tmp_path, inside)
    whole = load(path, mask)[0]
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))
    assert np.array_equal(load(path, mask)[0], whole)


@pytest.mark.parametrize("size", [2.0, 4.5])
def test_series_on_another_grid_are_linearly_interpolated(tmp_path, data, size):
    inside = np.zeros(SHAPE[:3], dtype=bool)
    inside[1:, 1:5, 1:4] = True
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = (-14, -10, -8)
    shape = tuple(int(length) for length in np.ceil(30 / np.array([size] * 3)))
    path, mask = bold(tmp_path, data), masked(tmp_path, inside)
    series, new, given = load(path, mask, onto=(shape, affine))
    steps = np.linalg.inv(AFFINE) @ affine
    points = (steps[:3, :3] @ np.indices(shape).reshape(3, -1) + steps[:3, 3:]).reshape(3, *shape)
    part = ndimage.map_coordinates(inside.astype(float), points, order=1, cval=0)
    last = np.array(SHAPE[:3]).reshape(3, 1, 1, 1) - 1
    assert np.array_equal(new, (part > 0.5) & ((points >= 0) & (points <= last)).all(axis=0))
    truth = [ndimage.map_coordinates(data[..., t].astype(float), points[:, new], order=1) for t in range(SHAPE[3])]
    assert np.abs(series - np.stack(truth, axis=1)).max() < 1e-6 * np.abs(data).max()
    assert np.array_equal(given, affine)
    assert new.sum() > 15


def test_the_same_grid_is_not_interpolated(tmp_path, data, inside):
    path, mask = bold(tmp_path, data), masked(tmp_path, inside)
    series, _, _ = load(path, mask, onto=(SHAPE[:3], AFFINE + 1e-5))
    assert np.array_equal(series, data[inside])


def test_grid_outside_the_mask_is_refused(tmp_path, data, inside):
    far = np.diag([2.0, 2, 2, 1])
    far[:3, 3] = 500
    with pytest.raises(DataError, match="no voxel on the grid"):
        load(bold(tmp_path, data), masked(tmp_path, inside), onto=((5, 5, 5), far))


def test_files_that_are_not_series_are_refused(tmp_path, data, inside):
    mask = masked(tmp_path, inside)
    with pytest.raises(DataError, match=r"sub-01_bold\.nii\.gz has the shape \(7, 6, 5\), 3 axes instead of 4"):
        load(bold(tmp_path, data[..., 0]), mask)
    with pytest.raises(DataError, match=r"\(7, 6, 5, 1\); a series of volumes is required"):
        load(bold(tmp_path, data[..., :1]), mask)
    with pytest.raises(DataError, match="5 axes instead of 4"):
        load(bold(tmp_path, data[..., None].repeat(2, -1)), mask)
    with pytest.raises(DataError, match="voxels that are complex"):
        load(bold(tmp_path, data.astype(np.complex64)), mask)
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "nothing.nii.gz", mask)


def test_empty_or_misaligned_mask_is_refused(tmp_path, data, inside):
    path = bold(tmp_path, data)
    with pytest.raises(DataError, match=r"mask\.nii\.gz is empty"):
        load(path, masked(tmp_path, inside & False))
    with pytest.raises(DataError, match=r"grid 7 x 6 x 4 of 3 x 3\.01 x 3\.01 mm.* and .* the grid 7 x 6 x 5"):
        load(path, masked(tmp_path, inside[..., :4]))
    moved = AFFINE.copy()
    moved[0, 3] += 0.1
    with pytest.raises(DataError, match=r"first voxel at 9\.1, -8, -6"):
        load(path, masked(tmp_path, inside, affine=moved))


def test_constant_or_non_finite_series_are_refused_but_single_constant_voxels_are_not(tmp_path, data, inside):
    mask = masked(tmp_path, inside)
    with pytest.raises(DataError, match="is 0 everywhere in its mask"):
        load(bold(tmp_path, data * 0), mask)
    with pytest.raises(DataError, match="is constant in time everywhere"):
        load(bold(tmp_path, data[..., :1].repeat(9, axis=-1)), mask)
    values = data.astype(np.float32)
    values[*np.argwhere(inside)[3], 5] = np.inf
    values[*np.argwhere(inside)[4], :2] = np.nan
    values[*np.argwhere(~inside)[0]] = np.nan
    with pytest.raises(DataError, match="has 2 voxels in its mask that are NaN or infinite"):
        load(bold(tmp_path, values), mask)
    values[*np.argwhere(inside)[3]] = 7
    values[*np.argwhere(inside)[4]] = 0
    series = load(bold(tmp_path, values), mask)[0]
    assert (series[3] == 7).all()
    assert not series[4].any()


@pytest.mark.parametrize("isal", [True, False])
@pytest.mark.parametrize("harm", ["cut", "flipped", "checksum", "header"])
def test_damaged_file_is_refused(tmp_path, data, inside, harm, isal, monkeypatch):
    if not isal:
        monkeypatch.setitem(sys.modules, "isal", None)
    path, mask = bold(tmp_path, data), masked(tmp_path, inside)
    content = bytearray(path.read_bytes())
    if harm == "cut":
        del content[len(content) // 2 :]
    elif harm == "flipped":
        content[len(content) // 2 : len(content) // 2 + 50] = np.random.default_rng(5).bytes(50)
    elif harm == "checksum":
        content[-8] ^= 255
    else:
        del content[60:]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"sub-01_bold\.nii\.gz cannot be read"):
        load(path, mask)


def test_real_run_equals_that_read_by_nibabel(shared_data):
    folder = shared_data / "feeds"
    series, mask, _ = load(folder / "bold.nii.gz", folder / "mask.nii.gz")
    truth = nib.load(folder / "bold.nii.gz").get_fdata(dtype=np.float32)
    assert np.array_equal(series, truth[np.asarray(nib.load(folder / "mask.nii.gz").dataobj) > 0])
    assert series.shape == (mask.sum(), 64)
    assert repetition_time(folder / "bold.nii.gz") == 3.0


def test_series_are_read_without_torch_matplotlib_nipype_or_pybids():
    code = (
        "import sys; from bids_app.preprocess import series, denoise, strategies; "
        "print({'torch', 'matplotlib', 'nipype', 'bids', 'nilearn', 'pandas', 'isal'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
