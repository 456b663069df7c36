"""Splits by site, by proportion, nested and from a file, on random layouts and against re-implementations."""

import hashlib
import itertools
import logging
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from bids_app.dataset import folds, folds_file
from bids_app.errors import DataError, MissingInputError, UsageError
from bids_app.results.collect import fold_table

SEEDS = range(25)


def layout(seed: int) -> tuple[list[str], list[str], list[str]]:
    """Classes, groups and sites of random participants: groups of 1 to 4 of one or more classes, each at one site."""
    random = np.random.default_rng(seed)
    names = list("abc"[: random.integers(2, 4)])
    sizes = random.integers(1, 5, size=random.integers(40, 70))
    groups = [f"family{group}" for group, size in enumerate(sizes) for _ in range(size)]
    places = random.choice(["Berlin", "oslo", "Rome"], size=len(sizes))
    order = random.permutation(len(groups))
    sites = [str(places[group]) for group, size in enumerate(sizes) for _ in range(size)]
    classes = random.choice(names, size=len(groups)).tolist()
    return classes, [groups[row] for row in order], [sites[row] for row in order]


def check(splits, classes, groups):
    """No group is on both sides, and each training side has every class."""
    for split in splits:
        assert not {groups[row] for row in split.train} & {groups[row] for row in split.test}
        assert {classes[row] for row in split.train} == set(classes)
        assert split.groups == tuple(groups)


@pytest.mark.parametrize("seed", SEEDS)
class TestRandomLayouts:
    def test_k_folds_hold_out_every_participant_once_per_repeat(self, seed):
        classes, groups, _ = layout(seed)
        splits = folds.stratified_folds(classes, groups, folds=4, repeats=2, seed=seed)
        check(splits, classes, groups)
        for repeat in (1, 2):
            held_out = [row for split in splits if split.repeat == repeat for row in split.test]
            assert sorted(held_out) == list(range(len(classes)))

    def test_site_folds_hold_out_each_site_whole(self, seed):
        classes, groups, sites = layout(seed)
        splits = folds.leave_site_out(classes, sites, groups)
        check(splits, classes, groups)
        assert [(split.repeat, split.fold) for split in splits] == [(1, 1), (1, 2), (1, 3)]
        for split, site in zip(splits, ["Berlin", "Rome", "oslo"], strict=True):
            assert {row for row, one in enumerate(sites) if one == site} == set(split.test)
            assert {row for row, one in enumerate(sites) if one != site} == set(split.train)

    def test_hold_out_keeps_groups_together_and_approximates_the_test_size(self, seed):
        classes, groups, _ = layout(seed)
        splits = folds.hold_out(classes, groups, share=0.25, repeats=3, seed=seed)
        check(splits, classes, groups)
        assert [(split.repeat, split.fold) for split in splits] == [(1, 1), (2, 1), (3, 1)]
        for split in splits:
            assert sorted(split.train + split.test) == list(range(len(classes)))
            tested = Counter(classes[row] for row in split.test)
            # half of the largest group
            assert all(abs(tested[name] - 0.25 * count) <= 2 for name, count in Counter(classes).items())

    def test_inner_folds_partition_the_training_rows_and_never_touch_the_test_rows(self, seed):
        classes, groups, sites = layout(seed)
        for outer in folds.leave_site_out(classes, sites, groups):
            splits = folds.inner_folds(outer, classes, folds=3, seed=seed)
            check(splits, classes, groups)
            assert [(split.repeat, split.fold) for split in splits] == [(1, 1), (1, 2), (1, 3)]
            assert sorted(row for split in splits for row in split.test) == list(outer.train)
            assert all(sorted(split.train + split.test) == list(outer.train) for split in splits)


