"""Which image is used, in one order; contrast agents are never mixed, and an anatomy of several sessions is one map."""

import json
import logging
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_app.bids.choice import choose_image, choose_runs, has_contrast_agent, preference
from bids_app.bids.derivatives import find_fmriprep_anatomy
from bids_app.bids.functional import bold_scans
from bids_app.bids.inputs import anatomical_scans, open_dataset
from bids_app.bids.names import BidsFile
from bids_app.dataset import samples, scans
from bids_app.errors import DataError

LABELS = {
    "acq": st.sampled_from(["mprage", "2", "10"]),
    "ce": st.sampled_from(["none", "Gd", "gad", "pre"]),
    "rec": st.sampled_from(["norm", "nd"]),
    "run": st.sampled_from(["1", "02", "10"]),
}


def files(suffix, **fixed):
    """Strategy: images of one participant with any of the entities."""
    entities = st.fixed_dictionaries({name: st.just(label) for name, label in fixed.items()}, optional=LABELS)
    image = entities.map(lambda labels: BidsFile.build("01", None, suffix, ".nii.gz", **labels))
    return st.lists(image, min_size=1, max_size=6, unique_by=lambda file: file.name)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "Trial", "BIDSVersion": "1.10.0"}')
    (tmp_path / "sub-01").mkdir()
    return tmp_path


@given(images=files("T1w"))
def test_choice_does_not_depend_on_the_order_and_takes_a_contrast_agent_only_if_all_have_one(images):
    chosen = choose_image(images, "01")
    assert chosen == choose_image(images[::-1], "01")
    assert has_contrast_agent(chosen) == all(map(has_contrast_agent, images))


@given(images=files("bold", task="rest"))
def test_runs_that_are_used_together_have_one_agent_or_none_and_one_reconstruction_each(images):
    chosen = choose_runs(images, "01")
    assert {has_contrast_agent(file) for file in chosen} == {all(map(has_contrast_agent, images))}
    if has_contrast_agent(chosen[0]):
        assert len({file.entities["ce"] for file in chosen}) == 1
    runs = [tuple(pair for pair in file.entities.items() if pair[0] not in ("ce", "rec")) for file in chosen]
    assert len(set(runs)) == len(runs)
    assert chosen == [file for file in images if file in chosen]


def test_documented_order_of_images():
    ordered = [
        "T1w", "run-1_T1w", "run-2_T1w", "run-10_T1w", "acq-2_T1w", "acq-10_T1w", "acq-10_run-1_T1w", "rec-norm_T1w",
        "ce-Gd_T1w", "ce-Gd_run-1_T1w", "acq-2_ce-Gd_T1w",
    ]  # fmt: skip
    parsed = [BidsFile.parse(f"sub-01_{name}.nii.gz") for name in ordered]
    assert sorted(parsed, key=lambda file: file.name) != parsed
    assert sorted(parsed, key=preference) == parsed


def test_t1w_without_contrast_agent_is_used_unless_there_is_none_or_a_filter_asks(root, caplog):
    names = ["sub-01_acq-x_run-10_T1w.nii.gz", "sub-01_acq-x_run-2_T1w.nii.gz", "sub-01_ce-Gd_T1w.nii.gz"]
    touch(root / "sub-01/anat", *names)
    dataset = open_dataset(root)
    with caplog.at_level(logging.WARNING, "pellucid"):
        (scan,) = anatomical_scans(dataset, "01")
    assert scan.path.name == names[1]
    assert f"using {names[1]}; not using {names[0]}, {names[2]}" in caplog.text
    (scan,) = anatomical_scans(dataset, "01", filters={"ceagent": "Gd"})
    assert scan.path.name == names[2]
    for name in names[:2]:
        (root / "sub-01/anat" / name).unlink()
    with caplog.at_level(logging.WARNING, "pellucid"):
        (scan,) = anatomical_scans(dataset, "01")
    assert f"{scan.path.name} was acquired with a contrast agent; there is no other" in caplog.text


def test_bold_runs_with_and_without_contrast_agent_are_not_averaged(root, caplog):
    stem = "sub-01_task-rest"
    touch(root / "sub-01/func", f"{stem}_ce-Gd_run-1_bold.nii.gz", *(f"{stem}_run-{run}_bold.nii.gz" for run in "12"))
    with caplog.at_level(logging.WARNING, "pellucid"):
        assert [scan.run for scan in bold_scans(open_dataset(root), "01")] == ["1", "2"]
    assert f"not using {stem}_ce-Gd_run-1_bold.nii.gz" in caplog.text
    (scan,) = bold_scans(open_dataset(root), "01", filters={"ceagent": "Gd"})
    assert scan.label == "task-rest_ce-Gd_run-1"


def test_images_of_fmriprep_follow_the_same_order(tmp_path):
    parts = [
        "desc-preproc_T1w.nii.gz", "desc-brain_mask.nii.gz", "label-GM_probseg.nii.gz", "label-WM_probseg.nii.gz",
        "label-CSF_probseg.nii.gz", "from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5",
    ]  # fmt: skip
    touch(tmp_path / "sub-01/anat", *(f"sub-01_{one}_{part}" for part in parts for one in ("ce-Gd", "run-10", "run-2")))
    anatomy = find_fmriprep_anatomy(tmp_path, "01", None)
    assert {"_run-2_" in path.name for path in vars(anatomy).values()} == {True}


