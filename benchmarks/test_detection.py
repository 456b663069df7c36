"""How much of an effect that is there the linear classifiers detect, and where their maps put it:
`pytest -m slow -s benchmarks/test_detection.py`.

Grey matter of participants without an effect (72 real ones of `real72` in PELLUCID_TEST_DATA, or 32 simulated), 3 mm. A
region of a random half of them is multiplied by 1 - effect, then all are smoothed by 8 mm, and classifiers are trained
as the group level does it: five stratified folds, adjusted for brain size and scaled on the training samples. Smoothing
is linear, so that the maps and what is taken out of them are smoothed once. The oracle knows the region: its threshold
lies half-way between the class means of the region's mean in the maps that are not smoothed.

A seed draws a study: the participants, their classes, the folds and, of 20 regions, which. Seeds 1 to 20 served to
choose the classifiers; the tables are of 101 to 120. Simulated participants are made once and kept, with all that was
measured, in the folder that PELLUCID_DETECTION names.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, which reads it once

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score

from bids_app import run
from bids_app.atlases import atlas
from bids_app.classifiers import regional
from bids_app.dataset import adjust, arrays, folds, scale
from bids_app.dataset.grid import Grid
from bids_app.evaluation import permutation
from bids_app.explainers import pattern, weights
from bids_app.maps import gm
from bids_app.nodes.atlas import resample_atlas
from bids_app.nodes.template import prepare_template
from bids_app.nodes.train import stack_maps
from bids_app.training import models
from bids_app.training.feature_pipeline import Samples, fit_pipeline

pytestmark = pytest.mark.slow
CLASSIFIERS = ("svm", "single_effect", "regional", "model_averaging")
ORACLE = "oracle"
SEEDS, FOLDS, REGIONS_DRAWN, INVENTED, ORDERS = range(101, 121), 5, 20, 32, 200
SPACE, RESOLUTION = "MNI152NLin2009cAsym", 3.0
MAP = {"space": SPACE, "resolution": RESOLUTION, "sloppy": True, "seed": 1}


@dataclass(frozen=True, eq=False)
class Cohort:
    """People without an effect: maps (people, X, Y, Z), `tiv` (people,), values (people, voxels) smoothed in the mask
    of `grid`, AAL's labels (X, Y, Z) and the names of these.
    """

    maps: np.ndarray
    tiv: np.ndarray
    values: np.ndarray
    grid: Grid
    aal: np.ndarray
    names: dict[int, str]

    def smoothed(self, maps):
        """Values (participants, voxels) of maps, as the group level reads them."""
        return np.stack(
            [arrays.scale_and_smooth(one, self.grid, gm.SMOOTHING_MM, gm.SCALING, "planted") for one in maps]
        )

    @cached_property
    def adjusted(self):
        """Values (participants, voxels), adjusted for brain size over all of them."""
        tiv = self.tiv[:, None]
        return adjust.transform(self.values, tiv, adjust.fit(self.values, tiv))


@dataclass(frozen=True)
class Effect:
    """The share that patients lack of a region, (cohort, seed) -> (X, Y, Z)."""

    name: str
    share: float
    region: Callable[[Cohort, int], np.ndarray]
    varies: bool = False  # another region with each seed


def ball(centre, radius):
    """A sphere, mm."""

    def region(cohort, seed):
        del seed
        place = nib.affines.apply_affine(cohort.grid.affine, np.moveaxis(np.indices(cohort.aal.shape), 0, -1))
        return ((place - centre) ** 2).sum(axis=-1) <= radius**2

    return region


def named(start, end=""):
    """The regions of AAL whose names have this start and end."""

    def region(cohort, seed):
        del seed
        chosen = [n for n, name in cohort.names.items() if name.startswith(start) and name.endswith(end)]
        return np.isin(cohort.aal, chosen)

    return region


def drawn(cohort, seed):
    """Some regions of AAL, others with each seed."""
    there = np.unique(cohort.aal[cohort.aal > 0])
    return np.isin(cohort.aal, np.random.default_rng(10_000 + seed).choice(there, REGIONS_DRAWN, replace=False))


ELSEWHERE = (
    Effect("sphere of 2 cm3, 30 %", 0.3, ball((40, -60, 25), 8)),
    Effect("lobe, 5 %", 0.05, named("Temporal_", "_L")),
    Effect(f"{REGIONS_DRAWN} regions, 5 %", 0.05, drawn, varies=True),
    Effect("none", 0.0, named("nowhere")),
)
OF_REAL = tuple(Effect(f"putamen, {n} %", n / 100, ball((-25, 3, 0), 9)) for n in (20, 30, 50)) + ELSEWHERE
OF_INVENTED = tuple(Effect(f"putamen, {n} %", n / 100, named("Putamen_L")) for n in (20, 30, 50)) + ELSEWHERE


def files_of(out):
    return sorted(out.glob(f"sub-*/anat/*_space-{SPACE}_res-3_label-GM_desc-modulated_probseg.nii.gz"))


def read(out, work, cache_folder):
    """The cohort whose participant level wrote `out`, read as the group level does."""
    work.mkdir(parents=True, exist_ok=True)
    files = files_of(out)
    template = prepare_template(cache=str(cache_folder), **MAP)
    place = {"cache": str(cache_folder), "template": template, "space": SPACE, "sloppy": True, "seed": 1}
    aal, parcellation = (
        Path(resample_atlas(name=name, stamp=atlas.stamp(name), **place)) for name in ("aal", regional.ATLAS)
    )
    chosen = {"map_name": "gm", "smoothing_mm": gm.SMOOTHING_MM, "form": gm.SCALING, "whole": False, "work": str(work)}
    stacked = stack_maps(
        template=template, files=[[str(file)] for file in files], parcellation=str(parcellation), **chosen
    )
    sidecars = [json.loads(Path(str(file).replace(".nii.gz", ".json")).read_text()) for file in files]
    names = json.loads((aal / "atlas.json").read_text())["names"]
    return Cohort(
        np.stack([nib.load(file).get_fdata(dtype=np.float32) for file in files]),
        np.array([sidecar["TotalIntracranialVolume"] for sidecar in sidecars]),
        np.load(stacked),
        Grid.read(work / "grid_gm.npz"),
        nib.load(aal / "labels.nii.gz").get_fdata().astype(int),
        {int(number): name for number, name in names.items()},
    )


def auroc(y, decision, fold):
    """The proportion of patient-control pairs held out in the same fold that are ranked correctly."""
    pairs = [
        np.sign(decision[(fold == one) & (y == 1)][:, None] - decision[(fold == one) & (y == 0)])
        for one in np.unique(fold)
    ]
    return float(np.concatenate([each.ravel() for each in pairs]).mean() / 2 + 0.5)


def oracle(region_mean, tiv, y, train, test):
    """Decisions on those held out by the true region's mean, (participants,)."""
    x, covariates = region_mean[:, None].astype(np.float32), tiv[:, None]
    fitted = adjust.fit(x[train], covariates[train])
    own, new = (adjust.transform(x[rows], covariates[rows], fitted)[:, 0] for rows in (train, test))
    control, patient = (own[y[train] == one].mean() for one in (0, 1))
    return (new - (control + patient) / 2) * np.sign(patient - control)