class TestStratified:
    def test_splits_match_scikit_learn_with_the_hashed_seed(self):
        classes = ["a", "b", "a"] * 8
        expected = []
        for repeat in (0, 1):
            state = int.from_bytes(hashlib.sha256(f"folds 7 {repeat}".encode()).digest()[:4], "little")
            expected += StratifiedKFold(3, shuffle=True, random_state=state).split(classes, classes)
        splits = folds.stratified_folds(classes, folds=3, repeats=2, seed=7)
        for split, (train, test) in zip(splits, expected, strict=True):
            assert (split.train, split.test) == (tuple(train), tuple(test))


class TestLeaveSiteOut:
    def test_a_site_of_one_class_may_be_held_out(self):
        splits = folds.leave_site_out(["a", "b", "a", "b", "b"], ["X", "X", "Y", "Y", "C"])
        assert [split.test for split in splits] == [(4,), (0, 1), (2, 3)]

    def test_group_at_two_sites_is_refused_naming_the_sites(self):
        with pytest.raises(DataError, match=r"p3 \(X, Y\).*--exclude"):
            folds.leave_site_out([*"abab"], [*"XXYY"], ["p1", "p3", "p3", "p4"])

    def test_participants_without_a_site_are_refused_and_counted(self):
        with pytest.raises(DataError, match="3 of 4 participants have no site"):
            folds.leave_site_out([*"ababb"], ["X", None, pd.NA, "", ""], [*"pqrss"])

    def test_class_confined_to_one_site_is_refused_naming_both(self):
        with pytest.raises(DataError, match="without class c: it occurs at site Y only"):
            folds.leave_site_out([*"abcabc"], [*"XXYYYY"])

    def test_one_site_or_one_class_is_refused(self):
        with pytest.raises(UsageError, match="two sites, and all participants are from X"):
            folds.leave_site_out([*"abab"], [*"XXXX"])
        with pytest.raises(UsageError, match="--classes"):
            folds.leave_site_out([*"aaaa"], [*"XXYY"])


class TestHoldOut:
    @pytest.mark.parametrize("share", [0.01, 0.2, 1 / 3, 0.5, 0.9, 0.99])
    @pytest.mark.parametrize("counts", [(2, 3), (50, 7), (13, 29, 2)])
    def test_each_class_is_within_one_participant_of_the_test_size_and_in_both_sets(self, share, counts):
        classes = [name for name, count in zip("abc", counts, strict=False) for _ in range(count)]
        for split in folds.hold_out(classes, share=share, repeats=5, seed=3):
            tested = Counter(classes[row] for row in split.test)
            for name, count in zip("abc", counts, strict=False):
                assert abs(tested[name] - share * count) <= 1
                assert 0 < tested[name] < count

    def test_hold_out_depends_on_seed_and_repeat(self):
        classes = ["a", "b"] * 15
        one, again = (folds.hold_out(classes, share=0.2, repeats=4, seed=1) for _ in range(2))
        assert one == again
        assert one[:2] == folds.hold_out(classes, share=0.2, repeats=2, seed=1)
        assert one != folds.hold_out(classes, share=0.2, repeats=4, seed=2)
        assert len({split.test for split in one}) == 4

    def test_participants_are_held_out_equally_often(self):
        drawn = Counter(
            row for split in folds.hold_out([*"aaaaaabbbb"], share=0.5, repeats=800, seed=0) for row in split.test
        )
        # binomial, n 800, p 0.5: an SD of 14.1; four of them
        assert all(abs(drawn[row] - 400) < 57 for row in range(10))

    def test_two_class_hold_out_fails_only_where_no_split_exists(self):
        outcomes = Counter()
        for seed in range(150):
            random = np.random.default_rng(seed)
            groups = random.integers(0, random.integers(2, 6), size=8).astype(str).tolist()
            classes = random.permutation([*"ab", *random.choice([*"ab"], 6, p=[0.2, 0.8])]).tolist()
            sides = [
                {(groups[row] in test, classes[row]) for row in range(8)}
                for size in range(1, len(set(groups)))
                for test in itertools.combinations(sorted(set(groups)), size)
            ]
            possible = any(len(side) == 4 for side in sides)
            outcomes[possible] += 1
            if possible:
                check(folds.hold_out(classes, groups, share=0.3, repeats=2, seed=seed), classes, groups)
            else:
                with pytest.raises(DataError, match="1 participant, too few for training and test"):
                    folds.hold_out(classes, groups, share=0.3, repeats=2, seed=seed)
        assert min(outcomes[True], outcomes[False]) > 10

    def test_three_classes_linked_by_families_are_refused_by_name(self):
        with pytest.raises(DataError, match=r"class [abc] cannot be both.*--groups"):
            folds.hold_out([*"abbcca"], [*"xxyyzz"], share=0.3, repeats=1, seed=0)

    @pytest.mark.parametrize("share", [0, 1, -0.1, 20, float("nan")])
    def test_proportion_outside_0_to_1_is_refused(self, share):
        with pytest.raises(UsageError, match="between 0 and 1"):
            folds.hold_out([*"abab"], share=share, repeats=1, seed=0)


