"""When volumes and slices were acquired: what BIDS allows is read right, and everything else is refused by name."""

import logging

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_app.errors import DataError
from bids_app.preprocess import bold as preparation
from bids_app.preprocess.timing import HEADER, read_timing, repetition_time

SLICES, VOLUMES = 5, 12
UNEVEN = [2.0 * volume for volume in range(6)] + [12 + 4.0 * volume for volume in range(6)]
SPARSE = [1.5 + 10.0 * volume for volume in range(VOLUMES)]
TIMES = [0.0, 0.8, 0.4, 1.2, 1.6]


def save(folder, *, tr=2.0, unit="sec", slice_axis=None, shape=(4, 4, SLICES, VOLUMES)):
    values = 1000 + np.random.default_rng(0).normal(size=shape).astype(np.float32)
    image = nib.Nifti1Image(values, np.diag([3, 3, 3, 1]))
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = tr
    if slice_axis is not None:
        image.header.set_dim_info(slice=slice_axis)
    path = folder / "sub-01_task-rest_bold.nii.gz"
    image.to_filename(path)
    return path


@pytest.fixture(scope="module")
def no_tr(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bold"), tr=0)


def refusal(path, fields, **options):
    with pytest.raises(DataError) as caught:
        read_timing(path, fields, **options)
    return str(caught.value)


@given(milliseconds=st.integers(100, 20_000), delay=st.integers(0, 99), start=st.integers(0, 30_000))
def test_repetition_time_with_delay_and_even_volume_timing_with_duration_are_the_same(
    no_tr, milliseconds, delay, start
):
    onsets = [(start + milliseconds * volume) / 1000 for volume in range(VOLUMES)]
    one = read_timing(no_tr, {"RepetitionTime": milliseconds / 1000, "DelayTime": delay / 1000})
    other = read_timing(no_tr, {"VolumeTiming": onsets, "FrameAcquisitionDuration": (milliseconds - delay) / 1000})
    assert (one.source, other.source) == ("RepetitionTime", "VolumeTiming")
    assert (one.tr, one.delay) == (milliseconds / 1000, delay / 1000)
    assert other.tr == pytest.approx(one.tr, abs=1e-6)
    assert other.delay == pytest.approx(one.delay, abs=2e-6)


@given(value=st.none() | st.booleans() | st.text() | st.floats() | st.integers() | st.lists(st.floats()))
def test_every_repetition_time_is_used_as_it_stands_or_refused_by_name(no_tr, value):
    try:
        message, tr = "", read_timing(no_tr, {"RepetitionTime": value}).tr
    except DataError as error:
        message, tr = str(error), None
    plausible = type(value) in (int, float) and 0.05 <= value <= 30
    assert tr == (value if plausible else None)
    assert plausible or "sub-01_task-rest_bold.nii.gz" in message


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (2000, "if these are milliseconds, write 2"),
        ("2.0", "write it without quotes, as 2.0"),
        ("slow", "a number of seconds above 0 is required"),
        (0, "above 0"),
        (-2, "above 0"),
        (float("nan"), "above 0"),
        (True, "above 0"),
        ([2.0], "above 0"),
        (0.002, "in seconds, at least 0.05"),
    ],
)
@pytest.mark.parametrize("preprocessed", [False, True])
def test_unusable_repetition_times_are_refused_with_what_to_write(tmp_path, value, hint, preprocessed):
    message = refusal(save(tmp_path), {"RepetitionTime": value}, preprocessed=preprocessed)
    assert message.startswith("the sidecar of sub-01_task-rest_bold.nii.gz states RepetitionTime ")
    assert hint in message


@pytest.mark.parametrize(("tr", "unit"), [(2.5, "sec"), (2500, "msec"), (2_500_000, "usec")])
def test_header_with_a_unit_is_used_without_a_sidecar_and_this_is_logged(tmp_path, caplog, tr, unit):
    with caplog.at_level(logging.WARNING, "pellucid"):
        timing = read_timing(save(tmp_path, tr=tr, unit=unit), {"EchoTime": 0.03})
    assert (timing.tr, timing.source) == (pytest.approx(2.5), HEADER)
    assert "no sidecar states RepetitionTime; using the header's, 2.5 s" in caplog.text


