"""Confounds, censoring and filtering; nilearn.signal.clean is the independent reference."""

import json

import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds
from nilearn.signal import clean as nilearn_clean
from scipy import signal

from bids_app.errors import DataError, UsageError
from bids_app.preprocess import denoise, strategies
from bids_app.preprocess.denoise import bins, check, clean
from bids_app.preprocess.strategies import choose, minutes, read_confounds, sample_mask

TR, BAND, VOLUMES = 2.0, (0.01, 0.08), 150
EVERY = np.ones(VOLUMES, dtype=bool)
# nilearn 0.14 interpolates a dropped volume only if the one as far from the other end is kept
GAPS = (20, 21, 22, 60, 100, 101)


def kept(*dropped):
    keep = EVERY.copy()
    keep[list(dropped)] = False
    return keep


@pytest.fixture(scope="module")
def series():
    """Voxels (40, 150) on a BOLD-like level with drift, noise and a constant one."""
    rng = np.random.default_rng(0)
    noise = np.cumsum(rng.standard_normal((40, VOLUMES)), axis=1) + 20 * rng.standard_normal((40, VOLUMES))
    series = (9000 + 200 * rng.random((40, 1)) + np.linspace(0, 50, VOLUMES) + noise).astype(np.float32)
    series[7] = 9000
    return series


@pytest.fixture(scope="module")
def confounds():
    rng = np.random.default_rng(1)
    table = np.cumsum(rng.standard_normal((VOLUMES, 6)), axis=0) * 10.0 ** np.arange(-4, 2)
    return pd.DataFrame(table, columns=[f"c{column}" for column in range(6)])


def close(ours, theirs):
    """Whether the largest difference is below 1e-5 SDs of the nilearn result."""
    assert ours.dtype == np.float32
    return np.abs(ours - theirs.T).max() / theirs.std() < 1e-5


def peer(series, confounds, keep, *, band=BAND, detrend=True, extrapolate=True):
    low, high = band or (None, None)
    return nilearn_clean(
        series.T.astype(np.float64), confounds=confounds, sample_mask=np.flatnonzero(keep), t_r=TR, high_pass=low,
        low_pass=high, standardize=None, detrend=detrend, extrapolate=extrapolate, standardize_confounds=True,
        filter="butterworth" if band else False,
    )  # fmt: skip


def test_without_censoring_both_series_match_nilearn(series, confounds):
    denoised, filtered = clean(series, tr=TR, confounds=confounds, sample_mask=EVERY, band=BAND)
    assert close(denoised, peer(series, confounds.to_numpy(), EVERY, band=None))
    assert close(filtered, peer(series, confounds.to_numpy(), EVERY))


def test_censored_volumes_are_interpolated_filtered_and_dropped_like_nilearn(series, confounds):
    spoiled = series.copy()
    spoiled[:, list(GAPS)] = 1e5  # what was dropped leaves no trace
    _, filtered = clean(spoiled, tr=TR, confounds=confounds, sample_mask=kept(*GAPS), band=BAND)
    assert close(filtered, peer(series, confounds.to_numpy(), kept(*GAPS)))


def test_censored_ends_are_not_filtered_as_in_nilearn_with_extrapolate_false(series, confounds):
    keep = kept(0, 1, 2, *GAPS)
    _, filtered = clean(series, tr=TR, confounds=confounds, sample_mask=keep, band=BAND)
    inner = slice(3, None)
    assert close(filtered, peer(series[:, inner], confounds.to_numpy()[inner], keep[inner]))


def test_symmetrically_censored_volumes_are_interpolated(series):
    keep = kept(30, VOLUMES - 31)
    spoiled = series.copy()
    spoiled[:, ~keep] = 1e5
    ours = clean(spoiled, tr=TR, confounds=None, sample_mask=keep, band=BAND)[1]
    assert np.array_equal(ours, clean(series, tr=TR, confounds=None, sample_mask=keep, band=BAND)[1])


