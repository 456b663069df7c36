"""Regions excluded from `t1w`, by native-space labels or by the atlas, compared with plain geometry."""

import json

import ants
import nibabel as nib
import numpy as np
import pytest

from bids_app import recipes, settings
from bids_app.atlases import atlas, freesurfer
from bids_app.bids import derivatives, inputs
from bids_app.errors import DataError, MissingInputError, UsageError
from bids_app.nodes.excluded_regions import resample_excluded_regions
from bids_app.phantom.write import write
from bids_app.planning import excluded_regions, participant
from bids_app.run import main

SPACE = "MNI152NLin2009cAsym"
T1W = f"space-{SPACE}_res-4_desc-zscore_T1w.nii.gz"
COARSE = ("--maps", "t1w", "--sloppy", "--resolution", "4", "--nprocs", "2")
REGIONS = ("Left-Lateral-Ventricle", "CSF", "Right-UnsegmentedWhiteMatter", "Left-choroid-plexus")
# centre (mm from the middle of the brain) and radius of what is planted; 17 is no region that is taken out
PLANTED = {4: ((-20, 10, 10), 14.0), 5002: ((30, -20, 15), 11.0), 17: ((25, 30, 0), 12.0)}
VOXEL_MM = 2.0
PAPER = {
    "Left-Lateral-Ventricle": 4, "Right-Lateral-Ventricle": 43, "Left-Inf-Lat-Vent": 5, "Right-Inf-Lat-Vent": 44,
    "3rd-Ventricle": 14, "4th-Ventricle": 15, "CSF": 24, "Left-vessel": 30, "Right-vessel": 62,
    "Left-choroid-plexus": 31, "Right-choroid-plexus": 63, "Optic-Chiasm": 85, "Left-UnsegmentedWhiteMatter": 5001,
    "Right-UnsegmentedWhiteMatter": 5002,
}  # fmt: skip


def centres(shape, affine):
    """World coordinates (X, Y, Z, 3) of voxel centres."""
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))


def plant(bids, person, subjects):
    """A wmparc.mgz, ordered as FreeSurfer's (LIA), on a separate grid, with planted balls; returns their positions."""
    t1w = nib.load(bids / f"sub-{person}" / "anat" / f"sub-{person}_T1w.nii.gz")
    brain = t1w.get_fdata() > 0
    middle = centres(t1w.shape, t1w.affine)[brain].mean(axis=0)
    affine = np.array([[-VOXEL_MM, 0, 0, 0], [0, 0, VOXEL_MM, 0], [0, -VOXEL_MM, 0, 0], [0, 0, 0, 1]])
    affine[:3, 3] = middle + 0.7 - affine[:3, :3] @ np.full(3, 55)
    points = centres((110,) * 3, affine)
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(t1w.affine), points)).astype(int)
    there = ((index >= 0) & (index < t1w.shape)).all(axis=-1)
    labels = np.zeros((110,) * 3, np.int32)
    labels[there] = 2 * brain[tuple(index[there].T)]
    for label, (offset, radius) in PLANTED.items():
        labels[np.linalg.norm(points - middle - offset, axis=-1) <= radius] = label
    (subjects / f"sub-{person}" / "mri").mkdir(parents=True)
    nib.save(nib.MGHImage(labels, affine), subjects / f"sub-{person}" / "mri" / "wmparc.mgz")
    return {label: (middle + offset, radius) for label, (offset, radius) in PLANTED.items()}


@pytest.fixture(scope="module")
def ran(tmp_path_factory, with_template):
    """Two t1w maps with and without regions: one by a planted wmparc, the other, lacking it, by the atlas."""
    home = tmp_path_factory.mktemp("without")
    bids = write(home / "bids", people=4, resolution=4.0, random_seed=3)
    planted = plant(bids, "01", home / "subjects")
    with_template(home / "work")
    only = ["--participant-label", "01", "02", "-w", str(home / "work")]
    assert main([str(bids), str(home / "plain"), "participant", *COARSE, *only]) == 0
    words = [str(bids), str(home / "less"), "participant", *COARSE, *only]
    words += ["-d", f"freesurfer={home / 'subjects'}", "--exclude-regions", *REGIONS]
    assert main([*words, "--fallback-preprocessing"]) == 0
    return home, planted


def image(home, out, person):
    return nib.load(home / out / f"sub-{person}" / "anat" / f"sub-{person}_{T1W}")


def stated(home, person):
    file = home / "less" / f"sub-{person}" / "anat" / f"sub-{person}_{T1W}"
    return json.loads(file.with_name(file.name.replace(".nii.gz", ".json")).read_text())


def in_scanner(home, person, points):
    """Template points (..., 3), RAS in mm, in native space, by the affine written beside the maps."""
    (file,) = (home / "less" / f"sub-{person}" / "anat").glob("*_desc-affine1_xfm.mat")
    transform = ants.read_transform(str(file))
    numbers, centre = np.array(transform.parameters), np.array(transform.fixed_parameters)
    lps = points * [-1, -1, 1]
    return ((lps - centre) @ numbers[:9].reshape(3, 3).T + numbers[9:] + centre) * [-1, -1, 1]


