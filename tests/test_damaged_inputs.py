"""Kinds of damage that were once internal errors: each is one message that names the file."""

import hashlib
import json
import logging
import tomllib

import nibabel as nib
import numpy as np
import pytest
import tomli_w
from fuzz_inputs import GROUP, SPACE, write_study
from safetensors.numpy import load_file, save_file

from bids_app.bids import outputs
from bids_app.bids.json_files import read_object
from bids_app.dataset import arrays
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, MissingInputError
from bids_app.planning import network_templates
from bids_app.planning.reference_map import read_reference
from bids_app.preprocess.timing import read_timing
from bids_app.results.participants import participant_rows
from bids_app.run import main
from bids_app.training import fold, models
from bids_app.training.model_metadata import METADATA_FILE, WEIGHTS_FILE

GM = f"space-{SPACE}_res-4_label-GM_desc-modulated_probseg"


@pytest.fixture
def small(tmp_path, invented_gm):
    return write_study(tmp_path, invented_gm)


@pytest.fixture
def refusal(small, capsys):
    """A function that runs the group level; returns the exit code and the one message."""

    def run() -> tuple[int, str]:
        code = main([str(small.bids), str(small.out), *GROUP])
        message = capsys.readouterr().err
        assert message.count("pellucid:") == 1
        assert "Traceback" not in message
        return code, message

    return run


def test_map_that_is_no_image_is_named(small, refusal):
    (small.out / "sub-01" / "anat" / f"sub-01_{GM}.nii.gz").write_bytes(b"a\tb\n")
    code, message = refusal()
    assert code == 65
    assert f"sub-01_{GM}.nii.gz cannot be read as an image" in message


@pytest.mark.parametrize("person", ["sub-01", "sub-05"])
def test_map_that_is_a_broken_link_is_named(small, refusal, person):
    file = small.out / person / "anat" / f"{person}_{GM}.nii.gz"
    file.unlink()
    file.symlink_to("nowhere")
    code, message = refusal()
    assert code == 66
    assert f"{file.name} is a broken link to nowhere" in message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("MapParameters", [1], "MapParameters is not a table"),
        ("TotalIntracranialVolume", [1500], "TotalIntracranialVolume is not a number"),
        ("Scanner", "Prisma", "Scanner is not a table"),
        ("RawScan", {}, "RawScan is not a text"),
    ],
)
def test_sidecar_of_a_map_with_a_field_of_another_type_is_named(small, refusal, field, value, message):
    file = small.out / "sub-03" / "anat" / f"sub-03_{GM}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    code, told = refusal()
    assert code == 65
    assert f"{file.name} is not as Pellucid wrote it: {message}. Run the participant level again" in told


def test_damaged_file_of_quality_measures_is_logged_and_left_out_of_the_table_of_participants(small, caplog):
    for person, text in (("01", '{"gm_ml": [3]}'), ("02", '{"gm_ml": 600.0, "source": "pellucid"}'), ("03", '{"gm')):
        (small.out / f"sub-{person}.html").write_text("a page")
        file = small.out / outputs.log_file(person, None, "qc")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    with caplog.at_level(logging.WARNING):
        rows = {row["participant_id"]: row for row in participant_rows(small.out)}
    assert rows["02"]["gm_ml"] == 600.0
    assert not [row for row in (rows["01"], rows["03"]) if "gm_ml" in row]
    assert caplog.text.count("process the participant again") == 2


def test_map_that_was_removed_or_cannot_be_decoded_is_named_when_it_is_read(tmp_path):
    grid, file = Grid(np.ones((3, 3, 3), bool), np.eye(4)), tmp_path / "sub-01_map.nii.gz"
    with pytest.raises(MissingInputError, match=r"sub-01_map\.nii\.gz cannot be read"):
        arrays.stack_images([file], grid, tmp_path)
    image = nib.Nifti1Image(np.ones((3, 3, 3), np.float32), np.eye(4))
    image.header.set_sform(np.eye(4), 1)
    content = bytearray(image.to_bytes())
    content[70:72] = b"\x01\x00"  # voxels of one bit
    (tmp_path / "sub-01_map.nii").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"sub-01_map\.nii cannot be read.*run the participant level again"):
        arrays.stack_images([tmp_path / "sub-01_map.nii"], grid, tmp_path)


def test_header_with_a_code_that_is_no_unit_of_time_has_no_unit(small, caplog):
    file = small.bids / "sub-02" / "func" / "sub-02_task-rest_bold.nii"
    content = bytearray(file.read_bytes())
    content[123] = 0x07 | 0x38  # xyzt_units: there is no such unit of length or of time
    file.write_bytes(bytes(content))
    assert read_timing(file, {"RepetitionTime": 3.0}).tr == 3.0
    assert "the header states 2 without a unit of time" in caplog.text
    with pytest.raises(DataError, match="without a unit of time"):
        read_timing(file, {})


