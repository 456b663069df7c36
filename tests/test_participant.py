"""The participant level end to end on a simulated data set, run as a separate process as users run it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.processing import resample_from_to

from bids_app.phantom.write import write

BIN = Path(sys.executable).parent
SPACE = "MNI152NLin2009cAsym"
COARSE = ("--sloppy", "--resolution", "4", "--nprocs", "2")
GM = f"space-{SPACE}_res-4_label-GM_desc-modulated_probseg"
WM = f"space-{SPACE}_res-4_label-WM_desc-modulated_probseg"
T1W = f"space-{SPACE}_res-4_desc-zscore_T1w"
SPY = """
import sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            with open({log!r}, "a") as file:
                file.write(" ".join(sys.argv) + "\\n")
            raise ImportError("a participant run imports torch")
sys.meta_path.insert(0, Spy())
with open({log!r} + ".seen", "a") as file:
    file.write(f"{{__import__('os').getpid()}}\\n")
"""


def pellucid(*words, **environment):
    """Run as from a shell; returns the exit code and what stood on stderr."""
    command = [BIN / "pellucid", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.stdout == ""
    return done.returncode, done.stderr


def sidecar(path):
    return json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())


def values(path):
    return nib.load(path).get_fdata()


def anat(out, name, session=None):
    folder = out / f"sub-{name}" / (f"ses-{session}" if session else "") / "anat"
    return folder, f"sub-{name}_" + (f"ses-{session}_" if session else "")


def map_file(out, name, stem, session=None):
    folder, prefix = anat(out, name, session)
    return folder / f"{prefix}{stem}.nii.gz"


def correlation(one, other):
    return np.corrcoef(values(one).ravel(), values(other).ravel())[0, 1]


def one_person(bids, folder, *, names=("01",)):
    """A data set of some of the participants."""
    folder.mkdir()
    shutil.copyfile(bids / "dataset_description.json", folder / "dataset_description.json")
    for name in names:
        shutil.copytree(bids / f"sub-{name}", folder / f"sub-{name}")
    return folder


@pytest.fixture(scope="session")
def bids(tmp_path_factory):
    return write(tmp_path_factory.mktemp("participant") / "bids", people=4, resolution=4.0, random_seed=3)


@pytest.fixture(scope="session")
def ran(bids, with_template):
    """All people's maps, made by processes that tell when torch is imported: OUT, work folder, log of the spy."""
    home = bids.parent
    (home / "spy").mkdir()
    with_template(home / "work")
    log = home / "torch.log"
    (home / "spy" / "sitecustomize.py").write_text(SPY.format(log=str(log)))
    words = (bids, home / "out", "participant", "--maps", "gm", "wm", "t1w", *COARSE, "-w", home / "work")
    code, stderr = pellucid(*words, PYTHONPATH=str(home / "spy"))
    assert code == 0, stderr
    return home / "out", home / "work", log


@pytest.fixture(scope="session")
def out(ran):
    return ran[0]


@pytest.fixture
def work(with_template, tmp_path):
    """A work folder that holds the template alone."""
    return with_template(tmp_path / "work")


# what is written


def test_outputs_have_the_expected_names(out):
    for name in ("dataset_description.json", "README.md", ".bidsignore", "index.html", "qc.tsv"):
        assert (out / name).is_file()
    for person in ("01", "02", "03", "04"):
        folder, prefix = anat(out, person)
        assert (out / f"sub-{person}.html").is_file()
        for stem in (GM, WM, T1W, "desc-preproc_T1w", "desc-brain_mask", "dseg"):
            assert (folder / f"{prefix}{stem}.nii.gz").is_file()
            assert (folder / f"{prefix}{stem}.json").is_file()
        assert len(list(folder.glob(f"{prefix}from-T1w_to-{SPACE}_mode-image_desc-*_xfm.*"))) == 3
        assert len(list((folder.parent / "figures").glob("*.png"))) == 9
    assert not list((out / ".tmp").iterdir())