def test_with_censoring_the_trend_follows_acquisition_time(series, confounds):
    keep = kept(*range(40, 90))
    denoised, _ = clean(series, tr=TR, confounds=confounds, sample_mask=keep, band=None)
    with_time = np.column_stack([np.arange(VOLUMES), confounds])
    centred = series - series[:, keep].astype(np.float64).mean(axis=1, keepdims=True)
    assert close(denoised, peer(centred, with_time, keep, band=None, detrend=False))


def test_low_pass_without_confounds_matches_nilearn(series):
    denoised, filtered = clean(series, tr=TR, confounds=None, sample_mask=EVERY, band=(0, 0.1))
    assert denoised is series
    assert close(filtered, peer(series, None, EVERY, band=(None, 0.1)))


def test_long_runs_filtered_without_the_matrix_give_the_same_result(series, confounds, monkeypatch):
    keep = kept(0, *GAPS)
    by_matrix = clean(series, tr=TR, confounds=confounds, sample_mask=keep, band=BAND)[1]
    monkeypatch.setattr(denoise, "LONG", 10)
    monkeypatch.setattr(denoise, "ROWS", 7)
    assert close(clean(series, tr=TR, confounds=confounds, sample_mask=keep, band=BAND)[1], by_matrix.T)


def test_same_array_is_returned_when_nothing_is_requested(series):
    denoised, filtered = clean(series, tr=TR, confounds=None, sample_mask=EVERY, band=None)
    assert denoised is series
    assert filtered is series
    assert np.array_equal(
        clean(series, tr=TR, confounds=None, sample_mask=kept(5), band=None)[1], np.delete(series, 5, 1)
    )


def test_constant_series_become_exactly_zero_and_others_are_demeaned(series, confounds):
    denoised, filtered = clean(series, tr=TR, confounds=confounds, sample_mask=kept(*GAPS), band=BAND)
    assert not denoised[7].any()
    assert not filtered[7].any()
    assert np.abs(denoised.mean(axis=1)).max() < 1e-3


def test_constant_or_redundant_confounds_change_nothing(series, confounds):
    more = confounds.assign(constant=1e6, again=confounds["c0"] * 3 - 7)
    for ours, plain in zip(
        clean(series, tr=TR, confounds=more, sample_mask=EVERY, band=BAND),
        clean(series, tr=TR, confounds=confounds, sample_mask=EVERY, band=BAND),
        strict=True,
    ):
        assert close(ours, plain.T)


def test_planted_confound_is_removed_and_in_band_sine_preserved():
    time = np.arange(300) * TR
    sine, motion = np.sin(2 * np.pi * 0.04 * time), np.random.default_rng(2).standard_normal(300)
    series = (10000 + 10 * sine + 500 * motion)[None].astype(np.float32)
    for result in clean(
        series, tr=TR, confounds=pd.DataFrame({"m": motion}), sample_mask=np.ones(300, bool), band=BAND
    ):
        assert abs(np.corrcoef(result[0], motion)[0, 1]) < 0.25
        left = (result[0] - result[0].mean() - 10 * sine)[30:-30]  # nilearn's order leaves a constant, as is done here
        assert np.sqrt((left**2).mean()) < 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tr": 0.0}, "repetition time is 0 s"),
        ({"volumes": 149}, "150 rows and the BOLD image 149 volumes"),
        ({"band": (0.1, 0.05)}, "below the second"),
        ({"band": (0.01, 0.25)}, r"reaches or exceeds 0\.25 Hz"),
        ({"band": (0.0101, 0.0102)}, "none lies in"),
        ({"sample_mask": kept(*range(148))}, "2 of 150 volumes are retained"),
        ({"sample_mask": kept(*range(30, 150)), "tr": 3.0}, "30 volumes are too few for the filter"),
    ],
)
def test_runs_that_cannot_be_filtered_are_refused_with_the_numbers(confounds, changed, message):
    given = {"volumes": VOLUMES, "tr": TR, "confounds": confounds, "sample_mask": EVERY, "band": BAND} | changed
    with pytest.raises(DataError, match=message):
        check(given.pop("volumes"), **given)


