"""Each recipe, both levels, with --sloppy on simulated participants of its modality: a table of all models, with -s.

Run it with `scripts/test -m slow -s tests/test_recipe_runs.py`; `-k NAME` for one. What is planted is large, so that it
is found with so few participants; `rank` is that of the planted region among those of the first atlas, by its mean.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_app import recipes, settings
from bids_app.phantom.write import write
from bids_app.run import main

pytestmark = pytest.mark.slow
# white matter has no putamen
REGIONS = {"ng2018": ("juelich", "WM_Corticospinal_tract_L")}
REGION = ("aal", "Putamen_L")
PEOPLE = {"wang2023": 8}
# what is planted: in the tissue of T1w, or in BOLD, whose maps see different things
T1W = {"effect": 0.9}
BOLD = {"bold": 1.5, "bold_effect": "amplitude", "bold_volumes": 120, "resolution": 4.0}
NETWORKS = {**BOLD, "bold": 0.9, "bold_effect": "connectivity"}
PLANTED = {"li2025": BOLD, "shimano2025": NETWORKS, "ng2018": T1W, "rafsani2025": T1W, "wang2023": T1W}
MORE = {"rafsani2025": {"group": ["--weights", "none"]}}


def words(name, folder, level):
    more = MORE.get(name, {}).get(level, [])
    if "bold" in PLANTED[name]:
        more = [*more, "-d", f"fmriprep={folder / 'fmriprep'}"]
        more += ["--network-templates", str(folder / "bids" / "sourcedata" / "network-maps.nii.gz")]
    if level == "group":
        more = [*more, "--label", "group", "--classes", "control", "patient"]
    asked = [str(folder / "bids"), str(folder / "out"), level, "--recipe", name, "--sloppy"]
    return [*asked, "--nprocs", "2", "-w", str(folder / "work"), *more]


def table_of(folder, region):
    """A row a cell: balanced accuracy with its interval, what is said of it, and the region's rank by each method."""
    scores = pd.read_csv(folder / "scores.tsv", sep="\t")
    scores = scores[scores["cell"].str.contains("/")].groupby("cell", sort=False).first()
    regions = pd.read_csv(folder / "regions.tsv", sep="\t")
    own = regions[(regions["region"] == region) & (regions["explained"] == "patient")]
    ranks = own.drop_duplicates(["cell", "method"]).pivot(index="cell", columns="method", values="rank")
    wanted = ["balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"]
    return scores[wanted].join(ranks)


@pytest.mark.parametrize("name", recipes.names())
def test_recipe_runs_on_simulated_participants_and_reports_every_classifier(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    atlas, region = REGIONS.get(name, REGION)
    planted = {"atlas": atlas, "region": region, **PLANTED[name]}
    if "bold" in planted:
        planted["derivatives"] = folder / "fmriprep"
    write(folder / "bids", people=PEOPLE.get(name, 24), random_seed=1, **planted)
    for level in ("participant", "group"):
        assert main(words(name, folder, level)) == 0, level
    made = folder / "out" / "group" / name
    table = table_of(made, region)
    print(f"\n{name}\n{table.round(2).to_string()}", flush=True)
    (run,) = built(name)
    assert {cell.partition("/")[0] for cell in table.index} == set(run.group.classifiers)
    assert np.isfinite(table["balanced_accuracy"]).all()
    assert table.filter(like="svm", axis=0)["pattern"].notna().all()  # the planted region is in the table
    assert (made / "report.html").is_file()
    shutil.rmtree(folder)


def built(name):
    return settings.each("group", Path("/B"), Path("/O"), options={"recipe": (name,), "sloppy": True})
