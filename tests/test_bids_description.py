"""The description of OUT_DIR, and that the BIDS validator accepts the output tree."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app import __version__
from bids_app.bids.description import describe
from bids_app.bids.outputs import filename, folder, mark_done, write_root

SPACE = "MNI152NLin2009cAsym"


@pytest.fixture
def source(tmp_path):
    (tmp_path / "place/raw").mkdir(parents=True)
    stated = {"Name": "Trial “x”", "BIDSVersion": "1.0.2", "DatasetDOI": "doi:10.18112/openneuro.ds002748.v1.0.5"}
    (tmp_path / "place/raw/dataset_description.json").write_text(json.dumps(stated), encoding="utf-8")
    return tmp_path / "place/raw"


def test_description_names_source_datasets_without_paths(source, tmp_path):
    prep = tmp_path / "place/prep"
    prep.mkdir()
    (prep / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep", "Version": "25.1.0"}]}')
    out = tmp_path / "out"
    describe(out, bids_dir=source, derivatives={"fmriprep": prep, "bare": tmp_path})
    stated = json.loads((out / "dataset_description.json").read_text(encoding="utf-8"))
    assert stated["Name"] == "Pellucid: Trial “x”"
    assert stated["DatasetType"] == "derivative"
    assert stated["GeneratedBy"] == [{"Name": "pellucid", "Version": __version__}]
    assert stated["SourceDatasets"] == [{"DOI": "doi:10.18112/openneuro.ds002748.v1.0.5"}]
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert "fmriprep (fMRIPrep 25.1.0)" in readme
    for word in ("not for diagnosis", "What is private", "What may be shared", "share/"):
        assert word in readme.replace("\n", " ")
    for name in ("dataset_description.json", "README.md", ".bidsignore"):
        assert str(tmp_path) not in (out / name).read_text(encoding="utf-8")


def test_describing_twice_rewrites_nothing(source, tmp_path):
    out = tmp_path / "out"
    describe(out, bids_dir=source, derivatives={})
    before = {path.name: path.stat().st_ino for path in out.iterdir()}
    describe(out, bids_dir=source, derivatives={})
    assert {path.name: path.stat().st_ino for path in out.iterdir()} == before


def test_dataset_without_description_is_named_after_the_folder(tmp_path):
    (tmp_path / "raw").mkdir()
    describe(tmp_path / "out", bids_dir=tmp_path / "raw", derivatives={})
    assert json.loads((tmp_path / "out/dataset_description.json").read_text())["Name"] == "Pellucid: raw"


def image(path: Path, sidecar: dict | None = None, *, integer: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.ones((4, 4, 4), np.uint8 if integer else np.float32)
    picture = nib.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0]))
    picture.header.set_xyzt_units("mm", "sec")
    nib.save(picture, path)
    if sidecar is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))


def person(out: Path, label: str, session: str | None) -> None:
    """Write one participant's outputs under the expected names."""
    anat, func = (folder(out, label, session, kind) for kind in ("anat", "func"))
    grid = {"space": SPACE, "res": "2"}
    resolution = {"Resolution": "2 mm isotropic"}

    def name(suffix, extension=".nii.gz", **entities):
        return filename(label, session, suffix, extension, **entities)

    image(anat / name("T1w", desc="preproc"), {"SkullStripped": True})
    image(anat / name("mask", desc="brain"), {"Type": "Brain", "Sources": []}, integer=True)
    image(anat / name("dseg"), {"Sources": []}, integer=True)
    image(anat / name("probseg", label="GM", desc="modulated", **grid), resolution)
    image(anat / name("probseg", label="WM", desc="modulated", **grid), resolution)
    image(anat / name("T1w", desc="zscore", **grid), resolution | {"SkullStripped": True})
    image(anat / name("statmap", stat="gradcam", desc="mainCnn3dGmPatient", **grid), resolution)
    image(func / name("boldmap", task="rest", stat="alff", **grid), resolution)
    (func / name("boldmap", ".tsv", task="rest", atlas="AAL", stat="alff")).write_text("region\tvalue\nx\t1\n")
    (anat / name("xfm", ".h5", from_="T1w", to=SPACE, mode="image")).write_bytes(b"\x89HDF")
    (anat / name("morph", ".tsv", desc="volumes")).write_text("name\tvolume_ml\ngm\t600\n")
    for file in (f"sub-{label}/figures/mask.svg", f"sub-{label}/log/crash.txt", f"sub-{label}.html"):
        write_root(out, file, "x")
    mark_done(out, label, session, "abc", [])


def group(out: Path) -> None:
    top = "group/main"
    model = "models/cnn3d-gm/repeat-1_fold-1/model.toml"
    for file in ("report.html", "samples.tsv", "audit.json", "methods.md", model):
        write_root(out, f"{top}/{file}", "{}")
    image(out / top / filename(None, None, "statmap", ".nii.gz", space=SPACE, stat="pattern", desc="SvmGmPatient"), {})
    for file in ("index.html", "qc.tsv", "logs/CITATION.md", "logs/CITATION.bib", ".work/node/_inputs.txt"):
        write_root(out, file, "x")
    (out / ".tmp/1_host_x").mkdir()
    (out / ".tmp/1_host_x/half.nii.gz").touch()


def test_folders_of_sites_stay_in_bidsignore_while_they_exist(source, tmp_path):
    for name in ("NORTH", "SOUTH"):
        (tmp_path / name).mkdir()
    for sites in (["NORTH"], ["SOUTH"], []):
        describe(tmp_path, bids_dir=source, derivatives={}, sites=sites)
    ignored = (tmp_path / ".bidsignore").read_text().split()
    assert ignored[-2:] == ["NORTH", "SOUTH"]
    (tmp_path / "NORTH").rmdir()
    describe(tmp_path, bids_dir=source, derivatives={})
    assert (tmp_path / ".bidsignore").read_text().split() == [name for name in ignored if name != "NORTH"]


def test_bids_validator_accepts_the_output_tree(source, tmp_path):
    validator = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    if validator is None:
        pytest.skip("bids-validator-deno is not installed: pip install 'pellucid[dev]'")
    out = tmp_path / "out"
    describe(out, bids_dir=source, derivatives={})
    person(out, "01", None)
    person(out, "02", "a")
    group(out)
    run = subprocess.run([validator, "--format", "json", str(out)], capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert errors == []
    assert run.returncode == 0