def test_output_tree_is_valid_bids(out):
    command = [BIN / "bids-validator-deno", "--format", "json", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_sidecars_contain_what_the_group_level_needs(out):
    stated = sidecar(map_file(out, "01", GM))
    assert stated["MapParameters"] | {"Version": ""} == {
        "Map": "gm", "Registration": "nonlinear", "Space": SPACE, "ResolutionMm": 4.0,
        "Anatomy": "fast", "Sloppy": True, "Version": ""
    }  # fmt: skip
    assert sidecar(map_file(out, "01", T1W))["MapParameters"]["Intensity"] == "zscore"
    assert sidecar(map_file(out, "01", T1W))["MapParameters"]["Registration"] == "affine"
    assert stated["PreprocessingSource"] == "pellucid"
    assert stated["RawScan"] == "sub-01/anat/sub-01_T1w.nii.gz"
    assert stated["Units"] == "mL of grey matter per mL of template"
    volumes = stated["TissueVolumes"]
    assert stated["TotalIntracranialVolume"] == volumes["TIV"]
    assert volumes["TIV"] == pytest.approx(sum(volumes[name] for name in ("GM", "WM", "CSF")))
    assert 900 < volumes["TIV"] < 2300


def test_text_outputs_contain_no_machine_paths(out):
    for file in [*out.rglob("*.json"), *out.rglob("*.html"), *out.rglob("*.tsv"), *out.glob("README.md")]:
        assert str(out.parent) not in file.read_text(), file


@pytest.mark.parametrize("person", ["01", "02", "03", "04"])
def test_modulated_totals_equal_the_native_volumes(out, person):
    """Measured from what is published: the map's sum against the volume in the table."""
    lines = (anat(out, person)[0] / f"sub-{person}_desc-volumes_morph.tsv").read_text().splitlines()
    table = dict(line.split("\t")[:2] for line in lines)
    for tissue, stem in (("GM", GM), ("WM", WM)):
        total = values(map_file(out, person, stem)).sum() * 0.064
        assert total == pytest.approx(float(table[tissue]), rel=0.01)
        stated = sidecar(map_file(out, person, stem))["ModulatedTotalOverNative"]
        assert stated[tissue] == pytest.approx(total / float(table[tissue]), rel=1e-4)


def test_brain_mask_matches_the_skull_stripped_image(bids, out):
    raw = nib.as_closest_canonical(nib.load(bids / "sub-01" / "anat" / "sub-01_T1w.nii.gz"))
    written = nib.load(map_file(out, "01", "desc-brain_mask"))
    mask = np.asarray(written.dataobj) > 0
    on_raw = resample_from_to(written, raw, order=0).get_fdata() > 0
    brain = raw.get_fdata() != raw.dataobj[0, 0, 0]
    assert 2 * (on_raw & brain).sum() / (on_raw.sum() + brain.sum()) > 0.99
    assert mask.sum() == on_raw.sum()
    labels = values(map_file(out, "01", "dseg"))
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert ((labels > 0) == mask).all()


def test_maps_are_on_the_template_grid(out, work):
    grid = nib.load(next(work.glob("template-*/mask.nii.gz")))
    for stem in (GM, WM, T1W):
        image = nib.load(map_file(out, "02", stem))
        assert image.shape == grid.shape
        np.testing.assert_allclose(image.affine, grid.affine, atol=1e-3)
        assert image.get_data_dtype() == np.float32


def test_no_process_imports_torch(ran):
    log = ran[2]
    seen = Path(f"{log}.seen").read_text().split()
    assert len(seen) > 2, "the spy was not there"
    assert not log.exists(), log.read_text()


# running again


def test_second_run_computes_nothing(bids, ran):
    out, work, _ = ran
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    logs = set((out / "logs").glob("pellucid_participant_*.log"))
    begun = time.monotonic()
    code, stderr = pellucid(bids, out, "participant", "--maps", "gm", "wm", "t1w", *COARSE, "-w", work)
    assert code == 0
    assert "0 to process, 4 already complete" in stderr
    assert time.monotonic() - begun < 20
    new = set((out / "logs").glob("pellucid_participant_*.log")) - logs
    assert len(new) == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path not in new} == before


