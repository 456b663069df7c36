"""Images of users: what no scanner writes is refused by arithmetic on the header, before memory is taken."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from bids_app.bids import images
from bids_app.errors import DataError
from bids_app.nodes import bold_outputs
from bids_app.preprocess import conform, skull

SHAPE = (20, 18, 16)
AFFINE = np.array([[-2.0, 0, 0, 19], [0, 2.0, 0, -17], [0, 0, 2.5, -20], [0, 0, 0, 1]])
VALUES = np.random.default_rng(0).integers(1, 1000, SHAPE).astype(np.int16)


def write(path, values=VALUES, affine=AFFINE, *, change=None, qform=True):
    image = nib.Nifti1Image(values, None)
    image.header.set_sform(affine, 1)
    if qform:
        image.header.set_qform(affine, 1)
    nib.save(image, path)
    if change is not None:
        with path.open("rb") as stream:
            head = nib.Nifti1Header.from_fileobj(stream, check=False)
        change(head)
        content = path.read_bytes()
        path.write_bytes(head.binaryblock + content[348:])
    return path


def set_dim(*shape):
    def change(header):
        header["dim"][: len(shape) + 1] = [len(shape), *shape]

    return change


def set_srow(row, values):
    def change(header):
        header[f"srow_{row}"] = values

    return change


def set_micro_voxels(header):
    for axis in "xyz":
        header[f"srow_{axis}"] *= 1e-6


def clear_codes(header):
    header["sform_code"] = header["qform_code"] = 0


DEFECTS = {
    "lengths of 30000": (set_dim(30000, 30000, 30000), "which no scanner measures"),
    "a length of 0": (set_dim(20, 0, 16), "which no scanner measures"),
    "a negative length": (set_dim(20, -18, 16), "cannot be read as an image|which no scanner measures"),
    "a longer series than the file": (set_dim(20, 18, 16, 900), "axes instead of 3"),
    "two axes": (set_dim(20, 288), "2 axes instead of 3"),
    "an unknown type": (lambda header: header.__setitem__("datatype", 4096), "cannot be read as an image"),
    "a singular affine": (set_srow("x", [0, 0, 0, 0]), "singular or not finite"),
    "two equal axes": (set_srow("x", [0, 2, 0, 0]), "singular or not finite"),
    "a NaN in the affine": (set_srow("y", [0, np.nan, 0, 0]), "singular or not finite"),
    "an infinite offset": (set_srow("z", [0, 0, 2.5, np.inf]), "singular or not finite"),
    "voxels in metres": (set_micro_voxels, "which no scanner measures"),
    "more voxels than the file": (set_dim(40, 36, 16), "shorter than its header says"),
    "no orientation": (clear_codes, "neither qform nor sform"),
    "a shear": (set_srow("x", [-2, 1, 0, 19]), "sheared"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_an_impossible_header_is_refused_with_the_reason(tmp_path, defect):
    change, message = DEFECTS[defect]
    path = write(tmp_path / "sub-01_T1w.nii", change=change)
    with pytest.raises(DataError, match=f"sub-01_T1w.nii .*({message})"):
        images.open_image(path)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.complex64, "complex .its magnitude is required"),
        (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), "one real number per voxel"),
    ],
)
def test_voxels_that_are_no_real_number_are_refused(tmp_path, dtype, message):
    path = write(tmp_path / "sub-01_T1w.nii.gz", np.zeros(SHAPE, dtype))
    with pytest.raises(DataError, match=message):
        images.open_image(path)


@pytest.mark.parametrize("content", [b"", b"no image", gzip.compress(b"x" * 400), b"\x1f\x8b\x08\x00rest"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_without_image_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} cannot be read as an image"):
        images.open_image(tmp_path / name)


def test_a_compressed_image_that_ends_early_is_refused_when_it_is_read(tmp_path):
    path = write(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-500])
    image = images.open_image(path)
    with pytest.raises(DataError, match="may be truncated"):
        images.read_voxels(image, "a")


@given(
    codes=st.permutations(["RL", "AP", "SI"]).flatmap(lambda axes: st.tuples(*map(st.sampled_from, axes))),
    dtype=st.sampled_from(["<i2", ">i2", "<u2", "<i4", "<f4", ">f4", "<f8"]),
    form=st.sampled_from(["both", "sform"]),
    extra_axis=st.booleans(),
    extension=st.sampled_from([".nii", ".nii.gz"]),
)
@settings(max_examples=60, deadline=None)
def test_one_brain_is_the_same_in_every_orientation_type_and_header(
    tmp_path_factory, codes, dtype, form, extra_axis, extension
):
    folder = tmp_path_factory.mktemp("dialect")
    plain = conform.load(write(folder / "plain.nii"))
    turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(codes))
    turned = nib.Nifti1Image(VALUES, AFFINE).as_reoriented(turn)
    values = np.asarray(turned.dataobj)[..., None] if extra_axis else np.asarray(turned.dataobj)
    file = write(folder / f"a{extension}", values.astype(dtype), turned.affine, qform=form == "both")
    loaded = conform.load(file)
    np.testing.assert_array_equal(loaded.get_fdata(), plain.get_fdata())
    np.testing.assert_allclose(loaded.affine, plain.affine, atol=1e-4)


def test_a_qform_that_contradicts_the_sform_is_described(tmp_path):
    path = write(tmp_path / "a.nii")
    assert images.describe_qform_conflict(images.open_image(path)) == ""
    flipped = nib.load(path)
    flipped.set_qform(np.diag([-1, 1, 1, 1.0]) @ AFFINE, 1)
    flipped.header.set_sform(AFFINE, 1)
    nib.save(flipped, tmp_path / "b.nii")
    text = images.describe_qform_conflict(images.open_image(tmp_path / "b.nii"))
    assert text.startswith(
        "Its qform and sform differ by up to 38 mm and name the axes RAS and LAS; the sform was used"
    )


@pytest.mark.parametrize(("voxels", "refused"), [(1, True), (150_000, False), (600_000, True)])
def test_a_mask_that_is_no_brain_is_refused(voxels, refused):
    mask = np.arange(10**6).reshape(100, 100, 100) < voxels
    if refused:
        with pytest.raises(DataError, match="which is no human brain"):
            skull.check_volume("--brain-mask a.nii", mask, voxel_ml=0.008)
    else:
        skull.check_volume("--brain-mask a.nii", mask, voxel_ml=0.008)


def test_the_stated_resolution_is_that_of_the_affine_whatever_the_header_says(tmp_path):
    mask = nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([3.0, 3, 3, 1]))
    mask.header.set_zooms((1, 1, 1))
    nib.save(mask, tmp_path / "mask.nii.gz")
    assert nib.load(tmp_path / "mask.nii.gz").header.get_zooms() == (1, 1, 1)
    run = bold_outputs.ProcessedRun(plan={}, cleaned={"mask": str(tmp_path / "mask.nii.gz")}, maps={}, atlases={})
    assert run.resolution == 3