@pytest.mark.parametrize(
    ("tr", "unit", "shown"),
    [
        (1, "unknown", "its header states 1 without a unit of time and no"),
        (2, "unknown", "its header states 2 without a unit of time and no"),
        (2000, "unknown", "states 2000 without a unit of time (milliseconds?)"),
        (2000, "sec", "states 2000 s (milliseconds?)"),
        (2, "msec", "states 0.002 s"),
        (0, "sec", "its header states 0 s"),
        (2, "hz", "states 2 without a unit of time"),
    ],
)
def test_header_without_unit_or_with_implausible_value_is_refused(tmp_path, tr, unit, shown):
    message = refusal(save(tmp_path, tr=tr, unit=unit), {})
    assert shown in message
    assert "write RepetitionTime, in seconds, into the sidecar" in message


def test_sidecar_and_header_of_a_raw_run_must_agree(tmp_path):
    assert repetition_time(save(tmp_path), sidecar_tr=2.001) == 2.001
    assert repetition_time(save(tmp_path, tr=2500, unit="msec"), sidecar_tr=2.5) == 2.5
    assert repetition_time(save(tmp_path, tr=0), sidecar_tr=0.8) == 0.8
    assert repetition_time(save(tmp_path, tr=1, unit="unknown"), sidecar_tr=3) == 3.0
    assert repetition_time(save(tmp_path, tr=2000), sidecar_tr=2) == 2.0  # an impossible header contradicts nothing
    with pytest.raises(DataError, match=r"of 2 s in its header and of 2\.2 s in its sidecar"):
        repetition_time(save(tmp_path), sidecar_tr=2.2)


@pytest.mark.parametrize(("tr", "unit"), [(1, "sec"), (2000, "sec"), (3, "sec"), (4, "unknown")])
def test_sidecar_of_a_preprocessed_run_wins_and_the_difference_is_logged(tmp_path, caplog, tr, unit):
    with caplog.at_level(logging.WARNING, "pellucid"):
        timing = read_timing(save(tmp_path, tr=tr, unit=unit), {"RepetitionTime": 2.0}, preprocessed=True)
    assert (timing.tr, timing.source) == (2.0, "RepetitionTime")
    assert f"using the repetition time of the sidecar, 2 s; the header states {tr}" in caplog.text


@pytest.mark.parametrize("tr", [1.0, 2.0, 10.0])
def test_sparse_volume_timing_at_even_intervals_is_a_repetition_time_whatever_the_header(tmp_path, tr):
    timing = read_timing(save(tmp_path, tr=tr), {"VolumeTiming": SPARSE, "SliceTiming": TIMES})
    assert (timing.tr, timing.source, timing.slice_times) == (10.0, "VolumeTiming", TIMES)
    timing = read_timing(save(tmp_path, tr=tr), {"VolumeTiming": SPARSE, "AcquisitionDuration": 2.0})
    assert (timing.tr, timing.delay) == (10.0, 8.0)


@pytest.mark.parametrize("preprocessed", [False, True])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"VolumeTiming": UNEVEN}, "at unequal intervals (2 to 4 s)"),
        ({"VolumeTiming": SPARSE[:-1]}, "of 11 volumes, and the run has 12"),
        ({"VolumeTiming": SPARSE[::-1]}, "does not increase"),
        ({"VolumeTiming": [-10.0, *SPARSE[:-1]]}, "negative"),
        ({"VolumeTiming": [1000 * onset for onset in SPARSE]}, "at intervals of 10000; write onsets in seconds"),
        ({"VolumeTiming": 10.0}, "a list of onsets"),
        ({"VolumeTiming": ["0", *SPARSE[1:]]}, "a list of onsets"),
        ({"VolumeTiming": SPARSE, "RepetitionTime": 2.0}, "exclude each other"),
        ({"VolumeTiming": SPARSE, "DelayTime": 8.0}, "exclude each other"),
        ({"VolumeTiming": SPARSE, "FrameAcquisitionDuration": 600}, "FrameAcquisitionDuration 600; the seconds that a"),
        ({"VolumeTiming": SPARSE, "AcquisitionDuration": 0}, "AcquisitionDuration 0; the seconds that a"),
        ({"RepetitionTime": 2.0, "DelayTime": 2.0}, "DelayTime 2.0; a number of seconds from 0 to below"),
        ({"RepetitionTime": 2.0, "DelayTime": "1"}, "DelayTime '1'; a number of seconds"),
        ({"RepetitionTime": 2.0, "DelayTime": -1}, "DelayTime -1; a number of seconds"),
    ],
)
def test_timing_from_which_no_series_at_equal_intervals_follows_is_refused(tmp_path, fields, reason, preprocessed):
    message = refusal(save(tmp_path), fields, preprocessed=preprocessed)
    assert message.startswith("the sidecar of sub-01_task-rest_bold.nii.gz states ")
    assert reason in message


