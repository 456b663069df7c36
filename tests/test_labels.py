"""Classes and covariates from IDs, phenotype tables and sessions.tsv: merging, precedence and refusals."""

import random
from pathlib import Path

import pandas as pd
import pytest

from bids_app.bids.labels import LABEL, from_ids, people, with_phenotype, with_sessions
from bids_app.bids.participants import classes, read
from bids_app.errors import DataError, MissingInputError, UsageError


@pytest.fixture
def data(tmp_path):
    """A function that writes a data set's text files, by path, and returns its folder."""

    def write(files: dict[str, str], encoding="utf-8") -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path

    return write


@pytest.fixture
def joined(data):
    """A function that joins a phenotype table to participants.tsv (its text, or none)."""

    def join(participants: str | None, phenotype: str, encoding="utf-8") -> pd.DataFrame:
        texts = {"participants.tsv": participants, "phenotype/tool.tsv": phenotype}
        root = data({name: text for name, text in texts.items() if text is not None}, encoding)
        return with_phenotype(people(root, ["01"]), root / "phenotype" / "tool.tsv")

    return join


def of(*ids):
    return pd.DataFrame(index=pd.Index(ids, dtype=object, name="participant_id"))


def plain(series):
    return [None if pd.isna(value) else value for value in series]


# OpenNeuro ds000245 names people CTL01, ODN01, ODP01; ds005713 patients 009, their follow-up 009fu and controls 01
PARKINSON = of("CTL01", "ODN01", "ODP01", "ODP02", "pilot")
NEURALGIA = of("009", "009fu", "154", "01", "55")


@pytest.mark.parametrize(
    ("frame", "pattern", "values"),
    [
        (PARKINSON, "^[A-Z]+", ["CTL", "ODN", "ODP", "ODP", None]),
        (PARKINSON, r"^(CTL|OD)[NP]?\d", ["CTL", "OD", "OD", "OD", None]),
        (PARKINSON, r"^(O?)(?P<label>\w{2})\D*(\d)", ["CT", "DN", "DP", "DP", None]),
        (PARKINSON, "OD(N?)", [None, "N", None, None, None]),
        (NEURALGIA, r"^(?P<patient>\d{3})$|^(?P<control>\d\d)$", ["patient", None, "patient", "control", "control"]),
        (NEURALGIA, r"fu$", [None, "fu", None, None, None]),
    ],
)
def test_label_is_extracted_from_the_participant_id_by_the_pattern(frame, pattern, values):
    result = from_ids(frame, pattern)
    assert plain(result[LABEL]) == values
    assert list(result) == [*frame, "label_from_id"]
    assert plain(classes(result, column=LABEL, mapping={})) == values


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("CTL(", r"--label-from-id CTL\( is not a regular expression: missing \)"),
        ("([A-Z]+)([0-9]+)", r"2 groups, and it is ambiguous which is the label of CTL01: name it \(\?P<label>"),
        ("(?P<group>[A-Z]+)(?P<number>[0-9]+)", "2 groups, and it is ambiguous which"),
        ("(X?)", "matches no participant"),  # or with nothing
        ("^sub-CTL", r"matches no participant; it is searched in labels without sub-: CTL01, ODN01, ODP01\.$"),
    ],
)
def test_invalid_ambiguous_and_unmatched_patterns_are_refused(pattern, message):
    with pytest.raises(UsageError, match=message):
        from_ids(PARKINSON, pattern)


def test_participants_come_from_participants_tsv_or_else_from_the_dataset(data):
    root = data({"README": "no table"})
    there = people(root, ("sub-CTL01", "CTL01", "ODP01"))
    assert list(there.index) == ["CTL01", "ODP01"]
    assert list(there) == []
    assert plain(from_ids(there, "^[A-Z]+")[LABEL]) == ["CTL", "ODP"]
    data({"participants.tsv": "participant_id\tAge\nsub-07\t30\n"})
    pd.testing.assert_frame_equal(people(root, ["CTL01"]), read(root / "participants.tsv"))


def test_broken_link_to_participants_tsv_is_an_error(tmp_path):
    (tmp_path / "participants.tsv").symlink_to("elsewhere.tsv")
    with pytest.raises(MissingInputError, match=r"participants\.tsv is not in"):
        people(tmp_path, ["01"])