def test_confounds_leaving_no_degrees_of_freedom_or_with_missing_values_are_refused(series, confounds):
    many = pd.DataFrame(np.random.default_rng(3).standard_normal((VOLUMES, 45)))
    with pytest.raises(DataError, match=r"45 confounds \(45 of them independent\).*22 frequencies.*\(44\)"):
        clean(series, tr=TR, confounds=many, sample_mask=EVERY, band=BAND)
    with pytest.raises(DataError, match=r"45 confounds.*40 retained volumes"):
        clean(series, tr=TR, confounds=many, sample_mask=kept(*range(40, 150)), band=None)
    confounds = confounds.copy()
    confounds.iloc[20:22, 3] = np.nan
    clean(series, tr=TR, confounds=confounds, sample_mask=kept(*GAPS), band=BAND)
    with pytest.raises(DataError, match=r"confound c3 is missing in 2 retained volumes \(first: volume 21\)"):
        clean(series, tr=TR, confounds=confounds, sample_mask=EVERY, band=BAND)


def test_number_of_frequency_bins_matches_the_discrete_spectrum():
    frequencies = np.fft.rfftfreq(VOLUMES, TR)[1:]
    assert bins(VOLUMES, tr=TR, band=BAND) == ((frequencies >= 0.01) & (frequencies <= 0.08)).sum()
    assert bins(200, tr=2.0, band=(0.01, 0.08)) == 29  # both ends are on the grid of 1/400 Hz


def test_padding_length_equals_that_of_scipy():
    for band in (BAND, (0, 0.08)):
        sos = denoise.filter_sections(TR, band)
        least = denoise.padding_length(sos) + 1
        signal.sosfiltfilt(sos, np.ones(least))
        with pytest.raises(ValueError, match="padlen"):
            signal.sosfiltfilt(sos, np.ones(least - 1))


def test_volumes_are_censored_by_fd_and_remaining_minutes_computed():
    fd = np.array([np.nan, 0.1, 0.5, 0.51, 2.0])
    keep = sample_mask(fd, threshold=0.5)
    assert keep.tolist() == [True, True, True, False, False]
    assert minutes(keep, 2.0) == pytest.approx(0.1)
    assert sample_mask(np.array([np.nan, 9, np.nan]), threshold=0).all()
    with pytest.raises(DataError, match=r"missing in 1 rows after the first \(first: row 3\)"):
        sample_mask(np.array([np.nan, 0, np.nan]), threshold=0.5)