def test_acquisition_duration_beside_repetition_time_is_that_of_the_run_and_ignored(tmp_path):
    assert read_timing(save(tmp_path), {"RepetitionTime": 2.0, "AcquisitionDuration": 360.0}).delay == 0


def test_slice_times_must_lie_within_the_acquisition_that_the_delay_leaves(tmp_path):
    path = save(tmp_path)
    assert read_timing(path, {"RepetitionTime": 2.0, "DelayTime": 0.3, "SliceTiming": TIMES}).slice_times == TIMES
    message = refusal(path, {"RepetitionTime": 2.0, "DelayTime": 0.5, "SliceTiming": TIMES})
    assert "SliceTiming ranges from 0 to 1.6 s, and a volume takes 1.5 s" in message


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([1000 * time for time in TIMES], "if they are in milliseconds divide them by 1000"),
        (TIMES[:-1], "SliceTiming has 4 times for 5 slices"),
        ([*TIMES[:-1], -0.1], "ranges from -0.1"),
        ([*TIMES[:-1], "1.6"], "a list of seconds is required, one per slice"),
        ([*TIMES[:-1], None], "a list of seconds is required, one per slice"),
        ("ascending", "a list of seconds is required, one per slice"),
    ],
)
def test_unusable_slice_times_are_refused_with_the_name_of_the_sidecar(tmp_path, times, reason):
    message = refusal(save(tmp_path), {"RepetitionTime": 2.0, "SliceTiming": times})
    assert message.startswith("the sidecar of sub-01_task-rest_bold.nii.gz")
    assert reason in message


@pytest.mark.parametrize("times", [[], [0.0]])
def test_slice_times_of_no_slice_are_ignored_and_logged(tmp_path, caplog, times):
    with caplog.at_level(logging.WARNING, "pellucid"):
        timing = read_timing(save(tmp_path), {"RepetitionTime": 2.0, "SliceTiming": times})
    assert timing.slice_times is None
    assert f"states SliceTiming of {len(times)} slices: slice timing is not corrected" in caplog.text


def test_slice_axis_is_that_of_the_sidecar_then_of_the_header_then_the_third(tmp_path, caplog):
    shape = (SLICES, 4, 4, VOLUMES)
    fields = {"RepetitionTime": 2.0, "SliceTiming": TIMES}
    assert read_timing(save(tmp_path), fields).slice_direction is None
    assert read_timing(save(tmp_path, slice_axis=0, shape=shape), fields).slice_direction == "i"
    with caplog.at_level(logging.WARNING, "pellucid"):
        timing = read_timing(save(tmp_path, slice_axis=2, shape=shape), fields | {"SliceEncodingDirection": "i-"})
    assert timing.slice_direction == "i-"
    assert "states SliceEncodingDirection i-, which is used; the header states k" in caplog.text
    message = refusal(save(tmp_path), fields | {"SliceEncodingDirection": "z"})
    assert message.startswith("the sidecar of sub-01_task-rest_bold.nii.gz: SliceEncodingDirection is 'z'; it must be")


def test_minus_in_the_slice_direction_reverses_the_slice_times(tmp_path):
    path = save(tmp_path)
    corrected = []
    for name, times, direction in (("up", TIMES, "k"), ("down", TIMES[::-1], "k-"), ("other", TIMES[::-1], "k")):
        (tmp_path / name).mkdir()
        timing = read_timing(path, {"RepetitionTime": 2.0, "SliceTiming": times, "SliceEncodingDirection": direction})
        run = preparation.prepare(
            path,
            folder=str(tmp_path / name),
            tr=timing.tr,
            dummies=0,
            slice_times=timing.slice_times,
            slice_direction=timing.slice_direction,
        )
        corrected.append(nib.load(run.timed).get_fdata())
    assert np.array_equal(corrected[0], corrected[1])
    assert not np.allclose(corrected[0], corrected[2])
