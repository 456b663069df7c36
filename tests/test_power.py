"""Power analysis: simulated effects compared with maps modified by hand, power curves and whole runs."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app import run
from bids_app.classifiers import model_averaging, svm
from bids_app.dataset import folds
from bids_app.dataset.effect_patterns import draw_pattern
from bids_app.dataset.grid import Grid
from bids_app.evaluation import permutation, power
from bids_app.report.power import power_rows, power_sentences
from bids_app.training import models
from bids_app.training.effect_simulation import MIN_RELATIVE_SHIFT, SimulatedFold, score_simulated_studies, unit_shift
from bids_app.training.feature_pipeline import Samples, fit_pipeline

SHAPE, PEOPLE, SMOOTHING_MM = (16, 18, 14), 40, 8.0
MASK = np.zeros(SHAPE, bool)
MASK[2:-2, 2:-2, 2:-2] = True
GRID = Grid(MASK, np.diag([3.0, 3, 3, 1]), regions=np.repeat(np.arange(1, 6), MASK.sum() // 5 + 1)[: MASK.sum()])
CELLS = ["model_averaging", "svm"]


def blurred(volume):
    """A plain Gaussian of 8 mm, as maps are smoothed."""
    return gaussian_filter(volume, SMOOTHING_MM / (2 * np.sqrt(2 * np.log(2))) / 3, mode="constant")


def study(people=PEOPLE, seed=0):
    """Noise of participants as volumes before smoothing, their brain size, which the noise knows, and folds."""
    random = np.random.default_rng(seed)
    size = random.normal(1500, 100, people)
    raw = 0.5 + 0.1 * random.normal(size=(people, *SHAPE)).astype(np.float32)
    raw += (1e-4 * (size - 1500))[:, None, None, None].astype(np.float32)
    names = ["b" if row % 2 else "a" for row in range(people)]
    return raw, size, folds.stratified_folds(names, folds=5, seed=seed)


def values_of(raw):
    return np.stack([blurred(one)[MASK] for one in raw]).astype(np.float32)


def place(volume_of=((5, 9), (6, 10), (5, 9))):
    volume = np.zeros(SHAPE, bool)
    volume[tuple(slice(*edge) for edge in volume_of)] = True
    return volume


@pytest.mark.parametrize("columns", [(), ("tiv",)])
@pytest.mark.parametrize("part", [svm, model_averaging], ids=["svm", "model_averaging"])
def test_simulated_kernels_equal_those_of_modified_and_refitted_maps(columns, part):
    raw, size, splits = study()
    values, covariates = values_of(raw), {"tiv": size}
    shift, _ = unit_shift(Samples({"gm": values}, covariates), "gm", place(), GRID, columns, SMOOTHING_MM)
    lowered = np.random.default_rng(1).permutation(np.arange(PEOPLE) % 2 == 1)
    everyone = Samples({"gm": values}, covariates)
    fold = SimulatedFold(everyone, splits[0], "gm", columns=columns, keep=None, grid=GRID, sets=model_averaging.SETS)
    planted = fold.planted(lowered, shift)
    kept = np.where(np.abs(shift) > MIN_RELATIVE_SHIFT * np.abs(shift).max(), shift, 0)
    for d in (0.0, 2.5):
        changed = Samples({"gm": values + d * lowered[:, None].astype(np.float32) * kept}, covariates)
        training, held_out = changed.select(splits[0].train), changed.select(splits[0].test)
        fitted = fit_pipeline(training, maps=("gm",), columns={"gm": columns}, grid=GRID)
        both = (fitted.transform(training), fitted.transform(held_out))
        wanted = part.gram_matrix(*both, voxel_grid=models.places(GRID))
        result = planted.products(d)
        for name, each in wanted.items():
            assert result[name] == pytest.approx(each, abs=2e-4 * np.abs(each).max()), (name, d)


def test_unit_shift_lowers_the_regional_mean_by_one_covariate_adjusted_sd():
    raw, size, _ = study()
    everyone = Samples({"gm": values_of(raw)}, {"tiv": size})
    volume = place()
    shift, percent = unit_shift(everyone, "gm", volume, GRID, ("tiv",), SMOOTHING_MM)
    own = volume[MASK]
    means = everyone.values["gm"][:, own].mean(axis=1)
    slope, intercept = np.polyfit(size, means, 1)
    sd = np.sqrt(np.square(means - slope * size - intercept).sum() / (PEOPLE - 2))
    assert shift[own].mean() == pytest.approx(-sd, rel=1e-3)
    assert percent == pytest.approx(100 * sd / means.mean(), rel=1e-3)
    assert means.std() > 1.2 * sd
    assert shift[own].min() < 1.2 * shift[own].mean()  # smoothed, it is deepest in the middle


def test_drawn_patterns_have_the_right_form_and_lie_at_least_half_in_the_mask():
    labels = np.zeros(SHAPE, int)
    labels[MASK] = np.arange(MASK.sum()) // 60 + 1
    labels[:2] = 999  # outside the mask
    random = np.random.default_rng(0)
    for pattern, count in (("focal", 1), ("regional", 1), ("diffuse", 14)):
        for _ in range(5):
            volumes = draw_pattern(pattern, labels, GRID, random)
            assert len(volumes) == count
            for volume in volumes:
                assert (volume & MASK).sum() >= 0.5 * volume.sum() > 0
                if pattern == "focal":
                    assert 1000 < volume.sum() * 27 < 2300  # 2 mL, cut at the edge of the grid
                else:
                    (label,) = np.unique(labels[volume])
                    assert label != 999
                    assert (volume == (labels == label)).all()


def test_effect_sizes_correspond_to_the_expected_t_for_the_sample_size():
    planted = power.effect_sizes([20, 30])
    for factor, pattern in ((1, "focal"), (1, "regional"), (0.5, "diffuse")):
        t = np.array(planted[pattern]) * np.sqrt(20 * 30 / 50)
        assert t == pytest.approx(factor * np.array(power.EXPECTED_T), abs=0.01)


def test_detectable_size_is_interpolated_on_a_monotone_power_curve():
    d = [0.0, 1.0, 2.0, 3.0]
    hits = np.zeros((10, 4), bool)
    hits[:1, 0] = hits[:6, 2] = hits[:10, 3] = True  # shares .1, 0, .6, 1: falling once by chance
    assert power.detectable_size(d, hits) == pytest.approx(2.5)
    assert power.detectable_size(d, hits, share=0.05) == 0.0
    assert np.isnan(power.detectable_size(d, hits[:, :3].repeat(2, axis=1)[:, [0, 0, 1, 1]]))
    low, high = power.detectable_size_interval(d, hits, seed=0)
    assert 1.5 < low < 2.5 < high <= 3.0


def test_critical_score_is_the_lowest_score_judged_above_chance():
    random = np.random.default_rng(0)
    null = {"a": random.integers(0, 40, 999) / 40, "b": random.integers(0, 40, 999) / 40}
    least = power.critical_accuracy(list(null.values()))
    for score, claimed in ((least, True), (least - 1 / 40, False)):
        assert (permutation.step_down_p({"a": score, "b": 0.0}, null)["a"] <= permutation.ALPHA) == claimed


def tabled(shares, cells=("x/gm", "svm/gm")):
    """The table of a map whose cells find these shares at each size, the same in each pattern."""
    planted = power.effect_sizes([20, 20])
    scores = np.zeros((100, 3, len(power.EXPECTED_T), len(cells)))
    for cell, share in enumerate(shares):
        for size, part in enumerate(share):
            scores[: round(100 * part), :, size, cell] = 1
    return power.tabulate_power("gm", cells, scores, np.full((100, 3), 10.0), planted, 0.7, seed=0), planted


def test_power_sentence_states_detectable_sizes_and_table_lists_models():
    rising, flat = [0.04, 0.1, 0.4, 0.8, 0.9, 1.0, 1.0], [0.05] * 7
    table, planted = tabled((rising, flat))
    (sentence,) = power_sentences(table, [20, 20])
    assert "In 80 % of studies like this one (40 participants, 20 and 20)" in sentence
    assert f"in one region by d = {planted['regional'][3]:.2f} (95 % interval" in sentence
    assert f"about {10 * planted['regional'][3]:.0f} % of the mean there" in sentence
    assert f"in 20 regions at once by d = {planted['diffuse'][3]:.2f} each" in sentence
    rows = power_rows(table)
    assert {row["detected by"] for row in rows} == {"any linear model", "x/gm", "svm/gm"}
    (missed,) = (
        row for row in rows if row["detected by"] == "svm/gm" and row["location of the difference"] == "one region"
    )
    assert missed["d detected in 80 %"] == f"> {planted['regional'][-1]:.1f}"
    (sentence,) = power_sentences(tabled((flat, flat))[0], [20, 20])
    assert (
        f"one region by more than d = {planted['regional'][-1]:.1f}, the largest difference that was simulated"
        in sentence
    )


def test_invalid_power_options_are_refused(phantom_maps, capsys):
    bids, out = phantom_maps
    given = [str(bids), str(out), "group", "--label", "group", "--folds", "2", "--power", "20"]
    assert run.main([*given, "--permutations", "0"]) == 64
    assert "remove --permutations 0" in capsys.readouterr().err
    assert run.main([*given[:-1], "5"]) == 64
    assert "--power must be at least 20" in capsys.readouterr().err
    assert run.power([str(bids)]) == 64
    assert "pellucid-power requires BIDS_DIR and OUT_DIR" in capsys.readouterr().err


@pytest.mark.slow
def test_power_analysis_needs_no_label(phantom_maps, tmp_path):
    bids, out = phantom_maps
    plan = tmp_path / "bids"
    plan.mkdir()
    (plan / "dataset_description.json").write_text(json.dumps({"Name": "plan", "BIDSVersion": "1.10.0"}))
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    people[["participant_id"]].to_csv(plan / "participants.tsv", sep="\t", index=False)
    for name in people["participant_id"]:
        (plan / name).mkdir()
    assert run.power([str(plan), str(out), "--power", "20", "--folds", "2", "--sloppy", "--nprocs", "2"]) == 0
    folder = out / "group" / "power"
    table = pd.read_csv(folder / "power.tsv", sep="\t")
    assert set(table["pattern"]) == {"focal", "regional", "diffuse"}
    assert set(table["cell"]) == {"any", "model_averaging/gm", "svm/gm"}
    assert (table["studies"] == 20).all()
    assert table["share"].between(0, 1).all()
    page = (folder / "report.html").read_text()
    assert "No diagnosis was used" in page
    assert (folder / "figures" / "power.png").stat().st_size > 5000
    assert "--power 20 --folds 2" in page.partition('<h2 id="about">')[2]
    assert 'href="group/power/report.html"' in (out / "index.html").read_text()
    assert "run with Pellucid" in (folder / "methods.md").read_text()


@pytest.mark.slow
def test_effects_of_the_80_percent_size_are_detected_in_70_to_90_of_100_new_studies():
    """Fresh: other participants, changed before smoothing, and every step by the ordinary functions of a run."""
    labels = np.zeros(SHAPE, int)
    labels[MASK] = GRID.regions
    raw, size, splits = study()
    everyone, names = Samples({"gm": values_of(raw)}, {"tiv": size}), [str(row) for row in range(PEOPLE)]
    y, of_fold = np.arange(PEOPLE) % 2, np.zeros(PEOPLE, int)
    for split in splits:
        of_fold[list(split.test)] = split.fold
    exchanged = (y, of_fold, names, ["-"] * PEOPLE)
    least = power.critical_accuracy(
        _null(everyone, splits, permutation.shuffle_labels(*exchanged, count=300, seed=0), names)
    )
    planted = power.effect_sizes([PEOPLE // 2] * 2)["regional"]
    lowered = permutation.shuffle_labels(*exchanged, count=100, seed=1) == 1
    volumes = [draw_pattern("regional", labels, GRID, np.random.default_rng(seed))[0] for seed in range(100)]
    shifts = [[unit_shift(everyone, "gm", one, GRID, ("tiv",), SMOOTHING_MM)[0]] for one in volumes]
    given = {"people": names, "columns": ("tiv",), "keep": None, "grid": GRID}
    scores = score_simulated_studies(
        everyone, "gm", [vars(one) for one in splits], CELLS, lowered, shifts, [planted], **given
    )
    d = power.detectable_size(planted, scores[:, 0].max(axis=-1) >= least)
    hits = 0
    for seed in range(100):
        raw, size, splits = study(seed=1000 + seed)
        volume = draw_pattern("regional", labels, GRID, np.random.default_rng(5000 + seed))[0]
        fresh = Samples({"gm": values_of(raw)}, {"tiv": size})
        shift, _ = unit_shift(fresh, "gm", volume, GRID, ("tiv",), SMOOTHING_MM)
        own = volume[MASK]
        per_d = shift[own].mean() / blurred(volume.astype(np.float32))[MASK][own].mean()
        changed = raw + (d * per_d * y)[:, None, None, None].astype(np.float32) * volume
        people = Samples({"gm": values_of(changed)}, {"tiv": size})
        hits += max(result[0] for result in _null(people, splits, y[None], names)) >= least - permutation.TOLERANCE
    print(f"\nfound at d = {d:.2f}: {hits} of 100")
    assert 70 <= hits <= 90


def _null(everyone, splits, labellings, names):
    """The scores of each classifier under labellings, as a run has them."""
    kernels = {part: [] for part in (model_averaging, svm)}
    for split in splits:
        training, held_out = everyone.select(split.train), everyone.select(split.test)
        fitted = fit_pipeline(training, maps=("gm",), columns={"gm": ("tiv",)}, grid=GRID)
        both = (fitted.transform(training), fitted.transform(held_out))
        for part, own in kernels.items():
            products = part.gram_matrix(*both, voxel_grid=models.places(GRID))
            own.append(permutation.FoldKernel(products, np.array(split.train), np.array(split.test)))
    return [
        permutation.score_labellings(own, labellings, names, 2, decide=part.decision_function)
        for part, own in kernels.items()
    ]
