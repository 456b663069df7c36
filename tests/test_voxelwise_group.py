"""--voxelwise-test from the command line: outputs, reports and refusals."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_app.dataset.grid import Grid
from bids_app.run import main

OPTIONS = ["--label", "group", "--classes", "control", "patient", "--folds", "2", "--sloppy", "--nprocs", "2"]
QUICK = [*OPTIONS, "--permutations", "0", "--classifiers", "svm", "--explainers", "weights", "--analysis", "voxels"]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tested(phantom_maps):
    """The folder of an analysis with 24 permutations, adjusted for nothing, over eight participants at 4 mm."""
    bids, out = phantom_maps
    given = [*QUICK, "--voxelwise-test", "24", "--covariates", "none"]
    assert main([str(bids), str(out), "group", *given]) == 0
    return bids, out, given, out / "group" / "voxels"


def image(folder, name):
    (file,) = folder.glob(f"space-*_res-4_stat-{name}_desc-GmPatient_statmap.nii.gz")
    return nib.load(file), json.loads(file.with_name(file.name.replace(".nii.gz", ".json")).read_text())


def test_t_map_matches_a_t_test_of_the_stacked_maps_on_the_same_grid(tested):
    _, out, _, folder = tested
    (work,) = (out / ".work").glob("analysis-voxels-*")
    (array,) = (file for file in work.glob("*.npy") if len(file.stem) == 32)
    x, people = np.load(array), pd.read_csv(work / "people.tsv", sep="\t")
    grid = Grid.read(work / "grid_gm.npz")
    t, about = image(folder, "t")
    assert grid.same_place(t.shape, t.affine)
    patient = people["class"].eq("patient").to_numpy()
    varies = x.std(axis=0) > 1e-4
    oracle = stats.ttest_ind(x[patient][:, varies], x[~patient][:, varies], axis=0).statistic
    assert np.allclose(grid.vector(t.get_fdata())[varies], oracle, atol=1e-2)
    assert about["People"] == {"control": 4, "patient": 4}
    assert (about["Permutations"], about["Covariates"], about["Contrast"]) == (24, [], "patient - control")


def test_voxelwise_table_agrees_with_the_images(tested):
    *_, folder = tested
    row = pd.read_csv(folder / "voxelwise.tsv", sep="\t").iloc[0]
    t, p = (image(folder, name)[0].get_fdata() for name in ("t", "logp"))
    assert row["p"] == pytest.approx(10 ** -p.max(), rel=1e-4)
    assert row["p_within_map"] == row["p"] >= 1 / 25
    assert row["voxels_higher"] == (t[p > -np.log10(0.05)] > 0).sum()
    assert row["voxels_lower"] == (t[p > -np.log10(0.05)] < 0).sum()
    place = np.rint(np.linalg.inv(image(folder, "t")[0].affine) @ [*row[["x", "y", "z"]], 1]).astype(int)
    assert t[tuple(place[:3])] == pytest.approx(row["peak_t"], rel=1e-4)
    shown = np.abs(t[p > -np.log10(0.05)]) if row["p"] < 0.05 else np.abs(t)
    assert abs(row["peak_t"]) == pytest.approx(shown.max(), rel=1e-4)


def test_heatmaps_are_compared_with_the_test_and_the_report_states_the_limits(tested):
    *_, folder = tested
    overlap = pd.read_csv(folder / "overlap_voxelwise.tsv", sep="\t")
    assert set(overlap["cell"]) == {"svm/gm"}
    assert set(overlap["explained"]) == {"control", "patient"}
    assert set(overlap["contrast"]) == {"patient - control"}
    assert overlap["p"].dropna().between(0.01, 1).all()
    row = pd.read_csv(folder / "voxelwise.tsv", sep="\t").iloc[0]
    significant = int(row["voxels_higher"] + row["voxels_lower"])
    assert overlap["voxels"].iloc[0] == (significant or pytest.approx(row["voxels"] / 10, rel=0.01))
    page = (folder / "report.html").read_text()
    assert "Voxelwise test of the maps" in page
    assert "are based on the same participants" in page
    assert (folder / "figures" / "voxelwise-01-gmpatient.png").is_file()
    methods = (folder / "methods.md").read_text()
    assert "permuted 24 times after Freedman and Lane (Winkler 2014)" in methods


def test_expected_number_of_statistical_maps_is_written(tested):
    *_, folder = tested
    names = [file.name for file in folder.glob("*_statmap.*")]
    assert len(names) == len(set(names)) == 2 * (2 + 3)


def test_second_run_reuses_the_permutations_and_gives_the_same_table(tested):
    bids, out, given, folder = tested
    (file,) = (out / ".work").glob("analysis-voxels-*/voxelwise/gm/Patient_1.npz")
    made, said = file.stat().st_mtime_ns, (folder / "voxelwise.tsv").read_bytes()
    assert main([str(bids), str(out), "group", *given]) == 0
    assert file.stat().st_mtime_ns == made
    assert (folder / "voxelwise.tsv").read_bytes() == said


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--voxelwise-test", "5"], 64, "at least 19 permutations"),
        (
            ["--voxelwise-test", "99", "--covariates", "group"],
            64,
            "group is the label, and regressing it out would leak it",
        ),
    ],
)
def test_invalid_voxelwise_test_is_refused_before_anything_is_computed(phantom_maps, capsys, given, code, words):
    bids, out = phantom_maps
    work = out / f".work-refused-{code}"
    assert main([str(bids), str(out), "group", *QUICK, *given, "-w", str(work)]) == code
    assert words in capsys.readouterr().err
    assert not work.exists()