def test_completed_participants_are_recognised_without_the_work_folder(bids, ran, tmp_path):
    words = (bids, ran[0], "participant", "--maps", "gm", "wm", "t1w", *COARSE, "-w", tmp_path / "other")
    code, stderr = pellucid(*words)
    assert code == 0
    assert "0 to process, 4 already complete" in stderr


def test_lost_output_is_republished_from_the_work_folder(bids, ran):
    out, work, _ = ran
    lost = map_file(out, "04", GM)
    before = lost.read_bytes()
    lost.unlink()
    code, stderr = pellucid(bids, out, "participant", "--maps", "gm", "wm", "t1w", *COARSE, "-w", work)
    assert code == 0, stderr
    assert "1 to process, 3 already complete" in stderr
    assert lost.read_bytes() == before


def test_changing_maps_or_figure_options_does_not_repeat_registration(bids, ran, tmp_path):
    _, work, _ = ran
    (step,) = work.glob("participants/sub_02_*/register")
    before = {file: file.stat().st_mtime_ns for file in step.iterdir()}
    words = (bids, tmp_path / "other", "participant", "--participant-label", "02", *COARSE, "-w", work)
    code, stderr = pellucid(*words, "--maps", "wm", "--radiological")
    assert code == 0, stderr
    assert {file: file.stat().st_mtime_ns for file in step.iterdir()} == before
    assert (values(map_file(tmp_path / "other", "02", WM)) == values(map_file(ran[0], "02", WM))).all()


@pytest.mark.slow
def test_changed_maps_option_or_scan_is_recomputed(bids, ran, work, tmp_path):
    out = tmp_path / "out"
    small = one_person(bids, tmp_path / "bids", names=("01", "02"))
    words = (small, out, "participant", *COARSE, "-w", work)
    code, stderr = pellucid(*words, "--maps", "gm")
    assert code == 0, stderr
    assert not map_file(out, "01", WM).exists()
    shutil.copyfile(small / "sub-02/anat/sub-02_T1w.nii.gz", small / "sub-01/anat/sub-01_T1w.nii.gz")
    code, stderr = pellucid(*words, "--maps", "gm")
    assert code == 0
    assert "1 to process, 1 already complete" in stderr
    assert correlation(map_file(out, "01", GM), map_file(out, "02", GM)) > 0.9999
    code, stderr = pellucid(*words, "--maps", "gm", "wm")
    assert code == 0
    assert "2 to process, 0 already complete" in stderr
    np.testing.assert_allclose(values(map_file(out, "02", WM)), values(map_file(ran[0], "02", WM)), atol=1e-3)


# other ways


def fmriprep_like(out, work, folder, name):
    """What fMRIPrep would have written about a participant, made of our own files; the transform is one h5."""
    steps = next(work.glob(f"participants/sub_{name}_*"))
    anatomy = folder / f"sub-{name}" / "anat"
    anatomy.mkdir(parents=True)
    prefix = f"sub-{name}_"
    for stem in ("desc-preproc_T1w", "desc-brain_mask"):
        shutil.copyfile(map_file(out, name, stem), anatomy / f"{prefix}{stem}.nii.gz")
    for tissue in ("GM", "WM", "CSF"):
        shutil.copyfile(
            steps / "segment" / f"{tissue.lower()}.nii.gz", anatomy / f"{prefix}label-{tissue}_probseg.nii.gz"
        )
    ours = anat(out, name)[0] / f"{prefix}from-T1w_to-{SPACE}_mode-image_desc-nonlinear"
    affine = ants.read_transform(f"{ours}2_xfm.mat")
    warp = ants.transform_from_displacement_field(ants.image_read(f"{ours}1_xfm.nii.gz"))
    both = ants.compose_ants_transforms([warp, affine])
    ants.write_transform(both, str(anatomy / f"{prefix}from-T1w_to-{SPACE}_mode-image_xfm.h5"))
    (folder / "dataset_description.json").write_text('{"Name": "fMRIPrep", "BIDSVersion": "1.10.0"}')
    return folder


