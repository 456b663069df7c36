"""One head in fine and in coarse voxels has the same tissues, since fine voxels are averaged first."""

import numpy as np
import pytest
import simulated_heads

from bids_app.nodes import anatomical
from bids_app.nodes.template import prepare_template
from bids_app.preprocess import conform

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """The tissue volumes, ml, by voxel size: of a head of 0.5 mm, of means of its voxels, and of these repeated."""
    folder = tmp_path_factory.mktemp("resolutions")
    template = prepare_template(
        cache=str(folder / "cache"), space=simulated_heads.SPACE, resolution=4.0, sloppy=False, seed=1
    )
    head = simulated_heads.head(3, (0.5, 0.5, 0.5), finer=1, noise=0.08)
    fine = conform.to_nifti(1000 * (head.t1w * head.field).clip(0.01) * head.mask, head.affine)
    coarse = conform.coarsen(fine, 1.0)
    values, affine = np.asarray(coarse.dataobj), coarse.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] -= coarse.affine[:3, :3].sum(axis=1) / 4
    repeated = conform.to_nifti(values.repeat(2, 0).repeat(2, 1).repeat(2, 2), affine)
    result = {"truth": {name: float(values.sum()) / 8000 for name, values in head.fractions.items()}}
    for name, image in (("fine", fine), ("coarse", coarse), ("repeated", repeated)):
        result[name] = measure(image, template, folder / name)
    return result


def measure(image, template, folder):
    """Tissue volumes by the steps of the participant level."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        conform.save(image, "t1w.nii.gz")
        options = {"sloppy": False, "anatomy": "fast"}
        anat = anatomical.prepare_native(t1w="t1w.nii.gz", brain_mask=None, template=None, seed=1, **options)
        anat = anatomical.register_to_template(anat=anat, templates=template, nonlinear=True, seed=1, **options)
        return anatomical.segment_tissues(anat=anat, templates=template, **options)["tissues"]["volumes"]


@pytest.mark.parametrize("name", ["fine", "repeated"])
@pytest.mark.parametrize("tissue", ["GM", "WM"])
def test_a_head_of_half_a_millimetre_has_the_volumes_that_it_has_at_1_mm(volumes, name, tissue):
    print(volumes)
    assert volumes[name][tissue] == pytest.approx(volumes["coarse"][tissue], rel=0.001)


@pytest.mark.parametrize("tissue", ["GM", "WM"])
def test_volumes_of_a_head_of_half_a_millimetre_are_right_to_1_percent(volumes, tissue):
    assert volumes["fine"][tissue] == pytest.approx(volumes["truth"][tissue], rel=0.01)
