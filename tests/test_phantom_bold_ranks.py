"""An effect planted in BOLD is found where it was planted, by the map that is made for it: ten seeds chosen beforehand.

Run it with `scripts/test -m slow -s tests/test_phantom_bold_ranks.py`; it prints every rank. `-k amplitude` is a third.
"""

import shutil

import pandas as pd
import pytest
from scipy.stats import binomtest

from bids_app.phantom.write import write
from bids_app.run import main

pytestmark = pytest.mark.slow
SEEDS = range(1, 11)
REGION = "Putamen_L"
MAPS = ("alff", "falff", "reho", "fcs", "rfcs", "networks")
# The size of each kind of effect (phantom/fluctuations.py), and the maps that ought to show it.
EFFECTS = {
    "amplitude": (0.5, ("alff", "falff")),
    "coherence": (0.5, ("reho",)),
    "connectivity": (0.8, ("fcs", "rfcs", "networks-SMN")),
}


@pytest.fixture(scope="module", params=EFFECTS)
def measured(request, tmp_path_factory, with_template):
    """The kind of the effect, and the planted region's rank among 120: a row a seed, a column a map."""
    rows = {}
    for seed in SEEDS:
        folder = tmp_path_factory.mktemp(f"{request.param}{seed}")
        with_template(folder / "out" / ".work")
        rows[seed] = _ranks(folder, seed, request.param)
        print("\n", request.param, seed, rows[seed], flush=True)
        shutil.rmtree(folder)
    table = pd.DataFrame(rows).T
    print(f"\n{request.param}, rank of {REGION} of 120 by seed\n{table.to_string()}", flush=True)
    return request.param, table


def _ranks(folder, seed, kind):
    bids, out, derived = (str(folder / name) for name in ("bids", "out", "fmriprep"))
    planted = {"bold": EFFECTS[kind][0], "bold_effect": kind, "derivatives": folder / "fmriprep"}
    write(folder / "bids", people=12, region=REGION, resolution=4.0, random_seed=seed, **planted)
    networks = ["--network-maps", str(folder / "bids" / "sourcedata" / "network-maps.nii.gz")]
    common = ["--maps", *MAPS, "--atlas", "aal", "--sloppy", "--resolution", "4"]
    assert main([bids, out, "participant", *common, *networks, "-d", f"fmriprep={derived}"]) == 0
    options = ["--label", "group", "--classes", "control", "patient", "--folds", "4"]
    assert main([bids, out, "group", *common, *options, "--classifiers", "svm", "--explainers", "pattern"]) == 0
    regions = pd.read_csv(folder / "out" / "group" / "group" / "regions.tsv", sep="\t")
    found = regions.query("method == 'pattern' and explained == 'patient' and region == @REGION").set_index("cell")
    return {cell.removeprefix("svm/"): int(rank) for cell, rank in found["rank"].items()}


def test_the_maps_that_are_made_for_it_rank_the_region_first_far_more_often_than_by_chance(measured):
    kind, table = measured
    for name in EFFECTS[kind][1]:
        hits = int((table[name] <= 3).sum())
        assert binomtest(hits, len(SEEDS), 3 / 120, alternative="greater").pvalue < 0.001, (kind, name, hits)
