"""An effect simulated in real images: half of the user's own controls become patients."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import ants
import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from bids_app.atlases import templates
from bids_app.bids import annex, inputs
from bids_app.bids.metadata import read_metadata
from bids_app.errors import DataError, MissingInputError
from bids_app.phantom import description, people
from bids_app.phantom.deformation import Array, transform
from bids_app.phantom.image import save
from bids_app.phantom.region import Field, Region, remaining, shrink
from bids_app.preprocess import conform, head, normalise, skull

SPACE = "MNI152NLin2009cAsym"
REGISTRATION_MM = 2.0
MIN_PEOPLE = 2


def find(base: Path) -> tuple[inputs.Dataset, list[inputs.Scan]]:
    """The data set and one T1w image per participant, of the first session that has one.

    Raises NotBidsError, MissingInputError (also for images that have not been fetched), DataError.
    """
    dataset = inputs.open_dataset(base)
    of_each = (inputs.anatomical_scans(dataset, person)[:1] for person in dataset.participants)
    scans = [scan for of_participant in of_each for scan in of_participant]
    if len(scans) < MIN_PEOPLE:
        raise DataError(
            f"--base has {len(scans)} participants with a T1w image; two groups require at least {MIN_PEOPLE}"
        )
    reasons = [why for scan in scans if (why := annex.why_unreadable(scan.path, dataset.root))]
    if reasons:
        raise MissingInputError(f"{len(reasons)} images of --base cannot be read; the first: {reasons[0]}")
    return dataset, scans


def write_images(
    folder: Path,
    dataset: inputs.Dataset,
    scans: Sequence[inputs.Scan],
    region: Region,
    *,
    effect: float,
    random_seed: int,
) -> dict[str, object]:
    """Write all images, those of patients with the effect, and the table; returns facts about them.

    Interpolation blurs, and would distinguish the groups if only patients' images were interpolated. All images are
    therefore interpolated once, shifted by a uniformly distributed fraction of a voxel. The shift plus the displacement
    of the effect, modulo one voxel, remains uniformly distributed, so that at every voxel the blur has the same
    distribution in both groups.
    """
    group = people.groups(len(scans), people.generator(random_seed, people.BASE_GROUP))
    left: dict[str, float] = {}
    for index, scan in enumerate(tqdm(scans, desc="phantom", unit="person", disable=None)):
        rng = people.generator(random_seed, people.BASE_PERSON, index)
        image = conform.load(scan.path)
        values = np.asarray(image.dataobj)
        brain = skull.find_stripped_brain(values, voxel_ml=float(abs(np.linalg.det(image.affine[:3, :3]))) / 1000)
        field = None
        if group[index] == people.PATIENT and effect > 0:
            region_in_person = warp_region(region, image, brain, seed=random_seed)
            field = shrink(region_in_person, effect=effect)
            left[f"sub-{scan.participant}"] = round(remaining(region_in_person, field), 4)
        part = rng.uniform(-0.5, 0.5, 3).astype(np.float32)
        moved = resample(values, brain, image.affine, field, part_of_voxel=part)
        sidecar = read_metadata(dataset.root, scan.path) | ({"SkullStripped": True} if brain is not None else {})
        save(folder, scan.participant, scan.session, moved, image.affine, sidecar=sidecar)
    _write_table(folder, dataset, scans, group)
    return {"people": len(scans), "base": dataset.name, "remaining_share": left}


def warp_region(region: Region, image: nibabel.Nifti1Image, brain: NDArray[np.bool_] | None, *, seed: int) -> Region:
    """The region (world of the template) in a participant's image; `brain` is None for a whole head.

    The template's brain is registered to the participant's (affine, then nonlinear at 2 mm).
    Raises MissingInputError for a whole head without a head template, DataError if the region is not found.
    """
    # antspyx writes transforms as files, which are not needed after this participant.
    with tempfile.TemporaryDirectory() as folder:
        whole = _coarsen(_to_ants(image))
        mask = _mask_head(whole, folder, seed) if brain is None else _coarsen(_to_ants(_mask_image(brain, image)))
        moving = whole * (mask > 0.5)
        fixed = _coarsen(_to_ants(templates.brain(SPACE)))
        warps = normalise.register(fixed, moving, folder=folder, name="base", seed=seed, sloppy=False, method="fast")[
            "nonlinear"
        ]
        label = _to_ants(conform.to_nifti(region.voxels.astype(np.float32), region.affine))
        here = ants.apply_transforms(_to_ants(image), label, warps.inverse, whichtoinvert=warps.invert)
    voxels = here.numpy() > 0.5
    if not voxels.any():
        raise DataError(
            f"the region {region.name} was not found in an image of --base; is it a T1w image of an adult brain?"
        )
    return Region(region.name, voxels, image.affine)


def resample(
    values: Array,
    brain: NDArray[np.bool_] | None,
    affine: Array,
    field: Field | None,
    *,
    part_of_voxel: Array,
) -> Array:
    """An image (X, Y, Z) shifted by a fraction of a voxel along each axis and by a field; cubic, clipped to its range.

    The background of a skull-stripped image is unchanged.
    """
    coefficients = ndimage.spline_filter(values, order=3, output=np.float32)
    low, high, empty = values.min(), values.max(), values.flat[0]
    inverse = np.linalg.inv(affine)
    result = np.empty(values.shape, np.float32)
    for x in range(values.shape[0]):  # a slab at a time: coordinates take three times the image
        voxels = np.indices((1, *values.shape[1:]), dtype=np.float32).reshape(3, -1)
        voxels[0] += x
        voxels += part_of_voxel[:, None]
        if field is not None:
            voxels = transform(field.source(transform(voxels, affine)), inverse)
        slab = ndimage.map_coordinates(coefficients, voxels, order=3, mode="nearest", prefilter=False)
        if brain is not None:
            inside = ndimage.map_coordinates(brain.view(np.uint8), voxels, order=0)
            slab = np.where(inside, slab, empty)
        result[x] = slab.reshape(values.shape[1:])
    return np.clip(result, low, high)


def _mask_head(whole: ants.ANTsImage, folder: str, seed: int) -> ants.ANTsImage:
    """The brain mask of a whole head."""
    pair = templates.head()
    if pair is None:
        raise MissingInputError(
            ("--base contains whole heads, and TEMPLATEFLOW_HOME has no template with a head; download one with\n  ")
            + templates.HEAD_COMMAND
        )
    template, template_mask = (_to_ants(templates.read(path)) for path in pair)
    return head.brain_mask(whole, template, template_mask, folder=folder, seed=seed, sloppy=True, method="fast")


def _to_ants(image: nibabel.Nifti1Image) -> ants.ANTsImage:
    return ants.from_nibabel_nifti(conform.to_nifti(image.get_fdata(dtype=np.float32), image.affine))


def _mask_image(voxels: NDArray[np.bool_], image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(voxels.astype(np.float32), image.affine)


def _coarsen(image: ants.ANTsImage) -> ants.ANTsImage:
    """The image at the voxel size of the registration, unless its own is as large."""
    size = [max(REGISTRATION_MM, mm) for mm in image.spacing]
    return ants.resample_image(image, size, use_voxels=False, interp_type=0)


def _write_table(folder: Path, dataset: inputs.Dataset, scans: Sequence[inputs.Scan], group: Sequence[str]) -> None:
    """participants.tsv with the columns of the data set; a `group` that it has is kept as group_in_base."""
    rows, described = description.read_participants(dataset.root)
    table = []
    for scan, name in zip(scans, group, strict=True):
        theirs = {column: text for column, text in rows.get(f"sub-{scan.participant}", {}).items() if column != "group"}
        before = rows.get(f"sub-{scan.participant}", {}).get("group")
        columns = theirs | ({"group_in_base": before} if before else {})
        table.append({"participant_id": f"sub-{scan.participant}", "group": name, **columns})
    renamed = {"group_in_base": described["group"]} if "group" in described else {}
    description.write_participants(
        folder, table, described=described | renamed | {"group": description.COLUMNS["group"]}
    )