@pytest.mark.slow
def test_derivatives_give_the_same_maps_and_missing_participants_fail_by_name(bids, ran, work, tmp_path):
    derivative = fmriprep_like(*ran[:2], tmp_path / "fmriprep", "01")
    small = one_person(bids, tmp_path / "bids", names=("01", "02"))
    out = tmp_path / "out"
    words = (small, out, "participant", "--maps", "gm", "wm", *COARSE, "-w", work, "-d", f"fmriprep={derivative}")
    code, stderr = pellucid(*words)
    assert code == 1, stderr
    assert "sub-02" in stderr
    assert "--fallback-preprocessing" in stderr
    assert "Traceback" not in stderr
    assert not (out / "sub-02.html").exists()
    for stem in (GM, WM):
        assert correlation(map_file(out, "01", stem), map_file(ran[0], "01", stem)) > 0.99
        own = values(map_file(ran[0], "01", stem)).sum()
        assert values(map_file(out, "01", stem)).sum() == pytest.approx(own, rel=0.01)
    stated = sidecar(map_file(out, "01", GM))
    assert stated["PreprocessingSource"] == "fmriprep"
    assert stated["PreprocessedScan"] == "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert stated["RawScan"] == "sub-01/anat/sub-01_T1w.nii.gz"
    assert "MergedSessions" not in stated

    code, stderr = pellucid(*words, "--fallback-preprocessing")
    assert code == 0, stderr
    sources = {name: sidecar(map_file(out, name, GM))["PreprocessingSource"] for name in ("01", "02")}
    assert sources == {"01": "fmriprep", "02": "pellucid"}
    qc = pd.read_csv(out / "qc.tsv", sep="\t")
    assert list(qc["source"]) == ["fmriprep", "pellucid"]


def with_sessions(bids, folder):
    """One participant scanned twice; the second scan is another participant's, so that both differ."""
    one_person(bids, folder, names=("01",))
    for session, person in (("1", "01"), ("2", "02")):
        target = folder / "sub-01" / f"ses-{session}" / "anat"
        target.mkdir(parents=True)
        scan = bids / f"sub-{person}" / "anat" / f"sub-{person}_T1w.nii.gz"
        shutil.copyfile(scan, target / f"sub-01_ses-{session}_T1w.nii.gz")
    shutil.rmtree(folder / "sub-01" / "anat")
    return folder


