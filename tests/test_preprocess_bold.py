"""Loading and preparing a BOLD run: refusals, dummy scans and slice timing."""

import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import DataError, UsageError
from bids_app.preprocess import bold, slicetiming

SHAPE, TR = (12, 14, 10, 20), 2.0
AFFINE = np.diag([-3.0, 3.0, 4.0, 1.0])


def save(path, values, *, tr=TR, units=("mm", "sec"), affine=AFFINE):
    image = nib.Nifti1Image(values, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units(*units)
    if values.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    image.to_filename(path)
    return path


def noise(shape=SHAPE):
    return (1000 + 10 * np.random.default_rng(0).normal(size=shape)).astype(np.float32)


def changed(change):
    values = noise()
    change(values)
    return values


def set_to(value, where):
    def change(values):
        values[where] = value

    return change


# load


def test_run_is_loaded_unchanged_with_the_repetition_time_in_seconds(tmp_path):
    values = noise().astype(np.int16)
    run = bold.load(save(tmp_path / "bold.nii.gz", values, tr=2000, units=("mm", "msec")), tr=2.0)
    np.testing.assert_array_equal(np.asarray(run.dataobj), values)
    assert run.get_data_dtype() == np.float32
    assert run.header.get_zooms()[3] == 2.0
    assert run.header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_allclose(run.affine, AFFINE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (noise()[..., 0], "3 axes instead of 4"),
        (np.zeros(SHAPE, np.float32), "is 0 everywhere"),
        (np.repeat(noise()[..., :1], 5, axis=3), "constant in time"),
        (changed(set_to(np.nan, (3, 3, 3))), "20 values that are NaN"),
        (changed(set_to(7, (..., 4))), r"1 empty volumes of 20 \(volume 5\)"),
    ],
)
def test_unusable_runs_are_refused_with_the_reason(tmp_path, values, message):
    with pytest.raises(DataError, match=message):
        bold.load(save(tmp_path / "bold.nii.gz", values))


def test_a_truncated_run_is_refused(tmp_path):
    file = save(tmp_path / "bold.nii.gz", noise())
    file.write_bytes(file.read_bytes()[:20000])
    with pytest.raises(DataError, match="truncated"):
        bold.load(file)


@pytest.mark.parametrize(
    ("header", "sidecar", "message"),
    [
        (0, None, "no repetition time"),
        (2, 2.5, "2 s in its header and of 2.5 s in its sidecar"),
        (2, 0, "RepetitionTime 0"),
        (2000, None, "milliseconds"),
    ],
)
def test_missing_or_contradictory_repetition_time_is_refused(tmp_path, header, sidecar, message):
    with pytest.raises(DataError, match=message):
        bold.load(save(tmp_path / "bold.nii.gz", noise(), tr=header), tr=sidecar)


# dummy scans


@pytest.mark.parametrize("count", [0, 1, 3])
def test_non_steady_state_volumes_are_counted_like_nipype(tmp_path, count):
    from nipype.algorithms.confounds import is_outlier

    values = noise()
    values[..., :count] *= 1 + 0.3 * np.exp(-np.arange(count))
    assert bold.count_dummy_scans(values) == count
    assert is_outlier(values.mean(axis=(0, 1, 2), dtype=float)) == count


def test_dark_first_volume_and_bright_later_volume_are_not_dummy_scans():
    values = noise()
    values[..., 0] *= 0.8
    values[..., 5] *= 1.3
    assert bold.count_dummy_scans(values) == 0


def test_dummy_scans_are_dropped_by_number_unless_too_few_volumes_remain(tmp_path):
    run = bold.load(save(tmp_path / "bold.nii.gz", noise()))
    left, dropped = bold.drop_dummy_scans(run, 4)
    assert (left.shape[3], dropped) == (16, 4)
    np.testing.assert_array_equal(np.asarray(left.dataobj), noise()[..., 4:])
    assert left.header.get_zooms()[3] == TR
    with pytest.raises(UsageError, match="20 volumes"):
        bold.drop_dummy_scans(run, 19)


# slice times


