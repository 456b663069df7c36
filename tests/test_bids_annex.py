"""Images that cannot be read: each reason is distinguished from the others."""

import os
from pathlib import Path

import pytest

from bids_app.bids.annex import why_unreadable
from bids_app.bids.inputs import anatomical_scans, open_dataset

SHARED = Path(__file__).parents[2] / "shared" / "data"
KEY = "MD5E-s9--6dd.nii.gz"
OBJECT = f".git/annex/objects/0V/MM/{KEY}/{KEY}"
IMAGE = "sub-01/anat/sub-01_T1w.nii.gz"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data/sub-01/anat").mkdir(parents=True)
    (tmp_path / "data/.git/annex/objects").mkdir(parents=True)
    return tmp_path / "data"


def reason(root: Path) -> str | None:
    return why_unreadable(root / IMAGE, root)


def link(root: Path, target: str | Path) -> None:
    (root / IMAGE).symlink_to(target)


def test_existing_image_is_readable(root):
    (root / IMAGE).write_bytes(b"\x1f\x8b\x08 some image")
    assert reason(root) is None


def test_a_link_to_a_fetched_object_is_readable(root):
    (root / OBJECT).parent.mkdir(parents=True)
    (root / OBJECT).write_bytes(b"\x1f\x8b\x08 some image")
    link(root, f"../../{OBJECT}")
    assert reason(root) is None


def test_unfetched_link_message_names_the_datalad_command(root):
    link(root, f"../../{OBJECT}")
    assert reason(root) == f"not fetched: run `datalad get {IMAGE}` in the data set."


def test_unfetched_link_without_a_git_folder_also_mentions_mounting(root):
    link(root, f"../../{OBJECT}")
    for folder in (".git/annex/objects", ".git/annex", ".git"):
        (root / folder).rmdir()
    assert f"datalad get {IMAGE}" in reason(root)
    assert ".git/annex must be mounted" in reason(root)


@pytest.mark.parametrize("text", [f"../../{OBJECT}", f"/annex/objects/{KEY}\n", f"/annex/objects/{KEY}\n0\n"])
def test_text_file_in_place_of_a_link_counts_as_unfetched(root, text):
    (root / IMAGE).write_text(text)
    assert reason(root) == f"not fetched: run `datalad get {IMAGE}` in the data set."


def test_text_file_whose_object_exists_is_not_reported_as_unfetched(root):
    (root / OBJECT).parent.mkdir(parents=True)
    (root / OBJECT).write_bytes(b"\x1f\x8b\x08 some image")
    (root / IMAGE).write_text(f"../../{OBJECT}")
    assert "in place of a link" in reason(root)
    assert "datalad get" not in reason(root)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("as_text", [True, False])
def test_unmounted_external_annex_is_distinguished_from_an_unfetched_object(root, tmp_path, absolute, as_text):
    target = tmp_path / "super" / OBJECT if absolute else Path(f"../../../super/{OBJECT}")
    if as_text:
        (root / IMAGE).write_text(str(target))
    else:
        link(root, target)
    assert reason(root) == (
        f"its annex at {tmp_path / 'super/.git/annex'} is not mounted here: mount (bind) it too, at the same path."
    )
    (tmp_path / "super/.git/annex/objects").mkdir(parents=True)
    assert reason(root).startswith("not fetched: run `datalad get")


def test_git_link_of_a_subdataset_is_followed_to_the_superdataset(root, tmp_path):
    for folder in (".git/annex/objects", ".git/annex", ".git"):
        (root / folder).rmdir()
    (root / ".git").symlink_to("../super/.git/modules/data")
    link(root, f"../../{OBJECT}")
    assert f"its annex at {tmp_path / 'super/.git/modules/data/annex'} is not mounted" in reason(root)


def test_symlink_to_the_root_is_not_treated_as_external(root, tmp_path):
    link(root, f"../../{OBJECT}")
    (tmp_path / "alias").symlink_to(root)
    assert reason(tmp_path / "alias") == f"not fetched: run `datalad get {IMAGE}` in the data set."
    assert f"datalad get {IMAGE}" in why_unreadable(root / IMAGE, tmp_path / "alias")


def test_broken_link_message_names_the_target(root):
    link(root, "/elsewhere/scan.nii.gz")
    assert "broken link to /elsewhere/scan.nii.gz" in reason(root)


def test_a_link_to_itself_is_a_broken_link(root):
    link(root, Path(IMAGE).name)
    assert "broken link" in reason(root)


def test_missing_empty_and_directory_are_reported(root):
    assert reason(root).startswith(f"missing: {IMAGE}")
    (root / IMAGE).touch()
    assert reason(root).startswith(f"empty: {IMAGE}")
    (root / IMAGE).unlink()
    (root / IMAGE).mkdir()
    assert "Is a directory" in reason(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_missing_permission_is_reported(root):
    (root / IMAGE).write_bytes(b"\x1f\x8b\x08 some image")
    (root / IMAGE).chmod(0)
    assert "no permission" in reason(root)


@pytest.mark.parametrize("name", ["ds000030-not-fetched", "ds002748-not-fetched"])
def test_every_image_of_real_unfetched_datasets_is_reported_as_unfetched(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"the shared data set {name} is not here")
    dataset = open_dataset(SHARED / name)
    result = [scan for person in dataset.participants for scan in anatomical_scans(dataset, person)]
    assert len(result) > 60
    for scan in result:
        assert f"datalad get {scan.path.relative_to(dataset.root)}" in why_unreadable(scan.path, dataset.root)


def test_every_image_of_a_real_fetched_data_set_is_readable():
    if not (SHARED / "ds002748").is_dir():
        pytest.skip("the shared data set ds002748 is not here")
    dataset = open_dataset(SHARED / "ds002748")
    result = [scan for person in dataset.participants for scan in anatomical_scans(dataset, person)]
    assert len(result) == 16
    assert all(why_unreadable(scan.path, dataset.root) is None for scan in result)