def test_phenotype_table_adds_columns_and_participants_and_fills_missing_values(joined):
    frame = joined(
        "participant_id\tgroup\tsite\nsub-01\tHC\tA\nsub-02\tn/a\tB\n",
        "participant_id\tgroup\tscore\nsub-03\tAD\t3\n02\tAD\tn/a\n",
    )
    assert list(frame.index) == ["01", "02", "03"]
    assert frame.index.name == "participant_id"
    assert plain(frame["group"]) == ["HC", "AD", "AD"]
    assert plain(frame["score"]) == [None, None, "3"]
    assert plain(frame["site"]) == ["A", "B", None]


def test_phenotype_table_suffices_without_participants_tsv(joined):
    frame = joined(None, "participant_id\tdx\nsub-01\tHC\nsub-02\tAD\n")
    assert plain(classes(frame, column="dx", mapping={"well": ("HC",), "ill": ("AD",)})) == ["well", "ill"]


def test_tables_with_whitespace_crlf_and_byte_order_mark_are_read(joined):
    frame = joined(
        "participant_id\tgroup\r\nsub-01\t HC\r\n",
        "participant_id \t Gender\tdx \r\n sub-01\tfemale\tn/a\r\n\r\nsub-02\t m \tAD \r\n\t\t\r\n",
        "utf-8-sig",
    )
    assert plain(frame["group"]) == ["HC", None]
    assert plain(frame["sex"]) == ["F", "M"]
    assert plain(frame["dx"]) == [None, "AD"]


def test_standard_columns_are_derived_from_both_tables_together(joined):
    frame = joined(
        "participant_id\tGender\tage\n01\t1\t89+\n02\t2\t40\n",
        "participant_id\tsex\tage_at_scan\tcentre\n01\tF\t91\tX\n02\tM\t41\tY\n",
    )
    assert plain(frame["sex"]) == ["F", "M"]  # our spelling wins, as in one table
    assert plain(frame["Gender"]) == ["1", "2"]
    assert plain(frame["age"]) == [89, 40]
    assert plain(frame["age_as_written"]) == ["89+", "40"]
    assert plain(frame["site"]) == ["X", "Y"]


def test_joining_equals_reading_one_merged_table(data):
    """Against tables that are joined cell by cell, written and read as one participants.tsv."""
    draw = random.Random(1)
    values = {"age": ["30", "41.5", "89+"], "Gender": ["f", "M"], "Scanner": ["A"], "dx": ["HC", "AD"], "sex": ["M"]}
    for _ in range(15):
        truth = {participant: {one: draw.choice(some) for one, some in values.items()} for participant in "12345"}
        tables = []
        for _ in range(2):
            columns = draw.sample(list(values), 3)
            rows = {
                participant: {one: draw.choice([truth[participant][one], "n/a"]) for one in columns}
                for participant in draw.sample("12345", 4)
            }
            tables.append((columns, rows))
        (first, ours), (second, theirs) = tables
        whole = {
            participant: {
                one: next(
                    (t[participant][one] for t in (ours, theirs) if t.get(participant, {}).get(one, "n/a") != "n/a"),
                    "n/a",
                )
                for one in dict.fromkeys([*first, *second])
            }
            for participant in dict.fromkeys([*ours, *theirs])
        }
        texts = [
            "\n".join(
                ["\t".join(["participant_id", *next(iter(rows.values()))])]
                + ["\t".join([participant, *row.values()]) for participant, row in rows.items()]
            )
            for rows in (ours, theirs, whole)
        ]
        root = data(dict(zip(("participants.tsv", "p.tsv", "whole.tsv"), texts, strict=True)))
        result, expected = with_phenotype(people(root, []), root / "p.tsv"), read(root / "whole.tsv")
        pd.testing.assert_frame_equal(result[expected.columns], expected, check_dtype=False)
        assert set(result) == set(expected)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("30", "30.0"), ("89+", "89"), ("n/a", "30"), ("30", ""), ("30", " 30 "), ("20-25", "20-25")]
)
def test_the_same_age_may_be_written_in_two_ways(joined, ours, theirs):
    head = "participant_id\tage\n01\t"
    frame = joined(f"{head}{ours}\n", f"{head}{theirs}\n")
    assert plain(frame.get("age_as_written", frame["age"].astype("string").str.removesuffix(".0"))) == [
        theirs if ours == "n/a" else ours
    ]