def study(cohort, effect, region, removed, people, seed):
    """Rows of what each classifier scores in one study, and how well its maps find the region."""
    random = np.random.default_rng(seed)
    drawn_rows, y = random.permutation(len(cohort.values))[:people], random.permutation(np.arange(people) % 2)
    tiv, values = cohort.tiv[drawn_rows], cohort.values[drawn_rows] - y[:, None] * removed[drawn_rows]
    everybody = Samples({"gm": values}, {"tiv": tiv})
    decisions = {name: np.zeros(people) for name in (*CLASSIFIERS, *([ORACLE] if effect.share else []))}
    maps = {(name, kind): 0.0 for name in CLASSIFIERS for kind in (pattern, weights)}
    of_fold = np.zeros(people, int)
    for split in folds.stratified_folds([str(one) for one in y], folds=FOLDS, seed=seed):
        train, test = np.array(split.train), np.array(split.test)
        of_fold[test] = split.fold
        prepared = fit_pipeline(everybody.select(train), maps=("gm",), columns={"gm": ("tiv",)}, grid=cohort.grid)
        own, new = (prepared.transform(everybody.select(rows)) for rows in (train, test))
        for name in CLASSIFIERS:
            model = models.build(name, prepared, 2, seed=seed)
            model.fit(own, y[train], seed=seed, groups=None, voxel_grid=models.places(cohort.grid))
            with torch.no_grad():
                decisions[name][test] = np.diff(model(torch.from_numpy(new)).numpy(), axis=1)[:, 0]
            for kind in (pattern, weights) if effect.share else ():
                described = kind.describe(model, own)[1]
                maps[name, kind] = maps[name, kind] + described / described.std()
        if effect.share:
            region_mean = cohort.maps[drawn_rows][:, region].mean(axis=1) * (1 - effect.share * y)
            decisions[ORACLE][test] = oracle(region_mean, tiv, y, train, test)
    truth = cohort.grid.vector(region)
    rows = []
    for name, decision in decisions.items():
        row = {"effect": effect.name, "people": people, "seed": seed, "classifier": name}
        row["ba"] = permutation.balanced_accuracy(y, (decision > 0).astype(int), 2)
        row["auroc"] = auroc(y, decision, of_fold)
        for kind in (pattern, weights) if effect.share and name != ORACLE else ():
            row[kind.__name__.rpartition(".")[2]] = average_precision_score(truth, np.abs(maps[name, kind]))
        rows.append(row)
    return rows


