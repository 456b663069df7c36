"""BOLD maps end to end, from simulated fMRIPrep derivatives to the regions of the group level."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.signal import clean

from bids_app.nodes.bold_maps import clean_series
from bids_app.phantom.write import write
from bids_app.preprocess.strategies import COLUMNS
from bids_app.run import main

SPACE = "MNI152NLin2009cAsym"
MAPS = ("alff", "falff", "reho", "fcs", "rfcs")
REGION = "Putamen_L"
COARSE = ("--sloppy", "--resolution", "4")


@pytest.fixture(scope="module")
def ran(tmp_path_factory, with_template):
    """Eight participants, four with a larger amplitude in one region: BIDS, fMRIPrep's tree, and the maps."""
    home = tmp_path_factory.mktemp("bold")
    planted = {"region": REGION, "bold": 1.0, "bold_effect": "amplitude", "derivatives": home / "fmriprep"}
    write(home / "bids", people=8, resolution=4.0, random_seed=2, **planted)
    with_template(home / "out" / ".work")
    words = [home / "bids", home / "out", "participant", "--maps", *MAPS, "-d", f"fmriprep={home / 'fmriprep'}"]
    assert main([*map(str, words), *COARSE, "--nprocs", "2", "--save-series", "--atlas", "aal"]) == 0
    return home / "bids", home / "fmriprep", home / "out"


def the(folder: Path, pattern: str) -> Path:
    (file,) = folder.glob(pattern)
    return file


def stated(image: Path) -> dict:
    return json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())


@pytest.mark.parametrize("name", MAPS)
def test_every_map_is_written_to_func_with_a_descriptive_sidecar(ran, name):
    image = the(ran[2] / "sub-01" / "func", f"sub-01_task-rest_space-{SPACE}_res-*_stat-{name}_boldmap.nii.gz")
    about = stated(image)
    assert about["MapParameters"] | {"Denoise": "24p-wm-csf", "Band": [0.01, 0.08]} == about["MapParameters"]
    own = {"alff": "AlffDefinition", "falff": "AlffDefinition", "reho": "Neighbours", "fcs": "Strength"}
    assert own.get(name, "Strength") in about["MapParameters"]
    assert about["NumberOfVolumes"] == 120
    assert about["Scanner"]["Manufacturer"] == "Pellucid phantom"  # of the raw run, which fMRIPrep does not repeat
    bins = np.arange(1, 60) / (2 * (120 - about["NumberOfVolumesDropped"]))
    inside = ((bins > 0.01 - 1e-9) & (bins < 0.08 + 1e-9)).sum()
    assert about["DegreesOfFreedomInBand"] == 2 * inside - len(about["Confounds"])
    assert "degrees of freedom remain in the band" in (ran[2] / "sub-01.html").read_text()
    scan = f"sub-01/func/sub-01_task-rest_space-{SPACE}_desc-preproc_bold.nii.gz"
    assert (about["PreprocessedScan"], about["RepetitionTimeSource"]) == (scan, "RepetitionTime")
    assert about["MinutesLeft"] == pytest.approx((120 - about["NumberOfVolumesDropped"]) * 2 / 60, abs=1e-3)
    assert np.isfinite(nib.load(image).get_fdata()).all()


def test_alff_is_the_mean_band_amplitude_of_the_series_cleaned_with_nilearn(ran):
    _, derivatives, out = ran
    func = derivatives / "sub-02" / "func"
    mask = nib.load(the(func, f"*space-{SPACE}*_desc-brain_mask.nii.gz")).get_fdata() > 0
    series = nib.load(the(func, f"*space-{SPACE}*_desc-preproc_bold.nii.gz")).get_fdata()[mask]
    table = pd.read_csv(the(func, "*_desc-confounds_timeseries.tsv"), sep="\t")
    kept = ~(table["framewise_displacement"] > 0.5).to_numpy()
    confounds = table[list(COLUMNS["24p-wm-csf"])].bfill().to_numpy()
    image = the(out / "sub-02" / "func", "*_stat-alff_boldmap.nii.gz")
    assert stated(image)["NumberOfVolumesDropped"] == (~kept).sum()
    if kept.all():
        left = clean(series.T, confounds=confounds, detrend=True, standardize=False).T
        amplitude = np.abs(np.fft.rfft(left, axis=1)) * 2 / left.shape[1]
        frequency = np.fft.rfftfreq(left.shape[1], 2.0)
        inside = (frequency > 0.01 - 1e-9) & (frequency < 0.08 + 1e-9)
        expected = amplitude[:, inside].mean(axis=1)
        np.testing.assert_allclose(nib.load(image).get_fdata()[mask], expected, rtol=1e-3)