@pytest.mark.slow
def test_sessions_have_separate_folders(bids, ran, work, tmp_path):
    data, out = with_sessions(bids, tmp_path / "bids"), tmp_path / "out"
    code, stderr = pellucid(data, out, "participant", "--maps", "gm", *COARSE, "-w", work)
    assert code == 0, stderr
    for session, person in (("1", "01"), ("2", "02")):
        assert (out / f"sub-01_ses-{session}.html").is_file()
        assert correlation(map_file(out, "01", GM, session), map_file(ran[0], person, GM)) > 0.9999
        assert sidecar(map_file(out, "01", GM, session))["RawScan"].startswith(f"sub-01/ses-{session}/anat")
    assert not (out / "sub-01" / "anat").exists()
    pictures = [path.name for path in (out / "sub-01" / "figures").iterdir()]
    assert len(pictures) == 10
    assert all("ses-1" in name or "ses-2" in name for name in pictures)
    done = subprocess.run([BIN / "bids-validator-deno", "--format", "json", out], capture_output=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


@pytest.mark.slow
def test_t1w_map_alone_needs_no_nonlinear_registration(bids, ran, work, tmp_path):
    out = tmp_path / "out"
    small = one_person(bids, tmp_path / "bids")
    code, stderr = pellucid(small, out, "participant", "--maps", "t1w", *COARSE, "-w", work)
    assert code == 0, stderr
    assert correlation(map_file(out, "01", T1W), map_file(ran[0], "01", T1W)) > 0.9999
    assert not list(work.rglob("t1w_warp*"))
    assert not list(out.rglob("*desc-nonlinear*"))
    brain = values(map_file(out, "01", T1W))
    assert brain[brain != 0].mean() == pytest.approx(0, abs=1e-3)
    assert brain[brain != 0].std() == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_affine_registration_and_custom_brain_mask_are_used(bids, ran, work, tmp_path):
    """The mask lacks a slab of the brain, so that it is seen whether it was used."""
    small = one_person(bids, tmp_path / "bids")
    raw = nib.load(small / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    given = (raw.get_fdata() != raw.get_fdata().flat[0]).astype(np.uint8)
    given[:, : raw.shape[1] // 3] = 0
    nib.Nifti1Image(given, raw.affine).to_filename(tmp_path / "mask-01.nii.gz")
    out = tmp_path / "out"
    words = (small, out, "participant", "--maps", "gm", "--registration", "affine", *COARSE, "-w", work)
    code, stderr = pellucid(*words, "--brain-mask", tmp_path / "mask-{participant}.nii.gz")
    assert code == 0, stderr
    assert values(map_file(out, "01", "desc-brain_mask")).sum() == given.sum()
    stated = sidecar(map_file(out, "01", GM))
    assert stated["MapParameters"]["Registration"] == "affine"
    assert stated["ModulatedTotalOverNative"]["GM"] == pytest.approx(1, abs=0.01)
    assert "--brain-mask" in (out / "sub-01.html").read_text()


def test_missing_or_misaligned_brain_mask_fails_by_name(bids, work, tmp_path):
    small = one_person(bids, tmp_path / "bids", names=("01", "02"))
    nib.Nifti1Image(np.ones((20, 20, 20), dtype=np.uint8), np.eye(4)).to_filename(tmp_path / "mask-01.nii.gz")
    words = (small, tmp_path / "out", "participant", "--maps", "gm", *COARSE, "-w", work)
    code, stderr = pellucid(*words, "--brain-mask", tmp_path / "mask-{participant}.nii.gz")
    assert code == 1, stderr
    assert "sub-01 failed: --brain-mask mask-01.nii.gz is not on the grid of its T1w" in stderr
    assert "sub-02 failed: --brain-mask: there is no mask-02.nii.gz for sub-02" in stderr


@pytest.mark.slow
def test_bad_images_fail_by_name_and_the_others_finish(bids, work, tmp_path):
    small = one_person(bids, tmp_path / "bids", names=("01", "02", "03", "04"))
    scans = {name: small / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz" for name in ("01", "02", "03", "04")}
    scans["02"].write_bytes(scans["02"].read_bytes()[:5000])
    image = nib.load(scans["03"])
    nib.Nifti1Image(image.get_fdata(dtype=np.float32) * 0, image.affine).to_filename(scans["03"])
    holes = image.get_fdata(dtype=np.float32) + 0
    holes[5, 5, 5] = np.nan
    nib.Nifti1Image(holes, image.affine).to_filename(scans["04"])
    out = tmp_path / "out"
    code, stderr = pellucid(small, out, "participant", "--maps", "gm", *COARSE, "-w", work)
    assert code == 1
    for name, reason in (("02", "truncated"), ("03", "0 everywhere"), ("04", "1 voxels that are NaN")):
        line = next(line for line in stderr.splitlines() if f"sub-{name} failed" in line)
        assert reason in line
        assert not (out / f"sub-{name}.html").exists()
    assert map_file(out, "01", GM).is_file()
    assert "Traceback" not in stderr
