"""The phantom: the planted effect has the right location and size, and nothing else differs."""

import csv
import gzip
import json
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bids_app.atlases import atlas, templates
from bids_app.errors import CannotWriteError, DataError, UsageError
from bids_app.phantom import anatomy, deformation, people, region, scanner
from bids_app.phantom.write import write

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
SMALL = {"people": 4, "region": "Pallidum_L", "resolution": 6.0}
SIZE = 64


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return write(tmp_path_factory.mktemp("phantom") / "out", **SMALL, effect=0.3, random_seed=1)


@pytest.fixture(scope="module")
def without_effect(tmp_path_factory):
    return write(tmp_path_factory.mktemp("phantom") / "out", **SMALL, effect=0.0, random_seed=1)


def rows(folder):
    with (folder / "participants.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def image_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("sub-*/anat/*.nii.gz"))}


def validation_errors(folder):
    done = subprocess.run([VALIDATOR, "--format", "json", folder], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [(issue["code"], issue.get("subCode")) for issue in issues if issue["severity"] == "error"]


def in_bean(points):
    """A curved body with two unlike ends, by its formula."""
    x, y, z = points - SIZE / 2
    return (x / 12) ** 2 + ((y - x**2 / 20) / 8) ** 2 + (z / (7 + x / 6)) ** 2 < 1


def fine_points():
    """Points (3, N) of a lattice of half voxels round the body."""
    axis = np.arange(10, SIZE - 10, 0.5, dtype=np.float32) + np.float32(0.21)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)


@cache
def contracted(effect):
    """The body in voxels and the displacement that takes a part of it away."""
    body = in_bean(deformation.positions((SIZE,) * 3)).astype(np.float32)
    return body, deformation.contraction(body, effect=effect)


@pytest.mark.parametrize("effect", [0.1, 0.3, 0.5])
def test_region_loses_the_requested_fraction_of_volume(effect):
    _, field = contracted(effect)
    points = fine_points()
    moved = points + deformation.sample(field, points)
    assert in_bean(moved).sum() / in_bean(points).sum() == pytest.approx(1 - effect, abs=0.015)


def test_tissue_around_the_region_keeps_its_volume():
    _, field = contracted(0.3)
    points = fine_points()
    moved = points + deformation.sample(field, points)
    near = [np.linalg.norm(at - SIZE / 2, axis=0) < 20 for at in (points, moved)]
    shells = [ball & ~in_bean(at) for ball, at in zip(near, (points, moved), strict=True)]
    assert shells[1].sum() / shells[0].sum() == pytest.approx(1, abs=0.015)


def test_contraction_is_uniform_inside_and_never_folds():
    body, field = contracted(0.3)
    volume = 1 / deformation.jacobian(field)
    carried = deformation.sample(body, deformation.positions(body.shape) + field)
    assert volume.min() > 0
    assert np.median(volume[carried > 0.999]) == pytest.approx(0.7, abs=0.03)
    assert np.median(volume[carried == 0]) == pytest.approx(1, abs=0.01)


def test_the_jacobian_of_a_linear_map_is_its_determinant():
    matrix = np.array([[0.9, 0.1, 0.0], [0.05, 1.2, -0.1], [0.0, 0.2, 0.8]])
    displacement = np.tensordot(matrix - np.eye(3), deformation.positions((6, 7, 8)), 1)
    np.testing.assert_allclose(deformation.jacobian(displacement), np.linalg.det(matrix), rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_random_deformation_is_inverted_by_the_negative_velocity_and_never_folds(seed):
    rng = np.random.default_rng(seed)
    velocity = deformation.random_velocity((40, 44, 36), rng, voxel_mm=4.0, smoothness_mm=9.0, rms_mm=2.0)
    there, back = deformation.exponential(velocity), deformation.exponential(-velocity)
    inner = (slice(None), *(slice(4, -4),) * 3)
    assert np.abs(deformation.compose(there, back)[inner]).max() < 0.1
    assert deformation.jacobian(there).min() > 0.2
    length_mm = 4 * np.sqrt((there**2).sum(axis=0).mean())
    assert length_mm == pytest.approx(2, rel=0.1)


def test_undeformed_participant_equals_the_template():
    template = templates.brain("MNI152NLin2009cAsym")
    values = template.get_fdata(dtype=np.float32)
    brain = anatomy.prepare(values, template.affine, resolution_mm=1.0)
    low, shape = np.array([60, 90, 70]), (40, 30, 20)
    affine = template.affine.copy()
    affine[:3, 3] += low
    seen = anatomy.sample_brain(brain, [], np.eye(4), shape, affine)
    expected = values[tuple(slice(a, a + n) for a, n in zip(low, shape, strict=True))]
    np.testing.assert_allclose(seen[expected > 0], expected[expected > 0], atol=0.01)


def test_left_region_is_on_the_left_and_has_the_summed_voxel_volume():
    source = atlas.load("aal")
    putamen = region.find(source, "putamen_l")
    assert putamen.name == "Putamen_L"
    assert putamen.centre_mm[0] < -15
    assert putamen.volume_ml == pytest.approx((source.labels == 7011).sum() * 8 / 1000)
    assert region.remaining(putamen, region.shrink(putamen, effect=0.3)) == pytest.approx(0.7, abs=0.02)


def test_an_effect_of_zero_moves_nothing():
    assert not region.shrink(region.find(atlas.load("aal"), "Pallidum_L"), effect=0.0).displacement.any()


def test_the_effect_changes_only_patients(phantom, without_effect):
    with_it, without = image_bytes(phantom), image_bytes(without_effect)
    assert rows(phantom) == rows(without_effect)
    for row in rows(phantom):
        name = f"{row['participant_id']}_T1w.nii.gz"
        assert (with_it[name] == without[name]) == (row["group"] == "control")


def test_patient_images_change_mainly_around_the_region(phantom, without_effect):
    patient = next(row["participant_id"] for row in rows(phantom) if row["group"] == "patient")
    path = Path(patient, "anat", f"{patient}_T1w.nii.gz")
    image = nibabel.load(phantom / path)
    before, after = (nibabel.load(folder / path).get_fdata() for folder in (without_effect, phantom))
    change = np.abs(after - before)
    grid = np.indices(image.shape).reshape(3, -1)
    world = image.affine[:3, :3] @ grid + image.affine[:3, 3:]
    truth = json.loads((phantom / "sourcedata" / "phantom.json").read_text())
    distance = np.linalg.norm(world - np.array(truth["region_centre_mm"])[:, None], axis=0).reshape(image.shape)
    brain = before > 0
    assert change[brain & (distance < 20)].mean() > 8 * change[brain & (distance > 60)].mean()


def test_the_same_seed_gives_the_same_files(phantom, tmp_path):
    again = write(tmp_path / "again", **SMALL, effect=0.3, random_seed=1)
    files = sorted(path.relative_to(phantom) for path in phantom.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((phantom / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_random_generators_differ_between_seeds_and_participants():
    one = people.generator(3, people.PERSON, 5).random()
    assert one != people.generator(3, people.PERSON, 6).random()
    assert one != people.generator(4, people.PERSON, 5).random()


@pytest.mark.parametrize(("count", "patients"), [(4, 2), (7, 3), (24, 12)])
def test_groups_sex_and_site_are_balanced_and_in_random_order(count, patients):
    crowds = [people.invent(count, random_seed=seed) for seed in range(8)]
    for crowd in crowds:
        assert Counter(one.group for one in crowd)["patient"] == patients
        for field in ("sex", "site"):
            most, least = Counter(getattr(one, field) for one in crowd).values()
            assert abs(most - least) == count % 2
        assert all(18 <= one.age <= 65 for one in crowd)
    assert len({tuple(one.group for one in crowd) for crowd in crowds}) > 1


def test_group_is_uncorrelated_with_age_sex_and_site():
    crowd = [one for seed in range(200) for one in people.invent(24, random_seed=seed)]
    patient = np.array([one.group == "patient" for one in crowd])
    for values in (
        [one.age for one in crowd],
        [one.sex == "F" for one in crowd],
        [one.site == "siteA" for one in crowd],
    ):
        assert abs(np.corrcoef(patient, np.array(values, float))[0, 1]) < 4 / np.sqrt(len(crowd))


def test_images_are_brains_on_an_empty_background(phantom):
    for path in phantom.glob("sub-*/anat/*.nii.gz"):
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header.get_zooms() == (6, 6, 6)
        assert 1.3e6 < (values > 0).sum() * 6**3 < 2.4e6  # mm3
        border = np.concatenate([values.take(end, axis).ravel() for axis in range(3) for end in (0, -1)])
        assert not border.any()
        assert (values >= 0).all()


def test_noise_is_three_percent_of_white_matter_and_shading_fifteen():
    flat = np.zeros((40, 40, 40), np.float32)
    flat[5:-5, 5:-5, 5:-5] = 80
    rng = np.random.default_rng(0)
    shading = scanner.draw_bias(flat.shape, flat > 0, rng)[flat > 0]
    assert (shading.min(), shading.max()) == (pytest.approx(1 / 1.15), pytest.approx(1.15))
    seen = scanner.acquire(flat, rng, white=80.0).astype(float)
    inner = seen[6:-6, 6:-6, 6:-6]
    # Second differences take the smooth shading away; their variance is six times the noise's.
    noise = np.diff(inner, 2, axis=0).std() / np.sqrt(6)
    assert noise / np.median(inner) == pytest.approx(0.03, rel=0.15)
    assert not seen[flat == 0].any()


def test_dataset_is_valid_and_documents_the_planted_effect(phantom):
    assert validation_errors(phantom) == []
    truth = json.loads((phantom / "sourcedata" / "phantom.json").read_text())
    assert (truth["region"], truth["effect"]) == ("Pallidum_L", 0.3)
    assert "not an estimate of statistical power" in truth["statement"]
    assert truth["statement"] in (phantom / "README").read_text()


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"region": "Putamen_Left"}, UsageError, "Putamen_L"),
        ({"atlas": "no-such-atlas"}, UsageError, "no-such-atlas"),
        ({"effect": 1.0}, UsageError, "--effect"),
        ({"effect": -0.1}, UsageError, "--effect"),
        ({"effect": float("nan")}, UsageError, "--effect"),
        ({"people": 3}, UsageError, "--people"),
        ({"resolution": 0.0}, UsageError, "--resolution"),
        ({"random_seed": -1}, UsageError, "--random-seed"),
        ({"region": "xyzzy"}, UsageError, "it has .*Putamen_R"),
        ({"base": Path("/")}, CannotWriteError, "--base"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(tmp_path, wrong, error, says):
    with pytest.raises(error, match=says):
        write(tmp_path / "new" / "out", **wrong)
    assert not list(tmp_path.iterdir())


def test_non_empty_output_folder_is_refused_and_left_untouched(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(CannotWriteError, match="not an empty folder"):
        write(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_broken_input_image_leaves_no_partial_output(tmp_path):
    base = tmp_path / "base"
    for label in ("01", "02"):
        (base / f"sub-{label}" / "anat").mkdir(parents=True)
        whole = gzip.compress(bytes(np.random.default_rng(0).bytes(6000)))
        (base / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz").write_bytes(whole[:5000])
    (base / "dataset_description.json").write_text('{"Name": "broken", "BIDSVersion": "1.10.0"}')
    with pytest.raises(DataError, match="sub-01"):
        write(tmp_path / "out", base=base)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_subvoxel_shift_of_a_ramp_is_accurate():
    from bids_app.phantom.base import resample

    ramp = np.tile(np.arange(30, dtype=np.float32)[:, None, None], (1, 20, 20))
    part = np.array([0.3, -0.2, 0.1], np.float32)
    moved = resample(ramp, None, np.diag([2.0, 2.0, 2.0, 1.0]), None, part_of_voxel=part)
    np.testing.assert_allclose(moved[8:-8], ramp[8:-8] + 0.3, atol=1e-3)


@pytest.mark.slow
def test_effect_is_planted_in_real_participants(tmp_path, shared_data):
    source = shared_data / "ds002748"
    base = tmp_path / "base"
    base.mkdir()
    for name in ("dataset_description.json", "participants.tsv", "participants.json", "README"):
        shutil.copy(source / name, base)
    for label in ("sub-01", "sub-52"):
        shutil.copytree(source / label, base / label)
    out = write(tmp_path / "out", base=base, effect=0.4)
    left = json.loads((out / "sourcedata" / "phantom.json").read_text())["remaining_share"]
    patients = [row["participant_id"] for row in rows(out) if row["group"] == "patient"]
    assert list(left) == patients
    assert list(left.values()) == [pytest.approx(0.6, abs=0.03)]
    assert validation_errors(out) == validation_errors(base)
    for row in rows(out):
        path = Path(row["participant_id"], "anat", f"{row['participant_id']}_T1w.nii.gz")
        before, after = (nibabel.as_closest_canonical(nibabel.load(folder / path)) for folder in (base, out))
        np.testing.assert_allclose(before.affine, after.affine, atol=1e-4)
        assert (after.get_fdata() == 0).mean() == pytest.approx((before.get_fdata() == 0).mean(), abs=0.002)
