"""ICA within folds on a phantom, from the series of the participant level to report and application."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, MissingInputError, UsageError
from bids_app.maps import networks
from bids_app.planning import available_maps, ica
from bids_app.report.methods import describe_part
from bids_app.run import main
from bids_app.settings import build

SPACE = "MNI152NLin2009cAsym"
NAMES = ("SMN", "VIS", "DMN")
ASKED = ("SMN", "DMN")  # with the two participants of an inner fold an ICA does not always find VIS


def invented(out: Path, person: str, *, shape=(6, 5, 4), volumes=30, run: str | None = None) -> Path:
    """A series where the participant level would write it."""
    place = out / f"sub-{person}" / "func"
    place.mkdir(parents=True, exist_ok=True)
    named = f"_run-{run}" if run else ""
    path = place / f"sub-{person}_task-rest{named}_space-{SPACE}_res-4_desc-denoised_bold.nii.gz"
    nib.Nifti1Image(np.zeros((*shape, volumes), np.float32), np.diag([4.0, 4, 4, 1])).to_filename(path)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps({"MapParameters": {"Map": "series"}}))
    return path


def reference(folder: Path, names=NAMES) -> Path:
    file = folder / "networks.nii.gz"
    values = np.random.default_rng(1).random((6, 5, 4, len(names))).astype(np.float32)
    nib.Nifti1Image(values, np.diag([4.0, 4, 4, 1])).to_filename(file)
    (folder / "networks.tsv").write_text("\n".join(["name", *names]) + "\n")
    return file


def settings(tmp_path, **given):
    return build("group", tmp_path / "bids", tmp_path / "out", options={"maps": ["ica"], **given})


def used(*files: tuple[Path, ...]) -> pd.DataFrame:
    people = [f"{number:02d}" for number in range(1, len(files) + 1)]
    return pd.DataFrame({"participant_id": people, "ica-SMN": list(files)})


def test_ica_gives_one_map_per_named_network_and_single_ones_can_be_selected(tmp_path):
    file = reference(tmp_path)
    assert available_maps.map_names(settings(tmp_path, network_templates=file)) == ("ica-SMN", "ica-VIS", "ica-DMN")
    assert available_maps.map_names(settings(tmp_path, network_templates=file, maps=["ica-VIS"])) == ("ica-VIS",)
    with pytest.raises(UsageError, match="no AUD; it has SMN, VIS, DMN"):
        available_maps.map_names(settings(tmp_path, network_templates=file, maps=["ica-AUD"]))
    series = invented(tmp_path / "out", "01")
    more = invented(tmp_path / "out", "01", run="2")
    there = available_maps.find_maps(settings(tmp_path, network_templates=file), ("ica-SMN", "ica-VIS"), None)
    assert set(there["01", None]["ica-SMN"]) == {series, more}
    assert there["01", None]["ica-SMN"] == there["01", None]["ica-VIS"]


def test_missing_templates_and_duplicate_network_names_are_refused(tmp_path):
    with pytest.raises(MissingInputError, match="--maps ica requires --network-templates FILE"):
        available_maps.map_names(settings(tmp_path))
    with pytest.raises(DataError, match="'SMN1'"):
        available_maps.map_names(settings(tmp_path, network_templates=reference(tmp_path, ("SMN1", "SMN-1"))))


def test_mixed_grids_too_few_volumes_and_too_many_networks_are_refused_during_planning(tmp_path):
    file, out = reference(tmp_path), tmp_path / "out"
    first, second = invented(out, "01"), invented(out, "02", volumes=12)
    chosen = settings(tmp_path, network_templates=file, ica_components=10)
    plan = ica.plan_ica(used((first,), (second,)), ("gm", "ica-SMN"), chosen)
    assert (plan.maps, plan.networks, plan.components, plan.runs) == (("ica-SMN",), NAMES, 10, 2)
    assert ica.plan_ica(used((first,)), ("gm",), chosen) is None
    many = settings(tmp_path, network_templates=file, ica_components=11)
    with pytest.raises(DataError, match=r"13 volumes, and these have fewer: sub-02 \(12\)"):
        ica.plan_ica(used((first,), (second,)), ("ica-SMN",), many)
    with pytest.raises(DataError, match="3 networks, more than the 2 components"):
        ica.plan_ica(used((first,)), ("ica-SMN",), settings(tmp_path, network_templates=file, ica_components=2))
    odd = invented(out, "03", shape=(5, 5, 5))
    with pytest.raises(DataError, match="the series of sub-02 are not on the grid"):
        ica.plan_ica(used((first,), (odd,)), ("ica-SMN",), chosen)


def test_map_of_one_network_has_the_description_of_the_base_map():
    for name in ("ica", "networks"):
        assert describe_part("maps", f"{name}-SMN") == describe_part("maps", name)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, with_template):
    """Eight participants with stronger regional connectivity in patients: BIDS, OUT_DIR and the group folder."""
    from bids_app.phantom.write import write

    home = tmp_path_factory.mktemp("ica")
    bids, out, file = home / "bids", home / "out", home / "networks.nii.gz"
    planted = {"region": "Putamen_L", "bold": 0.9, "bold_effect": "connectivity", "derivatives": home / "fmriprep"}
    write(bids, people=8, resolution=4.0, random_seed=2, **planted)
    image = nib.load(bids / "sourcedata" / "network-maps.nii.gz")
    nib.Nifti1Image(np.asarray(image.dataobj)[..., :3].astype(np.float32), image.affine).to_filename(file)
    (home / "networks.tsv").write_text("\n".join(["name", *NAMES]) + "\n")
    with_template(out / ".work")
    people = ["--maps", "ica", "-d", f"fmriprep={home / 'fmriprep'}", "--denoise", "none", "--sloppy"]
    assert main([str(bids), str(out), "participant", *people, "--resolution", "4", "--nprocs", "2"]) == 0
    words = ["--maps", *(f"ica-{name}" for name in ASKED), "--network-templates", str(file), "--ica-components", "6",
             "--label", "group", "--classes",
             "control", "patient", "--folds", "2", "--repeats", "2", "--classifiers", "svm", "--explainers", "pattern",
             "--atlas", "aal", "--analysis", "one", "--nprocs", "2", "--inner-folds", "2",
             "--voxelwise-test", "19"]  # fmt: skip
    assert main([str(bids), str(out), "group", *words, "--reference-map", str(_region(home, image))]) == 0
    return bids, out, out / "group" / "one"


def _region(home: Path, image: nib.Nifti1Image) -> Path:
    nib.Nifti1Image(np.asarray(image.dataobj)[..., 0].astype(np.float32), image.affine).to_filename(home / "smn.nii.gz")
    return home / "smn.nii.gz"


@pytest.mark.slow
def test_every_network_is_modelled_and_every_fold_reports_the_match_quality(ran):
    _, out, group = ran
    assert not list(out.glob("sub-*/func/*_boldmap.nii.gz"))
    table = pd.read_csv(group / "ica.tsv", sep="\t")
    assert len(table) == 4 * len(NAMES)
    assert set(zip(table["repeat"], table["fold"], strict=True)) == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert table.groupby(["repeat", "fold"])["component"].nunique().eq(len(NAMES)).all()
    assert table["r"].min() > 0.3
    scores = pd.read_csv(group / "scores.tsv", sep="\t")
    assert {f"svm/ica-{name}" for name in ASKED} < set(scores["cell"])
    page = (group / "report.html").read_text()
    assert "Networks from ICA" in page
    for name in ASKED:
        assert (group / "figures" / f"ica-{name}.png").is_file()
    assert "Varoquaux G" in page
    assert "one ICA of all participants, which did not use the labels" in page
    assert "CanICA" in (group / "methods.md").read_text()
    overlap = pd.read_csv(group / "overlap.tsv", sep="\t")
    assert {f"ica-{name}" for name in ASKED} < set(overlap["cell"])
    assert (pd.read_csv(group / "choices.tsv", sep="\t")["inner_balanced_accuracy"] >= 0).all()
    tested = pd.read_csv(group / "voxelwise.tsv", sep="\t")
    assert tested["map"].tolist() == [f"ica-{name}" for name in ASKED]
    assert set(pd.read_csv(group / "overlap_voxelwise.tsv", sep="\t")["cell"]) == {f"svm/ica-{name}" for name in ASKED}


@pytest.mark.slow
def test_saved_components_reproduce_the_mean_map_used_in_training(ran):
    _, out, group = ran
    table = pd.read_csv(group / "ica.tsv", sep="\t").set_index(["repeat", "fold", "network"])
    place = group / "models" / "svm" / "ica-DMN" / "repeat-2_fold-1"
    stored = load_file(place / "weights.safetensors")
    components = stored["fitted.ica-DMN.components"]
    own = int(stored["fitted.ica-DMN.component"][0])
    assert components.shape == (6, stored["grid.mask"].sum())
    assert table.loc[(2, 1, "DMN"), "component"] == own + 1
    assert table.loc[(2, 1, "DMN"), "r"] == pytest.approx(stored["fitted.ica-DMN.r"][0], rel=1e-4)
    work = next((out / ".work").glob("analysis-one-*"))
    grid = Grid.read(work / "grid_ica-DMN.npz")
    folds = pd.read_csv(group / "folds.tsv", sep="\t").query("repeat == 2 and fold == 1 and role == 'train'")
    betas = []
    for person in sorted(folds["participant_id"]):
        (file,) = (out / person / "func").glob("*_desc-denoised_bold.nii.gz")
        series = np.asarray(nib.load(file).dataobj, np.float32)[grid.mask]
        names = tuple(map(str, range(6)))
        made = networks.compute(series, network_maps=components.T.copy(), network_names=names)[f"beta_{own}"]
        image = nib.Nifti1Image(grid.volume(made), grid.affine)
        from nilearn.image import smooth_img

        betas.append(smooth_img(image, 6.0).get_fdata()[grid.mask])
    mean = stored["scale.ica-DMN.mean"]  # over the training participants
    assert np.corrcoef(np.mean(betas, axis=0), mean)[0, 1] > 0.999


@pytest.mark.slow
def test_applying_saved_models_reproduces_out_of_fold_predictions(ran, tmp_path):
    bids, out, group = ran
    given = ["--model", str(group / "models"), "--training-list", str(group / "folds.tsv"), "--label", "group",
             "--analysis", "again"]  # fmt: skip
    assert main([str(bids), str(out), "group", *given]) == 0
    predictions = pd.read_csv(out / "group" / "again" / "predictions.tsv", sep="\t")
    before = pd.read_csv(group / "predictions.tsv", sep="\t").query("cell == 'svm/ica-SMN'")
    now = predictions.query("cell == 'svm/ica-SMN'").set_index("participant_id")["probability_patient"]
    # each participant is predicted by the two models that held them out, one per repeat
    expected = before.groupby("participant_id")["probability_patient"].mean()
    np.testing.assert_allclose(now.loc[expected.index], expected, atol=1e-5)


@pytest.mark.slow
def test_unmatched_networks_stop_the_run_and_are_all_named(ran, tmp_path, capsys):
    bids, out, _ = ran
    noise = np.random.default_rng(3).standard_normal((33, 39, 33, 2)).astype(np.float32)
    file = tmp_path / "noise.nii.gz"
    nib.Nifti1Image(noise, np.array([[6.0, 0, 0, -96], [0, 6, 0, -132], [0, 0, 6, -78], [0, 0, 0, 1]])).to_filename(
        file
    )
    (tmp_path / "noise.tsv").write_text("name\nONE\nTWO\n")
    words = ["--maps", "ica", "--network-templates", str(file), "--ica-components", "3", "--label", "group",
             "--classes", "control", "patient", "--folds", "2", "--classifiers", "svm",
             "--analysis", "none"]  # fmt: skip
    copied = shutil.copytree(out, tmp_path / "out", ignore=shutil.ignore_patterns("analysis-*", "nodes"))
    assert main([str(bids), str(copied), "group", *words]) != 0
    message = capsys.readouterr().err
    for what in ("ONE in repeat 1, fold 1", "TWO in repeat 1, fold 2", "remove such a network"):
        assert what in message