def sizes(cohort, effect, region, removed, seed):
    """How large an effect is: Cohen's d, adjusted, of the region's mean, of the part of it that is in the mask, and of
    the best voxel after smoothing.
    """
    sd = scale.fit(cohort.adjusted)["sd"]
    result = {"effect": effect.name, "seed": seed, "voxels": region.sum(), "in mask": cohort.grid.vector(region).sum()}
    tiv = cohort.tiv[:, None]
    for name, part in (("d of the region", region), ("d in the mask", region & cohort.grid.mask)):
        mean = cohort.maps[:, part].mean(axis=1, keepdims=True)
        left = adjust.transform(mean, tiv, adjust.fit(mean, tiv))
        result[name] = effect.share * mean.mean() / left.std(ddof=1)
    return result | {"d of the best voxel": (removed.mean(axis=0) / sd).max()}


def largest_t(cohort, people):
    """The median, over random halves of the sample, of the largest |t| over all voxels without an effect."""
    random, x = np.random.default_rng(0), cohort.adjusted
    result = []
    for _ in range(ORDERS):
        order = random.permutation(len(x))[:people]
        a, b = x[order[::2]], x[order[1::2]]
        pooled = (a.var(axis=0) * len(a) + b.var(axis=0) * len(b)) / (people - 2)
        result.append(np.abs((a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(pooled * (1 / len(a) + 1 / len(b)))).max())
    return float(np.median(result))


def measured(cohort, effects, groups, keep):
    """Scores and sizes, a row each, of all studies; kept as tables in `keep`."""
    scores, effect_sizes = [], []
    for effect in effects:
        for seed in SEEDS:
            if effect.varies or seed == SEEDS[0]:
                region = effect.region(cohort, seed)
                removed = cohort.smoothed(cohort.maps * (effect.share * region).astype(np.float32))
                effect_sizes += [sizes(cohort, effect, region, removed, seed)] if effect.share else []
            for people in groups:
                scores += study(cohort, effect, region, removed, people, seed)
        for name, rows in (("scores", scores), ("sizes", effect_sizes)):
            pd.DataFrame(rows).to_csv(keep / f"{name}.tsv", sep="\t", index=False)
    return pd.DataFrame(scores), pd.DataFrame(effect_sizes)


def ratio(scores, effect, people, classifier="model_averaging"):
    """(balanced accuracy - 0.5) / (that of the oracle - 0.5), of the means over studies."""
    means = scores[(scores["effect"] == effect) & (scores["people"] == people)].groupby("classifier")["ba"].mean()
    return (means[classifier] - 0.5) / (means[ORACLE] - 0.5)


def tell(title, cohort, scores, effect_sizes, groups, seconds):
    """Print the tables."""
    print(f"\n\n## {title}: {len(cohort.values)}, {cohort.grid.voxels} voxels, seeds {SEEDS[0]} to {SEEDS[-1]}\n")
    print("| effect | people | classifier | balanced accuracy (SD) | AUROC | ratio | AUPRC of pattern | of weights |")
    print("|---|---|---|---|---|---|---|---|")
    for (effect, people, name), rows in scores.groupby(["effect", "people", "classifier"], sort=False):
        share = "" if effect == "none" else f"{ratio(scores, effect, people, name):.2f}"
        located = [f"{rows[kind].mean():.2f}" if rows[kind].notna().all() else "" for kind in ("pattern", "weights")]
        line = [
            effect,
            people,
            name,
            f"{rows['ba'].mean():.3f} ({rows['ba'].std():.3f})",
            f"{rows['auroc'].mean():.3f}",
        ]
        print("|", " | ".join(map(str, [*line, share, *located])), "|")
    training_people = [people - people // FOLDS for people in groups]
    heads = [f"t of it, {n} train" for n in training_people]
    print("\n| effect | voxels | in the mask | d of the region | d of that in the mask | d of the best voxel |", end="")
    print("", " | ".join(heads), "|\n|---|---|---|---|---|---|" + "---|" * len(heads))
    for effect, rows in effect_sizes.groupby("effect", sort=False):
        voxels, inside, *d = rows.drop(columns=["effect", "seed"]).mean()
        numbers = [f"{one:.2f}" for one in (*d, *(d[-1] * np.sqrt(n) / 2 for n in training_people))]
        print("|", " | ".join([effect, f"{voxels:.0f}", f"{inside:.0f}", *numbers]), "|")
    for n in training_people:
        print(f"\nlargest |t| of {n} people and all voxels without an effect: {largest_t(cohort, n):.2f}", end="")
    print(f"\n\n{seconds:.0f} CPU s", flush=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder that PELLUCID_DETECTION names, or one of this run."""
    folder = Path(os.environ.get("PELLUCID_DETECTION", tmp_path_factory.mktemp("detection"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def results(title, out, kept, effects, groups):
    start = time.process_time()
    work = kept / title.replace(" ", "-")
    cohort = read(out, work, kept / "cache")
    scores, effect_sizes = measured(cohort, effects, groups, work)
    tell(title, cohort, scores, effect_sizes, groups, time.process_time() - start)
    return scores


@pytest.fixture(scope="module")
def of_real(kept):
    data = Path(os.environ.get("PELLUCID_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not files_of(data / "real72" / "out"):
        pytest.skip("maps of real people are not here: set PELLUCID_TEST_DATA to a folder that holds real72")
    return results("real people", data / "real72" / "out", kept, OF_REAL, (24, 48, 72))


@pytest.fixture(scope="module")
def of_invented(kept):
    bids, out = kept / "bids", kept / "out"
    if not bids.exists():
        words = ["--people", str(INVENTED), "--effect", "0", "--random-seed", "7"]
        assert run.phantom([str(bids), *words]) == 0
    if len(files_of(out)) < INVENTED:
        assert run.main([str(bids), str(out), "participant", "--sloppy", "--resolution", "3"]) == 0
    return results("invented people", out, kept, OF_INVENTED, (24,))


def test_model_averaging_nears_the_oracle_in_72_real_participants_and_svm_does_not(of_real):
    assert ratio(of_real, "putamen, 50 %", 72) >= 0.9
    assert ratio(of_real, "putamen, 50 %", 72, "svm") < 0.5


def test_model_averaging_nears_the_oracle_and_beats_svm_in_24_simulated_participants(of_invented):
    assert ratio(of_invented, "putamen, 50 %", 24) >= 0.9
    assert ratio(of_invented, "putamen, 50 %", 24) > ratio(of_invented, "putamen, 50 %", 24, "svm")


def test_accuracy_is_near_chance_without_an_effect(of_real, of_invented):
    for scores in (of_real, of_invented):
        means = scores[scores["effect"] == "none"].groupby(["people", "classifier"])["ba"].mean()
        assert means.max() < 0.6
