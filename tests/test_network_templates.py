"""Network maps that no regression can use are refused by name."""

import nibabel as nib
import numpy as np
import pytest

from bids_app.errors import DataError
from bids_app.planning.network_templates import resample_networks

SHAPE, AFFINE = (6, 7, 8), np.diag([4.0, 4, 4, 1])
MASK = nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE)


def write(folder, values):
    nib.Nifti1Image(values.astype(np.float32), AFFINE).to_filename(folder / "networks.nii.gz")
    (folder / "networks.tsv").write_text("name\nVisual\nMotor\nDefault\n")
    return folder / "networks.nii.gz"


def change(values, kind):
    if kind == "zero":
        values[..., 1] = 0
    elif kind == "nan":
        values[0, 0, 0, 2] = np.nan
    return values


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("zero", "Motor has no value within the brain"),
        ("nan", "NaN or infinite"),
    ],
)
def test_networks_without_values_or_with_infinite_ones_are_refused(tmp_path, kind, message):
    values = change(np.random.default_rng(0).normal(size=(*SHAPE, 3)), kind)
    with pytest.raises(DataError, match=f"--network-templates networks.nii.gz.*{message}"):
        resample_networks(write(tmp_path, values), MASK, np.ones(SHAPE, bool))


def test_correlated_networks_are_resampled_as_they_are(tmp_path):
    values = np.random.default_rng(0).normal(size=(*SHAPE, 3))
    values[..., 2] = values[..., 0] + 0.01 * values[..., 2]
    result = resample_networks(write(tmp_path, values), MASK, np.ones(SHAPE, bool))
    np.testing.assert_allclose(result, values.reshape(-1, 3), rtol=1e-5)
