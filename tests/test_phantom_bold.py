"""BOLD of the phantom: planted effects are of the right kind and only in the intended region."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds_strategy
from scipy import ndimage
from sklearn.decomposition import PCA

from bids_app import cli
from bids_app.atlases import atlas
from bids_app.bids.derivatives import find_fmriprep_anatomy
from bids_app.bids.derivatives_bold import find_fmriprep_runs
from bids_app.errors import CannotWriteError, UsageError
from bids_app.phantom import bold, confounds, derivatives, fluctuations, function, movement, warp
from bids_app.phantom.write import write

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
SMALL = {"people": 4, "region": "Precuneus_L", "resolution": 6.0, "bold_volumes": 40, "random_seed": 2}
RUN = "func/{0}_task-rest_bold.nii.gz"
SPACE = "space-MNI152NLin2009cAsym"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bold")


@pytest.fixture(scope="module")
def plain(folder):
    return write(folder / "plain", **SMALL, bold=0.0, derivatives=folder / "prep-plain")


@pytest.fixture(scope="module")
def planted(folder):
    """The same participants with an effect of each kind, and derivatives beside them."""
    sizes = {"coherence": 1.0, "connectivity": -1.0, "amplitude": 0.5}
    return {
        kind: write(folder / kind, **SMALL, bold=size, bold_effect=kind, derivatives=folder / f"prep-{kind}")
        for kind, size in sizes.items()
    }


def people(root, group):
    with (root / "participants.tsv").open(newline="") as file:
        return [row["participant_id"] for row in csv.DictReader(file, delimiter="\t") if row["group"] == group]


def series(root, person, run=RUN):
    """What a voxel's slow part is: the written series, only the band of the fluctuations left; and the whole of it."""
    image = nibabel.load(root / person / run.format(person))
    values = image.get_fdata(dtype=np.float32)
    spectrum = np.fft.rfft(values, axis=-1)
    frequencies = np.fft.rfftfreq(values.shape[-1], image.header.get_zooms()[3])
    spectrum[..., (frequencies < 0.01) | (frequencies > 0.08)] = 0
    return np.fft.irfft(spectrum, values.shape[-1], axis=-1), values


def region_of(root, plain_root, person):
    """The voxels whose series differ from those of the same participant with nothing planted."""
    return (series(root, person)[1] != series(plain_root, person)[1]).any(axis=-1)


def neighbours(values, where):
    """The mean correlation of voxels of a region with the next one along each axis."""
    result = []
    for axis in range(3):
        both = where & np.roll(where, -1, axis)
        one, other = values[both], np.roll(values, -1, axis)[both]
        result.extend((one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1)))
    return np.mean(result)


def effect_measure(kind, before, after, where):
    """By how much the effect of a kind shows in the voxels of a region."""
    if kind == "coherence":
        return neighbours(after, where) - neighbours(before, where)
    if kind == "amplitude":
        return after[where].std(axis=1).mean() / before[where].std(axis=1).mean()
    return np.corrcoef(before[where].mean(axis=0), after[where].mean(axis=0))[0, 1]


