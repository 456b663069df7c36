"""Tables of users: whatever program wrote one, each row keeps its values; what cannot be read is named by its line."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_app.bids import exclusions, labels, participants, tables
from bids_app.bids.matching import describe_unmatched, near_misses
from bids_app.dataset import foci, folds_file
from bids_app.errors import DataError, MissingInputError

CELL = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=6).filter(lambda text: text.strip() == text)
NAMES = st.lists(CELL.filter(bool), min_size=2, max_size=4, unique=True)


@st.composite
def written_tables(draw):
    """Names, rows, and the bytes of the same table in one of the dialects that programs write."""
    names = draw(NAMES)
    rows = draw(st.lists(st.tuples(*[CELL.filter(bool)] * len(names)).map(list), max_size=5))
    space = draw(st.sampled_from(["", " ", "\u00a0"]))
    quotes = '"' in "".join(map("".join, [names, *rows])) or draw(st.booleans())
    lines = []
    for row in [names, *rows]:
        doubled = [cell.replace('"', '""') for cell in row]
        written = [f'"{cell}"' for cell in doubled] if quotes else [f"{space}{cell}{space}" for cell in row]
        empty_cells, empty_lines = draw(st.integers(0, 2)), draw(st.integers(0, 1))
        lines += ["\t".join([*written, *[""] * empty_cells]), *[""] * empty_lines]
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return names, rows, text.encode(encoding)


@given(written_tables())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_has_the_same_cells_in_every_dialect(tmp_path, written):
    names, rows, content = written
    file = tmp_path / "table.tsv"
    file.write_bytes(content)
    table = tables.read_cells(file)
    assert list(table.columns) == names
    assert table.to_numpy(object).tolist() == rows


def read(tmp_path, text, reader=tables.read_cells):
    file = tmp_path / "table.tsv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return reader(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n1\t2\t3\n", "line 2, has 3 values, but the header has 2: .*row.names = FALSE"),
        ("a\tb\n1\t2\n1\t2\t3\t4\n", "line 3, has 4 values, but the header has 2: quote values that contain tabs"),
        ("a\tb\n\n\n1\n", "line 4, has 1 values, but the header has 2"),
        ("a\tb\ta\n1\t2\t3\n", "several columns with the same name: a"),
        ("a\t\tc\n1\t2\t3\n", "column 2 has values but no name"),
        ("", "is empty"),
        ("\n\t\n", "is empty"),
        (b"a\tb\n1\tx\n2\t\xe4\n", "line 3, is not UTF-8 text"),
        (b"a\tb\n1\t\x00\n", "binary data"),
        ("\t".join(map(str, range(10_001))), "10001 columns"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a\tb\tc\n1\t\t3\n", [["1", "", "3"]]),
        ("a\tb\t\n1\t2\t\n", [["1", "2"]]),
        ("a\t\tb\n1\t\t2\n", [["1", "2"]]),  # a column without name and values
        ('a\tb\n1\t"first scan, redone\n2\tx\n', [["1", '"first scan, redone'], ["2", "x"]]),
        ('a\tb\n1\t"open\n2\tclosed"\n', [["1", '"open'], ["2", 'closed"']]),  # no row is swallowed
        ('a\tb\n1\t"two\nlines"\n2\tx\n', [["1", "two\nlines"], ["2", "x"]]),
        ('a\tb\n1\t"with\ttab"\n', [["1", "with\ttab"]]),
        ('a\tb\n1\t5" wide\n', [["1", '5" wide']]),
    ],
)
def test_gaps_and_quotes_are_read_as_they_stand(tmp_path, text, rows):
    assert read(tmp_path, text).to_numpy(object).tolist() == rows


def test_rows_keep_their_line_numbers(tmp_path):
    assert read(tmp_path, 'a\tb\n\n1\t"x\ny"\n2\tz\n').index.tolist() == [3, 5]


@pytest.mark.parametrize(
    "word", ["", "n/a", "N/A", "NA", "na", "NaN", "nan", "None", "NULL", "null", "#N/A", ".", "-9999", "-999"]
)
def test_a_word_for_missing_is_missing_in_every_column_but_the_labels(tmp_path, word, caplog):
    caplog.set_level(logging.INFO)
    table = read(tmp_path, f"participant_id\tgroup\tage\nNA\t{word}\t{word}\n02\tHC\t30\n", tables.read_values)
    assert table["group"].isna().tolist() == table["age"].isna().tolist() == [True, False]
    assert table["participant_id"].tolist() == ["NA", "02"]
    assert (f"{word} (1 in group), {word} (1 in age)" in caplog.text) == (word not in ("", "n/a"))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (["HC", "MDD", "unknown", "unknown"], "unknown (2)"),
        (["21", "34", "99"], "99 (1)"),
        (["21", "64", "99"], ""),  # somebody may be 99
        (["1.5", "2", "-99"], "-99 (1)"),
        (["1", "-1", "0", "-2"], ""),
        (["0", "3", "999"], "999 (1)"),
        (["HC", "MDD"], ""),
    ],
)
def test_what_looks_like_a_code_for_missing_is_named(values, named, caplog):
    import pandas as pd

    tables.warn_of_codes(pd.Series(values, dtype="string"), "age")
    assert (f"age: {named} may be a code" in caplog.text) if named else not caplog.text


def read_phenotype(path):
    return labels.with_phenotype(labels.people(path.parent / "none", ["01"]), path)


def read_folds(path):
    return folds_file.read_table(path, "--folds-file")


READERS = {
    "participants.tsv": (participants.read, "participant_id\tage\n", "01\t30"),
    "--phenotype": (
        lambda path: labels.with_phenotype(labels.people(path.parent / "none", ["01"]), path),
        "participant_id\tage\n",
        "01\t30",
    ),
    "--exclude": (exclusions.read, "participant_id\tsession_id\n", "01\t1"),
    "--folds-file": (read_folds, "participant_id\trepeat\tfold\trole\n", "01\t1\t1\ttest"),
    "--reference-map": (lambda path: foci.read_foci(path)[0], "x\ty\tz\n", "1\t2\t3"),
}


def plain(result):
    """What a reader returns, comparable."""
    if isinstance(result, list):
        return [
            (study.foci.tolist(), study.participants if hasattr(study, "participants") else None) for study in result
        ]
    return result if isinstance(result, dict) else result.reset_index().astype(str).to_numpy().tolist()


@pytest.mark.parametrize("name", READERS)
def test_every_option_that_takes_a_table_reads_trailing_tabs_and_refuses_longer_rows(tmp_path, name):
    reader, head, row = READERS[name]
    expected = plain(read(tmp_path, f"{head}{row}\n", reader))
    for text in (f"{head}{row}\t\n", f"{head}{row} \t\t\r\n", f"\ufeff{head}{row}\n\n"):
        assert plain(read(tmp_path, text, reader)) == expected
    with pytest.raises(DataError, match="line 2, has"):
        read(tmp_path, f"{head}1\t{row}\n", reader)
    with pytest.raises(DataError, match="line 2, is not UTF-8"):
        read(tmp_path, f"{head}".encode() + b"\xff\n", reader)
    with pytest.raises(MissingInputError):
        reader(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("label", "near"),
    [
        ("3", "03"),
        ("003", "03"),
        ("sub-03", "03"),
        ("SUB-03", "03"),
        (" 03", "03"),
        ('"03"', "03"),
        ("a1", "A01"),
        ("99", ""),
    ],
)
def test_a_label_is_suggested_that_differs_by_spelling_only(label, near):
    assert near_misses([label], ["03", "A01"]) == ({label: near} if near else {})
    assert describe_unmatched([label, "03"], ["03", "A01"]) == (f"{label} ({near}?)" if near else label)


def test_labels_that_are_there_are_never_corrected():
    assert near_misses(["3", "03"], ["3", "03"]) == {}
    assert describe_unmatched(["3", "03"], ["3", "03", "003"]) == ""


def test_an_exclusion_that_names_nobody_stops_the_run():
    sessions = {"03": {"1", "2"}, "04": set()}
    exclusions.check_exclusions({("03", None): "motion", ("03", "2"): "motion"}, sessions)
    with pytest.raises(
        DataError, match=r"--exclude lists 3 \(03\?\), 99, session 01 \(1\?\) of 03, not in this data set"
    ):
        exclusions.check_exclusions({("3", None): "", ("99", None): "", ("03", "01"): "", ("04", None): ""}, sessions)