def wave(times):
    """A sum of slow waves at times in s, around 1000."""
    return 1000 + 20 * np.sin(2 * np.pi * 0.05 * times) + 10 * np.cos(2 * np.pi * 0.09 * times + 1)


@pytest.mark.parametrize("axis", [0, 2])
def test_slice_timing_correction_aligns_a_wave_to_the_reference_time(axis):
    size, volumes = 7, 60
    times = TR * np.random.default_rng(1).permutation(size) / size
    starts = TR * np.arange(volumes)
    data = np.empty((size, 5, size, volumes), np.float32)
    for number in range(size):
        np.moveaxis(data, axis, 0)[number] = wave(starts + times[number])
    result = slicetiming.correct(data, times=times, tr=TR, reference=TR / 2, axis=axis)
    middle = slice(5, -5)
    expected = np.broadcast_to(wave(starts + TR / 2), data.shape)
    assert np.abs(result - expected)[..., middle].max() < 0.1
    assert np.abs(data - expected)[..., middle].max() > 5


def test_simultaneous_slices_are_unchanged():
    data = noise()
    np.testing.assert_array_equal(slicetiming.correct(data, times=[0.3] * 10, tr=TR), data)


def test_slice_at_the_reference_time_is_unchanged_and_ends_are_not_extrapolated():
    data = noise()
    result = slicetiming.correct(data, times=np.linspace(0, 1.8, 10), tr=TR, reference=0.0)
    np.testing.assert_array_equal(result[:, :, 0], data[:, :, 0])
    np.testing.assert_allclose(result[:, :, 1:, 0], data[:, :, 1:, 0])


@pytest.mark.parametrize(
    ("direction", "axis", "backwards"), [(None, 2, False), ("j", 1, False), ("k-", 2, True), ("i-", 0, True)]
)
def test_slice_axis_follows_the_bids_slice_encoding_direction(direction, axis, backwards):
    assert slicetiming.slice_axis(direction) == (axis, backwards)


@pytest.mark.parametrize(
    ("times", "message"), [([0.0] * 9, "9 times for 10 slices"), (np.arange(10) * 200.0, "in seconds")]
)
def test_invalid_slice_times_are_refused(times, message):
    with pytest.raises(DataError, match=message):
        slicetiming.correct(noise(), times=times, tr=TR)


def test_invalid_slice_encoding_direction_is_refused():
    with pytest.raises(DataError, match="SliceEncodingDirection"):
        slicetiming.slice_axis("z")


@pytest.mark.parametrize("direction", ["k", "k-"])
def test_slice_order_follows_the_file_and_the_prepared_run_is_in_ras(tmp_path, direction):
    volumes, times = 40, np.arange(10) * TR / 10
    values = np.empty((12, 14, 10, volumes), np.float32)
    for number in range(10):
        due = times[number if direction == "k" else 9 - number]
        values[:, :, number] = wave(TR * np.arange(volumes) + due)
    values[0] += 500  # the right of the image, as its first axis goes to the left
    values[..., :2] *= 1.4
    file = save(tmp_path / "bold.nii.gz", values)
    result = bold.prepare(file, folder=str(tmp_path), tr=TR, slice_times=list(times), slice_direction=direction)
    assert (result.dropped, result.tr, result.slice_time) == (2, TR, pytest.approx(0.9))
    steady, timed = nib.load(result.steady), nib.load(result.timed)
    assert nib.aff2axcodes(timed.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(np.asarray(steady.dataobj), values[::-1, :, :, 2:])
    expected = np.broadcast_to(wave(TR * np.arange(2, volumes) + 0.9), (11, 14, 10, volumes - 2))
    np.testing.assert_allclose(np.asarray(timed.dataobj)[:-1, ..., 6:-6], expected[..., 6:-6], atol=0.1)
    assert timed.header.get_zooms()[3] == TR


def test_without_slice_times_the_prepared_run_is_one_file(tmp_path):
    result = bold.prepare(save(tmp_path / "bold.nii.gz", noise()), folder=str(tmp_path), dummies=0)
    assert result.timed == result.steady
    assert result.slice_time is None