class TestInner:
    def test_inner_folds_depend_on_the_outer_fold_and_the_seed(self):
        classes = ["a", "b"] * 12
        one = folds.Split(1, 1, tuple(range(12)), (20, 21), tuple(map(str, range(24))))
        other = folds.Split(1, 2, tuple(range(12)), (22, 23), tuple(map(str, range(24))))
        tests = [
            [split.test for split in folds.inner_folds(each, classes, folds=3, seed=5)] for each in (one, other, one)
        ]
        assert tests[0] == tests[2] != tests[1]
        assert tests[0] != [split.test for split in folds.inner_folds(one, classes, folds=3, seed=6)]

    def test_class_with_too_few_training_groups_is_refused_with_advice(self):
        classes = [*"aaaaabbbbb"]
        groups = [*"01234567", "8", "8"]
        outer = folds.Split(2, 3, (0, 1, 2, 7, 8, 9), (3, 4, 5, 6), tuple(groups))
        with pytest.raises(DataError, match=r"repeat 2, fold 3: class b has 2 training participants.*2 inner folds"):
            folds.inner_folds(outer, classes, folds=3, seed=0)


@pytest.fixture
def samples():
    """Twelve participants, two of them with two sessions, at two sites."""
    people = [*[f"{number:02d}" for number in range(1, 13)], "01", "02"]
    sessions = ["1", "1", *[pd.NA] * 10, "2", "2"]
    classes = [*"ab" * 6, *"ab"]
    return pd.DataFrame({"participant_id": people, "session_id": sessions, "class": classes})


def made(kind, samples):
    classes, groups = samples["class"].tolist(), samples["participant_id"].tolist()
    if kind == "k-fold":
        return folds.stratified_folds(classes, groups, folds=3, repeats=11, seed=1)
    if kind == "sites":
        return folds.leave_site_out(classes, ["XYZ"[int(one) % 3] for one in groups], groups)
    return folds.hold_out(classes, groups, share=0.3, repeats=3, seed=1)