@pytest.mark.parametrize(
    ("column", "ours", "theirs"), [("Sex", "M", "male"), ("sex", "f", "Female"), ("site", "1", "01")]
)
def test_the_same_sex_or_number_may_be_written_in_two_ways(joined, column, ours, theirs):
    frame = joined(f"participant_id\t{column}\n01\t{ours}\n", f"participant_id\t{column}\n01\t{theirs}\n")
    assert frame.loc["01", column] in (ours, ours.upper())


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (
            "group\n01\tHC\n02\tHC\n03\tn/a\n04\tHC",
            "group\n04\tAD\n03\tAD\n02\tMCI\n01\tHC",
            r"group of sub-02 is HC in participants.tsv and MCI in tool.tsv \(2 differ\): correct one",
        ),
        ("age\n01\t30\n02\t40", "age\n02\t41\n01\t30", "age of sub-02 is 40 in participants.tsv and 41 in tool.tsv"),
        ("age\n01\t89+\n02\t4", "age\n02\t4\n01\t91", r"age of sub-01 is 89\+ in .* 91 in .*delete or rename"),
        ("sex\n01\tM\n", "sex\n01\tF\n", "sex of sub-01 is M in .* F in tool"),
        ("age\n01\t20-25\n", "age\n01\t30\n", "age of sub-01 is 20-25 in"),
    ],
)  # fmt: skip
def test_conflicting_values_are_refused(joined, ours, theirs, message):
    with pytest.raises(DataError, match=message):
        joined(f"participant_id\t{ours}\n", f"participant_id\t{theirs}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "participant_id,dx\nsub-01,AD\n",
            r"tool\.tsv is separated by commas or semicolons \(CSV\): save it as TSV",
        ),
        ('"participant_id";"dx"\nsub-01;AD\n', "separated by commas or semicolons"),
        ("BIDS_ID\tdx\nsub-01\tAD\n", "no participant_id column; it has: BIDS_ID, dx. Rename"),
        ("participant_id\tdx\n01\tAD\nn/a\tHC\n", "no participant_id in line 3: fill in or delete"),
        ("participant_id\tdx\nsub-01\tAD\n02\tHC\n01\tAD\n", r"more than once: sub-01\. Keep one row .*session_id"),
        ("participant_id\tdx\n" + "".join(f"{i}\ta\n" for i in range(8)) * 2, "sub-3, sub-4 and 3 more. Keep"),
        (
            "participant_id\tsession_id\n1\tses-2\n1\t2\n2\t1\n",
            r"more than once: sub-1 ses-2\. Keep one row for each\.$",
        ),
        ("participant_id\tdx\tdx \n01\ta\tb\n", "columns with the same name: dx"),
        ("", "is empty"),
    ],
)
def test_unusable_phenotype_tables_are_refused(joined, text, message):
    with pytest.raises(DataError, match=message):
        joined("participant_id\tsite\n01\tA\n", text)


def test_missing_phenotype_table_raises_missing_input_error(tmp_path):
    with pytest.raises(MissingInputError, match=r"--phenotype: there is no file .*dx\.tsv"):
        with_phenotype(of("01"), tmp_path / "dx.tsv")


VISITS = "participant_id\tsession_id\tdx\tage\n01\tses-1\tMCI\t70\n01\tses-2\tAD\t72\n02\t1\tHC\t60\n02\t2\tHC\tn/a\n"


def test_participant_gets_phenotype_values_on_which_all_sessions_agree(joined):
    frame = joined("participant_id\tage\n01\t69\n", VISITS)
    assert list(frame.index) == ["01", "02"]
    assert plain(frame["dx"]) == [None, "HC"]
    assert plain(frame["age"]) == [69, None]


ONE = "sub-01/sub-01_sessions.tsv"
SESSIONS = {
    "participants.tsv": "participant_id\tgroup\tsex\tage\nsub-01\tHC\tf\t20\nsub-02\tHC\tM\t30\nsub-03\tAD\tM\t50\n",
    ONE: "session_id\tgroup\tage_at_session\tscanner\nses-a\tHC\t21\tX\nses-b\tAD\tn/a\tX\n",
    "sub-02/sub-02_sessions.tsv": "\ufeffparticipant_id\tsession_id\tscanner\r\n2\t a \tX\r\n2\tb\tY \r\n\t\t\r\n",
    "sub-09/sub-09_sessions.tsv": "not a table of anybody who is asked for",
}


def test_session_values_override_participant_values(data):
    root = data(SESSIONS)
    result = with_sessions(people(root, []), root)
    assert result.index.names == ["participant_id", "session_id"]
    assert not set(result) & set(result.index.names)
    assert dict(result["group"]) == {
        ("01", ""): "HC", ("02", ""): "HC", ("03", ""): "AD",
        ("01", "a"): "HC", ("01", "b"): "AD", ("02", "a"): "HC", ("02", "b"): "HC",
    }  # fmt: skip
    assert plain(result["age"]) == [20, 30, 50, 21, 20, 30, 30]
    assert plain(result["site"]) == ["X", None, None, "X", "X", "X", "Y"]
    assert plain(result["sex"]) == ["F", "M", "M", "F", "F", "M", "M"]
    assert plain(result["age_at_session"]) == [None, None, None, "21", None, None, None]
    kinds = classes(result, column="group", mapping={"control": ("HC",), "patient": ("AD",)})
    assert kinds[("01", "a")] == "control"
    assert kinds[("01", "b")] == "patient"
    assert kinds.get(("03", "a"), kinds[("03", "")]) == "patient"


