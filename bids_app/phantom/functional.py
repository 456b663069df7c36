"""BOLD of a phantom: the raw run of each participant, and derivatives in fMRIPrep's layout if requested."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np

from bids_app.atlases import templates
from bids_app.bids import outputs
from bids_app.phantom import anatomy, bold, derivatives, fluctuations, people, warp
from bids_app.phantom import function as functions
from bids_app.phantom.deformation import Array
from bids_app.phantom.image import save_series
from bids_app.phantom.region import Field, Region
from bids_app.preprocess import conform

SIDECAR = {"Manufacturer": "Pellucid phantom", "MagneticFieldStrength": 3, "EchoTime": 0.03}
NETWORKS_MM = 3.0


@dataclass(frozen=True)
class Study:
    """Shared by all participants: brain, function at the voxel sizes of BOLD and T1w, grids (shape, affine), plan."""

    brain: anatomy.Brain
    function: functions.Function
    fine: functions.Function
    grid: tuple[tuple[int, ...], Array]
    output: tuple[tuple[int, int, int], Array]
    plan: bold.Plan
    tree: Path | None
    random_seed: int

    def truth(self) -> dict[str, object]:
        """Facts about the runs."""
        plan, plain, special = (
            self.plan,
            fluctuations.Shares(),
            fluctuations.effect_shares(self.plan.kind, self.plan.size),
        )
        return {
            "effect": plan.kind,
            "size": plan.size,
            "volumes": plan.volumes,
            "repetition_time_s": plan.tr,
            "resolution_mm": plan.resolution_mm,
            "band_hz": list(fluctuations.BAND_HZ),
            "network_of_region": self.function.network_name,
            "grey_matter_of_region": round(self.function.grey, 4),
            "shares": {name: round(value, 6) for name, value in vars(plain).items()},
            "shares_of_patients_region": {name: round(value, 6) for name, value in vars(special).items()},
        }


def prepare(
    brain: anatomy.Brain,
    template: nibabel.Nifti1Image,
    region: Region,
    *,
    plan: bold.Plan,
    resolution_mm: float,
    tree: Path | None,
    random_seed: int,
) -> Study:
    """The parts shared by all participants; `brain` is the template's, as prepared for the T1w of `resolution_mm`.

    With `tree`, a folder, the derivatives are written there. Raises UsageError for a region outside all parcels.
    """
    tissues = functions.segment(template.get_fdata(dtype=np.float32), template.affine, brain)
    template_mm = float(np.linalg.norm(template.affine[:3, 0]))
    function = functions.prepare(brain, tissues, region, template_mm=template_mm, resolution_mm=plan.resolution_mm)
    fine = functions.smooth_tissues(tissues, template_mm=template_mm, resolution_mm=resolution_mm)
    if tree is not None:
        tree.mkdir(parents=True, exist_ok=True)
        derivatives.describe(tree)
    return Study(
        brain=brain,
        function=function,
        fine=replace(function, tissues=fine),
        grid=anatomy.scanner_grid(template.shape, template.affine, resolution_mm=plan.resolution_mm),
        output=templates.grid(derivatives.SPACE, plan.resolution_mm),
        plan=plan,
        tree=tree,
        random_seed=random_seed,
    )


def write_person(
    folder: Path,
    study: Study,
    index: int,
    person: people.Person,
    image: Array,
    scanner: Array,
    fields: list[Field],
    posed: Array,
) -> None:
    """Write a participant's run, and the derivatives with the brain (X, Y, Z) before the simulated acquisition."""
    plan = study.plan
    rng = people.generator(study.random_seed, people.BOLD, index)
    patient = person.group == people.PATIENT
    run = bold.acquire(study.brain, study.function, fields, posed, study.grid, plan=plan, patient=patient, rng=rng)
    place = outputs.folder(folder, person.label, None, "func")
    place.mkdir(parents=True, exist_ok=True)
    sidecar = SIDECAR | {"SliceTiming": run.slice_times.tolist(), "SliceEncodingDirection": "k"}
    name = outputs.filename(person.label, None, "bold", ".nii.gz", task="rest")
    save_series(place / name, run.raw, run.affine, tr=plan.tr, sidecar=sidecar)
    if study.tree is None:
        return
    deformed = warp.find(study.brain, fields, posed)
    visible, points = anatomy.visible_voxels(study.brain, fields, posed, image.shape, scanner)
    tissues = np.zeros((len(functions.TISSUES), image.size), np.float32)
    tissues[:, visible] = study.fine.tissues_at(points)
    derivatives.write_anatomy(study.tree, person.label, image, tissues.reshape(-1, *image.shape), scanner, deformed)
    derivatives.write_function(study.tree, person.label, run, study.output, study.function, deformed, plan=plan)


def write_networks(folder: Path) -> None:
    """Write the maps of the networks (X, Y, Z, networks) at 3 mm in the template's space, and their names."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, affine = templates.grid(derivatives.SPACE, NETWORKS_MM)
    conform.save(conform.to_nifti(functions.network_maps(shape, affine), affine), folder / "network-maps.nii.gz")
    with (folder / "network-maps.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerows([("index", "name"), *enumerate(functions.NETWORKS)])
