"""Samples, arrays, folds and adjustment, compared with plain re-implementations."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.bids import exclusions
from bids_app.dataset import adjust, arrays, covariates, folds, samples, scale
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, MissingInputError, UsageError

AFFINE = np.array([[2.0, 0, 0, -10], [0, 3, 0, -20], [0, 0, 4, 5], [0, 0, 0, 1]])


@pytest.fixture
def grid():
    mask = np.zeros((7, 8, 9), bool)
    mask[2:6, 1:7, 3:8] = np.random.default_rng(0).random((4, 6, 5)) > 0.3
    return Grid(mask, AFFINE)


@pytest.fixture
def images(tmp_path, grid):
    random = np.random.default_rng(1)
    paths = []
    for index in range(4):
        path = tmp_path / f"sub-{index}_gm.nii.gz"
        nib.Nifti1Image(random.normal(size=grid.mask.shape).astype(np.float32), AFFINE).to_filename(path)
        paths.append(path)
    return paths


def write(path: Path, volume: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.Nifti1Image(volume.astype(np.float32), affine).to_filename(path)
    return path


class TestGrid:
    def test_vector_survives_a_round_trip_through_a_volume(self, grid):
        vector = np.arange(1.0, grid.voxels + 1)
        volume = grid.volume(vector)
        np.testing.assert_array_equal(grid.vector(volume), vector)
        assert not volume[~grid.mask].any()

    def test_cropped_grid_keeps_voxels_order_and_position(self, grid):
        box = grid.cropped
        world = nib.affines.apply_affine(grid.affine, np.argwhere(grid.mask))
        np.testing.assert_allclose(nib.affines.apply_affine(box.affine, np.argwhere(box.mask)), world)
        assert box.mask.size < grid.mask.size

    def test_grid_survives_a_file_round_trip(self, grid, tmp_path):
        grid.write(tmp_path / "grid.npz")
        again = Grid.read(tmp_path / "grid.npz")
        np.testing.assert_array_equal(again.mask, grid.mask)
        np.testing.assert_array_equal(again.affine, grid.affine)
        assert again.voxel_mm == (2.0, 3.0, 4.0)

    def test_whole_grid_is_not_cropped_and_the_flag_is_saved(self, grid, tmp_path):
        whole = Grid(grid.mask, grid.affine, whole=True)
        whole.write(tmp_path / "grid.npz")
        assert Grid.read(tmp_path / "grid.npz").seen.mask.shape == grid.mask.shape
        assert grid.seen.mask.shape == grid.cropped.mask.shape != grid.mask.shape

    def test_an_empty_mask_is_refused(self):
        with pytest.raises(DataError, match="at least one voxel"):
            Grid(np.zeros((2, 2, 2), bool), AFFINE)


class TestStackImages:
    def test_rows_are_smoothed_values_inside_the_mask(self, images, grid, tmp_path):
        stacked = np.load(arrays.stack_images(images, grid, tmp_path / "work", smoothing_mm=6), mmap_mode="r")
        sigma = 6 / np.sqrt(8 * np.log(2)) / np.array([2, 3, 4])
        for row, path in zip(stacked, images, strict=True):
            plain = gaussian_filter(nib.load(path).get_fdata(), sigma, mode="constant")
            np.testing.assert_allclose(row, plain[grid.mask], atol=1e-6)
        assert stacked.dtype == np.float32

    def test_several_files_of_a_participant_are_averaged(self, images, grid, tmp_path):
        stacked = np.load(arrays.stack_images([(images[0], images[1]), images[2]], grid, tmp_path / "work"))
        plain = [nib.load(path).get_fdata()[grid.mask] for path in images[:3]]
        np.testing.assert_allclose(stacked, [(plain[0] + plain[1]) / 2, plain[2]], atol=1e-6)

    def test_stack_is_reused_until_a_file_mask_or_smoothing_changes(self, images, grid, tmp_path):
        first = arrays.stack_images(images, grid, tmp_path / "work")
        made = first.stat().st_mtime_ns
        assert arrays.stack_images(images, grid, tmp_path / "work") == first
        assert first.stat().st_mtime_ns == made
        other = Grid(np.roll(grid.mask, 1, axis=0), grid.affine)
        different = {first, arrays.stack_images(images, grid, tmp_path / "work", smoothing_mm=1)}
        different |= {
            arrays.stack_images(images, other, tmp_path / "work"),
            arrays.stack_images(images[::-1], grid, tmp_path / "work"),
        }
        os.utime(images[0], ns=(1, 1))
        different.add(arrays.stack_images(images, grid, tmp_path / "work"))
        assert len(different) == 5
        assert {path.name for path in (tmp_path / "work").iterdir()} == {path.name for path in different}

    @pytest.mark.parametrize("moved", ["shape", "origin"])
    def test_image_on_another_grid_is_refused_by_name_and_nothing_is_left(self, images, grid, tmp_path, moved):
        affine = AFFINE + (np.eye(4, k=3) * 0.5 if moved == "origin" else 0)
        shape = (7, 8, 10) if moved == "shape" else grid.mask.shape
        odd = write(tmp_path / "sub-odd_gm.nii.gz", np.ones(shape), affine)
        with pytest.raises(DataError, match=r"sub-odd_gm.*is not on the analysis grid"):
            arrays.stack_images([*images, odd], grid, tmp_path / "work")
        assert not list((tmp_path / "work").iterdir())

    def test_nan_inside_the_mask_is_refused_and_outside_is_not_spread_by_smoothing(self, grid, tmp_path):
        volume = np.ones(grid.mask.shape)
        volume[0, 0, 0] = np.nan
        outside = write(tmp_path / "sub-outside_gm.nii.gz", volume)
        assert np.isfinite(np.load(arrays.stack_images([outside], grid, tmp_path / "work", smoothing_mm=8))).all()
        volume[tuple(np.argwhere(grid.mask)[0])] = np.nan
        inside = write(tmp_path / "sub-inside_gm.nii.gz", volume)
        with pytest.raises(DataError, match=r"sub-inside_gm.nii.gz has 1 voxels"):
            arrays.stack_images([inside], grid, tmp_path / "work", smoothing_mm=8)

    def test_a_truncated_image_is_refused_by_name(self, images, grid, tmp_path):
        images[1].write_bytes(images[1].read_bytes()[:600])
        with pytest.raises(DataError, match=r"sub-1_gm.nii.gz cannot be read"):
            arrays.stack_images(images, grid, tmp_path / "work")


class TestFolds:
    def test_each_participant_is_held_out_once_per_repeat_with_stratified_classes(self):
        classes = ["a"] * 20 + ["b"] * 10
        splits = folds.stratified_folds(classes, folds=5, repeats=3, seed=1)
        assert [(split.repeat, split.fold) for split in splits] == [(r, f) for r in (1, 2, 3) for f in (1, 2, 3, 4, 5)]
        for repeat in (1, 2, 3):
            held_out = [row for split in splits if split.repeat == repeat for row in split.test]
            assert sorted(held_out) == list(range(30))
        assert all([classes[row] for row in split.test].count("a") == 4 for split in splits)
        assert all(sorted(split.train + split.test) == list(range(30)) for split in splits)

    def test_seed_determines_the_folds(self):
        classes = ["a", "b"] * 12
        assert folds.stratified_folds(classes, folds=3, seed=4) == folds.stratified_folds(classes, folds=3, seed=4)
        assert folds.stratified_folds(classes, folds=3, seed=4) != folds.stratified_folds(classes, folds=3, seed=5)

    def test_a_group_stays_on_one_side_even_when_it_has_both_classes(self):
        groups = [f"family{row // 3}" for row in range(36)]
        classes = ["a" if row % 3 else "b" for row in range(36)]
        for split in folds.stratified_folds(classes, groups, folds=4, repeats=2, seed=0):
            assert not {groups[row] for row in split.train} & {groups[row] for row in split.test}

    @pytest.mark.parametrize(
        ("train", "test", "groups"),
        [
            ((0, 1), (1, 2), ("p", "q", "r")),
            ((0, 1), (2,), ("p", "q", "p")),
            ((0, 0), (1,), ("p", "q")),
            ((), (0,), ("p",)),
        ],
    )
    def test_leaking_or_empty_split_is_refused(self, train, test, groups):
        with pytest.raises(DataError):
            folds.Split(0, 0, train, test, groups)

    def test_class_too_small_for_the_folds_is_refused_with_advice(self):
        with pytest.raises(
            DataError,
            match=r"class b has 3 participants; --folds 5 requires at least 5: use --folds 3, or merge classes",
        ):
            folds.stratified_folds(["a"] * 9 + ["b"] * 3, folds=5)
        # six sessions of two participants are two participants
        with pytest.raises(DataError, match="class b has 2 participants"):
            folds.stratified_folds(["a"] * 9 + ["b"] * 6, [*"012345678", *"xxxyyy"], folds=3)
        with pytest.raises(DataError, match=r"class b has 1 participants.*remove it"):
            folds.stratified_folds(["a"] * 9 + ["b"], folds=2)

    def test_one_class_or_one_fold_is_refused(self):
        with pytest.raises(UsageError, match="--classes"):
            folds.stratified_folds(["a"] * 9, folds=3)
        with pytest.raises(UsageError, match="at least 2"):
            folds.stratified_folds(["a", "b"] * 9, folds=1)


class TestAdjust:
    def test_adjusted_values_are_least_squares_residuals_plus_the_mean(self):
        random = np.random.default_rng(0)
        covariates = np.column_stack([random.normal(1500, 120, 30), random.integers(20, 70, 30)])
        x = (random.normal(size=(30, 50)) + covariates @ random.normal(size=(2, 50)) / 100).astype(np.float32)
        design = np.column_stack([np.ones(30), covariates])
        residuals = x - design @ np.linalg.lstsq(design, x.astype(float), rcond=None)[0]
        adjusted = adjust.transform(x, covariates, adjust.fit(x, covariates))
        np.testing.assert_allclose(adjusted, residuals + x.mean(axis=0), atol=2e-4)

    def test_new_sample_at_the_covariate_mean_is_unchanged(self):
        random = np.random.default_rng(0)
        covariates, x = random.normal(size=(12, 1)), random.normal(size=(12, 5)).astype(np.float32)
        new = random.normal(size=(1, 5)).astype(np.float32)
        np.testing.assert_array_equal(
            adjust.transform(new, covariates.mean(axis=0)[None], adjust.fit(x, covariates)), new
        )

    def test_constant_covariate_is_dropped_and_recorded(self):
        random = np.random.default_rng(0)
        varying, x = random.normal(size=(12, 1)), random.normal(size=(12, 5)).astype(np.float32)
        fitted = adjust.fit(x, np.column_stack([np.full(12, 1400.1), varying]))
        assert fitted["kept"].tolist() == [False, True]
        # even a participant with another value of it is not changed
        moved = adjust.transform(x, np.column_stack([np.full(12, 9999.0), varying]), fitted)
        np.testing.assert_allclose(moved, adjust.transform(x, varying, adjust.fit(x, varying)), atol=1e-6)

    def test_adjusted_values_do_not_depend_on_other_samples(self):
        random = np.random.default_rng(0)
        covariates, x = random.normal(size=(40, 3)), random.normal(size=(40, 1001)).astype(np.float32)
        fitted = adjust.fit(x, covariates)
        np.testing.assert_array_equal(
            adjust.transform(x[7:8], covariates[7:8], fitted), adjust.transform(x, covariates, fitted)[7:8]
        )

    def test_missing_values_and_too_many_covariates_are_refused(self):
        x = np.ones((4, 5), np.float32)
        with pytest.raises(DataError, match="missing"):
            adjust.fit(x, np.array([[1.0], [2], [np.nan], [4]]))
        with pytest.raises(DataError, match="too many"):
            adjust.fit(x, np.random.default_rng(0).normal(size=(4, 3)))


class TestVoxelScaling:
    def test_training_voxels_get_mean_zero_and_sd_one(self):
        x = np.random.default_rng(0).normal(5, 3, (40, 60)).astype(np.float32)
        scaled = scale.transform(x, scale.fit(x))
        np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(scaled.std(axis=0, ddof=1), 1, atol=1e-5)

    def test_a_nearly_constant_voxel_does_not_explode(self):
        random = np.random.default_rng(0)
        x = random.normal(size=(40, 100)).astype(np.float32)
        x[:, 3] = 1e-7 * random.normal(size=40)
        new = np.ones((1, 100), np.float32)
        assert abs(scale.transform(new, scale.fit(x))[0, 3]) < 15
        assert np.isfinite(scale.transform(new, scale.fit(np.ones((5, 100), np.float32)))).all()


class TestMapScaling:
    @pytest.mark.parametrize(("form", "mean", "sd"), [("raw", 50.0, 4.0), ("mean", 1.0, 0.08), ("zscore", 0.0, 1.0)])
    def test_map_is_scaled_by_the_statistics_of_nonzero_voxels(self, tmp_path, grid, form, mean, sd):
        random = np.random.default_rng(5)
        volume = np.where(grid.mask, 50 + 4 * random.standard_normal(grid.mask.shape), 0)
        inside = volume[grid.mask]
        volume[grid.mask] = 50 + 4 * (inside - inside.mean()) / inside.std()
        file = arrays.stack_images([write(tmp_path / "a.nii.gz", volume)], grid, tmp_path, form=form)
        values = np.load(file)[0]
        assert values.mean() == pytest.approx(mean, abs=1e-4)
        assert values.std() == pytest.approx(sd, abs=1e-4)

    def test_empty_map_cannot_be_scaled(self, tmp_path, grid):
        file = write(tmp_path / "empty.nii.gz", np.zeros(grid.mask.shape))
        with pytest.raises(DataError, match=r"empty\.nii\.gz has no values"):
            arrays.stack_images([file], grid, tmp_path, form="mean")


class TestSamples:
    @pytest.fixture
    def found(self, tmp_path):
        def make(people, maps=("gm",), **fields):
            found = {}
            for person, session in people:
                for one in maps:
                    path = tmp_path / f"sub-{person}_ses-{session}_{one}.nii.gz"
                    path.touch()
                    told = {
                        "TotalIntracranialVolume": 1400.0,
                        "PreprocessingSource": "pellucid",
                        "MapParameters": {"Resolution": 2},
                    }
                    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(told | fields))
                    found.setdefault((person, session), {})[one] = (path,)
            return found

        return make

    @pytest.fixture
    def frame(self):
        people = pd.DataFrame(
            {"group": ["HC", "MA", pd.NA, "XX", "HC"], "age": ["31", "42", "50", "60", pd.NA]}, index=[*"abcde"]
        )
        return people, pd.Series(["control", "patient", pd.NA, pd.NA, "control"], index=[*"abcde"])

    def test_every_participant_is_listed_with_the_reason_for_exclusion(self, frame, found):
        images = found([(person, None) for person in "abcdz"])
        table = samples.collect_samples(*frame, images, maps=("gm",), label="group").set_index("participant_id")
        assert table["used"].to_dict() == {"a": True, "b": True, "c": False, "d": False, "e": False, "z": False}
        assert table["reason"].to_dict() == {
            "a": "", "b": "", "c": "group is n/a", "d": "group value XX is not in --classes", "e": "no image for gm",
            "z": "not in participants.tsv",
        }  # fmt: skip
        assert table.loc["a", ["class", "age", "tiv", "source"]].tolist() == ["control", "31", 1400.0, "pellucid"]
        assert table.loc["a", "gm"] == images["a", None]["gm"]
        assert pd.isna(table.loc["a", "site"])

    def test_exclusion_reasons_are_given_and_every_map_is_required(self, frame, found):
        images = found([("a", None), ("b", None)], maps=("gm", "wm"))
        del images["b", None]["wm"]
        excluded = {("a", None): "moved"}
        table = samples.collect_samples(*frame, images, maps=("gm", "wm"), label="group", excluded=excluded)
        table = table.set_index("participant_id")
        assert table.loc["a", "reason"] == "excluded: moved"
        assert table.loc["b", "reason"] == "no image for wm"

    def test_several_sessions_are_refused_unless_the_sessions_option_is_given(self, frame, found):
        images = found([("a", "1"), ("a", "2"), ("b", "1")])
        with pytest.raises(UsageError, match=r"a \(1, 2\).*--sessions.*first, all.*mean"):
            samples.collect_samples(*frame, images, maps=("gm",), label="group")

        def used(sessions):
            table = samples.collect_samples(*frame, images, maps=("gm",), label="group", sessions=sessions)
            return [(row.participant_id, row.session_id, len(row.gm)) for row in table[table["used"]].itertuples()]

        assert used("first") == [("a", "1", 1), ("b", "1", 1)]
        images |= found([("b", "10"), ("b", "2")])
        del images["b", "1"]
        assert used("first") == [("a", "1", 1), ("b", "2", 1)]
        images = found([("a", "1"), ("a", "2"), ("b", "1")])
        assert used("all") == [("a", "1", 1), ("a", "2", 1), ("b", "1", 1)]
        assert [(person, count) for person, _, count in used("mean")] == [("a", 2), ("b", 1)]

    def test_excluding_one_session_keeps_the_other_sessions_of_the_participant(self, frame, found):
        images = found([("a", "1"), ("a", "2"), ("b", "1")])
        excluded = {("a", "1"): "moved", ("b", "1"): "artefact"}
        table = samples.collect_samples(*frame, images, maps=("gm",), label="group", excluded=excluded)
        assert [(row.participant_id, row.session_id) for row in table[table["used"]].itertuples()] == [("a", "2")]
        assert table.set_index("participant_id").loc["b", "reason"] == "excluded: ses-1: artefact"

    def test_participants_lacking_a_required_covariate_are_excluded_with_the_reason(self, frame, found):
        images = found([(person, None) for person in "abe"])
        table = samples.collect_samples(*frame, images, maps=("gm",), label="group", needed=("age", "tiv"))
        table = table.set_index("participant_id")
        assert table["used"].to_dict() == {"a": True, "b": True, "c": False, "d": False, "e": False}
        assert table.loc["e", "reason"] == "covariate age is n/a"

    def test_participants_beyond_fd_or_duration_limits_are_excluded_with_the_value(self, frame, found):
        images = found([("a", None)], MeanFramewiseDisplacement=0.2, MinutesLeft=7.0)
        images |= found([("b", None)], MeanFramewiseDisplacement=0.6, MinutesLeft=7.0)
        images |= found([("e", None)], MeanFramewiseDisplacement=0.1, MinutesLeft=3.0)
        limits = {"max_mean_fd": 0.5, "min_minutes": 5.0}
        table = samples.collect_samples(*frame, images, maps=("gm",), label="group", **limits).set_index(
            "participant_id"
        )
        assert table["used"].to_dict() == {"a": True, "b": False, "c": False, "d": False, "e": False}
        assert table.loc["b", "reason"] == "mean FD 0.60 mm is over 0.5"
        assert table.loc["e", "reason"] == "BOLD left 3.00 minutes is under 5"

    def test_maps_with_different_parameters_are_refused_with_an_example_and_advice(self, frame, found):
        images = found([("a", None), ("b", None)]) | found([("e", None)], MapParameters={"Resolution": 3})
        with pytest.raises(
            DataError, match=r"Resolution is 2 for a and 3 for e .*run the participant level again with Resolution 2"
        ):
            samples.collect_samples(*frame, images, maps=("gm",), label="group")

    def test_excluded_participants_may_have_different_map_parameters(self, frame, found):
        images = found([("a", None), ("b", None)]) | found([("d", None)], MapParameters={"Resolution": 3})
        assert samples.collect_samples(*frame, images, maps=("gm",), label="group")["used"].sum() == 2

    def test_map_without_a_sidecar_is_named(self, frame, found, tmp_path):
        images = found([("a", None)])
        (tmp_path / "sub-a_ses-None_gm.json").unlink()
        with pytest.raises(MissingInputError, match=r"sub-a_ses-None_gm\.json"):
            samples.collect_samples(*frame, images, maps=("gm",), label="group")


class TestCovariates:
    def test_categorical_covariates_are_dummy_coded_and_numeric_ones_kept(self):
        table = pd.DataFrame({"sex": ["M", "F", "M"], "age": ["31", "42", "50"], "site": ["c", "a", "a"]})
        coded, names = covariates.encode_covariates(table, ("age", "sex", "site"))
        assert names == {"age": ("age",), "sex": ("sex[M]",), "site": ("site[c]",)}
        assert coded["sex[M]"].tolist() == [1, 0, 1]
        assert coded["site[c]"].tolist() == [1, 0, 0]
        assert coded["age"].tolist() == ["31", "42", "50"]

    def test_categorical_covariate_unique_to_each_participant_is_refused(self):
        with pytest.raises(DataError, match="differ between all 2 participants"):
            covariates.encode_covariates(pd.DataFrame({"name": ["x", "y"]}), ("name",))

    def test_numbers_of_sites_are_categories(self):
        table = pd.DataFrame({"site": ["1", "2", "3", "3"]})
        coded, names = covariates.encode_covariates(table, ("site",))
        assert names == {"site": ("site[2]", "site[3]")}
        assert coded["site[3]"].tolist() == [0, 0, 1, 1]

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (["12", "?", "9", "9"], r"\? cannot be read as a number; correct"),
            (["12,5", "9", "a", "a"], "12,5, a cannot be read as a number; write decimal points"),
        ],
    )
    def test_numbers_with_an_odd_value_are_not_taken_for_categories(self, values, message):
        with pytest.raises(DataError, match=f"--covariates education: {message}"):
            covariates.encode_covariates(pd.DataFrame({"education": values}), ("education",))

    def test_an_infinite_covariate_is_refused_with_the_participants(self):
        table = pd.DataFrame({"participant_id": ["01", "02"], "age": ["31", "-inf"]})
        with pytest.raises(DataError, match="--covariates age: its value is infinite for 02"):
            covariates.encode_covariates(table, ("age",))


class TestExclusions:
    def test_sessions_and_whole_participants_can_be_excluded(self, tmp_path):
        file = tmp_path / "out.tsv"
        file.write_text("participant_id\tsession_id\treason\nsub-a\tn/a\tmoved\nb\tses-1\tn/a\n")
        read = exclusions.read(file)
        assert read == {("a", None): "moved", ("b", "1"): "listed"}
        asked = [("a", "2"), ("b", "1"), ("b", "2"), ("c", None)]
        assert [exclusions.reason(read, *entities) for entities in asked] == ["moved", "listed", None, None]

    def test_table_without_participant_id_is_refused(self, tmp_path):
        file = tmp_path / "out.tsv"
        file.write_text("subject\na\n")
        with pytest.raises(DataError, match="no participant_id column; it has: subject"):
            exclusions.read(file)
