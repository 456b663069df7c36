"""The fast bias field and tissues, compared with simulated heads whose field and fractions are known."""

from dataclasses import dataclass

import ants
import numpy as np
import pytest
import simulated_heads
from sklearn.mixture import GaussianMixture

from bids_app.errors import DataError
from bids_app.nodes.template import prepare_template
from bids_app.phantom.deformation import transform
from bids_app.preprocess import mixture, normalise, skull, tissues, transforms
from bids_app.preprocess.bias import estimate_bias_field
from bids_app.preprocess.mixture import estimate_fractions

NAMES = ("GM", "WM", "CSF")


@dataclass(frozen=True)
class Case:
    """A head, its image without the estimated bias field, its priors and its estimated fractions (X, Y, Z)."""

    head: simulated_heads.Head
    voxel_mm: tuple
    corrected: np.ndarray
    priors: list
    fractions: dict


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("template"))
    return prepare_template(cache=cache, space=simulated_heads.SPACE, resolution=4.0, sloppy=False, seed=1)


def segment(head, voxel_mm, template, folder):
    """All steps of the participant level, for a head whose mask is known."""
    biased, mask = (transforms.to_ants(values, head.affine) for values in (head.t1w * head.field, head.mask * 1.0))
    corrected = tissues.correct_bias(biased, mask, sloppy=False, method="fast")
    target, *priors = (ants.image_read(template[name]) for name in ("target", "target_gm", "target_wm"))
    options = {"folder": str(folder), "name": "t1w", "seed": 1, "sloppy": False, "method": "fast"}
    warps = normalise.register(target, corrected * mask, **options)["nonlinear"]
    here = [normalise.pull_back(prior, biased, warps.inverse, warps.invert, method="fast") for prior in priors]
    result = tissues.segment(corrected, mask, *here, folder=str(folder), sloppy=False, method="fast")
    arrays = {name: image.numpy() for name, image in result.items()}
    return Case(head, voxel_mm, corrected.numpy(), [image.numpy() for image in here], arrays)


@pytest.fixture(scope="module")
def fine(template, tmp_path_factory):
    voxel_mm = (1.5, 1.5, 1.5)
    return segment(simulated_heads.head(1, voxel_mm), voxel_mm, template, tmp_path_factory.mktemp("fine"))


@pytest.fixture(scope="module")
def thick(template, tmp_path_factory):
    voxel_mm = (1.5, 1.5, 4.0)
    return segment(simulated_heads.head(2, voxel_mm), voxel_mm, template, tmp_path_factory.mktemp("thick"))


@pytest.fixture(params=["fine", "thick"])
def case(request):
    return request.getfixturevalue(request.param)


def field_error(estimated, head):
    """SD over the mask of the error of the logarithm of a field; its factor is unknown."""
    return np.log(estimated / head.field)[head.mask].std()


def errors(fractions, head):
    """The root mean square over the mask of the error of each tissue's fraction."""
    return {name: float(np.sqrt(((fractions[name] - head.fractions[name])[head.mask] ** 2).mean())) for name in NAMES}


def volume_ratios(fractions, head):
    return {name: float(fractions[name].sum() / head.fractions[name].sum()) for name in NAMES}


# an error of 2 % is half the noise; slices of 4 mm have few voxels of one tissue, by which a field is seen
@pytest.mark.parametrize(("name", "share"), [pytest.param("fine", 0.2, marks=pytest.mark.slow), ("thick", 0.45)])
def test_a_known_bias_field_is_recovered(request, name, share):
    case = request.getfixturevalue(name)
    head = case.head
    estimated = estimate_bias_field(head.t1w * head.field, head.mask, case.voxel_mm)
    before, after = (field_error(field, head) for field in (np.ones_like(estimated), estimated))
    print(f"SD of the log field {before:.4f}, of its error {after:.4f}")
    assert before > 0.08
    assert after < share * before
    assert np.log(estimated[head.mask]).mean() == pytest.approx(0, abs=0.01)  # it is that of voxels 4 mm apart


def test_an_image_without_bias_field_gets_hardly_one(fine):
    estimated = estimate_bias_field(fine.head.t1w, fine.head.mask, fine.voxel_mm)
    assert np.log(estimated[fine.head.mask]).std() < 0.02


