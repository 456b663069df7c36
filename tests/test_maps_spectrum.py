"""ALFF and fALFF compared with slow re-implementations, and Lomb-Scargle with scipy."""

import numpy as np
import pytest
from scipy import signal

from bids_app.errors import DataError, UsageError
from bids_app.maps import alff, falff
from bids_app.maps._spectrum import DEFINITIONS, compute_amplitudes, lomb_scargle_basis, plan_spectral_sum

BAND = (0.01, 0.08)
FALFF = tuple(name for name in DEFINITIONS if name != "xcpd")


def series(volumes, voxels=40, seed=0):
    """Noise about 10,000, whole numbers with ties, slow drift, and constant voxels."""
    rng = np.random.default_rng(seed)
    values = 10_000 + 50 * rng.standard_normal((voxels, volumes))
    values[10:20] = np.round(values[10:20] / 25)
    values[20:25] += 3 * np.arange(volumes)
    values[[3, 30]] = 7.7
    return values.astype(np.float32)


def computed(part, values, definition, *, tr=2.0, sample_mask=None, band=BAND):
    sample_mask = np.ones(values.shape[1], bool) if sample_mask is None else sample_mask
    return part.compute(values, tr=tr, sample_mask=sample_mask, band=band, alff_definition=definition)


def whole_transform(values, length):
    """|X_k| of one series, k = 0 ... length / 2, by the sum that defines it."""
    waves = np.outer(np.arange(length // 2 + 1), np.arange(len(values)))
    return np.abs(np.exp(-2j * np.pi * waves / length) @ values)


def slow(values, definition, tr, band):
    """ALFF and fALFF of one series, each as its program or paper writes it."""
    y = values.astype(np.float64)
    n = len(y)
    straight = signal.detrend(y)
    if definition == "xcpd":
        frequencies, power = signal.periodogram(y, 1 / tr, scaling="spectrum")
        low, high = (np.abs(frequencies - edge).argmin() for edge in band)
        return 2 * np.mean(np.sqrt(power)[low:high]), None
    if definition == "cpac":
        spectrum = np.fft.fft(straight)
        frequency = np.rint(np.abs(np.fft.fftfreq(n)) * n)
        out = (frequency < np.rint(band[0] * n * tr)) | (frequency > np.rint(band[1] * n * tr)) | (frequency == 0)
        filtered = np.fft.ifft(np.where(out, 0, spectrum)).real
        return filtered.std(ddof=1), filtered.std(ddof=1) / straight.std(ddof=1)
    length = 2 ** int(np.ceil(np.log2(n))) if definition == "dpabi" else n
    size = whole_transform(straight, length)
    if definition == "afni":
        low, high, top = round(band[0] * n * tr), round(band[1] * n * tr), n // 2
        numerator = sum(size[k] for k in range(1, top) if low <= k <= high)
        return 2 * numerator / np.sqrt(n), numerator / sum(size[1:top])
    amplitude = 2 * size / n
    if definition == "mean" and n % 2 == 0:
        amplitude[-1] /= 2
    frequency = np.arange(length // 2 + 1) / (length * tr)
    inside = (frequency > 0) & (frequency > band[0] - 1e-9) & (frequency < band[1] + 1e-9)
    return amplitude[inside].mean(), amplitude[inside].sum() / amplitude[1:].sum()


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize(("volumes", "tr", "band"), [(64, 3.0, BAND), (75, 2.0, (0.01, 0.1)), (50, 2.0, (0.1, 0.25))])
def test_each_definition_matches_a_slow_reimplementation(definition, volumes, tr, band):
    values = series(volumes)
    amplitude = computed(alff, values, definition, tr=tr, band=band)
    share = None if definition == "xcpd" else computed(falff, values, definition, tr=tr, band=band)
    assert amplitude.dtype == np.float32
    for voxel in range(len(values)):
        if voxel in (3, 30):
            assert amplitude[voxel] == 0
            assert share is None or share[voxel] == 0
            continue
        expected, expected_share = slow(values[voxel], definition, tr, band)
        assert amplitude[voxel] == pytest.approx(expected, rel=1e-5)
        if share is not None:
            assert share[voxel] == pytest.approx(expected_share, rel=1e-5)


@pytest.mark.parametrize("definition", ["mean", "afni", "xcpd"])
@pytest.mark.parametrize("volumes", [80, 81])
def test_alff_with_censoring_matches_scipy_lomb_scargle(definition, volumes):
    rng = np.random.default_rng(2)
    sample_mask = rng.random(volumes) > 0.2
    values = series(volumes)[:, sample_mask]
    result = computed(alff, values, definition, sample_mask=sample_mask)
    times, tr, n = np.flatnonzero(sample_mask) * 2.0, 2.0, sample_mask.sum()
    frequency = np.arange(1, volumes // 2 + 1) / (volumes * tr)
    low, high = (np.abs(frequency - edge).argmin() for edge in BAND)
    inside = slice(round(BAND[0] * volumes * tr) - 1, round(BAND[1] * volumes * tr))
    if definition == "mean":
        inside = (frequency >= BAND[0] - 1e-9) & (frequency <= BAND[1] + 1e-9)
    for voxel in (0, 1, 12, 22):
        y = values[voxel].astype(np.float64)
        if definition == "xcpd":
            y = (y - y.mean()) / y.std()
            power = signal.lombscargle(times, y, 2 * np.pi * frequency, normalize=True)
            expected = 2 * np.mean(np.sqrt(power[low:high])) * values[voxel].astype(np.float64).std()
        else:
            y = y - np.polyval(np.polyfit(times, y, 1), times)
            fits = np.abs(signal.lombscargle(times, y, 2 * np.pi * frequency[inside], normalize="amplitude"))
            expected = fits.mean() if definition == "mean" else np.sqrt(n) * fits.sum()
        assert result[voxel] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("volumes", [64, 75])
@pytest.mark.parametrize("definition", ["mean", "afni", "xcpd"])
def test_lomb_scargle_without_gaps_is_the_fourier_transform(volumes, definition):
    values, sample_mask = series(volumes), np.ones(volumes, bool)
    how = plan_spectral_sum(definition, tr=2.0, sample_mask=sample_mask, band=BAND)
    basis = lomb_scargle_basis(sample_mask, trend=how.trend, power=definition == "xcpd")
    part = values - values[:, :1]
    direct = compute_amplitudes(values, how)[:, 1:] * 2 / volumes
    np.testing.assert_allclose(np.abs((part @ basis).view(np.complex64))[:, 1:], direct, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("volumes", [120, 121])
def test_in_band_sine_keeps_the_amplitude_despite_censoring(volumes):
    """To 2 %: what the gaps leave of the sine has a mean, which is taken off before."""
    sample_mask = np.random.default_rng(3).random(volumes) > 0.15
    times = np.arange(volumes)[sample_mask]
    values = 4.5 * np.sin(2 * np.pi * 9 * times / volumes + 0.7)
    basis = lomb_scargle_basis(sample_mask, trend=False, power=False)
    cosine, sine = ((values - values.mean()) @ basis).reshape(-1, 2)[9]
    assert np.hypot(cosine, sine) == pytest.approx(4.5, rel=0.02)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_alff_scales_with_the_signal_and_ignores_offset_and_trend(definition):
    values = series(80)[4:14] - np.float32(10_000)
    result = computed(alff, values, definition)
    np.testing.assert_allclose(computed(alff, 8 * values, definition), 8 * result, rtol=1e-6)
    np.testing.assert_allclose(computed(alff, values + np.float32(512), definition), result, rtol=2e-5)
    if definition != "xcpd":
        ramp = np.arange(80, dtype=np.float32)
        np.testing.assert_allclose(computed(alff, values + ramp, definition), result, rtol=2e-5)


@pytest.mark.parametrize("definition", FALFF)
def test_falff_is_between_0_and_1_and_equals_1_for_the_whole_band(definition):
    values = series(80)[4:12]
    share = computed(falff, values, definition)
    assert ((share > 0) & (share < 1)).all()
    np.testing.assert_allclose(computed(falff, values, definition, band=(0.0, 0.25)), 1, rtol=1e-5)


def test_default_band_is_0_01_to_0_08_hz():
    values = series(90)
    np.testing.assert_array_equal(computed(alff, values, "mean", band=None), computed(alff, values, "mean"))


@pytest.mark.parametrize("part", [alff, falff])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tr": 0.0}, "repetition time is 0"),
        ({"tr": float("nan")}, "repetition time is nan"),
        ({"band": (0.01, 0.3)}, "goes above 0.25 Hz"),
        ({"band": (0.001, 0.002)}, "none of them is in the band"),
        ({"values": np.zeros((4, 2), np.float32)}, "2 volumes are retained"),
        ({"sample_mask": np.ones(79, bool)}, "79 volumes are uncensored, and the series have 80"),
        ({"values": np.zeros((0, 80), np.float32)}, "mask is empty"),
        ({"values": np.zeros((4, 4, 80), np.float32)}, "3 axes"),
    ],
)
def test_invalid_inputs_are_refused(part, changed, message):
    with pytest.raises(DataError, match=message):
        computed(part, **({"values": series(80), "definition": "mean"} | changed))


@pytest.mark.parametrize("definition", ["dpabi", "cpac"])
def test_definitions_undefined_for_censored_series_are_refused(definition):
    sample_mask = np.ones(80, bool)
    sample_mask[40] = False
    with pytest.raises(DataError, match="requires a series without gaps, and 1 volumes are censored"):
        computed(alff, series(80)[:, sample_mask], definition, sample_mask=sample_mask)


@pytest.mark.parametrize(
    ("part", "definition", "band", "message"),
    [
        (falff, "xcpd", BAND, "does not define falff"),
        (alff, "sum", BAND, "choose from"),
        (alff, "mean", (0.1, 0.01), "lower"),
    ],
)
def test_undefined_options_raise_a_usage_error(part, definition, band, message):
    with pytest.raises(UsageError, match=message):
        computed(part, series(80), definition, band=band)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_real_scan_matches_the_slow_reimplementation(shared_data, definition):
    import nibabel as nib

    inside = np.asarray(nib.load(shared_data / "feeds" / "mask.nii.gz").dataobj) > 0
    values = np.asarray(nib.load(shared_data / "feeds" / "bold.nii.gz").dataobj)[inside].astype(np.float32)
    result = computed(alff, values, definition, tr=3.0)
    assert np.isfinite(result).all()
    for voxel in range(0, len(values), 1000):
        if values[voxel].std() > 0:
            assert result[voxel] == pytest.approx(slow(values[voxel], definition, 3.0, BAND)[0], rel=1e-5)