def test_classes_by_sex_use_original_values_from_either_table(data):
    root = data(SESSIONS | {"sub-02/sub-02_sessions.tsv": "session_id\tsex\nses-a\tF\n"})
    result = classes(with_sessions(people(root, []), root), column="sex", mapping={"she": ("f", "F"), "he": ("M",)})
    assert dict(result) == {
        ("01", ""): "she", ("02", ""): "he", ("03", ""): "he",
        ("01", "a"): "she", ("01", "b"): "she", ("02", "a"): "she",
    }  # fmt: skip


def test_label_may_be_given_only_in_sessions_tables(data):
    root = data({ONE: "session_id\tdx\n1\tHC\n2\tAD\n"})
    result = with_sessions(people(root, ["01", "02"]), root)
    assert dict(result["dx"].dropna()) == {("01", "1"): "HC", ("01", "2"): "AD"}
    assert list(result.index) == [("01", ""), ("02", ""), ("01", "1"), ("01", "2")]


def test_without_sessions_tables_the_frame_is_unchanged(data):
    root = data({"participants.tsv": SESSIONS["participants.tsv"]})
    frame = people(root, [])
    pd.testing.assert_frame_equal(with_sessions(frame, root).xs("", level="session_id"), frame, check_index_type=False)
    assert len(with_sessions(of("01"), root)) == 1


def test_sessionwise_phenotype_table_is_combined_with_sessions_tsv(data):
    table = VISITS + "01\tses-b\tAD\t22\n01\tses-a\tn/a\t25\n05\tses-1\tHC\t50\n"
    root = data(SESSIONS | {"p.tsv": table.replace("\tage\n", "\tage_years\n")})
    frame = with_phenotype(people(root, []), root / "p.tsv").loc[["01", "02"]]
    result = with_sessions(frame, root, phenotype=root / "p.tsv")[["group", "dx", "site", "age"]]
    assert {key: plain(row) for key, row in result.astype(object).iterrows()} == {
        ("01", ""): ["HC", None, None, 20],
        ("02", ""): ["HC", "HC", None, 30],
        ("01", "a"): ["HC", None, "X", 21],
        ("01", "b"): ["AD", "AD", "X", 22],
        ("02", "a"): ["HC", "HC", "X", 30],
        ("02", "b"): ["HC", "HC", "Y", 30],
        ("01", "1"): ["HC", "MCI", None, 70],
        ("01", "2"): ["HC", "AD", None, 72],
        ("02", "1"): ["HC", "HC", None, 60],
        ("02", "2"): ["HC", "HC", None, 30],
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({ONE: "session\tdx\n1\tHC\n"}, "sub-01_sessions.tsv has no session_id column; it has: session, dx"),
        ({ONE: "session_id\tdx\nses-1\tHC\n1\tAD\n"}, "sub-01_sessions.tsv lists sessions more than once: 1. Keep"),
        ({ONE: "session_id\tdx\nn/a\tHC\n"}, "sub-01_sessions.tsv has no session_id in line 2"),
        ({ONE: "session_id,dx\n1,HC\n"}, "sub-01_sessions.tsv is separated by commas"),
        (
            {"p.tsv": "participant_id\tsession_id\tgroup\n01\ta\tAD\n"},
            "group of sub-01 ses-a is HC in sessions.tsv and AD in p.tsv",
        ),
    ],
)
def test_unusable_sessions_tables_are_refused(data, files, message):
    root = data(SESSIONS | {"p.tsv": VISITS} | files)
    with pytest.raises(DataError, match=message):
        with_sessions(people(root, []), root, phenotype=root / "p.tsv")


def test_unfetched_sessions_table_raises_missing_input_error(data):
    root = data(SESSIONS)
    (root / "sub-03").mkdir()
    (root / "sub-03" / "sub-03_sessions.tsv").symlink_to("../.git/annex/objects/a/b/c.tsv")
    with pytest.raises(MissingInputError, match=r"sub-03: not fetched: run `datalad get sub-03/sub-03_sessions\.tsv`"):
        with_sessions(people(root, []), root)