@pytest.mark.parametrize("marked", [True, False])
def test_non_steady_state_volumes_have_no_influence(ran, tmp_path, monkeypatch, marked):
    func = ran[1] / "sub-03" / "func"
    image, mask = the(func, f"*space-{SPACE}*_desc-preproc_bold.nii.gz"), the(func, f"*{SPACE}*_mask.nii.gz")
    table = pd.read_csv(the(func, "*_desc-confounds_timeseries.tsv"), sep="\t")
    nib.load(image).slicer[..., 3:].to_filename(tmp_path / "later.nii.gz")
    table[3:].to_csv(tmp_path / "later.tsv", sep="\t", index=False, na_rep="n/a")
    if marked:
        table = table.assign(**{f"non_steady_state_outlier{n:02d}": np.arange(len(table)) == n for n in range(3)})
    table.astype(float).to_csv(tmp_path / "all.tsv", sep="\t", index=False, na_rep="n/a")
    chosen = {"denoise": "24p-wm-csf", "band": [0.01, 0.08], "fd_threshold": 0.5}
    made = []
    for name, bold, skipped in (("all", image, 0 if marked else 3), ("later", tmp_path / "later.nii.gz", 0)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        run = {"bold": bold, "mask": mask, "confounds": tmp_path / f"{name}.tsv", "tr": 2.0, "skipped": skipped}
        made.append(clean_series(run=run, settings=chosen, grid=None))
    assert (made[0]["dummies"], made[1]["dummies"]) == (3, 0)
    for name in ("denoised", "filtered", "sample_mask", "dvars"):
        np.testing.assert_allclose(np.load(made[0][name]), np.load(made[1][name]), atol=1e-3)


def test_region_table_holds_regional_means(ran):
    func = ran[2] / "sub-03" / "func"
    table = pd.read_csv(the(func, "*_atlas-AAL_stat-reho_boldmap.tsv"), sep="\t").set_index("name")
    image = nib.load(the(func, "*_stat-reho_boldmap.nii.gz"))
    assert len(table) == 120
    values = image.get_fdata()
    assert table["mean"].dropna().between(0, 1).all()
    assert table.loc[REGION, "voxels"] > 50
    overall = (table["mean"] * table["voxels"]).sum() / table["voxels"].sum()
    assert overall == pytest.approx(values[values != 0].mean(), rel=0.2)


def test_saved_series_is_band_passed_and_masked(ran):
    func = ran[2] / "sub-01" / "func"
    image = nib.load(the(func, "*_desc-denoised_bold.nii.gz"))
    mask = nib.load(the(func, "*_desc-denoised_mask.nii.gz")).get_fdata() > 0
    values = image.get_fdata()
    assert not values[~mask].any()
    power = (np.abs(np.fft.rfft(values[mask], axis=1)) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(values.shape[3], 2.0)
    assert power[(frequency > 0.02) & (frequency < 0.07)].mean() > 50 * power[frequency > 0.12].mean()


def test_report_page_shows_every_map_and_qc_table_lists_motion(ran):
    out = ran[2]
    page = (out / "sub-01.html").read_text()
    for name in MAPS:
        assert f"map{name}" in page
    qc = pd.read_csv(out / "qc.tsv", sep="\t")
    assert (qc["fd_mean"] > 0).all()
    assert (qc["minutes_retained"] > 2).all()
    sidecar = json.loads(the(out / "sub-01" / "func", "*_stat-reho_boldmap.json").read_text())
    assert qc["size_t"][0] == sidecar["NumberOfVolumes"] - sidecar["NumberOfVolumesDiscardedByUser"]
    assert qc["spacing_tr"][0] == sidecar["RepetitionTime"]
    assert qc["minutes_retained"][0] == pytest.approx(sidecar["MinutesLeft"], abs=0.006)
    assert qc["censored_perc"][0] == pytest.approx(100 * sidecar["NumberOfVolumesDropped"] / qc["size_t"][0], abs=0.006)


def test_output_tree_is_valid_bids(ran):
    command = [Path(sys.executable).parent / "bids-validator-deno", ran[2]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_second_run_recomputes_nothing_and_participant_without_bold_fails_by_name(ran, tmp_path, caplog):
    bids, derivatives, out = ran
    few = shutil.copytree(derivatives, tmp_path / "few", symlinks=True)
    shutil.rmtree(few / "sub-02" / "func")
    people = ["--participant-label", "01", "02", *COARSE, "--save-series", "--atlas", "aal"]
    words = [str(bids), str(out), "participant", "--maps", *MAPS, "-d"]
    before = (out / "sub-01.html").stat().st_mtime_ns
    assert main([*words, f"fmriprep={derivatives}", *people]) == 0
    assert (out / "sub-01.html").stat().st_mtime_ns == before
    assert main([str(bids), str(tmp_path / "out"), "participant", "--maps", "alff", "-d", f"fmriprep={few}", *people,
                 "-w", str(out / ".work")]) == 1  # fmt: skip
    assert "sub-02 failed" in caplog.text
    assert list((tmp_path / "out").glob("sub-01/func/*_stat-alff_boldmap.nii.gz"))


@pytest.mark.slow
def test_unusable_runs_fail_by_participant_and_the_others_finish(ran, tmp_path, caplog):
    bids, derivatives, out = ran
    spoilt = shutil.copytree(derivatives, tmp_path / "spoilt")
    bold, mask = f"task-rest_space-{SPACE}_desc-preproc_bold", f"task-rest_space-{SPACE}_desc-brain_mask.nii.gz"

    def file(person: str, name: str) -> Path:
        return spoilt / f"sub-{person}" / "func" / f"sub-{person}_{name}"

    image = nib.load(file("02", f"{bold}.nii.gz"))
    values = np.asarray(image.dataobj)
    nib.Nifti1Image(values[..., 0], image.affine).to_filename(file("01", f"{bold}.nii.gz"))
    nib.Nifti1Image(np.zeros(values.shape[:3], np.uint8), image.affine).to_filename(file("02", mask))
    nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), image.affine).to_filename(file("03", mask))
    same = nib.Nifti1Image(np.repeat(values[..., :1], values.shape[3], axis=3), image.affine, image.header)
    same.to_filename(file("04", f"{bold}.nii.gz"))
    table = file("05", "task-rest_desc-confounds_timeseries.tsv")
    table.write_text("\n".join(table.read_text().splitlines()[:-3]) + "\n")
    file("06", f"{bold}.json").write_text('{"RepetitionTime": 2000}')
    told = {
        "01": "3 axes instead of 4",
        "02": "mask.nii.gz is empty",
        "03": "grid",
        "04": "constant",
        "05": "rows",
        "06": "write 2",
    }
    words = ["--maps", "alff", "--participant-label", *told, "07", *COARSE, "-w", str(out / ".work")]
    assert main([str(bids), str(tmp_path / "out"), "participant", *words, "-d", f"fmriprep={spoilt}"]) == 1
    for person, what in told.items():
        (line,) = [line for line in caplog.messages if f"sub-{person} failed" in line]
        assert what in line
    assert [path.name for path in (tmp_path / "out").glob("sub-*.html")] == ["sub-07.html"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--band", "0.01", "0.3"], "the Nyquist frequency"),
        (["--band", "0.0001", "0.0002"], "none lies in"),
        (["--dummy-scans", "120"], "removes 120"),
        pytest.param(
            ["--maps", "networks", "--network-templates", "{}"], "the most similar are", marks=pytest.mark.slow
        ),
    ],
)
def test_settings_incompatible_with_a_run_are_reported(ran, tmp_path, caplog, words, message):
    bids, derivatives, out = ran
    same = nib.Nifti1Image(np.random.default_rng(1).random((9, 9, 9, 1)).repeat(2, axis=3), np.diag([20, 20, 20, 1.0]))
    same.to_filename(tmp_path / "same.nii.gz")
    given = ["--maps", "alff", *(word.format(tmp_path / "same.nii.gz") for word in words), "-w", str(out / ".work")]
    common = ["--participant-label", "01", *COARSE, "-d", f"fmriprep={derivatives}"]
    assert main([str(bids), str(tmp_path / "out"), "participant", *given, *common]) == 1
    assert message in caplog.text


