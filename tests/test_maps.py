"""Contract tests of every map, and each map compared with a slow, plain re-implementation."""

import inspect
import itertools
import re

import numpy as np
import pytest

from bids_app import catalogue, maps
from bids_app.atlases import atlas
from bids_app.bids import outputs
from bids_app.bids.names import ORDER
from bids_app.errors import DataError
from bids_app.nodes.anatomical_outputs import map_stem

EVERY = catalogue.names("maps")
NAMES = [name for name in EVERY if catalogue.load("maps", name).SUFFIX != "boldmap"]
BOLD = [name for name in EVERY if name not in NAMES]
SHAPE = (9, 8, 7)
AFFINE = np.array([[3.0, 0, 0, -9], [0, 3, 0, -13], [0, 0, 3, -7], [0, 0, 0, 1]])  # 0 mm is in no middle
TISSUE_MAPS = ("gm", "wm")


@pytest.fixture(scope="module")
def supplied():
    rng = np.random.default_rng(1)
    mask = np.zeros(SHAPE, dtype=np.float32)
    mask[2:7, 2:7, 1:6] = 1
    arrays = {name: (rng.random(SHAPE) * mask).astype(np.float32) for name in ("gm", "wm", "csf")}
    arrays |= {"mask": mask, "jacobian": (0.5 + rng.random(SHAPE)).astype(np.float32)}
    return arrays | {
        "affine": AFFINE,
        "t1w": (400 * rng.random(SHAPE) + 100).astype(np.float32) * mask,
    }


def needs(part):
    return list(inspect.signature(part.compute).parameters)[1:]


def defaults(part):
    return {keyword: option["default"] for keyword, option in getattr(part, "OPTIONS", {}).items()}


def computed(part, supplied, **changed):
    given = defaults(part) | supplied | changed
    return part.compute(given[part.INPUT], **{name: given[name] for name in needs(part)})


@pytest.fixture(scope="module")
def bold(supplied):
    rng = np.random.default_rng(2)
    mask = supplied["mask"] > 0
    voxels = int(mask.sum())
    series = (rng.standard_normal((voxels, 120)).cumsum(axis=1) + 1000).astype(np.float32)
    series[3] = 1000
    options = {"tr": 2.0, "band": (0.01, 0.08), "affine": AFFINE}
    networks = rng.standard_normal((voxels, 3)).astype(np.float32)
    arrays = {"mask": mask, "sample_mask": np.ones(120, bool), "parcels": (np.arange(voxels) % 5).astype(np.int32)}
    return series, options | arrays | {"network_maps": networks, "network_names": ("a", "b", "c")}


def of_bold(name, bold):
    series, given = bold
    part = catalogue.load("maps", name)
    given = defaults(part) | given
    made = part.compute(series, **{key: given[key] for key in needs(part)})
    return made if isinstance(made, dict) else {name: made}


@pytest.mark.parametrize("name", EVERY)
def test_required_constants_are_declared(name):
    part = catalogue.load("maps", name)
    assert maps.datatype(part) == ("func" if name in BOLD else "anat")
    assert part.SCALING in ("raw", "mean", "zscore")
    assert part.UNIT
    assert isinstance(part.UNIT, str)
    assert part.REGISTRATION in ("affine", "nonlinear")
    assert part.ANALYSIS_MASK in ("gm", "wm", "brain")
    assert isinstance(part.SMOOTHING_MM, float)
    assert part.SMOOTHING_MM >= 0
    assert isinstance(part.ADJUST_FOR, tuple)
    assert part.ATLASES
    assert set(part.ATLASES) <= set(atlas.names())


@pytest.mark.parametrize("name", NAMES)
def test_entities_and_suffix_form_a_bids_name(name):
    part = catalogue.load("maps", name)
    assert part.SUFFIX.isalnum()
    assert set(part.ENTITIES) <= set(ORDER)
    stem = map_stem(name, ("01", "1"), space="MNI152NLin2009cAsym", resolution=1.5, parameters=defaults(part))
    assert re.fullmatch(r"sub-01_ses-1_space-MNI152NLin2009cAsym_res-1p5(_[a-z]+-[0-9A-Za-z]+)+_[0-9A-Za-z]+", stem)


@pytest.mark.parametrize("name", EVERY)
def test_docstrings_give_summary_array_axes_and_citation(name):
    part = catalogue.load("maps", name)
    assert part.__doc__
    assert part.__doc__.splitlines()[0].endswith(".")
    assert ("(voxels, time)" if name in BOLD else "(X, Y, Z)") in part.compute.__doc__
    if name != "t1w":
        assert re.search(r"\b(19|20)\d\d, ", part.compute.__doc__), "no citation with a year"