def validation_errors(root):
    done = subprocess.run([VALIDATOR, "--format", "json", root], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [(issue["code"], issue.get("subCode")) for issue in issues if issue["severity"] == "error"]


@pytest.mark.parametrize("kind", fluctuations.KINDS)
def test_only_patients_differ_and_only_in_the_region(plain, planted, kind):
    for person in people(plain, "control"):
        assert not region_of(planted[kind], plain, person).any()
    volume_ml = json.loads((plain / "sourcedata" / "phantom.json").read_text())["region_volume_ml"]
    for person in people(plain, "patient"):
        changed = region_of(planted[kind], plain, person)
        labelled, _ = ndimage.label(changed, np.ones((3, 3, 3)))
        assert max(np.bincount(labelled.ravel())[1:]) > 0.97 * changed.sum()
        assert changed.sum() * 0.216 == pytest.approx(volume_ml, rel=0.35)


def test_amplitude_effect_multiplies_the_fluctuation_by_1_5(plain, planted):
    for person in people(plain, "patient"):
        changed = region_of(planted["amplitude"], plain, person)
        before, after = series(plain, person)[1][changed], series(planted["amplitude"], person)[1][changed]
        added = after - before
        band = np.fft.rfftfreq(added.shape[1], 2.0)
        inside = (band >= 0.01) & (band <= 0.08)
        power = np.abs(np.fft.rfft(added, axis=1)) ** 2
        assert power[:, inside].sum() > 0.97 * power[:, 1:].sum()
        # What was added is half of the fluctuation, whose SD is 2 % of the mean times the part that is grey.
        grey = json.loads((plain / "sourcedata" / "phantom.json").read_text())["bold"]["grey_matter_of_region"]
        percent = 100 * added.std(axis=1) / before.mean(axis=1)
        assert percent.mean() == pytest.approx(0.5 * 2 * grey, rel=0.3)


def test_coherence_effect_makes_neighbours_more_similar_and_keeps_the_amplitude(plain, planted):
    for person in people(plain, "patient"):
        changed = region_of(planted["coherence"], plain, person)
        before, after = series(plain, person)[0], series(planted["coherence"], person)[0]
        assert neighbours(after, changed) > neighbours(before, changed) + 0.03
        assert after[changed].std(axis=1).mean() == pytest.approx(before[changed].std(axis=1).mean(), rel=0.08)


def test_connectivity_effect_changes_the_regional_time_course_and_keeps_the_amplitude(plain, planted):
    for person in people(plain, "patient"):
        changed = region_of(planted["connectivity"], plain, person)
        before, after = series(plain, person)[0], series(planted["connectivity"], person)[0]
        course = before[changed].mean(axis=0)
        assert np.corrcoef(course, after[changed].mean(axis=0))[0, 1] < 0.9
        assert after[changed].std(axis=1).mean() == pytest.approx(before[changed].std(axis=1).mean(), rel=0.1)


def test_anatomy_equals_that_of_a_phantom_without_bold(plain, tmp_path):
    keys = ("people", "region", "resolution", "random_seed")
    without = write(tmp_path / "out", **{key: SMALL[key] for key in keys}, effect=0.0)
    for path in [*without.glob("sub-*/anat/*"), without / "participants.tsv"]:
        assert path.read_bytes() == (plain / path.relative_to(without)).read_bytes()
    assert not list(without.glob("sub-*/func"))


@pytest.mark.slow
def test_same_seed_gives_the_same_files_with_derivatives_inside_the_dataset(folder, planted, tmp_path):
    again = write(tmp_path / "out", **SMALL, bold=0.5, derivatives=tmp_path / "out" / "derivatives" / "fmriprep")
    pairs = ((planted["amplitude"], again), (folder / "prep-amplitude", again / "derivatives" / "fmriprep"))
    for first, second in pairs:
        files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
        assert len(files) > 10
        assert [path for path in files if (first / path).read_bytes() != (second / path).read_bytes()] == []


def test_datasets_are_valid_and_recognised_as_fmriprep_output(folder, planted):
    assert validation_errors(planted["amplitude"]) == []
    assert validation_errors(folder / "prep-amplitude") == []
    (run,) = find_fmriprep_runs(folder / "prep-amplitude", "01", None, space="MNI152NLin2009cAsym")
    assert (run.task, run.timing) == ("rest", {"RepetitionTime": 2.0})
    result = find_fmriprep_anatomy(folder / "prep-amplitude", "01", None)
    shares = [nibabel.load(path).get_fdata() for path in (result.gm, result.wm, result.csf)]
    inside = nibabel.load(result.mask).get_fdata() > 0
    np.testing.assert_allclose(sum(shares)[inside], 1, atol=1e-5)
    sidecar = json.loads((planted["amplitude"] / "sub-01/func/sub-01_task-rest_bold.json").read_text())
    assert len(sidecar["SliceTiming"]) == nibabel.load(planted["amplitude"] / "sub-01" / RUN.format("sub-01")).shape[2]
    assert max(sidecar["SliceTiming"]) < sidecar["RepetitionTime"] == 2


def test_transform_maps_the_native_mask_onto_the_template_and_is_invertible(folder, planted):
    import ants

    result = find_fmriprep_anatomy(folder / "prep-amplitude", "01", None)
    func = folder / "prep-amplitude/sub-01/func"
    mask = ants.image_read(str(func / f"sub-01_task-rest_{SPACE}_desc-brain_mask.nii.gz"))
    warped = ants.apply_transforms(mask, ants.image_read(str(result.mask)), [str(result.transform)]).numpy() > 0.5
    dice = 2 * (warped & (mask.numpy() > 0)).sum() / (warped.sum() + (mask.numpy() > 0).sum())
    assert dice > 0.95
    back = str(result.transform).replace("from-T1w_to-MNI152NLin2009cAsym", "from-MNI152NLin2009cAsym_to-T1w")
    points = pd.DataFrame(np.random.default_rng(0).uniform(-40, 40, (20, 3)), columns=["x", "y", "z"])
    there = ants.apply_transforms_to_points(3, points, [str(result.transform)])
    np.testing.assert_allclose(ants.apply_transforms_to_points(3, there, [back]), points, atol=0.3)


@pytest.mark.parametrize("strategy", ["simple", "scrubbing", "compcor"])
def test_nilearn_reads_the_confounds(folder, planted, strategy):
    path = folder / f"prep-amplitude/sub-01/func/sub-01_task-rest_{SPACE}_desc-preproc_bold.nii.gz"
    table, _ = load_confounds_strategy(str(path), denoise_strategy=strategy)
    assert len(table) == 40
    assert np.isfinite(table.to_numpy()).all()


def test_framewise_displacement_and_head_position_follow_the_formulas():
    six = movement.draw_parameters(50, np.random.default_rng(3))
    assert movement.framewise_displacement(six)[7] == pytest.approx(
        np.abs(six[7, :3] - six[6, :3]).sum() + 50 * np.abs(six[7, 3:] - six[6, 3:]).sum()
    )
    from bids_app.preprocess import motion

    centre = np.array([1.0, 2.0, 3.0])
    matrices = [movement.rigid_matrix(each, centre) for each in six]
    np.testing.assert_allclose(motion.parameters(matrices, np.diag([3.0, 3, 3, 1]), centre=centre), six, atol=1e-9)
    assert len(movement.expand(six)) == 24


def test_series_is_the_sum_of_waves_at_the_sampling_times():
    rng = np.random.default_rng(0)
    result = fluctuations.bins(60, 2.0)
    amplitudes = fluctuations.draw_courses((3, len(result)), rng)
    later = np.array([0.0, 0.7, -0.4])
    got = fluctuations.make_series(amplitudes, bins=result, volumes=60, tr=2.0, later=later)
    for row, seconds, values in zip(amplitudes, later, got, strict=True):
        times = np.arange(60) * 2.0 + seconds
        waves = [np.sqrt(2) * (a * np.exp(2j * np.pi * k / 120 * times)).real for a, k in zip(row, result, strict=True)]
        np.testing.assert_allclose(values, sum(waves), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "size"), [("coherence", 0.6), ("coherence", -1), ("connectivity", 1), ("amplitude", 2)]
)
def test_variance_shares_sum_to_one(kind, size):
    special = fluctuations.effect_shares(kind, size)
    parts = (special.network, special.regional, special.local, special.own)
    assert sum(parts) == pytest.approx(1)
    assert min(parts) >= 0
    assert special.factor == (3 if kind == "amplitude" else 1)