@pytest.fixture
def table(tmp_path):
    """A table as fMRIPrep writes it, with its JSON; two volumes before the steady state, motion at 50 and 53."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({name: rng.standard_normal(VOLUMES) for name in (*strategies.MOTION, "csf", "white_matter")})
    for tissue in ("csf", "white_matter"):
        for term in ("_derivative1", "_power2", "_derivative1_power2"):
            frame[tissue + term] = rng.standard_normal(VOLUMES)
    frame.loc[0, [name for name in frame if "derivative1" in name]] = np.nan
    frame["framewise_displacement"] = np.r_[np.nan, 0.1 * rng.random(VOLUMES - 1)]
    frame.loc[[50, 53], "framewise_displacement"] = 0.8
    frame["std_dvars"] = np.r_[np.nan, np.ones(VOLUMES - 1)]
    for number in range(4):
        frame[f"cosine{number:02}"] = np.cos(np.pi * (number + 1) * (np.arange(VOLUMES) + 0.5) / VOLUMES)
        frame[f"a_comp_cor_{number:02}"] = rng.standard_normal(VOLUMES)
    for number in range(2):
        frame[f"non_steady_state_outlier{number:02}"] = np.eye(VOLUMES)[number]
    path = tmp_path / "sub-01_task-rest_run-1_desc-confounds_timeseries.tsv"
    frame.to_csv(path, sep="\t", index=False, na_rep="n/a")
    about = {"Method": "aCompCor", "Mask": "combined", "Retained": True, "VarianceExplained": 0.1}
    path.with_suffix(".json").write_text(json.dumps({f"a_comp_cor_{number:02}": about for number in range(4)}))
    return path


def test_default_strategy_matches_nilearn_with_24_motion_parameters_and_wm_csf(table):
    image = table.with_name("sub-01_task-rest_run-1_space-X_desc-preproc_bold.nii.gz")
    parts = {"strategy": ("motion", "wm_csf"), "motion": "full", "wm_csf": "basic", "demean": False}
    theirs, steady = load_confounds(str(image), **parts)
    ours, keep = choose("24p-wm-csf", table)
    pd.testing.assert_frame_equal(ours[sorted(ours)], theirs[sorted(theirs)])
    assert np.flatnonzero(keep).tolist() == steady.tolist()
    assert len(ours.columns) == 26


@pytest.mark.parametrize(("name", "columns"), [("simple", 30), ("scrubbing", 36), ("compcor", 32)])
def test_nilearn_strategies_give_the_expected_columns_and_sample_mask(table, name, columns):
    ours, keep = choose(name, table, fd_threshold=0.5)
    assert ours.shape == (VOLUMES, columns)
    dropped = [0, 1] + ([50, 51, 52, 53] if name == "scrubbing" else [])  # pieces of under five volumes go too
    assert np.flatnonzero(~keep).tolist() == dropped
    assert np.isfinite(ours.to_numpy()[keep]).all()
    if name == "scrubbing":
        assert np.flatnonzero(~choose(name, table, fd_threshold=0)[1]).tolist() == [0, 1]
        assert not choose(name, table, fd_threshold=1e-9)[1].any()


@pytest.mark.parametrize("name", strategies.STRATEGIES[:-2])
def test_confounds_are_the_same_in_every_dialect_of_their_files(table, tmp_path, name):
    written, description = table.read_text(), table.with_suffix(".json").read_text()
    other = tmp_path / "other" / table.name
    other.parent.mkdir()
    other.write_bytes(("\ufeff" + written.replace("\n", "\t\r\n").replace("n/a", "NaN")).encode("utf-16-le"))
    other.with_suffix(".json").write_text(description, encoding="utf-8-sig")
    (expected, expected_keep), (columns, keep) = choose(name, table), choose(name, other)
    pd.testing.assert_frame_equal(columns, expected)
    assert keep.tolist() == expected_keep.tolist()


def test_ica_aroma_requires_aroma_denoised_images(table):
    aroma = table.with_name("sub-01_task-rest_run-1_space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz")
    ours, _ = choose("ica_aroma", table, bold=aroma)
    assert {"csf", "white_matter", "cosine00"} <= set(ours)
    for other in (None, aroma.with_name("sub-01_task-rest_desc-preproc_bold.nii.gz")):
        with pytest.raises(DataError, match="requires fMRIPrep's desc-smoothAROMAnonaggr_bold"):
            choose("ica_aroma", table, bold=other)


def test_none_strategy_keeps_all_volumes_and_unknown_strategy_is_refused(table):
    nothing, keep = choose("none", table)
    assert nothing is None
    assert keep.all()
    assert len(keep) == VOLUMES
    with pytest.raises(UsageError, match="24p-wm-csf, simple, scrubbing, compcor, ica_aroma, none"):
        choose("36p", table)


def test_confounds_tables_with_missing_columns_or_invalid_content_are_refused(table):
    frame = read_confounds(table)
    frame.drop(columns=["csf", "rot_z"]).to_csv(table, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(DataError, match="lacks 2 of the 26 columns that --denoise 24p-wm-csf requires: rot_z, csf"):
        choose("24p-wm-csf", table)
    with pytest.raises(DataError, match="cannot be used for --denoise simple"):
        choose("simple", table)
    table.write_text("trans_x\tcsf\n1.0\tlots\n")
    with pytest.raises(DataError, match="line 2: csf is 'lots', which is neither a number nor n/a"):
        choose("none", table)
