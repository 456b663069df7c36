"""One preprocessed run, as different programs and versions write it: the same map, or a refusal by name."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_app.bids import inputs
from bids_app.errors import DataError, MissingInputError
from bids_app.nodes.bold_maps import clean_series, make_bold_map
from bids_app.planning import bold_runs
from bids_app.preprocess import strategies
from bids_app.settings import build

SPACE = "MNI152NLin2009cAsym"
VOLUMES, SHAPE = 120, (9, 10, 8)
AFFINE = np.array([[3.0, 0, 0, -12], [0, 3, 0, -12], [0, 0, 3, -9], [0, 0, 0, 1]])
DENOISING = {"denoise": "24p-wm-csf", "band": [0.01, 0.08], "fd_threshold": 0.5}
UNEVEN = [2.0 * volume for volume in range(60)] + [120 + 4.0 * volume for volume in range(60)]


@pytest.fixture(scope="module")
def run():
    """Series (X, Y, Z, T), mask (X, Y, Z) and confounds of an invented participant."""
    random = np.random.default_rng(0)
    drift = np.cumsum(random.normal(size=(*SHAPE, VOLUMES)), axis=3)
    values = (1000 + drift + random.normal(size=(*SHAPE, VOLUMES))).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:-2, 2:-2, 2:-2] = 1
    table = pd.DataFrame({name: random.normal(size=VOLUMES) for name in strategies.COLUMNS["24p-wm-csf"]})
    table["framewise_displacement"] = np.r_[np.nan, np.abs(random.normal(size=VOLUMES - 1)) * 0.05]
    return values, mask, table.assign(std_dvars=np.r_[np.nan, np.ones(VOLUMES - 1)])


def write(home, run, *, tr=2.0, unit="sec", sidecar=(("RepetitionTime", 2.0),), affine=AFFINE, raw=None, endian="<"):
    """Write the run as derivatives, with its raw sidecar if any; returns the data set's settings."""
    values, mask, table = run
    func, bids = home / "fmriprep/sub-01/func", home / "bids/sub-01/func"
    for folder in (func, bids):
        folder.mkdir(parents=True)
    (home / "bids/dataset_description.json").write_text('{"Name": "Trial", "BIDSVersion": "1.8.0"}')
    stem = f"sub-01_task-rest_space-{SPACE}"
    image = nib.Nifti1Image(values.astype(f"{endian}f4"), affine, nib.Nifti1Header(endianness=endian))
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = tr
    image.to_filename(func / f"{stem}_desc-preproc_bold.nii.gz")
    nib.Nifti1Image(mask, affine).to_filename(func / f"{stem}_desc-brain_mask.nii.gz")
    table.to_csv(func / "sub-01_task-rest_desc-confounds_timeseries.tsv", sep="\t", na_rep="n/a", index=False)
    if sidecar is not None:
        (func / f"{stem}_desc-preproc_bold.json").write_text(json.dumps(dict(sidecar)))
    if raw is not None:
        (bids / "sub-01_task-rest_bold.json").write_text(json.dumps(raw))
    options = {"maps": ["alff"], "derivatives": {"fmriprep": home / "fmriprep"}}
    return build("participant", home / "bids", home / "out", options=options)


def alff(home, settings, monkeypatch):
    """The map of the run as planned, in RAS+ order, and the planned run."""
    monkeypatch.chdir(home)
    dataset = inputs.open_dataset(home / "bids")
    (planned,) = map(bold_runs.add_header, bold_runs.find_runs(dataset, "01", None, settings, {}))
    cleaned = clean_series(run=bold_runs.preprocessed_run(planned), settings=DENOISING, grid=None)
    options = {"alff_definition": "mean"}
    file = make_bold_map(map_name="alff", run=cleaned, parameters=options, parcels="")["alff"]
    return np.asarray(nib.as_closest_canonical(nib.load(file)).dataobj), planned