def test_correlation_of_region_and_network_follows_from_the_shares():
    parcels = fluctuations.Parcels(np.repeat([0, 1], 4000), np.array([0, 0]), 1)
    shape, kept = (20, 20, 20), np.arange(8000)
    for size in (-1.0, 0.0, 0.5, 1.0):
        special = fluctuations.effect_shares("connectivity", size)
        whole = fluctuations.draw_coefficients(
            parcels, kept, shape, np.random.default_rng(1), count=400, voxel_mm=6.0, special=special
        )
        first, second = whole[:4000].mean(axis=0), whole[4000:].mean(axis=0)
        correlation = np.vdot(first, second).real / np.linalg.norm(first) / np.linalg.norm(second)
        assert correlation == pytest.approx(np.sqrt(0.25 / 0.45) * np.sqrt(special.network / 0.45), abs=0.12)


def test_every_atlas_region_belongs_to_one_network():
    for name in atlas.load("aal").names.values():
        assert sum(name.startswith(starts) for starts in function.NETWORKS.values()) == 1


def test_slice_times_are_interleaved():
    np.testing.assert_allclose(bold.slice_times(5, 2.0), [0, 1.2, 0.4, 1.6, 0.8])


def test_dvars_and_compcor_match_the_definitions():
    values = np.random.default_rng(0).normal(100, 3, (60, 80)).astype(np.float32)
    plain, standard = confounds.dvars(values)
    assert plain[5] == pytest.approx(np.sqrt(np.mean((values[:, 5] - values[:, 4]) ** 2)))
    assert np.nanmean(standard) == pytest.approx(1, abs=0.1)
    slow = confounds.cosines(80, 3.2)
    np.testing.assert_allclose(slow @ slow.T, np.eye(4), atol=1e-12)
    courses, share = confounds.compcor(values, slow)
    cleaned = values - values.mean(axis=1, keepdims=True)
    cleaned -= cleaned @ slow.T @ slow
    cleaned /= cleaned.std(axis=1, keepdims=True)
    peer = PCA(5).fit(cleaned - cleaned.mean(axis=0))
    same = np.linalg.svd(cleaned)[2][:5]
    np.testing.assert_allclose(np.abs((courses * same).sum(axis=1)), 1, atol=1e-3)
    assert share.sum() == pytest.approx(peer.explained_variance_ratio_.sum(), abs=0.02)


