"""Heatmaps compared with a reference map and with randomised parameters, through the group level."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bids_app.atlases import atlas
from bids_app.dataset.grid import Grid
from bids_app.regions import ale
from bids_app.run import main

LABEL = ["--label", "group", "--classes", "control", "patient", "--permutations", "0", "--sloppy", "--nprocs", "2"]


@pytest.mark.slow
def test_overlap_is_computed_from_mean_maps_and_heatmap_sidecars_list_check_results(phantom_maps, tmp_path):
    bids, out = phantom_maps
    result = atlas.load("aal")
    number = next(key for key, name in result.names.items() if name == "Putamen_L")
    nib.Nifti1Image((result.labels == number).astype(np.float32), result.affine).to_filename(
        tmp_path / "putamen.nii.gz"
    )
    given = ["--analysis", "against", "--folds", "2", "--classifiers", "svm", "--explainers", "weights", "occlusion"]
    given += ["--reference-map", str(tmp_path / "putamen.nii.gz"), "--explainer-checks"]
    assert main([str(bids), str(out), "group", *LABEL, *given]) == 0
    folder = out / "group" / "against"
    table = pd.read_csv(folder / "overlap.tsv", sep="\t", keep_default_na=False)
    nulls = {"weights (labels shuffled)", "occlusion (labels shuffled)"}
    assert set(table["method"]) == {"group mean", "t-map", "weights", "occlusion"} | nulls
    assert not table[table["method"].isin(nulls)]["smoothing_mm"].str.contains("other folds").any()
    assert set(table["smoothing_mm"]) == {"0", "2", "4", "6", "8", "chosen on other folds"}
    (grid_file,) = (out / ".work").glob("analysis-against-*/grid_gm.npz")
    grid = Grid.read(grid_file)
    places = nib.affines.apply_affine(np.linalg.inv(result.affine) @ grid.affine, np.argwhere(grid.mask))
    inside = result.labels[tuple(np.rint(places + 1e-4).astype(int).T)] == number
    row = table.query("method == 'weights' and explained == 'patient' and smoothing_mm == '0'").iloc[0]
    assert abs(int(row["voxels"]) - inside.sum()) <= 2
    (file,) = folder.glob("*_stat-weights_desc-SvmGmPatient_statmap.nii.gz")
    strength = np.abs(grid.vector(nib.load(file).get_fdata()))
    assert float(row["auroc"]) == pytest.approx(roc_auc_score(inside, strength), abs=0.02)
    assert 0.01 <= float(row["p"]) <= 1

    sidecars = list(out.glob("sub-*/anat/*_stat-weights_desc-against*_statmap.json"))
    assert len(sidecars) == 8
    assert all(json.loads(file.read_text())["Checks"] == {"Finite": 1.0, "NotAllZero": 1.0} for file in sidecars)
    page = (folder / "report.html").read_text()
    assert "Overlap with a reference map" in page
    assert "similarity to heatmaps after shuffling all parameters" in page
    checks = pd.read_csv(folder / "checks.tsv", sep="\t").set_index(["method", "explained", "check"])["value"]
    assert checks["weights", "patient", "infidelity"] < 1e-5
    assert checks["occlusion", "control", "infidelity"] < 1e-5

    regions = pd.read_csv(folder / "regions.tsv", sep="\t")
    own = regions.query("method == 'occlusion' and atlas == 'AAL' and region != 'outside the atlas'")
    assert np.allclose(own["mean"], own["maximum"], rtol=1e-3, atol=1e-6)  # one value a region
    assert (
        regions.query("method == 'occlusion' and atlas == 'AAL' and region == 'outside the atlas'")["mass"] == 0
    ).all()

    # the same again against coordinates within that region: nothing is trained anew
    centre = nib.affines.apply_affine(result.affine, np.argwhere(result.labels == number)).mean(axis=0)
    line = "\t".join(f"{value:.1f}" for value in centre)
    (tmp_path / "putamen.tsv").write_text(f"study\tx\ty\tz\tn\nA\t{line}\t20\nB\t{line}\t12\n")
    given[given.index("--reference-map") + 1] = str(tmp_path / "putamen.tsv")
    assert main([str(bids), str(out), "group", *LABEL, *given]) == 0
    table = pd.read_csv(folder / "overlap.tsv", sep="\t", keep_default_na=False)
    (words,) = set(table["reference"])
    assert words.startswith("putamen.tsv: activation likelihood of 2 coordinates of 2 studies; the 10% of voxels")
    near = np.linalg.norm(
        nib.affines.apply_affine(grid.affine, np.argwhere(grid.mask)) - centre, axis=1
    ) <= ale.fwhm_mm(12)
    assert set(table["voxels"]) == {near.sum()}  # the wider of the two Gaussians


@pytest.mark.parametrize(
    ("shape", "kept", "code", "message"),
    [
        (None, 1, 66, "there is no file"),
        ((4, 4, 4, 2), 1, 65, "4 axes instead of 3"),
        ((4, 4, 4), 1, 65, "is 0 everywhere"),
        ((40, 40, 40), 0.9, 65, "cannot be read completely"),
    ],
)
def test_invalid_reference_map_is_refused(phantom_maps, tmp_path, capsys, shape, kept, code, message):
    bids, out = phantom_maps
    file = tmp_path / "map.nii.gz"
    if shape:
        values = np.random.default_rng(0).random(shape) if kept < 1 else np.zeros(shape)
        nib.Nifti1Image(values.astype(np.float32), np.eye(4)).to_filename(file)
        file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    given = ["--folds", "2", "--reference-map", str(file)]
    assert main([str(bids), str(out), "group", *LABEL, *given]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (None, 66, "there is no file"),
        ("x\ty\n1\t2\n", 65, "has no column z"),
        ("x\ty\tz\n", 65, "has no coordinates"),
        ("x\ty\tz\n1\t2\tup\n", 65, "z is 'up', which is not a number"),
    ],
)
def test_invalid_coordinates_are_refused_before_anything_is_computed(
    phantom_maps, tmp_path, capsys, text, code, message
):
    bids, out = phantom_maps
    if text is not None:
        (tmp_path / "foci.tsv").write_text(text)
    given = ["--analysis", "nothing", "--folds", "2", "--reference-map", str(tmp_path / "foci.tsv")]
    assert main([str(bids), str(out), "group", *LABEL, *given]) == code
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not (out / "group" / "nothing").exists()
    assert not list((out / ".work").glob("analysis-nothing-*"))