def test_volumes_of_grey_and_white_matter_are_right_to_2_percent(fine):
    ratios = volume_ratios(fine.fractions, fine.head)
    print(ratios)
    assert ratios["GM"] == pytest.approx(1, abs=0.02)
    assert ratios["WM"] == pytest.approx(1, abs=0.02)
    assert ratios["CSF"] == pytest.approx(1, abs=0.08)  # what GM lacks is in CSF, of which there is a third


def test_volumes_in_thick_slices_are_right_to_6_percent(thick):
    """More voxels than not hold two tissues, some three, which no class is for."""
    ratios = volume_ratios(thick.fractions, thick.head)
    print(ratios)
    assert ratios["GM"] == pytest.approx(1, abs=0.06)
    assert ratios["WM"] == pytest.approx(1, abs=0.03)


def test_fractions_are_nearer_to_the_truth_than_probabilities_of_three_classes(fine):
    """Those of a plain mixture of three Gaussians, for the image without bias field."""
    head = fine.head
    inside = head.t1w[head.mask][:, None]
    plain = GaussianMixture(3, means_init=[[0.3], [0.65], [1.0]], random_state=0).fit(inside[::20])
    classes = np.zeros((3, *head.mask.shape))
    classes[:, head.mask] = plain.predict_proba(inside)[:, np.argsort(plain.means_[:, 0])].T
    ours, theirs = errors(fine.fractions, head), errors(dict(zip(("CSF", "GM", "WM"), classes, strict=True)), head)
    print("RMS error", ours, "without partial volume", theirs)
    assert all(ours[name] < 0.75 * theirs[name] for name in NAMES)
    # noise of 0.04 in a contrast of 0.35 alone is an error of 0.11 for a voxel of two tissues
    assert ours["GM"] < 0.12
    assert ours["WM"] < 0.085


def test_fractions_sum_to_1_in_the_mask_and_are_0_outside(case):
    total = sum(case.fractions.values())
    np.testing.assert_allclose(total[case.head.mask], 1, atol=1e-5)
    assert not total[~case.head.mask].any()
    assert all(values.min() >= 0 and values.max() <= 1 + 1e-5 for values in case.fractions.values())


def damaged(case, intensity, share):
    """The head with another intensity in a share of the voxels of its brain, and its fractions."""
    where = case.head.mask & (np.random.default_rng(0).random(case.head.mask.shape) < share)
    assert where.any()
    values = np.where(where, np.float32(intensity), case.corrected)
    return values, estimate_fractions(values, case.head.mask, *case.priors, case.voxel_mm)


@pytest.mark.parametrize("intensity", [-1e9, -0.3, 0, 50, 1e9])
def test_a_few_impossible_intensities_change_no_volume_by_1_percent(fine, intensity):
    _, fractions = damaged(fine, intensity, 1e-4)
    for name, values in fractions.items():
        assert np.isfinite(values).all()
        assert values.sum() == pytest.approx(fine.fractions[name].sum(), rel=0.01)


@pytest.mark.parametrize("intensity", [-0.3, 0])
def test_the_bias_field_is_that_without_negative_and_zero_intensities(fine, intensity):
    values, _ = damaged(fine, intensity, 0.03)
    estimated = estimate_bias_field(values * fine.head.field, fine.head.mask, fine.voxel_mm)
    assert field_error(estimated, fine.head) < 0.02


def test_an_image_of_one_intensity_is_refused(fine):
    head = fine.head
    with pytest.raises(DataError, match="one intensity"):
        estimate_fractions(head.mask.astype(np.float32), head.mask, *fine.priors, fine.voxel_mm)


@pytest.mark.parametrize("values", [0.0, -1.0])
def test_an_image_without_positive_intensity_in_the_brain_is_refused(fine, values):
    with pytest.raises(DataError, match="no intensity above 0"):
        estimate_bias_field(np.full_like(fine.head.t1w, values), fine.head.mask, fine.voxel_mm)


def test_an_image_with_standardised_intensities_is_refused(fine):
    inside = fine.head.t1w[fine.head.mask]
    with pytest.raises(DataError, match=r"sub-07_T1w.nii.gz is negative in \d\d % of the brain"):
        skull.check_intensities("sub-07_T1w.nii.gz", (fine.head.t1w - inside.mean()) / inside.std(), fine.head.mask)
    skull.check_intensities("sub-07_T1w.nii.gz", fine.head.t1w, fine.head.mask)


