"""A small study with one valid file of every kind that Pellucid reads, for test_fuzz.py to damage."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app.atlases import templates
from bids_app.preprocess.strategies import COLUMNS

SPACE = "MNI152NLin2009cAsym"
PEOPLE = [f"sub-{number:02}" for number in range(1, 9)]
GROUP = (
    "group", "--label", "group", "--classes", "control", "patient", "--classifiers", "svm", "--explainers", "weights",
    "--folds", "2", "--permutations", "0", "--sloppy", "--nprocs", "1",
)  # fmt: skip
CONFOUNDS = COLUMNS["24p-wm-csf"]


@dataclass(frozen=True)
class Study:
    """The folders of the study: raw data, fMRIPrep's tree, single files for options, and OUT with its analysis."""

    bids: Path
    fmriprep: Path
    files: Path
    out: Path

    @property
    def models(self) -> Path:
        """The trained models."""
        return self.out / "group" / "group" / "models"


def write_study(home: Path, invented_gm) -> Study:
    """Write all of it but the trained models."""
    study = Study(home / "bids", home / "fmriprep", home / "files", home / "out")
    random = np.random.default_rng(1)
    for folder in (study.bids, study.fmriprep, study.files):
        folder.mkdir(parents=True)
        write_json(folder / "dataset_description.json", {"Name": "small", "BIDSVersion": "1.10.0"})
    people = pd.DataFrame(
        {"participant_id": PEOPLE, "group": ["control", "patient"] * 4, "sex": ["F", "F", "M", "M"] * 2}
    )
    people["age"] = random.integers(20, 60, len(PEOPLE))
    write_table(study.bids / "participants.tsv", people)
    for person in PEOPLE:
        _write_raw(study.bids / person, person, random)
    for person in PEOPLE[:2]:
        _write_fmriprep(study.fmriprep / person, person, random)
    shape, affine = templates.grid(SPACE, 4.0)
    for person in PEOPLE:
        invented_gm(study.out, person, nib.Nifti1Image(random.random(shape, np.float32), affine), random)
        sidecar = study.out / person / "anat" / f"{person}_space-{SPACE}_res-4_label-GM_desc-modulated_probseg.json"
        write_json(sidecar, {**json.loads(sidecar.read_text()), "TissueVolumes": {"GM": 600.0}, "RawScan": "a.nii.gz"})
    _write_files(study, people, random)
    return study


def write_json(file: Path, content: dict) -> None:
    """A JSON file, as people write them."""
    file.write_text(json.dumps(content, indent=2))


def write_table(file: Path, table: pd.DataFrame) -> None:
    """A table separated by tabs."""
    table.to_csv(file, sep="\t", index=False, na_rep="n/a")


