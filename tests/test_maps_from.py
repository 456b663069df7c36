"""Maps of several sites (`--maps-from`): values are addressed by site and path, tables and settings are compared."""

import os
import re
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from site_studies import TIME, group_settings, participants, write_site

from bids_app import cli
from bids_app.dataset import arrays
from bids_app.dataset.grid import Grid
from bids_app.errors import CannotWriteError, DataError, MissingInputError, NothingSelectedError, UsageError
from bids_app.nodes.ica import read_series
from bids_app.planning import group, sites
from bids_app.planning.permutations import exchangeable_labels
from bids_app.results.sites import tabulate_sites

MASK = np.ones((4, 5, 6), bool)
SITES = ("NORTH", "SOUTH", "EAST")


def write_volume(path, volume):
    """Write an image (not compressed: its size does not depend on its values) with the common time stamp."""
    path.parent.mkdir(parents=True)
    nib.Nifti1Image(np.asarray(volume, np.float32), np.diag([4.0, 4, 4, 1])).to_filename(path)
    os.utime(path, ns=(TIME, TIME))
    return path


@pytest.fixture
def twins(tmp_path):
    """The maps of two sites' `sub-01`: the same name, size and time stamp, and the values 1 and 2."""
    return [
        write_volume(tmp_path / site / "sub-01" / "anat" / "sub-01_probseg.nii", np.full(MASK.shape, number))
        for number, site in enumerate(("north", "south"), start=1)
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Three sites of eight participants with the same names."""
    home = tmp_path_factory.mktemp("sites")
    for seed, site in enumerate(SITES):
        write_site(home, site, participants(8), seed=seed)
    return home


@pytest.fixture
def study(written, tmp_path):
    """A copy of the three sites that a test may change."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path


def plan(home, *names, **options):
    settings = group_settings(home, *names, **options)
    return group.plan_group(sites.open_dataset(settings), settings)


def rewrite(home, name, **columns):
    """Replace columns of a site's participants.tsv; None removes one."""
    file = home / "bids" / name / "participants.tsv"
    table = pd.read_csv(file, sep="\t").assign(**columns)
    table.drop(columns=[column for column, values in columns.items() if values is None]).to_csv(
        file, sep="\t", index=False
    )


class TestValues:
    def test_stacks_of_two_sites_with_the_same_names_sizes_and_times_hold_their_own_values(self, twins, tmp_path):
        grid = Grid(MASK, np.diag([4.0, 4, 4, 1]))
        north, south = (np.load(arrays.stack_images([twin], grid, tmp_path / "work")) for twin in twins)
        assert (north == 1).all()
        assert (south == 2).all()

    def test_series_of_two_sites_with_the_same_names_sizes_and_times_hold_their_own_values(self, tmp_path):
        random = np.random.default_rng(1)
        series = [random.normal(size=(*MASK.shape, 8)) for _ in range(2)]
        runs = [
            write_volume(tmp_path / site / "sub-01" / "func" / "sub-01_task-rest_bold.nii", of_site)
            for site, of_site in zip(("north", "south"), series, strict=True)
        ]
        (tmp_path / "work").mkdir()
        files = read_series([[str(run)] for run in runs], Grid(MASK, np.diag([4.0, 4, 4, 1])), str(tmp_path / "work"))
        for (file,), of_site in zip(files, series, strict=True):
            np.testing.assert_allclose(np.load(file), of_site[MASK], rtol=1e-6)

    def test_stack_is_reused_after_out_dir_was_moved(self, twins, tmp_path):
        grid, out = Grid(MASK, np.diag([4.0, 4, 4, 1])), tmp_path / "north"
        before = arrays.stack_images([twins[0]], grid, out / ".work")
        moved = out.rename(tmp_path / "moved")
        after = arrays.stack_images([moved / twins[0].relative_to(out)], grid, moved / ".work")
        assert after == moved / before.relative_to(out)

    def test_each_participant_of_a_pooled_plan_has_the_files_and_values_of_the_own_site(self, written, tmp_path):
        used = plan(written, *SITES).used
        assert used["participant_id"].tolist() == [f"{site}:{n:02}" for site in sorted(SITES) for n in range(1, 9)]
        first = nib.load(used["gm"][0][0])
        grid = Grid(np.ones(first.shape, bool), first.affine)
        stacked = np.load(arrays.stack_images(used["gm"].tolist(), grid, tmp_path / "work"))
        stamps = {(path.name, path.stat().st_size, path.stat().st_mtime_ns) for (path,) in used["gm"]}
        assert len(stamps) == 8  # as many as one site has
        for participant, row in zip(used["participant_id"], stacked, strict=True):
            site, label = participant.split(":")
            (file,) = (written / "maps" / site / f"sub-{label}" / "anat").glob("*.nii.gz")
            np.testing.assert_array_equal(grid.volume(row), nib.load(file).get_fdata(dtype=np.float32))

    def test_plans_of_swapped_folders_have_different_work_folders(self, written):
        straight = group_settings(written, "NORTH", "SOUTH")
        swapped = group_settings(
            written, maps_from={"NORTH": written / "maps" / "SOUTH", "SOUTH": written / "maps" / "NORTH"}
        )
        keys = {group.plan_group(sites.open_dataset(each), each).key for each in (straight, swapped)}
        assert len(keys) == 2


class TestPlan:
    def test_site_is_the_name_given_and_a_column_of_that_name_is_kept_as_written(self, study):
        rewrite(study, "NORTH", site="ward 3")
        settings = group_settings(study, *SITES)
        table = sites.participant_table(sites.open_dataset(settings), settings)
        assert table["site"].value_counts().to_dict() == dict.fromkeys(SITES, 8)
        assert table.loc["NORTH:01", "site_as_written"].tolist() == ["ward 3"]
        assert table.loc["SOUTH:01", "site_as_written"].isna().all()

    def test_leave_site_out_holds_out_each_site_once(self, written):
        analysis = plan(written, *SITES, leave_site_out=True)
        held_out = [{analysis.used["site"][row] for row in split.test} for split in analysis.splits]
        assert held_out == [{"EAST"}, {"NORTH"}, {"SOUTH"}]

    def test_combat_gets_the_sites_of_maps_from(self, written):
        assert plan(written, *SITES, harmonize="combat").sites == ("EAST", "NORTH", "SOUTH")

    def test_labels_are_permuted_within_sites(self, written):
        settings = group_settings(written, *SITES)
        analysis = plan(written, *SITES)
        assert exchangeable_labels(analysis, settings)[3] == analysis.used["site"].tolist()

    def test_participants_are_named_with_their_site_in_lists_and_selections(self, study):
        (study / "out.tsv").write_text("participant_id\treason\nNORTH:sub-01\tmoved\nSOUTH:02\tmoved\n")
        samples = plan(study, *SITES, exclude=study / "out.tsv").samples
        assert set(samples.loc[~samples["used"], "participant_id"]) == {"NORTH:01", "SOUTH:02"}
        (study / "out.tsv").write_text("participant_id\n01\n")
        with pytest.raises(DataError, match="--exclude lists 01, not in this data set"):
            plan(study, *SITES, exclude=study / "out.tsv")
        chosen = ["NORTH:sub-01", *(f"NORTH:0{n}" for n in range(2, 5)), "EAST:sub-01", "EAST:02"]
        used = plan(study, *SITES, participant_label=chosen, folds=2).used
        assert len(used) == 6
        with pytest.raises(NothingSelectedError, match="north:1 \\(NORTH:01\\?\\)"):
            plan(study, *SITES, participant_label=["north:1"])

    def test_folds_that_a_pooled_analysis_wrote_are_read_back(self, study):
        first = plan(study, *SITES, folds=2)
        rows = [
            (f"{participant.replace(':', ':sub-')}", split.repeat, split.fold, "test" if row in split.test else "train")
            for split in first.splits
            for row, participant in enumerate(first.used["participant_id"])
        ]
        table = pd.DataFrame(rows, columns=["participant_id", "repeat", "fold", "role"])
        table.to_csv(study / "folds.tsv", sep="\t", index=False)
        assert plan(study, *SITES, folds_file=study / "folds.tsv").splits == first.splits

    def test_phenotype_is_one_table_with_sites_or_one_for_each_site(self, study):
        joint = pd.DataFrame(
            [(f"{site}:sub-{n:02}", "HC" if n % 2 else "AD", f"{site}{n}") for site in SITES for n in range(1, 9)],
            columns=["participant_id", "dx", "code"],
        )
        joint.to_csv(study / "joint.tsv", sep="\t", index=False)
        for site, rows in joint.groupby(joint["participant_id"].str.partition(":")[0]):
            own = rows.assign(participant_id=rows["participant_id"].str.partition(":")[2])
            own.to_csv(study / f"{site}.tsv", sep="\t", index=False)
        tables = []
        for file in ("joint.tsv", "{site}.tsv"):
            settings = group_settings(study, *SITES, label="dx", phenotype=str(study / file))
            tables.append(sites.participant_table(sites.open_dataset(settings), settings))
        pd.testing.assert_frame_equal(*tables)
        assert tables[0].loc["SOUTH:03", "code"].tolist() == ["SOUTH3"]
        with pytest.raises(DataError, match="participant_id must be SITE:sub-01"):
            plan(study, *SITES, label="dx", phenotype=str(study / "NORTH.tsv"))

    def test_table_of_a_site_may_be_in_its_out_dir(self, study):
        shutil.move(study / "bids" / "NORTH" / "participants.tsv", study / "maps" / "NORTH" / "participants.tsv")
        assert plan(study, *SITES).used["site"].value_counts()["NORTH"] == 8
        (study / "maps" / "NORTH" / "participants.tsv").unlink()
        with pytest.raises(MissingInputError, match=r"NORTH has no participants.tsv: neither .*NORTH nor .*maps/NORTH"):
            plan(study, *SITES)

    def test_site_table_counts_participants_classes_and_scanners(self, study):
        rewrite(study, "SOUTH", age=[30, 40, 50, 60, 30, 40, 50, 60], sex=["F"] * 5 + ["M"] * 3)
        (study / "out.tsv").write_text("participant_id\nSOUTH:01\n")
        settings = group_settings(study, *SITES, exclude=study / "out.tsv")
        table = tabulate_sites(group.plan_group(sites.open_dataset(settings), settings), settings).set_index("site")
        assert table.loc["SOUTH", ["participants", "excluded", "n_patient", "n_control"]].tolist() == [7, 1, 3, 4]
        ages = np.array([40, 50, 60, 30, 40, 50, 60])
        assert table.loc["SOUTH", ["age_mean", "age_sd"]].tolist() == pytest.approx([ages.mean(), ages.std(ddof=1)])
        assert table.loc["SOUTH", ["sex", "scanner", "version"]].tolist() == ["F 4, M 3", "South 7", "1.0"]

    def test_one_data_set_has_no_table_of_sites(self, study):
        for folder in (study / "maps" / "NORTH").glob("sub-*"):
            (study / "bids" / "NORTH" / folder.name).mkdir()
        shutil.copytree(study / "maps" / "NORTH", study / "out")
        settings = replace(group_settings(study, skip_bids_validation=True, folds=2), bids_dir=study / "bids" / "NORTH")
        analysis = group.plan_group(sites.open_dataset(settings), settings)
        assert analysis.used["participant_id"].tolist() == [f"{n:02}" for n in range(1, 9)]
        assert tabulate_sites(analysis, settings) is None


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"diagnosis": None, "dx": ["control", "patient"] * 4},
             "site SOUTH: .* no column diagnosis, which NORTH, EAST have; .*dx looks alike .*rename it to diagnosis"),
            ({"diagnosis": None, "diagnoses": range(8)}, "diagnoses looks alike: rename it to diagnosis"),
            ({"diagnosis": None}, "it has age, sex. Add it, or leave SOUTH out of --maps-from"),
            ({"diagnosis": ["HC", "patient"] * 4},
             "SOUTH has HC, patient.*if control and HC are the same, --classes control=control,HC patient"),
            ({"sex": [1, 2] * 4}, "sex is coded differently at the sites: F, M at NORTH, and 1, 2 at SOUTH"),
        ],
    )  # fmt: skip
    def test_columns_values_and_codes_that_differ_between_sites_are_named(self, study, change, message):
        rewrite(study, "SOUTH", **change)
        with pytest.raises(DataError, match=message):
            plan(study, *SITES)

    def test_joined_classes_are_accepted(self, study):
        rewrite(study, "SOUTH", diagnosis=["HC", "patient"] * 4)
        used = plan(study, *SITES, classes={"control": ("HC", "control"), "patient": ("patient",)}).used
        assert used["class"].value_counts().to_dict() == {"control": 12, "patient": 12}

    def test_values_that_no_class_has_are_logged_where_a_site_lacks_the_class(self, study, caplog):
        rewrite(study, "SOUTH", diagnosis=["HC", "patient"] * 4)
        plan(study, *SITES, classes={"control": ("control",), "patient": ("patient",)})
        assert "site SOUTH has no participant of class control" in caplog.text

    def test_covariate_that_one_site_lacks_is_named(self, study):
        rewrite(study, "NORTH", handedness=["R", "L"] * 4)
        with pytest.raises(DataError, match=r"site SOUTH: participants.tsv has no column handedness, which NORTH has"):
            plan(study, *SITES, covariates=["handedness"])

    @pytest.mark.parametrize(
        ("parameters", "difference", "remedy"),
        [
            ({"ResolutionMm": 8.0}, "ResolutionMm is 4.0 at NORTH and 8.0 at SOUTH", "--resolution 4 --sloppy"),
            ({"Registration": "affine"}, 'Registration is "nonlinear" at NORTH and "affine" at SOUTH',
             "--registration nonlinear --resolution 4 --sloppy"),
            ({"Sloppy": False}, "Sloppy is true at NORTH and false at SOUTH", "--resolution 4 --sloppy"),
            ({"Version": "0.9"}, 'Version is "1.0" at NORTH and "0.9" at SOUTH', "--resolution 4 --sloppy"),
        ],
    )  # fmt: skip
    def test_site_with_other_settings_is_refused_with_the_command_that_mends_it(
        self, study, parameters, difference, remedy
    ):
        for place in ("bids", "maps"):
            shutil.rmtree(study / place / "SOUTH")
        write_site(study, "SOUTH", participants(8), **parameters)
        with pytest.raises(DataError, match=re.escape(difference)) as problem:
            plan(study, *SITES)
        folders = f"{study / 'bids' / 'SOUTH'} {study / 'maps' / 'SOUTH'}"
        sentence, command = str(problem.value).split("\n  ")
        assert command == f"pellucid {folders} participant --maps gm {remedy}"
        assert ("with Pellucid 1.0" in sentence) == ("Version" in parameters)

    def test_site_without_maps_is_refused_with_the_command_that_computes_them(self, study):
        for folder in (study / "maps" / "EAST").glob("sub-*"):
            shutil.rmtree(folder)
        with pytest.raises(MissingInputError, match=r"site EAST: .* has no gm map .*\n.*EAST participant --maps gm"):
            plan(study, *SITES)

    @pytest.mark.parametrize("name", ["a b", "a:b", "ä", "", "sub-01", "Group"])
    def test_names_that_folders_cannot_have_are_refused(self, written, name):
        with pytest.raises(UsageError, match="--maps-from"):
            plan(written, maps_from={"NORTH": written / "maps" / "NORTH", name: written / "maps" / "SOUTH"})

    def test_a_name_or_folder_given_twice_is_refused(self, written):
        with pytest.raises(UsageError, match="--maps-from contains A twice"):
            cli.parse(["bids", "out", "group", "--maps-from", "A=x", "B=y", "A=z"])
        north = written / "maps" / "NORTH"
        with pytest.raises(UsageError, match="A and B are the same folder"):
            plan(written, maps_from={"A": north, "B": north.parent / "SOUTH" / ".." / "NORTH"})
        with pytest.raises(UsageError, match="differ in case only"):
            plan(written, maps_from={"A": north, "a": north.parent / "SOUTH"})

    def test_site_column_and_sites_of_maps_from_are_not_combined(self, written):
        with pytest.raises(UsageError, match="--site cannot be combined with --maps-from"):
            plan(written, *SITES, site="sex")

    @pytest.mark.parametrize("folder", ["maps/NORTH", "maps/NORTH/pooled"])
    def test_out_dir_of_a_site_is_never_written_to(self, written, folder):
        settings = group_settings(written, *SITES)
        for change in (
            {"output_dir": written / folder},
            {"compute": type(settings.compute)(work_dir=written / folder)},
        ):
            with pytest.raises(CannotWriteError, match="OUT_DIR of site NORTH, which is only read"):
                sites.open_dataset(type(settings)(**{**vars(settings), **change}))
        with pytest.raises(CannotWriteError, match="OUT_DIR of site NORTH"):  # OUT_DIR/NORTH would be the site's
            sites.open_dataset(type(settings)(**{**vars(settings), "output_dir": written / "maps"}))