@pytest.mark.slow
def test_map_is_zero_exactly_where_the_participant_labels_are(ran):
    home, planted = ran
    before, after = image(home, "plain", "01"), image(home, "less", "01")
    brain, left = before.get_fdata() != 0, after.get_fdata() != 0
    assert not (left & ~brain).any()
    points = in_scanner(home, "01", centres(before.shape, before.affine))
    edge = VOXEL_MM * np.sqrt(3) / 2  # of a voxel of wmparc, half its diagonal
    outside = np.ones(brain.shape, bool)
    for label, (centre, radius) in planted.items():
        distance = np.linalg.norm(points - centre, axis=-1)
        deep = brain & (distance < radius - edge)
        assert deep.sum() > 20
        assert left[deep].all() if label == 17 else not left[deep].any()
        if label != 17:
            outside &= distance > radius + edge
    assert left[brain & outside].all()


@pytest.mark.slow
@pytest.mark.parametrize("person", ["01", "02"])
def test_remaining_voxels_are_rescaled_and_otherwise_unchanged(ran, person):
    home = ran[0]
    before, after = (image(home, out, person).get_fdata() for out in ("plain", "less"))
    left = after != 0
    own = before[left]
    np.testing.assert_allclose(after[left], (own - own.mean()) / own.std(), rtol=1e-4, atol=1e-4)
    assert 0 < (before != 0).sum() - left.sum() < 0.1 * left.sum()


@pytest.mark.slow
def test_map_is_zero_exactly_where_the_atlas_regions_are(ran):
    home = ran[0]
    before, after = image(home, "plain", "02"), image(home, "less", "02")
    result = atlas.load("neuromorphometrics")
    wanted = [label for label, name in result.names.items() if name in ("Left_Lateral_Ventricle", "CSF")]
    points = centres(before.shape, before.affine) + 1e-4  # of two that are as near the one further right, front, up
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(result.affine), points)).astype(int)
    there = ((index >= 0) & (index < result.labels.shape)).all(axis=-1)
    taken = np.zeros(before.shape, bool)
    taken[there] = np.isin(result.labels[tuple(index[there].T)], wanted)
    brain = before.get_fdata() != 0
    assert (brain & taken).sum() > 20
    np.testing.assert_array_equal(after.get_fdata() != 0, brain & ~taken)


@pytest.mark.slow
def test_sidecar_page_and_citations_name_excluded_regions_source_and_missing_equivalents(ran):
    home = ran[0]
    one, other = stated(home, "01"), stated(home, "02")
    for about, by in ((one, "wmparc"), (other, "Neuromorphometrics")):
        assert about["MapParameters"]["WithoutRegions"] == sorted(REGIONS)
        assert about["MapParameters"]["WithoutRegionsFrom"] == by
    assert one["RegionsWithoutEquivalent"] == []
    assert other["RegionsWithoutEquivalent"] == ["Left-choroid-plexus", "Right-UnsegmentedWhiteMatter"]
    assert (
        "WithoutRegions"
        not in (home / "plain" / "sub-01" / "anat" / f"sub-01_{T1W}")
        .with_name(f"sub-01_{T1W}".replace(".nii.gz", ".json"))
        .read_text()
    )
    lacking = "The atlas has no Left-choroid-plexus, Right-UnsegmentedWhiteMatter, so these regions were not removed."
    citations = " ".join((home / "less" / "logs" / "CITATION.md").read_text().split())
    assert lacking in " ".join((home / "less" / "sub-02.html").read_text().split())
    assert lacking in citations
    assert "those of the participant's FreeSurfer wmparc" in citations
    assert "were not removed" not in (home / "less" / "sub-01.html").read_text()


@pytest.mark.slow
def test_participant_missing_from_the_freesurfer_folder_fails_by_name_with_advice(ran, tmp_path):
    home = ran[0]
    given = {"exclude_regions": REGIONS, "derivatives": {"freesurfer": str(home / "subjects")}, "sloppy": True}
    dataset = inputs.open_dataset(home / "bids")
    planned = participant.plan_participants(dataset, chosen(tmp_path, participant_label=["01", "02"], **given))
    assert [(job.name, job.excluded_regions["source"]) for job in planned.jobs] == [("sub-01", "wmparc")]
    told = planned.failed["sub-02"]
    assert "subjects has no sub-02/mri/wmparc.mgz" in told
    assert "--fallback-preprocessing" in told
    assert "-d freesurfer=none" in told


@pytest.mark.slow
def test_group_level_refuses_maps_from_mixed_sources_with_advice(ran, capsys):
    home = ran[0]
    words = ["--maps", "t1w", "--label", "group", "--classes", "control", "patient", "--sloppy"]
    assert main([str(home / "bids"), str(home / "less"), "group", *words]) == 65
    message = capsys.readouterr().err
    assert 'WithoutRegionsFrom is "' in message
    assert "could be correlated with the diagnosis" in message
    assert "-d freesurfer=none" in message


