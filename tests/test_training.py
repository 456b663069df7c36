"""Training: no leakage, planted effects detected, none in noise, and saved models reproduce predictions."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import vit_small

from bids_app.classifiers import vit_b16
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, MissingInputError
from bids_app.training import fold, loop, models, results, scores, seeds
from bids_app.training.feature_pipeline import Samples, fit_pipeline
from bids_app.training.volume_reader import VolumeReader

CLASSES = ("control", "patient")
AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])
TSV = {"sep": "\t", "dtype": {"participant_id": str}}


@pytest.fixture
def small_vit(monkeypatch):
    """vit_b16 is a small one while a test runs."""
    monkeypatch.setattr(vit_b16, "build", vit_small.build)


def train(common, split, folder, classifier="svm", **options):
    fold.train_fold(cell=f"{classifier}/gm", classifier=classifier, split=split, folder=folder, **(common | options))
    return folder


class TestLeakage:
    @pytest.mark.parametrize("classifier", ["svm", "cnn3d"])
    def test_held_out_samples_do_not_affect_fitted_files(self, study, tmp_path, classifier):
        common, splits, _ = study(1.0)
        how = {"options": {"epochs": 1}, "explainers": ("weights", "gradcam", "pattern")}
        first = train(common, splits[0], tmp_path / "first", classifier, **how)
        for path in common["arrays"].values():
            x = np.load(path)
            x[list(splits[0].test)] = np.random.default_rng(99).normal(7, 3, (len(splits[0].test), x.shape[1]))
            np.save(path, x)
        people = pd.read_csv(common["people"], **TSV)
        people.loc[list(splits[0].test), "tiv"] = 2000.0 + np.arange(len(splits[0].test))
        people.to_csv(common["people"], sep="\t", index=False)
        second = train(common, splits[0], tmp_path / "second", classifier, **how)
        for name in ("model/weights.safetensors", "model/model.toml", "losses.tsv", "heatmaps.json"):
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
        assert (first / "predictions.tsv").read_text() != (second / "predictions.tsv").read_text()

    def test_model_files_name_no_participant(self, study, tmp_path):
        common, splits, _ = study()
        people = pd.read_csv(common["people"], **TSV)
        people["participant_id"] = "SECRET" + people["participant_id"]
        people.to_csv(common["people"], sep="\t", index=False)
        folder = train(common, splits[0], tmp_path / "out")
        assert "SECRET" in (folder / "predictions.tsv").read_text()
        for path in (folder / "model").iterdir():
            assert b"SECRET" not in path.read_bytes()
            assert str(tmp_path).encode() not in path.read_bytes()


class TestGrid:
    @pytest.mark.parametrize("whole", [False, True])
    def test_whole_grid_network_uses_the_uncropped_volume_also_after_loading(self, study, tmp_path, whole):
        common, splits, _ = study()
        small = Grid.read(common["grid_file"])
        room = Grid(np.pad(small.mask, 3), small.affine, whole)
        room.write(common["grid_file"])
        how = {"options": {"epochs": 1}, "explainers": ("saliency",)}
        folder = train(common, splits[0], tmp_path / "out", "ng2018", **how)
        shape = room.mask.shape if whole else room.cropped.mask.shape
        model = models.load(folder / "model")
        assert model.module.dense[1].in_features == 5 * np.prod([edge // 2 // 2 for edge in shape])
        held = everyone(common).select(splits[0].test)
        assert model.tensor(held, 0).shape == (1, *shape)
        predictions = pd.read_csv(folder / "predictions.tsv", **TSV)["probability_patient"]
        np.testing.assert_array_equal(model.predict(held)[:, 1], predictions)
        assert np.load(folder / "heatmap_saliency.npy").shape == (len(predictions), 2, room.voxels)


class TestDetection:
    @pytest.mark.parametrize(("classifier", "method"), [("svm", "weights"), ("cnn3d", "gradcam")])
    def test_planted_effect_is_classified_and_localised(self, study, tmp_path, classifier, method):
        common, splits, planted = study(2.5)
        parts = [train(common, split, tmp_path / str(split.fold), classifier, explainers=(method,)) for split in splits]
        table = pd.concat([pd.read_csv(part / "predictions.tsv", **TSV) for part in parts])
        assert sorted(table["participant_id"]) == [f"{row:03}" for row in range(24)]
        assert scores.score_table(table, CLASSES)["balanced_accuracy"][0] >= 0.8
        assert np.load(parts[0] / f"heatmap_{method}.npy").shape == (8, 2, planted.size)
        # the published map: the mean over all held-out patients, each model's maps in units of its own spread
        (patients,) = (mean for mean in results.average_heatmaps(parts, "cell", CLASSES) if mean.explained == "patient")
        assert patients.people == 12
        shown = patients.values
        assert shown[planted].mean() > shown[~planted].mean() + 2 * shown[~planted].std()

    def test_noise_is_classified_at_chance(self, study, tmp_path):
        result = []
        for seed in range(6):
            common, splits, _ = study(0.0, seed=seed)
            parts = [train(common, split, tmp_path / f"{seed}-{split.fold}") for split in splits]
            result.append(
                scores.score_table(pd.concat([pd.read_csv(part / "predictions.tsv", **TSV) for part in parts]), CLASSES)
            )
        rows = pd.concat(result)
        # the mean of six accuracies of 24 participants has a SD of 0.04
        assert abs(rows["balanced_accuracy"].mean() - 0.5) < 0.15
        assert rows["balanced_accuracy_low"].gt(0.5).sum() <= 1

    def test_brain_size_is_less_predictive_once_adjusted_for(self, study, tmp_path):
        common, splits, _ = study()
        people = pd.read_csv(common["people"], **TSV)
        size = np.where(people["class"] == "patient", 1300.0, 1700.0) + np.random.default_rng(4).normal(
            0, 20, len(people)
        )
        people.assign(tiv=size).to_csv(common["people"], sep="\t", index=False)
        x = np.random.default_rng(5).normal(size=np.load(common["arrays"]["gm"]).shape) + 0.01 * size[:, None]
        np.save(common["arrays"]["gm"], x.astype(np.float32))

        def accuracy(name, adjust):
            parts = [train(common, split, tmp_path / f"{name}{split.fold}", adjust=adjust) for split in splits]
            tables = pd.concat([pd.read_csv(part / "predictions.tsv", **TSV) for part in parts])
            return scores.score_table(tables, CLASSES)["balanced_accuracy"][0]

        assert accuracy("raw", {}) == 1.0
        assert accuracy("adjusted", {"gm": ("tiv",)}) < 0.8


class TestFold:
    def test_unsuitable_explainers_are_reported_and_the_others_written(self, study, tmp_path):
        common, splits, planted = study(1.0)
        folder = train(common, splits[0], tmp_path / "out", explainers=("weights", "gradcam", "pattern"))
        told = json.loads((folder / "heatmaps.json").read_text())
        assert "network" in told["gradcam"]["refused"]
        assert not (folder / "heatmap_gradcam.npy").exists()
        assert np.load(folder / "model_pattern.npy").shape == (2, planted.size)
        # only the SD of the training maps is stored
        model = models.load(folder / "model")
        people = everyone(common).select(splits[0].train)
        linear = model.module.linear.weight.detach().numpy()
        deviation = model.pipeline.transform(people) - model.module.centre.numpy()
        plain = np.stack([deviation * row for row in linear]).std(dtype=float)
        assert told["weights"]["person_sd"] == pytest.approx(plain, rel=1e-5)

    def test_weight_contributions_sum_to_the_change_in_logit(self, study, tmp_path):
        common, splits, _ = study(1.0)
        folder = train(common, splits[0], tmp_path / "out", explainers=("weights",))
        model = models.load(folder / "model")
        people = everyone(common)
        mean = model.module(model.module.centre[None]).detach().numpy()[0]
        for row, person in enumerate(splits[0].test):
            logits = model.module(model.tensor(people, person)[None]).detach().numpy()[0]
            np.testing.assert_allclose(
                np.load(folder / "heatmap_weights.npy")[row].sum(axis=1), logits - mean, atol=1e-4
            )

    def test_several_maps_give_one_heatmap(self, study, tmp_path):
        common, splits, planted = study(1.0, maps=("gm", "wm"))
        for classifier, method in (("svm", "weights"), ("cnn3d", "gradcam")):
            folder = train(
                common, splits[0], tmp_path / classifier, classifier, options={"epochs": 1}, explainers=(method,)
            )
            assert np.load(folder / f"heatmap_{method}.npy").shape == (8, 2, planted.size)
            assert models.load(folder / "model").pipeline.maps == ("gm", "wm")

    def test_participants_without_a_covariate_are_named(self, study, tmp_path):
        common, splits, _ = study()
        people = pd.read_csv(common["people"], **TSV)
        people.loc[[3, 5], "tiv"] = np.nan
        people.to_csv(common["people"], sep="\t", index=False, na_rep="n/a")
        with pytest.raises(DataError, match=r"tiv .*003, 005.*--exclude"):
            train(common, splits[0], tmp_path / "out")

    def test_participant_table_and_array_of_different_length_are_refused(self, study, tmp_path):
        common, splits, _ = study()
        pd.read_csv(common["people"], **TSV).iloc[1:].to_csv(common["people"], sep="\t", index=False)
        with pytest.raises(DataError, match="24 rows and the table of participants 23"):
            train(common, splits[0], tmp_path / "out")


class TestModels:
    @pytest.mark.usefixtures("small_vit")
    @pytest.mark.parametrize("classifier", ["svm", "cnn3d", "forest", "logistic", "ng2018", "vit_b16"])
    def test_loaded_model_reproduces_training_predictions_exactly(self, study, tmp_path, classifier):
        common, splits, _ = study(1.0)
        folder = train(common, splits[1], tmp_path / "out", classifier, options={"epochs": 2})
        predictions = pd.read_csv(folder / "predictions.tsv", sep="\t", dtype=str)
        model = models.load(folder / "model")
        with loop.torch_threads(1):
            together = model.predict(everyone(common))[list(splits[1].test)]
            alone = model.predict(everyone(common).select(splits[1].test[2:3]))
        np.testing.assert_array_equal(
            together, predictions[["probability_control", "probability_patient"]].map(float).to_numpy()
        )
        np.testing.assert_array_equal(alone[0], together[2])
        np.testing.assert_allclose(together.sum(axis=1), 1)
        assert [CLASSES[index] for index in together.argmax(axis=1)] == predictions["predicted"].tolist()

    def test_model_metadata_describe_the_model(self, study, tmp_path):
        common, splits, _ = study()
        card = tomllib.loads((train(common, splits[0], tmp_path / "out") / "model" / "model.toml").read_text())
        assert (card["cell"], card["maps"], card["classes"]) == ("svm/gm", ["gm"], list(CLASSES))
        assert card["adjust"] == {"gm": ["tiv"]}
        assert card["settings"] == {"smoothing_mm": 4.0}
        assert card["grid"]["shape"] == [14, 15, 16]

    def test_altered_weights_and_missing_files_are_refused(self, study, tmp_path):
        common, splits, _ = study()
        folder = train(common, splits[0], tmp_path / "out") / "model"
        weights = folder / "weights.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(DataError, match=r"not the file that model\.toml describes"):
            models.load(folder)
        weights.unlink()
        with pytest.raises(MissingInputError, match=r"weights\.safetensors"):
            models.load(folder)

    def test_samples_without_a_required_covariate_are_refused(self, study, tmp_path):
        common, splits, _ = study()
        model = models.load(train(common, splits[0], tmp_path / "out") / "model")
        people = everyone(common)
        with pytest.raises(DataError, match="requires tiv"):
            model.predict(replace(people, covariates={}))


class TestSeeds:
    def test_same_seed_gives_identical_files_and_every_fold_a_distinct_seed(self, study, tmp_path):
        common, splits, _ = study(1.0)
        first = train(common, splits[0], tmp_path / "a", "cnn3d", options={"epochs": 1})
        torch.rand(3)  # what was drawn before does not matter
        second = train(common, splits[0], tmp_path / "b", "cnn3d", options={"epochs": 1})
        for name in ("model/weights.safetensors", "predictions.tsv", "losses.tsv"):
            assert (first / name).read_bytes() == (second / name).read_bytes()
        assert (
            len({seeds.derive(seed, cell, r, f) for seed in (0, 1) for cell in "ab" for r in (0, 1) for f in (0, 1)})
            == 16
        )

    @pytest.mark.gpu
    def test_same_seed_agrees_on_cuda_within_the_stated_tolerance(self, study, tmp_path):
        common, splits, _ = study(1.0)
        told = []
        for name in "ab":
            folder = train(common, splits[0], tmp_path / name, "cnn3d", options={"epochs": 5}, device="cuda")
            told.append(pd.read_csv(folder / "predictions.tsv", sep="\t")["probability_patient"])
        np.testing.assert_allclose(*told, atol=loop.CUDA_TOLERANCE)

    def test_global_torch_state_is_restored(self):
        before, cudnn = torch.get_rng_state(), torch.backends.cudnn.deterministic
        with loop.fixed_seed(3, "cpu"), loop.torch_threads(2):
            torch.rand(5)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.backends.cudnn.deterministic == cudnn


class TestFeaturePipeline:
    def test_volumes_contain_the_vectors_in_the_box_and_zero_outside_the_mask(self, study):
        common, splits, _ = study(maps=("gm", "wm"))
        people = everyone(common)
        grid = Grid.read(common["grid_file"])
        pipeline = fit_pipeline(people.select(splits[0].train), maps=("gm", "wm"), columns={"gm": ("tiv",)}, grid=grid)
        vectors = pipeline.transform(people)
        volumes = pipeline.to_volumes(vectors)
        box = grid.cropped
        assert volumes.shape == (24, 2, *box.mask.shape)
        np.testing.assert_array_equal(volumes[3, 1][box.mask], vectors[3, grid.voxels :])
        assert not volumes[:, :, ~box.mask].any()
        training = vectors[list(splits[0].train)]
        np.testing.assert_allclose(training.mean(axis=0), 0, atol=1e-4)
        read = VolumeReader(pipeline, vectors, most=5)
        for rows in ([7, 2, 9, 9, 1], [0], [3, 4]):
            np.testing.assert_array_equal(read(np.array(rows)), volumes[rows])


def everyone(common):
    table = pd.read_csv(common["people"], **TSV)
    values = {one: np.load(path, mmap_mode="r") for one, path in common["arrays"].items()}
    return Samples(values, {"tiv": table["tiv"].to_numpy()})
