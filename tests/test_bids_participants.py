"""participants.tsv: what is read, what is refused and how classes are assigned."""

from pathlib import Path

import pandas as pd
import pytest

from bids_app.bids.participants import classes, read, standard_name, with_synonyms
from bids_app.errors import DataError, MissingInputError, UsageError

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def table(tmp_path):
    def write(text: str, encoding="utf-8"):
        (tmp_path / "participants.tsv").write_text(text, encoding=encoding)
        return read(tmp_path / "participants.tsv")

    return write


def plain(series):
    return [None if pd.isna(value) else value for value in series]


def test_values_are_strings_or_na_and_the_index_has_no_sub_prefix(table):
    frame = table("participant_id\tgroup\tscore\nsub-01\tHC \t01\n02\tn/a\t\nsub-NA\tNA\t1.50\n")
    assert list(frame.index) == ["01", "02", "NA"]
    assert frame.index.name == "participant_id"
    assert plain(frame["group"]) == ["HC", None, None]
    assert plain(frame["score"]) == ["01", None, "1.50"]


def test_standard_columns_are_added_beside_the_original_ones(table):
    rows = "1\tfemale\t89+\t35\n2\tm\tn/a\t36\n3\t1\t7.5\t35\n"
    frame = table("participant_id\tGender\tAge_at_Scan\tScannerSerialNumber\n" + rows)
    assert plain(frame["sex"]) == ["F", "M", "1"]  # a number is not guessed at
    assert plain(frame["age"]) == [89.0, None, 7.5]
    assert plain(frame["site"]) == ["35", "36", "35"]
    assert plain(frame["Gender"]) == ["female", "m", "1"]
    assert plain(frame["Age_at_Scan"]) == ["89+", None, "7.5"]


def test_original_values_are_kept_where_standard_columns_change(table):
    frame = table("participant_id\tage\tsex\tsite\n1\t89+\tf\tA\n2\t40\tm\tB\n")
    assert plain(frame["age"]) == [89, 40]
    assert plain(frame["age_as_written"]) == ["89+", "40"]
    assert plain(frame["sex_as_written"]) == ["f", "m"]
    assert "site_as_written" not in frame
    assert plain(classes(frame, column="sex", mapping={"women": ("f",), "men": ("m",)})) == ["women", "men"]
    assert "age_as_written" not in table("participant_id\tage\n1\t40\n2\tn/a\n")


def test_ages_that_are_not_numbers_are_logged_and_set_to_missing(table, caplog):
    frame = table("participant_id\tage\n1\t20-25\n2\t034Y\n3\t> 89\n4\t21,5\n")
    assert plain(frame["age"]) == [None, 34, 89, 21.5]
    assert "20-25" in caplog.text


def test_standard_column_name_wins_over_a_synonym(table):
    assert plain(table("participant_id\tGender\tsex\n1\tM\tF\n")["sex"]) == ["F"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject\tgroup\n01\ta\n", "no participant_id column; it has: subject, group"),
        ("participant_id,group\n01,a\n", "tab-separated"),
        ("participant_id\tgroup\nsub-01\ta\n01\tb\n02\ta\n", "more than once: 01"),
        ("participant_id\tgroup\nsub-01\ta\nn/a\tb\n", "no participant_id in line 3"),
        ("participant_id\tgroup\tgroup \n01\ta\tb\n", "columns with the same name: group"),
        ("participant_id\tgroup\n01\ta\tb\tc\n02\ta\n03\ta\tb\tc\td\te\n", "line 2, has 4 values"),
        ("", "participants.tsv is empty"),
    ],
)
def test_unusable_tables_are_refused(table, text, message):
    with pytest.raises(DataError, match=message):
        table(text)


def test_non_utf8_table_is_refused_and_byte_order_mark_accepted(table):
    with pytest.raises(DataError, match="UTF-8"):
        table("participant_id\tgroup\n01\tgesünd\n", encoding="latin-1")
    assert list(table("participant_id\tgroup\n01\ta\n", encoding="utf-8-sig").index) == ["01"]