@pytest.fixture
def make_maps(tmp_path):
    """A function that writes maps of sessions, each with the fields of its sidecar, and returns them by session."""

    def make(
        sidecars: dict[tuple[str, str], dict[str, str]], name: str = "gm"
    ) -> dict[tuple[str, str], dict[str, tuple[Path]]]:
        images = {}
        for (person, session), fields in sidecars.items():
            path = tmp_path / f"sub-{person}_ses-{session}_{name}.nii.gz"
            path.touch()
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(fields))
            images[person, session] = {name: (path,)}
        return images

    return make


def collect(images, classes, **options):
    classes = {(person, samples.PERSON): pd.NA for person, _ in classes} | classes
    index = pd.MultiIndex.from_tuples(classes, names=["participant_id", "session_id"])
    labelled = pd.Series([*classes.values()], index)
    table = samples.collect_samples(
        labelled.to_frame("group"), labelled, images, maps=("gm",), label="group", **options
    )
    return table[table["used"]]


def merged(person, sessions="12"):
    scan = {"PreprocessedScan": f"sub-{person}/anat/sub-{person}_desc-preproc_T1w.nii.gz"}
    return {
        (person, s): scan | {"RawScan": f"sub-{person}/ses-{s}/anat/sub-{person}_ses-{s}_T1w.nii.gz"} for s in sessions
    }


@pytest.mark.parametrize("sessions", ["first", "all", "mean"])
def test_one_anatomy_for_sessions_of_different_classes_is_refused(make_maps, sessions):
    classes = {("a", "1"): "MCI", ("a", "2"): "AD", ("b", "1"): "MCI", ("b", "2"): "MCI"}
    images = make_maps(merged("a") | merged("b"))
    with pytest.raises(DataError, match=r"different classes: a \(ses-1 MCI, ses-2 AD\)\. .* fMRIPrep for each session"):
        collect(images, classes, sessions=sessions)
    excluded = {("a", None): "one anatomy"}
    assert set(collect(images, classes, sessions=sessions, excluded=excluded)["participant_id"]) == {"b"}


def test_one_anatomy_for_several_sessions_counts_once_in_their_mean(make_maps):
    own = {("b", s): {"PreprocessedScan": f"sub-b/ses-{s}/anat/sub-b_ses-{s}_desc-preproc_T1w.nii.gz"} for s in "12"}
    images = make_maps(merged("a", "123") | own)
    classes = dict.fromkeys(images, "MCI")
    used = collect(images, classes, sessions="mean").set_index("participant_id")
    assert {person: len(paths) for person, paths in used["gm"].items()} == {"a": 1, "b": 2}


@pytest.mark.parametrize("sessions", ["all", None])
def test_one_anatomy_for_several_sessions_is_one_sample(make_maps, sessions):
    own = {("b", s): {"PreprocessedScan": f"sub-b/ses-{s}/anat/sub-b_ses-{s}_desc-preproc_T1w.nii.gz"} for s in "12"}
    images = make_maps(merged("a", "123") | (own if sessions else {}))
    used = collect(images, dict.fromkeys(images, "MCI"), sessions=sessions)
    assert list(zip(used["participant_id"], used["session_id"], strict=True)) == [
        ("a", "1"),
        *([("b", "1"), ("b", "2")] if sessions else []),
    ]


def test_samples_name_the_scans_of_their_maps(make_maps):
    images = make_maps(merged("a", "1") | {("b", "1"): {}})
    used = collect(images, dict.fromkeys(images, "MCI")).set_index("participant_id")
    assert used.loc["a", "scan"] == "sub-a_ses-1_T1w.nii.gz"
    assert pd.isna(used.loc["b", "scan"])


def test_scans_with_and_without_contrast_agent_are_not_averaged_over_sessions_and_named_over_samples(make_maps, caplog):
    images = make_maps(
        {
            ("a", "1"): {"RawScan": "sub-a/ses-1/anat/sub-a_ses-1_T1w.nii.gz"},
            ("a", "2"): {"RawScan": "sub-a/ses-2/anat/sub-a_ses-2_ce-Gd_T1w.nii.gz"},
        }
    )
    classes = dict.fromkeys(images, "MCI")
    with pytest.raises(
        DataError, match=r"a: scans with and without contrast agent would be averaged \(sub-a_ses-1_T1w"
    ):
        collect(images, classes, sessions="mean")
    with caplog.at_level(logging.WARNING, "pellucid"):
        assert len(collect(images, classes, sessions="all")) == 2
    assert "1 of 2 samples are of scans with a contrast agent" in caplog.text


def test_a_field_strength_written_as_3_or_as_3_0_is_one_scanner(make_maps):
    images = make_maps(
        {(person, "1"): {"Scanner": {"MagneticFieldStrength": tesla}} for person, tesla in (("a", 3), ("b", 3.0))}
    )
    used = collect(images, dict.fromkeys(images, "MCI"))
    assert used["scanner_of_sidecar"].tolist() == ["3", "3"]


def test_nothing_is_said_of_contrast_where_no_sample_is_left(caplog):
    scans.warn_of_contrast(pd.DataFrame({"scan": pd.Series([], dtype="string")}))
    assert not caplog.text