def test_priors_that_are_0_leave_finite_fractions(fine):
    """As of a brain that lies beside the template."""
    nothing = np.zeros_like(fine.head.t1w)
    fractions = estimate_fractions(fine.corrected, fine.head.mask, nothing, nothing, fine.voxel_mm)
    np.testing.assert_allclose(sum(fractions.values())[fine.head.mask], 1, atol=1e-5)


def test_a_tiny_brain_has_finite_fractions(fine):
    part = tuple(slice(size // 2, size // 2 + 8) for size in fine.head.mask.shape)
    cut = [np.ascontiguousarray(array[part]) for array in (fine.corrected, fine.head.mask, *fine.priors)]
    fractions = estimate_fractions(*cut, fine.voxel_mm)
    np.testing.assert_allclose(sum(fractions.values()), cut[1], atol=1e-5)


def test_the_order_of_the_arrays_in_memory_neither_matters_nor_is_compiled_for(fine):
    """ANTs' images are in Fortran's order, in which the loops would be compiled a second time and be slower."""
    arrays = (fine.corrected, fine.head.mask, *fine.priors)
    for order in ("F", "C"):
        ordered = [np.array(array, order=order) for array in arrays]
        for name, values in estimate_fractions(*ordered, fine.voxel_mm).items():
            np.testing.assert_array_equal(values, fine.fractions[name])
    layouts = {kind.layout for kinds in mixture.update_posteriors.compiled.signatures for kind in kinds}
    assert layouts == {"C"}


@pytest.fixture(scope="module")
def slanted(tmp_path_factory):
    """An image on an oblique grid of unlike voxels, and the file and the matrix from the template to it."""
    matrix = np.linalg.inv([[1.1, 0.1, 0, 4], [0, 0.9, 0.1, -6], [0.1, 0, 1, 3], [0, 0, 0, 1]])
    shape, affine = simulated_heads.oblique_grid((5.0, -15.0, 12.0), (0.9, 1.2, 3.1), width_mm=(141.0, 162.0, 139.0))
    path = str(tmp_path_factory.mktemp("slanted") / "affine.mat")
    lps = transforms.LPS @ matrix @ transforms.LPS
    written = ants.create_ants_transform(
        transform_type="AffineTransform", dimension=3, matrix=lps[:3, :3], translation=lps[:3, 3]
    )
    ants.write_transform(written, path)
    return transforms.to_ants(np.ones(shape, np.float32), affine), path, matrix


def test_a_prior_that_rises_evenly_is_pulled_back_exactly(slanted):
    """Any shift by the coarse grid would be an error of its own; only at the edge has that grid no neighbour."""
    native, path, matrix = slanted
    shape, affine = np.array([120, 130, 120]), np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -119, -150, -100
    slope = np.array([0.002, -0.003, 0.004])
    ramp = (slope @ simulated_heads.world(tuple(shape), affine) + 1).reshape(shape).astype(np.float32)
    # the file leads from the template to the image, as those of registrations do
    result = normalise.pull_back(transforms.to_ants(ramp, affine), native, [path], [True], method="fast").numpy()
    there = transform(simulated_heads.world(native.shape, transforms.world_affine(native)), np.linalg.inv(matrix))
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(result[inner], (slope @ there + 1).reshape(native.shape)[inner], atol=1e-3)


@pytest.mark.parametrize("prior", ["target_gm", "target_wm"])
def test_priors_pulled_back_by_a_coarse_grid_are_nearly_those_pulled_back_directly(slanted, template, prior):
    """Interpolated once more on a grid of 2 mm, that of the priors themselves, they are a little smoother."""
    native, path, _ = slanted
    image = ants.image_read(template[prior])
    coarse, direct = (
        normalise.pull_back(image, native, [path], [True], method=method).numpy() for method in ("fast", "ants")
    )
    inside = direct > 0
    print(prior, np.quantile(np.abs(coarse - direct)[inside], (0.5, 0.99)))
    assert inside.mean() > 0.2
    assert np.abs(coarse - direct)[inside].mean() < 0.05
    assert (coarse - direct)[inside].mean() == pytest.approx(0, abs=0.002)