def _save(file: Path, values: np.ndarray, mm: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    centre = -mm * (np.array(values.shape[:3]) - 1) / 2
    image = nib.Nifti1Image(values, nib.affines.from_matvec(np.diag([mm] * 3), centre))
    if values.ndim == 4:
        image.header.set_zooms((mm, mm, mm, 2.0))
        image.header.set_xyzt_units("mm", "sec")
    image.to_filename(file)


def _brain(random: np.random.Generator) -> np.ndarray:
    """A ball of voxels (26, 30, 26) at 6 mm, as if the skull had been removed."""
    axes = np.meshgrid(*(np.linspace(-1.2, 1.2, length) for length in (26, 30, 26)), indexing="ij")
    return (sum(axis**2 for axis in axes) < 1) * random.uniform(400, 900, (26, 30, 26))


def _write_raw(folder: Path, person: str, random: np.random.Generator) -> None:
    extension = ".nii" if person in ("sub-02", "sub-05") else ".nii.gz"
    _save(folder / "anat" / f"{person}_T1w{extension}", _brain(random).astype(np.int16), 6.0)
    scanner = {"Manufacturer": "invented", "MagneticFieldStrength": 3, "EchoTime": 0.003, "SkullStripped": True}
    write_json(folder / "anat" / f"{person}_T1w.json", scanner)
    series = random.uniform(500, 700, (10, 12, 8, 12)).astype(np.int16)
    _save(folder / "func" / f"{person}_task-rest_bold{extension}", series, 6.0)
    timing = {"RepetitionTime": 2.0, "SliceTiming": [0.2 * number for number in range(8)], "TaskName": "rest"}
    write_json(folder / "func" / f"{person}_task-rest_bold.json", {**timing, "SliceEncodingDirection": "k"})
    write_table(folder / f"{person}_sessions.tsv", pd.DataFrame({"session_id": ["ses-1", "ses-2"], "mood": ["1", "2"]}))


def _write_fmriprep(folder: Path, person: str, random: np.random.Generator) -> None:
    brain = _brain(random)
    for name in ("desc-preproc_T1w", "label-GM_probseg", "label-WM_probseg", "label-CSF_probseg"):
        _save(folder / "anat" / f"{person}_{name}.nii.gz", (brain / 900).astype(np.float32), 6.0)
    _save(folder / "anat" / f"{person}_desc-brain_mask.nii.gz", (brain > 0).astype(np.uint8), 6.0)
    for source, target in (("T1w", SPACE), (SPACE, "T1w")):
        (folder / "anat" / f"{person}_from-{source}_to-{target}_mode-image_xfm.h5").write_bytes(b"transform")
    stem = folder / "func" / f"{person}_task-rest_space-{SPACE}"
    _save(Path(f"{stem}_desc-preproc_bold.nii.gz"), random.uniform(500, 700, (10, 12, 8, 60)).astype(np.float32), 6.0)
    _save(Path(f"{stem}_desc-brain_mask.nii.gz"), np.ones((10, 12, 8), np.uint8), 6.0)
    write_json(Path(f"{stem}_desc-preproc_bold.json"), {"RepetitionTime": 2.0, "SkullStripped": False})
    table = pd.DataFrame({name: random.normal(0, 0.1, 60).round(4) for name in CONFOUNDS})
    table["framewise_displacement"] = np.abs(random.normal(0, 0.1, 60).round(4))
    table.loc[0, "framewise_displacement"] = np.nan
    table["non_steady_state_outlier00"] = [1] + [0] * 59
    confounds = folder / "func" / f"{person}_task-rest_desc-confounds_timeseries"
    write_table(confounds.with_suffix(".tsv"), table)
    write_json(confounds.with_suffix(".json"), {"a_comp_cor_00": {"Mask": "combined", "VarianceExplained": 0.1}})


def _write_files(study: Study, people: pd.DataFrame, random: np.random.Generator) -> None:
    """The files that options name."""
    files = study.files
    write_table(files / "phenotype.tsv", pd.DataFrame({"participant_id": PEOPLE, "score": range(8)}))
    write_table(files / "exclude.tsv", pd.DataFrame({"participant_id": PEOPLE[:1], "reason": "moved"}))
    folds = [
        {"participant_id": person, "repeat": 1, "fold": fold, "role": ("train", "test")[number % 4 // 2 == fold - 1]}
        for fold in (1, 2) for number, person in enumerate(PEOPLE)
    ]  # fmt: skip
    write_table(files / "folds.tsv", pd.DataFrame(folds))
    foci = pd.DataFrame(
        {"x": [-24, 24, 0], "y": [4, 4, -10], "z": [2, 2, 20], "study": ["a", "a", "b"], "n": [20, 20, 12]}
    )
    write_table(files / "foci.tsv", foci)
    point = {"coordinates": [1, 2, 3], "space": "MNI"}
    analysis = {"id": "1", "points": [point], "metadata": {"sample_sizes": [12]}}
    write_json(files / "studies.json", {"studies": [{"id": "s", "metadata": {}, "analyses": [analysis]}]})
    contrast = {"coords": {"space": "MNI", "x": [1.0], "y": [2.0], "z": [3.0]}, "metadata": {"sample_sizes": [12]}}
    write_json(files / "dataset.json", {"s": {"contrasts": {"1": contrast}}})
    write_json(files / "filter.json", {"t1w": {"suffix": "T1w"}, "bold": {"task": "rest", "datatype": "func"}})
    (files / "settings.toml").write_text(
        'sloppy = true\n[group]\nlabel = "group"\nclasses = {control = ["control"], patient = ["patient"]}\n'
        'classifiers = ["svm"]\nexplainers = ["weights"]\nfolds = 2\npermutations = 0\ncovariates = ["tiv", "age"]\n'
        'set.networks = {epochs = 2}\n[participant]\nband = ["0.01", "0.1"]\nresolution = 4.0\n'
    )
    (files / "recipe.toml").write_text(
        '[about]\npaper = "none"\n[group]\nlabel = "group"\nfolds = 2\n[sloppy]\nrepeats = 1\n'
    )
    (files / "plugin.yml").write_text("plugin: SLURM\nplugin_args:\n  max_jobs: 4\n  sbatch_args: --time=10\n")
    labels = random.integers(0, 4, (16, 18, 16)).astype(np.int16)
    _save(files / "atlas-Small.nii.gz", labels, 10.0)
    write_table(files / "atlas-Small.tsv", pd.DataFrame({"index": [1, 2, 3], "name": ["left", "right", "middle"]}))
    write_json(files / "atlas-Small.json", {"SpatialReference": SPACE})
    _save(files / "reference.nii.gz", random.random((16, 18, 16), np.float32), 10.0)
    _save(files / "networks.nii.gz", random.random((16, 18, 16, 3), np.float32), 10.0)
    write_table(files / "networks.tsv", pd.DataFrame({"name": ["DMN", "SMN", "VIS"]}))
    for person in PEOPLE:
        _save(files / f"{person}_mask.nii.gz", (_brain(random) > 0).astype(np.uint8), 6.0)