@pytest.mark.parametrize("name", EVERY)
def test_compute_takes_one_input_and_keyword_only_arguments_without_defaults(name):
    parameters = list(inspect.signature(catalogue.load("maps", name).compute).parameters.values())
    assert all(each.kind is each.KEYWORD_ONLY and each.default is each.empty for each in parameters[1:])


@pytest.mark.parametrize("name", BOLD)
def test_bold_map_is_finite_float32_per_voxel_and_zero_for_constant_series(name, bold):
    series, given = bold
    before = {key: np.copy(value) for key, value in {**given, "series": series}.items()}
    made = of_bold(name, bold)
    for values in made.values():
        assert values.shape == (len(series),)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert values.any()
        assert name == "rfcs" or values[3] == 0  # rfcs paints a region's value on all of its voxels
    for key, value in before.items():
        np.testing.assert_array_equal({**given, "series": series}[key], value)


@pytest.mark.parametrize("name", BOLD)
def test_bold_map_outputs_have_distinct_bids_names(name, bold):
    part = catalogue.load("maps", name)
    spelled = []
    for key in of_bold(name, bold):
        stat, _, named = key.partition("_")
        entities = {
            entity: value.format(stat=stat, name=named, **defaults(part)) for entity, value in part.ENTITIES.items()
        }
        spelled.append(outputs.filename("01", None, part.SUFFIX, ".nii.gz", task="rest", space="MNI", **entities))
    assert len(set(spelled)) == len(spelled)


@pytest.mark.parametrize("name", NAMES)
def test_result_is_finite_float32_of_the_same_shape_and_the_input_is_unchanged(name, supplied):
    before = {key: np.copy(value) for key, value in supplied.items()}
    result = computed(catalogue.load("maps", name), supplied)
    assert result.shape == SHAPE
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    for key, value in before.items():
        np.testing.assert_array_equal(supplied[key], value)


@pytest.mark.parametrize("name", NAMES)
def test_map_is_zero_outside_the_brain(name, supplied):
    assert not computed(catalogue.load("maps", name), supplied)[supplied["mask"] == 0].any()


@pytest.mark.parametrize("name", TISSUE_MAPS)
def test_tissue_maps_are_density_times_jacobian_voxel_by_voxel(name, supplied):
    expected = np.zeros(SHAPE)
    for voxel in itertools.product(*map(range, SHAPE)):
        expected[voxel] = float(supplied[name][voxel]) * float(supplied["jacobian"][voxel])
    np.testing.assert_allclose(computed(catalogue.load("maps", name), supplied), expected, rtol=1e-6)


def test_t1w_zscore_has_mean_0_and_sd_1_in_the_mask(supplied):
    values = computed(catalogue.load("maps", "t1w"), supplied)[supplied["mask"] > 0]
    assert values.mean() == pytest.approx(0, abs=1e-5)
    assert values.std() == pytest.approx(1, abs=1e-5)


def test_t1w_minmax_runs_from_0_to_1_in_the_mask(supplied):
    values = computed(catalogue.load("maps", "t1w"), supplied, intensity="minmax")[supplied["mask"] > 0]
    assert values.min() == 0
    assert values.max() == pytest.approx(1)


@pytest.mark.parametrize("intensity", ["zscore", "minmax"])
def test_t1w_does_not_depend_on_the_scanners_scale(supplied, intensity):
    part = catalogue.load("maps", "t1w")
    scaled = computed(part, supplied, intensity=intensity, t1w=supplied["t1w"] * np.float32(7.5))
    np.testing.assert_allclose(scaled, computed(part, supplied, intensity=intensity), atol=1e-5)


@pytest.mark.parametrize("intensity", ["zscore", "minmax"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1000.0])
def test_t1w_of_constant_intensity_is_refused(supplied, intensity, value):
    constant = np.full(SHAPE, value, dtype=np.float32)
    with pytest.raises(DataError, match="single intensity"):
        computed(catalogue.load("maps", "t1w"), supplied, intensity=intensity, t1w=constant)


def test_t1w_with_an_empty_mask_is_refused(supplied):
    with pytest.raises(DataError):
        computed(catalogue.load("maps", "t1w"), supplied, mask=np.zeros(SHAPE, dtype=np.float32))


@pytest.mark.parametrize("session", [None, "1"])
def test_map_filenames_are_unique(session):
    stems = []
    for name in NAMES:
        part = catalogue.load("maps", name)
        variants = [{"intensity": one} for one in ("zscore", "minmax")] if name == "t1w" else [defaults(part)]
        stems += [
            map_stem(name, ("01", session), space="MNI152NLin2009cAsym", resolution=2.0, parameters=values)
            for values in variants
        ]
    assert len(stems) == len({stem.lower() for stem in stems})
    assert len(stems) > len(NAMES)
