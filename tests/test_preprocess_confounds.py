"""Confounds compared with explicit formulas, scikit-learn, nipype and nilearn, and on a real run."""

import json
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from sklearn.decomposition import PCA

from bids_app.errors import DataError
from bids_app.preprocess import confounds, motion, transforms

TR, VOLUMES = 2.0, 150
SHAPE = (16, 16, 16)


def random_series(voxels=300, volumes=VOLUMES, seed=0):
    """Series with drift and three shared courses of unlike strength, float32, around 800."""
    rng = np.random.default_rng(seed)
    courses = ndimage.gaussian_filter1d(rng.normal(size=(3, volumes)), 1.5, axis=1) * [[30], [20], [12]]
    drift = np.linspace(-5, 5, volumes) * rng.normal(size=(voxels, 1))
    mixed = rng.normal(size=(voxels, 3)) @ courses
    return (800 + mixed + drift + rng.normal(scale=4, size=(voxels, volumes))).astype(np.float32)


def invented():
    """A ball of a brain: white matter within grey matter, a little CSF in the middle; its series, CSF and WM masks."""
    places = np.indices(SHAPE) - 7.5
    radius = np.sqrt((places**2).sum(axis=0))
    brain = radius < 7
    tissues = {"CSF": radius < 2.6, "WM": (radius > 3.5) & (radius < 5)}
    return random_series(int(brain.sum())), brain, tissues


def six(volumes=VOLUMES):
    steps = np.random.default_rng(7).normal(size=(volumes, 6)) * [0.05, 0.05, 0.05, 0.001, 0.001, 0.001]
    return np.cumsum(steps, axis=0)


@pytest.fixture(scope="module")
def made():
    series, brain, tissues = invented()
    return confounds.table(series, brain, tissues, parameters=six(), tr=TR)


# columns


def test_motion_and_signals_have_derivatives_and_squares(made):
    frame, _ = made
    signals = {name: np.array(frame[name]) for name in ("csf", "white_matter", "global_signal")}
    for name, values in {**dict(zip(motion.PARAMETERS, six().T, strict=True)), **signals}.items():
        np.testing.assert_allclose(frame[name], values)
        np.testing.assert_allclose(frame[f"{name}_power2"], values * values)
        for term, power in (("derivative1", 1), ("derivative1_power2", 2)):
            assert np.isnan(frame[f"{name}_{term}"][0])
            expected = [(values[k] - values[k - 1]) ** power for k in range(1, VOLUMES)]
            np.testing.assert_allclose(frame[f"{name}_{term}"][1:], expected)


def test_tissue_signals_are_means_over_masks(made):
    frame, _ = made
    series, brain, tissues = invented()
    volume = np.zeros((*SHAPE, VOLUMES))
    volume[brain] = series
    expected = {"csf": tissues["CSF"], "white_matter": tissues["WM"], "global_signal": brain}
    for name, mask in expected.items():
        np.testing.assert_allclose(frame[name], volume[mask].mean(axis=0), rtol=1e-6)


def test_dvars_matches_the_formulas():
    series = random_series(40)
    found_std, result = confounds.dvars(np.vstack([series, np.full((1, VOLUMES), 800, np.float32)]))
    scaled = series.astype(float) * 1000 / np.median(np.vstack([series, np.full((1, VOLUMES), 800)]))
    expected = []
    for voxel in scaled:
        ordered, away = np.sort(voxel), voxel - voxel.mean()
        spread = (ordered[int(0.75 * (VOLUMES - 1))] - ordered[int(0.25 * (VOLUMES - 1))]) / 1.349
        lag = sum(away[k] * away[k + 1] for k in range(VOLUMES - 1)) / sum(each * each for each in away)
        expected.append(np.sqrt(2 * (1 - lag)) * spread)
    assert np.isnan(result[0])
    assert np.isnan(found_std[0])
    for time in range(1, VOLUMES):
        plain = np.sqrt(np.mean((scaled[:, time] - scaled[:, time - 1]) ** 2))
        assert result[time] == pytest.approx(plain, rel=1e-4)
        assert found_std[time] == pytest.approx(plain / np.mean(expected), rel=1e-4)