def chosen(tmp_path, **given):
    return settings.build("participant", tmp_path, tmp_path / "out", options={"maps": ["t1w"], **given})


def test_invalid_exclusions_are_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no Left-Ventricle; choose from Left-Lateral-Ventricle, "):
        excluded_regions.check(chosen(tmp_path, exclude_regions=["CSF", "Left-Ventricle"]))
    with pytest.raises(UsageError, match="applies to t1w, which is not among --maps"):
        excluded_regions.check(chosen(tmp_path, maps=["gm"], exclude_regions=["CSF"]))
    only = chosen(tmp_path, exclude_regions=["Left-choroid-plexus"])
    with pytest.raises(UsageError, match=r"Neuromorphometrics has none of Left-choroid-plexus; .*-d freesurfer="):
        excluded_regions.find_source("01", None, only, alone=True)


def test_freesurfer_folder_of_fmriprep_is_searched_and_none_selects_the_atlas(tmp_path):
    place = tmp_path / "fmriprep" / "sourcedata" / "freesurfer"
    given = {"exclude_regions": ["CSF"], "derivatives": {"fmriprep": str(tmp_path / "fmriprep")}}
    assert (
        excluded_regions.find_source("01", None, chosen(tmp_path, **given), alone=True)["source"]
        == "Neuromorphometrics"
    )
    (place / "sub-01" / "mri").mkdir(parents=True)
    (place / "sub-01" / "mri" / "wmparc.mgz").touch()
    assert excluded_regions.find_source("01", None, chosen(tmp_path, **given), alone=True)["source"] == "wmparc"
    with pytest.raises(MissingInputError, match="sub-02"):
        excluded_regions.find_source("02", None, chosen(tmp_path, **given), alone=True)
    given["derivatives"]["freesurfer"] = "none"
    assert (
        excluded_regions.find_source("01", None, chosen(tmp_path, **given), alone=True)["source"]
        == "Neuromorphometrics"
    )


def test_session_uses_its_own_wmparc_or_that_of_a_single_session_participant(tmp_path):
    for name in ("sub-01", "sub-01_ses-a"):
        (tmp_path / name / "mri").mkdir(parents=True)
        (tmp_path / name / "mri" / "wmparc.mgz").touch()
    assert derivatives.find_wmparc(tmp_path, "01", "a", alone=False).parts[-3] == "sub-01_ses-a"
    assert derivatives.find_wmparc(tmp_path, "01", "b", alone=True).parts[-3] == "sub-01"
    with pytest.raises(MissingInputError, match=r"has no sub-01_ses-b/mri/wmparc.mgz: run"):
        derivatives.find_wmparc(tmp_path, "01", "b", alone=False)


@pytest.mark.slow
def test_misaligned_or_unreadable_wmparc_is_refused(ran, tmp_path, monkeypatch):
    home = ran[0]
    monkeypatch.chdir(tmp_path)
    file = home / "subjects" / "sub-01" / "mri" / "wmparc.mgz"
    anat = {"native": {"mask": str(home / "less" / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz")}}
    moved = nib.load(file)
    affine = moved.affine.copy()
    affine[:3, 3] += 90
    nib.save(nib.MGHImage(np.asarray(moved.dataobj), affine), tmp_path / "wmparc.mgz")
    asked = {"source": "wmparc", "regions": ["CSF"], "file": str(tmp_path / "wmparc.mgz"), "lacking": []}
    given = {"kind": "affine", "anat": anat, "templates": {"brain": anat["native"]["mask"]}, "cache": str(tmp_path)}
    with pytest.raises(DataError, match=r"wmparc.mgz does not overlap the brain of the T1w image \(Dice 0\.\d\d\)"):
        resample_excluded_regions(excluded=asked, space=SPACE, seed=1, sloppy=True, **given)
    (tmp_path / "wmparc.mgz").write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be read"):
        resample_excluded_regions(excluded=asked, space=SPACE, seed=1, sloppy=True, **given)


def test_every_equivalent_is_a_region_of_the_atlas():
    names = atlas.load(freesurfer.ATLAS).names.values()
    known = freesurfer.read_color_table()
    assert len({entry["wmparc"] for entry in known.values()}) == len(known)
    assert set(freesurfer.equivalents(list(known)).values()) <= set(names)


def test_recipe_excludes_the_14_regions_of_the_paper(tmp_path):
    (one,) = settings.each("participant", tmp_path, tmp_path, options={"recipe": ["rafsani2025"]})
    names = one.participant.exclude_regions
    assert dict(zip(names, freesurfer.numbers(names), strict=True)) == PAPER
    excluded_regions.check(one)
    assert (one.group.folds, one.group.n_test_per_class) == (5, 6)
    assert "not implemented" not in (recipes.folder() / "rafsani2025" / "README.md").read_text()
