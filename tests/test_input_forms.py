"""One brain as data sets hold it: links into an annex, a read-only folder, the grid of 7 T and of thick slices."""

import hashlib
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_app.phantom.write import write
from bids_app.run import main

pytestmark = pytest.mark.slow


def _put(bids: Path, label: str, image: nib.Nifti1Image) -> Path:
    file = bids / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
    file.parent.mkdir(parents=True)
    image.to_filename(file)
    return file


def _link_like_an_annex(bids: Path, file: Path) -> None:
    """Move a file to where git-annex keeps its content, read-only, and leave a relative link."""
    store = bids / ".git/annex/objects/0V/MM/MD5E-s9--6dd.nii.gz"
    store.mkdir(parents=True)
    content = file.rename(store / store.name)
    file.symlink_to(os.path.relpath(content, file.parent))
    content.chmod(0o444)
    store.chmod(0o555)


def _fingerprint(folder: Path) -> dict[str, object]:
    """Content, kind and time of change of everything in a folder."""
    return {
        str(path.relative_to(folder)): (
            os.lstat(path).st_mtime_ns,
            path.is_symlink(),
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory, with_template):
    """The gm maps and sidecars of one brain by form of its input, and the input before and after the run.

    The plain image has 2.5 mm, the fine one 0.5 mm, the thick one slices of 5 mm.
    """
    folder = tmp_path_factory.mktemp("forms")
    bids, out = folder / "bids", folder / "out"
    image = nib.load(write(folder / "phantom", people=4, resolution=2.5) / "sub-01/anat/sub-01_T1w.nii.gz")
    values = np.asarray(image.dataobj, dtype=np.int16)
    _put(bids, "plain", image)
    _link_like_an_annex(bids, _put(bids, "annex", image))
    _put(folder / "elsewhere", "folder", image)
    (bids / "sub-folder").symlink_to(folder / "elsewhere" / "sub-folder")
    fine, shift = np.diag([0.2, 0.2, 0.2, 1.0]), np.diag([1.0, 1.0, 2.0, 1.0])
    fine[:3, 3] = -0.4  # the centre of the first of five voxels within one
    shift[2, 3] = 0.5  # that of two slices
    repeated = values.repeat(5, 0).repeat(5, 1).repeat(5, 2)
    _put(bids, "fine", nib.Nifti1Image(repeated, image.affine @ fine))
    pairs = values[..., : values.shape[2] // 2 * 2].reshape(*values.shape[:2], -1, 2)
    _put(bids, "thick", nib.Nifti1Image(pairs.mean(axis=3).astype(np.float32), image.affine @ shift))
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "forms", "BIDSVersion": "1.10.0"}))
    for path in sorted(bids.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    before = _fingerprint(bids)
    with_template(out / ".work")
    options = ["--sloppy", "--resolution", "4", "--nprocs", "2", "--work-dir", str(folder / "work")]
    assert main([str(bids), str(out), "participant", "--maps", "gm", *options]) == 0
    maps = {path.name.split("_")[0].removeprefix("sub-"): path for path in out.rglob("*_label-GM_desc-mod*.nii.gz")}
    gm = {form: (nib.load(path).get_fdata(), json.loads(_sidecar(path).read_text())) for form, path in maps.items()}
    return gm, before, _fingerprint(bids)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.replace(".nii.gz", ".json"))


@pytest.mark.parametrize("form", ["annex", "folder"])
def test_links_to_files_and_folders_give_the_map_of_the_plain_file(results, form):
    gm, _, _ = results
    assert np.array_equal(gm[form][0], gm["plain"][0])


def test_a_read_only_data_set_is_left_as_it_was(results):
    _, before, after = results
    assert after == before


# Fine voxels are averaged first. Slices of 5 mm hold two or three tissues in most voxels: 8 % more GM, 3 % more TIV.
@pytest.mark.parametrize(
    ("form", "least_r", "volumes"),
    [("fine", 0.93, {"TIV": 0.01, "GM": 0.02, "WM": 0.02}), ("thick", 0.88, {"TIV": 0.05, "GM": 0.1, "WM": 0.08})],
)
def test_the_grids_of_7t_and_of_thick_slices_give_nearly_the_same_map(results, form, least_r, volumes):
    gm, _, _ = results
    (values, sidecar), (plain, expected) = gm[form], gm["plain"]
    smooth = [ndimage.gaussian_filter(map_values, 6 / 2.355 / 4)[plain > 0.05] for map_values in (values, plain)]
    print(f"{form}: r {np.corrcoef(*smooth)[0, 1]:.3f}, {sidecar['TissueVolumes']}, plain: {expected['TissueVolumes']}")
    assert np.corrcoef(*smooth)[0, 1] > least_r
    for tissue, tolerance in volumes.items():
        assert sidecar["TissueVolumes"][tissue] == pytest.approx(expected["TissueVolumes"][tissue], rel=tolerance)