def test_standardised_dvars_of_white_noise_is_one():
    noise = np.random.default_rng(1).normal(1000, 10, (2000, 200)).astype(np.float32)
    assert np.nanmean(confounds.dvars(noise)[0]) == pytest.approx(1, abs=0.02)


def test_constant_series_are_refused():
    with pytest.raises(DataError, match="no voxel of the brain varies"):
        confounds.dvars(np.full((5, 20), 3, np.float32))


@pytest.mark.parametrize(("volumes", "tr"), [(150, 2.0), (300, 0.8), (20, 2.0)])
def test_cosine_regressors_match_nipype(volumes, tr):
    from nipype.algorithms.confounds import _cosine_drift

    expected = _cosine_drift(128, tr * np.arange(volumes))[:, :-1]
    np.testing.assert_allclose(confounds.cosines(volumes, tr), expected, atol=1e-12)


# components


def test_compcor_components_match_scikit_learn():
    series, slow = random_series(), confounds.cosines(VOLUMES, TR)
    kept, sizes, shares = confounds.compcor(series, slow)
    design = np.column_stack([np.ones(VOLUMES), slow])
    left = series.T.astype(float)
    left -= design @ np.linalg.lstsq(design, left, rcond=None)[0]
    peer = PCA(svd_solver="full").fit(left / left.std(axis=0))
    courses = peer.transform(left / left.std(axis=0))
    courses /= np.linalg.norm(courses, axis=0)
    count = kept.shape[1]
    np.testing.assert_allclose(np.abs((courses[:, :count] * kept).sum(axis=0)), 1, atol=1e-8)
    np.testing.assert_allclose(shares[:100], peer.explained_variance_ratio_[:100], rtol=1e-8)
    np.testing.assert_allclose(sizes[:100], peer.singular_values_[:100], rtol=1e-8)
    assert shares[:count].sum() >= 0.5 > shares[: count - 1].sum()
    np.testing.assert_allclose(np.linalg.norm(kept, axis=0), 1)


def test_compcor_components_match_nipype(made):
    from nipype.algorithms.confounds import compute_noise_components

    series, brain, tissues = invented()
    volume = np.zeros((*SHAPE, VOLUMES))
    volume[brain] = series
    images = [nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)) for mask in tissues.values()]
    images.append(nib.Nifti1Image((tissues["CSF"] | tissues["WM"]).astype(np.uint8), np.eye(4)))
    peer, _, about = compute_noise_components(volume, images, filter_type="cosine", period_cut=128, repetition_time=TR)
    own = made[0].filter(regex="_comp_cor_").to_numpy()
    assert own.shape == peer.shape
    np.testing.assert_allclose(np.abs((own * peer).sum(axis=0)), 1, atol=1e-6)
    told = [values["VarianceExplained"] for values in made[1].values()]
    np.testing.assert_allclose(told, np.array(about["variance_explained"])[np.array(about["retained"])], rtol=1e-6)


def test_constant_voxels_do_not_affect_compcor_and_give_no_components():
    series = random_series(50)
    flat = np.full((5, VOLUMES), 900, np.float32)
    slow = confounds.cosines(VOLUMES, TR)
    both = [confounds.compcor(values, slow)[0] for values in (series, np.vstack([series, flat]))]
    np.testing.assert_allclose(*both)
    assert confounds.compcor(flat, slow)[0].shape == (VOLUMES, 0)


# masks


def test_noise_masks_are_eroded_and_exclude_voxels_near_grey_matter():
    places = np.indices((30, 30, 30)) - 14.5
    radius = np.sqrt((places**2).sum(axis=0))
    brain = radius < 13
    probabilities = {
        "CSF": ((radius < 4) | (radius >= 12)) * brain * 1.0,
        "GM": ((radius >= 9) & (radius < 12)) * 1.0,
        "WM": ((radius >= 4) & (radius < 9)) * 1.0,
    }
    result = confounds.masks({name: values.astype(np.float32) for name, values in probabilities.items()}, brain)
    assert not (result["CSF"] & (radius > 4)).any()
    assert not (result["WM"] & ((radius > 7.5) | (radius < 5))).any()
    assert min(mask.sum() for mask in result.values()) >= 20