@pytest.fixture(scope="module")
def reference(run, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("reference")
        return alff(home, write(home, run), patch)[0]


@pytest.mark.parametrize(
    ("variant", "source"),
    [
        ({"endian": ">"}, "RepetitionTime"),
        ({"tr": 1.0}, "RepetitionTime"),  # fMRIPrep 23.2.0
        ({"tr": 0.0}, "RepetitionTime"),  # fMRIPrep, several echoes
        ({"tr": 2000.0}, "RepetitionTime"),
        ({"tr": 2000.0, "unit": "msec"}, "RepetitionTime"),
        ({"tr": 1.0, "unit": "unknown"}, "RepetitionTime"),
        ({"sidecar": {"VolumeTiming": [2.0 * volume for volume in range(VOLUMES)]}, "tr": 1.0}, "VolumeTiming"),
        ({"sidecar": None, "tr": 1.0, "raw": {"RepetitionTime": 2.0}}, "RepetitionTime"),
        ({"sidecar": {"SkullStripped": False}, "tr": 1.0, "raw": {"RepetitionTime": 2.0}}, "RepetitionTime"),
        ({"sidecar": None, "tr": 2000.0, "unit": "msec"}, "image header"),
    ],
)
def test_map_depends_on_the_stated_repetition_time_only(run, reference, tmp_path, monkeypatch, variant, source):
    values, planned = alff(tmp_path, write(tmp_path, run, **variant), monkeypatch)
    np.testing.assert_allclose(values, reference, rtol=1e-5)
    assert (planned["tr"], planned["tr_source"]) == (2.0, source)


def test_map_is_the_same_for_axes_from_left_to_right_and_right_to_left(run, reference, tmp_path, monkeypatch):
    values, mask, table = run
    affine = AFFINE.copy()
    affine[0] = [-3, 0, 0, AFFINE[0, 3] + 3 * (SHAPE[0] - 1)]
    settings = write(tmp_path, (values[::-1], mask[::-1], table), affine=affine)
    np.testing.assert_allclose(alff(tmp_path, settings, monkeypatch)[0], reference, rtol=1e-5)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"sidecar": None, "tr": 1.0, "unit": "unknown"}, "header states 1 without a unit of time"),
        ({"sidecar": {"VolumeTiming": UNEVEN, "AcquisitionDuration": 1.0}, "tr": 1.0}, "at unequal intervals"),
        ({"sidecar": {"VolumeTiming": UNEVEN, "AcquisitionDuration": 1.0}}, "at unequal intervals"),
        ({"sidecar": None, "raw": {"VolumeTiming": UNEVEN, "AcquisitionDuration": 1.0}}, "at unequal intervals"),
        ({"sidecar": {"RepetitionTime": 2000}}, "if these are milliseconds, write 2"),
    ],
)
def test_runs_without_equal_and_known_intervals_are_refused_before_anything_is_computed(
    run, tmp_path, monkeypatch, variant, message
):
    with pytest.raises(DataError, match=message):
        alff(tmp_path, write(tmp_path, run, **variant), monkeypatch)


@pytest.mark.parametrize("broken", ["[1]", '{"a_comp_cor_00": {}, "a_comp_cor_00": {}}'])
def test_description_of_confounds_is_read_at_planning_where_the_strategy_needs_it(run, tmp_path, broken):
    settings = write(tmp_path, run)
    file = tmp_path / "fmriprep/sub-01/func/sub-01_task-rest_desc-confounds_timeseries.json"
    file.write_text(broken)
    dataset = inputs.open_dataset(tmp_path / "bids")
    assert bold_runs.find_runs(dataset, "01", None, settings, {})
    options = {"maps": ["alff"], "derivatives": {"fmriprep": tmp_path / "fmriprep"}, "denoise": "compcor"}
    settings = build("participant", tmp_path / "bids", tmp_path / "out", options=options)
    with pytest.raises(DataError, match=rf"{file.name} cannot be read"):
        bold_runs.find_runs(dataset, "01", None, settings, {})
    file.unlink()
    file.symlink_to("../../.git/annex/objects/0V/MM/MD5E-s41000--6dd.json/MD5E-s41000--6dd.json")
    with pytest.raises(MissingInputError, match=rf"not fetched: run `datalad get sub-01/func/{file.name}`"):
        bold_runs.find_runs(dataset, "01", None, settings, {})


def test_missing_run_is_a_missing_input(run, tmp_path):
    settings = write(tmp_path, run)
    with pytest.raises(MissingInputError):
        bold_runs.find_runs(inputs.open_dataset(tmp_path / "bids"), "02", None, settings, {})