@pytest.mark.slow
def test_group_level_ranks_the_region_with_altered_amplitude_in_the_top_three(ran):
    bids, _, out = ran
    words = ["--label", "group", "--classes", "control", "patient", "--folds", "2", "--classifiers", "svm"]
    options = ["--maps", "alff", "--atlas", "aal", "--analysis", "bold", "--nprocs", "2"]
    assert main([str(bids), str(out), "group", *words, *options]) == 0
    regions = pd.read_csv(out / "group" / "bold" / "regions.tsv", sep="\t")
    result = regions.query("method == 'pattern' and explained == 'patient'").set_index("region")["rank"]
    assert result[REGION] <= 3
    samples = pd.read_csv(out / "group" / "bold" / "samples.tsv", sep="\t")
    assert (samples["mean_fd"] > 0).all()
    card = the(out / "group" / "bold" / "models" / "svm", "alff/repeat-1_fold-1/model.toml").read_text()
    assert 'alff = "mean"' in card


def test_participants_with_too_few_minutes_are_excluded_with_the_reason(ran, capsys):
    bids, _, out = ran
    words = ["--label", "group", "--classes", "control", "patient", "--folds", "2", "--classifiers", "svm"]
    options = ["--maps", "alff", "--atlas", "aal", "--analysis", "short", "--min-minutes", "60"]
    assert main([str(bids), str(out), "group", *words, *options]) == 65
    assert "minutes is under 60" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--maps", "alff", "--denoise", "ica_aroma"], 64, "-d fmriprep=PATH"),
        (["--maps", "networks", "-d", "{}"], 66, "--network-templates FILE"),
        (["--maps", "alff", "--band", "0.08", "0.01", "-d", "{}"], 64, "the first must be below the second"),
        (["--maps", "alff", "--denoise", "magic", "-d", "{}"], 64, "24p-wm-csf"),
        (["--maps", "reho", "--reho-neighbours", "8", "-d", "{}"], 64, "7, 19, 27"),
    ],
)
def test_invalid_option_combinations_are_refused(ran, tmp_path, capsys, words, code, message):
    bids, derivatives, _ = ran
    given = [word.format(f"fmriprep={derivatives}") for word in words]
    assert main([str(bids), str(tmp_path / "out"), "participant", *given]) == code
    assert message in capsys.readouterr().err
