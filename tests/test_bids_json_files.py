"""JSON files of users: whatever encoding one has, each field keeps its value; what is ambiguous is refused by name."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_app.bids.functional import bold_scans, read_scanner
from bids_app.bids.inputs import anatomical_scans, open_dataset
from bids_app.bids.json_files import read_object
from bids_app.bids.metadata import BOLD_FIELDS, read_metadata
from bids_app.errors import DataError, MissingInputError, NotBidsError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)
FIELDS = {"MagneticFieldStrength": 3, "InstitutionName": "Universität", "RepetitionTime": 2.0}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "sub-01_task-rest_bold.json"


@given(
    content=st.dictionaries(st.text(), VALUES, max_size=4),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    ascii_only=st.booleans(),
)
def test_every_object_in_a_unicode_encoding_is_read_as_written(file, content, encoding, ascii_only):
    text = json.dumps(content, ensure_ascii=ascii_only)
    file.write_bytes(text.encode(encoding, errors="surrogatepass"))
    assert read_object(file) == content


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_content_is_an_object_or_refused_with_the_name_of_the_file(file, content):
    file.write_bytes(content)
    try:
        message = ""
        assert isinstance(read_object(file), dict)
    except DataError as error:
        message = str(error)
    assert message == "" or message.startswith("sub-01_task-rest_bold.json cannot be read")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_latin_1_letters_are_read_and_logged_once(tmp_path, caplog, mark):
    path = tmp_path / "task-rest_bold.json"
    path.write_bytes(mark + json.dumps(FIELDS, ensure_ascii=False).encode("latin-1"))
    with caplog.at_level(logging.WARNING, "pellucid"):
        assert read_object(path) == read_object(path) == FIELDS
    (record,) = caplog.records
    assert record.getMessage() == (
        "task-rest_bold.json is not UTF-8 text, and was read as Latin-1: save task-rest_bold.json as UTF-8"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON (it is empty): correct it"),
        (b'{"RepetitionTime": 2,\n}', "not JSON (line 2, column 1"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"RepetitionTime": 2, "RepetitionTime": 3}', "it states RepetitionTime more than once"),
        (b'{"a": {"b": 1, "b": 1}}', "it states b more than once"),
        (b'{"RepetitionTime": NaN}', "it contains NaN, which is not JSON; write null, or leave the field out"),
        (b'{"EchoTime": -Infinity}', "it contains -Infinity"),
        (b'{"EchoTime": 1e999}', "the number 1e999, which is too large"),
        (b"[" * 100_000, "nested too deeply"),
        ('{"Name": "\u00e4"}'.encode("utf-16")[:-1], "not UTF-8 text: save it as UTF-8"),
    ],
)
def test_content_with_no_single_meaning_is_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "sub-01_T1w.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_object(path, "the sidecar sub-01_T1w.json")
    assert str(caught.value).startswith("the sidecar sub-01_T1w.json cannot be read")
    assert reason in str(caught.value)


def test_files_that_are_not_there_are_missing_inputs(tmp_path):
    with pytest.raises(MissingInputError, match=r"T1w\.json: there is no file"):
        read_object(tmp_path / "T1w.json")
    (tmp_path / "T1w.json").symlink_to(".git/annex/objects/x")
    with pytest.raises(MissingInputError, match=r"its content is not here: fetch it \(datalad get\)"):
        read_object(tmp_path / "T1w.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_object(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_sidecars_and_description_in_other_encodings_fail_nobody(tmp_path, encoding):
    description = {"Name": "Universität", "BIDSVersion": "1.8.0"}
    texts = {
        "dataset_description.json": description,
        "sub-01/anat/sub-01_T1w.json": FIELDS,
        "sub-01/func/sub-01_task-rest_bold.json": FIELDS,
    }
    for name, content in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
        if name.startswith("sub"):
            path.with_suffix(".nii.gz").touch()
    dataset = open_dataset(tmp_path)
    assert dataset.name == "Universität"
    (anatomy,), (bold,) = anatomical_scans(dataset, "01"), bold_scans(dataset, "01")
    expected = {"MagneticFieldStrength": 3, "RepetitionTime": 2.0}
    assert read_metadata(tmp_path, anatomy.path) == expected
    assert read_metadata(tmp_path, bold.path, BOLD_FIELDS) == expected
    assert read_scanner(tmp_path, "01", None, "task-rest") == expected


def test_ambiguous_description_is_refused_unless_validation_is_skipped(tmp_path):
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "dataset_description.json").write_text('{"Name": "a", "Name": "b"}')
    with pytest.raises(NotBidsError, match=r"states Name more than once.*correct it, or add --skip-bids-validation"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, validate=False).name == tmp_path.name