class TestFile:
    @pytest.fixture
    def written(self, tmp_path, samples):
        """folds.tsv of a hold-out, changed as a test asks; returns what is read from it."""

        def write(change=lambda table: table, kind="hold-out"):
            table = change(fold_table(SimpleNamespace(used=samples, splits=made(kind, samples))))
            table.to_csv(tmp_path / "folds.tsv", sep="\t", index=False, na_rep="n/a")
            return folds_file.read_folds(tmp_path / "folds.tsv", samples, samples["participant_id"].tolist())

        return write

    @pytest.mark.parametrize("kind", ["k-fold", "sites", "hold-out"])
    def test_folds_file_survives_a_round_trip(self, written, samples, kind):
        def spelled(table):
            sessions = table["session_id"].where(table["session_id"].eq("n/a"), "ses-" + table["session_id"])
            return table.assign(participant_id="sub-" + table["participant_id"], session_id=sessions)

        assert written(kind=kind) == made(kind, samples)
        assert written(spelled, kind=kind) == made(kind, samples)
        assert written(lambda table: table.sample(frac=1, random_state=0), kind=kind) == made(kind, samples)

    def test_line_without_session_applies_to_all_sessions(self, written, samples):
        def shorter(table):
            return table.drop(columns="session_id").drop_duplicates()

        assert written(shorter) == made("hold-out", samples)

    def test_participants_not_in_the_analysis_are_ignored_and_counted(self, written, samples, caplog):
        def more(table):
            return pd.concat([table, table.head(2).assign(participant_id=["77", "78"])])

        with caplog.at_level(logging.WARNING, "pellucid"):
            assert written(more) == made("hold-out", samples)
        assert "ignoring 2 of its 14 participants, who are not in this analysis" in caplog.text

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda table: table.drop(columns=["role", "fold"]), "no column fold, role"),
            (lambda table: table.head(0), "is empty; it needs"),
            (lambda table: table.replace({"role": {"test": "held"}}), r"line \d+: role .* train or test, not held"),
            (lambda table: table.assign(fold=0), "line 2: fold .* whole number above 0, not 0"),
            (lambda table: table.assign(repeat=1.5), "line 2: repeat .* whole number above 0, not 1.5"),
            (lambda table: table.assign(participant_id=""), "line 2: participant_id .* not empty"),
            (lambda table: pd.concat([table, table.tail(1)]), "is listed twice in repeat 3, fold 1"),
            (
                lambda table: pd.concat([table, table.tail(1).assign(role="train")]),
                "is listed twice in repeat 3, fold 1",
            ),
            (
                lambda table: pd.concat([table, table.head(1).assign(participant_id="01", session_id="n/a")]),
                "sub-01 is listed twice in repeat 1",
            ),
            (
                lambda table: table[~table["participant_id"].isin(["01", "03", "04", "05", "06"])],
                "6 included samples have no line: sub-01 ses-1, sub-03, sub-04, sub-05, sub-06, ...;",
            ),
            (lambda table: table.drop(index=table.index[-1]), "repeat 3, fold 1: 1 included samples"),
            (
                lambda table: table.assign(role=table["session_id"].eq("2").map({True: "test", False: "train"})),
                "01, 02",
            ),
            (lambda table: table.assign(role="train"), "need participants"),
            (
                lambda table: table.assign(role=(table["participant_id"].astype(int) % 2).map({1: "test", 0: "train"})),
                "without class a: add training participants",
            ),
            (lambda table: table.assign(fold=table["repeat"], repeat=1), r"held out in folds \d and \d of repeat 1"),
        ],
    )
    def test_unusable_table_is_refused_with_the_reason(self, written, change, message):
        with pytest.raises(DataError, match=message):
            written(change)

    def test_missing_file_and_invalid_table_are_distinguished(self, tmp_path, samples):
        with pytest.raises(MissingInputError, match="there is no file"):
            folds_file.read_folds(tmp_path / "none.tsv", samples, samples["participant_id"].tolist())
        (tmp_path / "image.tsv").write_bytes(b"\x1f\x8b\xff\xfe")
        with pytest.raises(DataError, match="line 1, is not UTF-8 text"):
            folds_file.read_folds(tmp_path / "image.tsv", samples, samples["participant_id"].tolist())
        head = "participant_id\trepeat\tfold\trole\n"
        (tmp_path / "tabs.tsv").write_text(head + "1\t01\t1\t1\ttrain\n2\t02\t1\t1\ttest\n")
        with pytest.raises(DataError, match=r"line 2, has 5 values, but the header has 4.*row\.names"):
            folds_file.read_folds(tmp_path / "tabs.tsv", samples, samples["participant_id"].tolist())