def test_missing_table_raises_missing_input_error(tmp_path):
    with pytest.raises(MissingInputError, match=r"participants\.tsv is not in"):
        read(tmp_path / "participants.tsv")


@pytest.fixture
def frame(table):
    rows = "".join(f"{i}\t{v}\n" for i, v in enumerate(["HC", "MA", "MO", "n/a", "HC", "other"]))
    return table("participant_id\tgroup\n" + rows)


def test_classes_merge_values_and_omit_unlisted_ones(frame):
    result = classes(frame, column="group", mapping={"control": ("HC",), "patient": ("MA", "MO")})
    assert plain(result) == ["control", "patient", "patient", None, "control", None]
    assert list(result.index) == list(frame.index)


def test_without_a_mapping_each_value_is_a_class(frame):
    assert plain(classes(frame, column="group", mapping={})) == ["HC", "MA", "MO", None, "HC", "other"]


def test_missing_columns_and_values_are_named_with_available_ones(frame):
    with pytest.raises(DataError, match="no column diagnosis; it has: group"):
        classes(frame, column="diagnosis", mapping={})
    with pytest.raises(DataError, match=r"no value SZ; it has: HC \(2\), MA \(1\), MO \(1\), other \(1\)"):
        classes(frame, column="group", mapping={"control": ("HC",), "patient": ("SZ",)})


def test_values_that_differ_in_spelling_only_are_no_separate_classes(table):
    rows = enumerate(["HC", "hc", "at risk", "at_risk", "amyloid+", "amyloid-"])
    frame = table("participant_id\tgroup\n" + "".join(f"{i}\t{value}\n" for i, value in rows))
    for mapping in ({}, {"HC": ("HC",), "amyloid": ("amyloid+", "amyloid-")}):
        with pytest.raises(DataError, match=r"HC and hc, which would be .* --classes HC=HC,hc"):
            classes(frame, column="group", mapping=mapping)
    joined = {"control": ("HC", "hc"), "patient": ("amyloid+",)}
    assert plain(classes(frame, column="group", mapping=joined)) == ["control", "control", None, None, "patient", None]


def test_a_value_in_two_classes_and_too_many_values_are_refused(frame, table):
    with pytest.raises(UsageError, match="HC to two classes, a and b"):
        classes(frame, column="group", mapping={"a": ("HC",), "b": ("MA", "HC")})
    many = table("participant_id\tscore\n" + "".join(f"{i}\t{i}\n" for i in range(11)))
    with pytest.raises(UsageError, match="11 values: define the classes with --classes"):
        classes(many, column="score", mapping={})


def test_participants_table_of_ds002748_is_read():
    if not (SHARED / "ds002748-not-fetched").is_dir():
        pytest.skip("the shared data set ds002748-not-fetched is not here")
    frame = read(SHARED / "ds002748-not-fetched" / "participants.tsv")
    result = classes(frame, column="group", mapping={"control": ("control",), "depr": ("depr",)})
    assert result.value_counts().to_dict() == {"depr": 51, "control": 21}
    assert set(frame["sex"]) == {"F", "M"}
    assert frame["age"].between(18, 60).all()


@pytest.mark.parametrize(
    ("column", "standard"),
    [
        ("sex", "sex"), ("Gender", "sex"), ("biological_sex", None), ("group", None), ("age", "age"),
        ("age_at_scan", "age"), ("scanner", "site"), ("no_such", None),
    ],
)  # fmt: skip
def test_age_sex_and_site_columns_are_recognised_by_name_and_values(column, standard):
    """`group` has the values of sex but not the name; `biological_sex` has the name but other values."""
    written = pd.DataFrame({
        "Gender": ["female", "male", "f"], "sex": ["F", "M", "F"], "biological_sex": ["F", "F", "M"],
        "group": ["F", "M", "F"], "age_at_scan": ["30", "41", pd.NA], "scanner": ["A", "B", "B"],
    }, dtype="string")  # fmt: skip
    frame = with_synonyms(written)
    assert standard_name(frame, column) == standard