def test_noise_mask_threshold_is_relaxed_for_little_tissue():
    brain = np.ones((9, 9, 9), bool)
    csf = np.zeros((9, 9, 9), np.float32)
    csf[3:6, 3:6, 3:6] = 0.85
    probabilities = {"CSF": csf, "GM": np.zeros_like(csf), "WM": 1 - csf}
    np.testing.assert_array_equal(confounds.masks(probabilities, brain)["CSF"], csf > 0)
    probabilities["CSF"] = csf * 0.5
    with pytest.raises(DataError, match="only 0 voxels of the BOLD run are CSF"):
        confounds.masks(probabilities, brain)


# files


def test_confounds_table_is_written_in_fmriprep_format(made, tmp_path):
    frame, about = made
    path = confounds.write(frame, tmp_path / "sub-01_task-rest_desc-confounds_timeseries.tsv", components=about)
    lines = path.read_text().splitlines()
    first = dict(zip(lines[0].split("\t"), lines[1].split("\t"), strict=True))
    missing = {name for name, value in first.items() if value == "n/a"}
    names = (*motion.PARAMETERS, "csf", "white_matter", "global_signal")
    terms = {f"{name}_{term}" for name in names for term in ("derivative1", "derivative1_power2")}
    assert missing == terms | {"dvars", "std_dvars", "framewise_displacement"}
    assert "n/a" not in "".join(lines[2:])
    np.testing.assert_allclose(pd.read_csv(path, sep="\t"), frame, rtol=1e-7, atol=1e-12)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert set(sidecar) == set(frame)
    assert sidecar["rot_z_derivative1"]["Description"] == "rotation (z), rad, its change from the previous volume"


@pytest.mark.parametrize("name", ["simple", "scrubbing", "compcor"])
def test_nilearn_reads_the_written_confounds(made, tmp_path, name):
    from nilearn.interfaces.fmriprep import load_confounds_strategy

    confounds.write(made[0], tmp_path / "sub-01_task-rest_desc-confounds_timeseries.tsv", components=made[1])
    image = tmp_path / "sub-01_task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    result, _ = load_confounds_strategy(str(image), name)
    assert len(result) == VOLUMES
    wanted = {"simple": "csf", "scrubbing": "white_matter_derivative1", "compcor": "a_comp_cor_00"}[name]
    assert wanted in result
    assert not any(column.startswith(("c_comp_cor", "w_comp_cor")) for column in result)


def test_motion_parameters_of_wrong_length_are_refused():
    series, brain, tissues = invented()
    with pytest.raises(DataError, match="149 rows of motion for 150 volumes"):
        confounds.table(series, brain, tissues, parameters=six(149), tr=TR)


# a real run


def test_motion_of_a_displaced_real_volume_is_estimated_and_corrected(shared_data, tmp_path):
    image = nib.load(shared_data / "feeds" / "bold.nii.gz")
    data = np.asarray(image.dataobj[..., :3], np.float32)
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(0.02), -np.sin(0.02), 0], [np.sin(0.02), np.cos(0.02), 0], [0, 0, 1]]
    turn[:3, 3] = [0.8, -0.6, 0.5]
    transforms.write_matrix(np.linalg.inv(turn), Path(tmp_path / "back.mat"))
    first = transforms.to_ants(data[..., 0], image.affine)
    shifted = ants.apply_transforms(first, first, [str(tmp_path / "back.mat")], interpolator="bSpline").numpy()
    run = np.stack([data[..., 0], shifted, data[..., 1], data[..., 2]], axis=3)
    result = motion.estimate(run, image.affine, data[..., 0], folder=str(tmp_path))
    matrix = transforms.read_matrix(Path(result.files[1]))
    np.testing.assert_allclose(matrix[:3, 3], turn[:3, 3], atol=0.1)
    np.testing.assert_allclose(matrix[:3, :3], turn[:3, :3], atol=0.1 * np.pi / 180)
    assert np.abs(result.parameters[[2, 3], :3]).max() < 0.5  # this participant lay still
    inside = ndimage.binary_erosion(np.asarray(nib.load(shared_data / "feeds" / "mask.nii.gz").dataobj) > 0)
    held = motion.series(run, image.affine, result.files, inside)
    before, after = (np.nanmean(confounds.dvars(values)[1][1:3]) for values in (run[inside], held))
    assert after < before
