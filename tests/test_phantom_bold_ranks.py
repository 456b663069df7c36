"""An effect planted in BOLD is localised by the map intended for it: ten seeds chosen beforehand.

Regions are ranked by the t value between patients and controls of their means, without any classifier. Run it with
`scripts/test -m slow -s tests/test_phantom_bold_ranks.py`; it prints every rank. `-k amplitude` is a third of it.
"""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, ttest_ind

from bids_app import catalogue
from bids_app.atlases import atlas
from bids_app.nodes.atlas import ResampledAtlas, resample_atlas
from bids_app.nodes.bold_maps import clean_series, make_bold_map
from bids_app.nodes.template import prepare_template
from bids_app.phantom.write import write

pytestmark = pytest.mark.slow
SEEDS = range(1, 11)
REGION, PEOPLE = "Putamen_L", 24
VOLUMES = 240  # 120 leave 8 degrees of freedom in the band, too few to estimate regional homogeneity
SPACE = "MNI152NLin2009cAsym"
MAPS = ("alff", "falff", "reho", "fcs", "rfcs", "networks")
CHOSEN = {"denoise": "24p-wm-csf", "band": [0.01, 0.08], "fd_threshold": 0.5}
# The size of each kind of effect (phantom/fluctuations.py), and the maps that ought to show it.
EFFECTS = {
    "amplitude": (0.5, ("alff", "falff")),
    "coherence": (0.5, ("reho",)),
    "connectivity": (0.8, ("fcs", "rfcs", "networks-SMN")),
}


@pytest.fixture(scope="module")
def tables():
    """What was measured, by kind of effect: pytest would make a fixture anew for every map."""
    return {}


@pytest.fixture
def measured(request, tables, tmp_path_factory):
    """The planted region's rank among 120 with an effect of one kind: a row a seed, a column a map."""
    if request.param not in tables:
        tables[request.param] = _table(request.param, tmp_path_factory)
    return tables[request.param]


def _table(kind, tmp_path_factory):
    rows, kept = {}, tmp_path_factory.mktemp(f"atlas-{kind}")
    for seed in SEEDS:
        folder = tmp_path_factory.mktemp(f"{kind}{seed}")
        rows[seed] = _ranks(folder, kept, seed, kind)
        print("\n", kind, seed, rows[seed], flush=True)
        shutil.rmtree(folder)
    table = pd.DataFrame(rows).T
    print(f"\n{kind}, rank of {REGION} of 120 by seed\n{table.to_string()}", flush=True)
    return table


def _ranks(folder, kept, seed, kind):
    planted = {
        "bold": EFFECTS[kind][0],
        "bold_effect": kind,
        "bold_volumes": VOLUMES,
        "derivatives": folder / "fmriprep",
    }
    write(folder / "bids", people=PEOPLE, region=REGION, resolution=4.0, random_seed=seed, **planted)
    people = pd.read_csv(folder / "bids" / "participants.tsv", sep="\t").set_index("participant_id")["group"]
    of = {person: _means(folder, kept, person) for person in people.index}
    result = {}
    for name in next(iter(of.values())):
        table = pd.DataFrame({person: means[name] for person, means in of.items()}).dropna()
        sides = [table.loc[:, (people == group)[table.columns]] for group in ("patient", "control")]
        t = pd.Series(np.abs(ttest_ind(*sides, axis=1, equal_var=False).statistic), index=table.index)
        result[name] = int(t.rank(ascending=False)[REGION])
    return result


def _means(folder, kept, person):
    """The mean of each region by map, the map scaled as the group level scales it."""
    stem = str(folder / "fmriprep" / person / "func" / f"{person}_task-rest_")
    run = {
        "bold": f"{stem}space-{SPACE}_desc-preproc_bold.nii.gz",
        "mask": f"{stem}space-{SPACE}_desc-brain_mask.nii.gz",
        "confounds": f"{stem}desc-confounds_timeseries.tsv",
        "tr": 2.0,
        "skipped": 0,
    }
    parameters = {"alff_definition": "mean", "strength": "mean-r", "neighbours": 27}
    parameters["network_maps"] = str(folder / "bids" / "sourcedata" / "network-maps.nii.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = clean_series(run=run, settings=CHOSEN, grid=None)
        placed = _placed(kept, made["mask"])
        inside = np.asarray(nib.load(made["mask"]).dataobj) > 0
        placed_atlas = ResampledAtlas.read(placed)
        labels, names = placed_atlas.labels, placed_atlas.names
        result = {}
        for name in MAPS:
            part = catalogue.load("maps", name)
            files = make_bold_map(map_name=name, run=made, parameters=parameters, parcels=placed)
            for key, file in files.items():
                if key.startswith("z_"):
                    continue
                values = nib.load(file).get_fdata()[inside]
                form = {"mean": (0, values.mean()), "zscore": (values.mean(), values.std())}.get(part.SCALING, (0, 1))
                scaled = pd.Series((values - form[0]) / form[1]).groupby(labels[inside]).mean()
                result[key.replace("beta_", "networks-")] = scaled.drop(0).rename(names)
    return result


def _placed(kept, mask):
    made = prepare_template(cache=str(kept), space=SPACE, resolution=4.0, sloppy=True, seed=1)
    options = {"stamp": atlas.stamp("aal"), "space": SPACE, "seed": 1, "sloppy": True}
    return resample_atlas(cache=str(kept), name="aal", template={**made, "mask": mask}, **options)


# Of 24 participants. The planted gain in network connectivity is small relative to that with the whole brain
# or with all other regions.
FAINT = pytest.mark.xfail(
    reason="fcs has it among the first three in 2 of 10 seeds, rfcs in 3, when they were last run"
)


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        pytest.param(kind, name, marks=FAINT if name in ("fcs", "rfcs") else ())
        for kind, (_, names) in EFFECTS.items()
        for name in names
    ],
    indirect=["measured"],
)
def test_intended_map_ranks_the_region_in_the_top_three_more_often_than_by_chance(measured, name):
    hits = int((measured[name] <= 3).sum())
    assert binomtest(hits, len(SEEDS), 3 / 120, alternative="greater").pvalue < 0.001, (name, hits)