def test_each_effect_appears_in_derivatives_as_in_raw_runs(folder, plain, planted):
    """What tells the kinds apart, in the region, of the same patients without and with the effect.

    Resampling mixes neighbours, and at 6 mm hides half of a coherence; of the others it changes little.
    """
    prep = f"func/{{0}}_task-rest_{SPACE}_desc-preproc_bold.nii.gz"
    for person in people(plain, "patient"):
        gains = {}
        for kind, root in planted.items():
            for before, after, run in ((plain, root, RUN), (folder / "prep-plain", folder / f"prep-{kind}", prep)):
                pair = [series(each, person, run)[0] for each in (before, after)]
                change = (pair[1] - pair[0]).std(axis=-1)
                gains.setdefault(kind, []).append(effect_measure(kind, *pair, change > change.max() / 2))
        raw, result = gains["coherence"]
        assert result > 0.4 * raw > 0.1
        assert gains["amplitude"][1] == pytest.approx(gains["amplitude"][0], rel=0.05)
        assert gains["connectivity"][1] == pytest.approx(gains["connectivity"][0], abs=0.06)


def test_cubic_interpolation_preserves_a_fine_wave_at_and_between_voxels():
    """At the voxels the values stay; between them a wave of four voxels loses under a tenth (linear: a half)."""
    x = np.arange(24)
    wave = np.broadcast_to(np.cos(np.pi / 2 * x)[:, None, None], (24, 6, 6)).astype(np.float32)
    seen = np.arange(wave.size)
    at = np.stack([np.full(8, 1.0) * x[8:16], np.full(8, 3.0), np.full(8, 3.0)])
    between = at + np.array([0.5, 0, 0])[:, None]
    for points in (at, between):
        result = derivatives.interpolate_cubic(points, seen, wave.shape, wave.reshape(-1, 1))[:, 0]
        np.testing.assert_allclose(result, np.cos(np.pi / 2 * points[0]), atol=0.1)


def test_lookup3_hash_matches_the_published_value():
    assert warp.lookup3(b"Four score and seven years ago") == 0x17770551


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"bold": float("nan")}, UsageError, "--bold nan"),
        ({"bold": -1.5}, UsageError, "--bold -1.5"),
        ({"bold": 1.5, "bold_effect": "coherence"}, UsageError, "choose -1 to 1"),
        ({"bold": 0.5, "bold_effect": "phase"}, UsageError, "amplitude, coherence, connectivity"),
        ({"bold": 0.5, "tr": 0.0}, UsageError, "--tr"),
        ({"bold": 0.5, "bold_volumes": 10}, UsageError, "--bold-volumes 10"),
        ({"bold": 0.5, "base": Path("/")}, UsageError, "--base"),
        ({"derivatives": Path("x")}, UsageError, "--bold"),
        ({"bold": 0.5, "derivatives": Path("/")}, CannotWriteError, "not an empty folder"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(tmp_path, wrong, error, says):
    with pytest.raises(error, match=says):
        write(tmp_path / "new" / "out", **wrong)
    assert not list(tmp_path.iterdir())


def test_bold_options_require_the_bold_option():
    given = cli.phantom(["out", "--bold", "0.5", "--bold_effect", "coherence", "--tr=1.5"])
    assert (given["bold"], given["bold_effect"], given["tr"]) == (0.5, "coherence", 1.5)
    assert set(cli.phantom(["out"])) == {"out", "people", "region", "atlas", "resolution", "random_seed"}
    with pytest.raises(UsageError, match="requires --bold"):
        cli.phantom(["out", "--bold-volumes", "80"])