def test_too_few_volumes_for_slice_timing_name_the_run(tmp_path):
    image = nib.Nifti1Image(np.ones((4, 4, 3, 2), np.int16), np.diag([3, 3, 3, 1]))
    image.header.set_zooms((3, 3, 3, 2))
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "sub-01_task-rest_bold.nii.gz")
    with pytest.raises(DataError, match=r"the sidecar of sub-01_task-rest_bold.*SliceTiming cannot be used with 2 vol"):
        read_timing(tmp_path / "sub-01_task-rest_bold.nii.gz", {"RepetitionTime": 2.0, "SliceTiming": [0, 0.5, 1]})


def test_json_with_a_whole_number_of_hundreds_of_digits_is_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"RepetitionTime": 1' + "0" * 400 + "}")
    with pytest.raises(DataError, match=r"x\.json cannot be read: it contains a number of 401 digits"):
        read_object(tmp_path / "x.json")


def test_network_without_a_letter_is_refused_with_the_option(small):
    (small.files / "networks.tsv").write_text("name\nDMN\n\U0001f9e0\nVIS\n")
    with pytest.raises(DataError, match=r"--network-templates networks\.nii\.gz: .*no letter"):
        network_templates.read_labels(small.files / "networks.nii.gz", "networks")


def test_networks_that_end_early_are_refused(small):
    file = small.files / "networks.nii.gz"
    file.write_bytes(file.read_bytes()[:-2000])
    mask = nib.load(small.files / "sub-01_mask.nii.gz")
    with pytest.raises(DataError, match=r"networks\.nii\.gz cannot be read completely"):
        network_templates.resample_networks(file, mask, np.asarray(mask.dataobj) > 0)


def test_reference_map_with_a_fourth_axis_of_one_volume_is_one_volume(tmp_path):
    values = np.array([np.nan, np.inf, -np.inf, 2.0], np.float32).reshape(4, 1, 1, 1)
    nib.Nifti1Image(values, np.diag([3, 3, 3, 1])).to_filename(tmp_path / "map.nii.gz")
    read, _ = read_reference(tmp_path / "map.nii.gz")
    assert read.ravel().tolist() == [0, 0, 0, 2]
    assert read.ndim == 3


@pytest.fixture
def model(study, tmp_path):
    """The folder of a trained model."""
    common, splits, _ = study()
    given = common | {"cell": "svm/gm", "classifier": "svm", "split": splits[0]}
    fold.train_fold(**given, folder=tmp_path / "fold")
    return tmp_path / "fold" / "model"


def weigh(folder, change):
    """Change the arrays of a model, and state the new digest."""
    stored = load_file(folder / WEIGHTS_FILE)
    change(stored)
    save_file(stored, folder / WEIGHTS_FILE)
    renew(folder)


def renew(folder, **fields):
    card = tomllib.loads((folder / METADATA_FILE).read_text())
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    (folder / METADATA_FILE).write_text(tomli_w.dumps({**card, "weights_sha256": digest, **fields}))


def spoil(stored):
    name = next(name for name in stored if name.startswith("classifier."))
    stored[name] = np.full_like(stored[name], np.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stored: stored.pop("grid.mask"), "has no mask of the shape"),
        (lambda stored: stored.update({"grid.mask": np.ones((2, 2, 2), bool)}), "has no mask of the shape"),
        (spoil, "numbers that are not finite"),
        (lambda stored: stored.update({"classifier.other": np.ones(3)}), "do not make a svm"),
    ],
)
def test_weights_that_are_not_those_of_the_model_are_refused(model, change, message):
    weigh(model, change)
    with pytest.raises(DataError, match=message):
        models.load(model)


@pytest.mark.parametrize("content", [b"", b"null", bytes(400)])
def test_weights_that_safetensors_did_not_write_are_refused(model, content):
    (model / WEIGHTS_FILE).write_bytes(content)
    renew(model)
    with pytest.raises(DataError, match=r"weights\.safetensors cannot be read .*copy the model again"):
        models.load(model)


@pytest.mark.parametrize("grid", [{"affine": [[1.0]]}, {"shape": [2, 2]}, {"affine": [[0.0] * 4] * 4}])
def test_grid_that_no_image_has_is_refused(model, grid):
    card = tomllib.loads((model / METADATA_FILE).read_text())
    renew(model, grid={**card["grid"], **grid})
    with pytest.raises(DataError, match=r"model\.toml has"):
        models.load(model)


def test_options_that_the_classifier_does_not_have_are_refused(model):
    renew(model, options={"width": "wide"})
    with pytest.raises(DataError, match="do not make a svm"):
        models.load(model)
