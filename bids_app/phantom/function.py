"""Functional anatomy of the template: tissues, parcels, and the network of each parcel."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.atlases import atlas, templates
from bids_app.errors import UsageError
from bids_app.phantom.anatomy import Brain
from bids_app.phantom.deformation import Array, transform
from bids_app.phantom.region import Region

TISSUES = ("GM", "WM", "CSF")
_PRIORS: tuple[Literal["gm", "wm"], ...] = ("gm", "wm")
# Regions of the AAL atlas by the beginnings of their names: one plausible division of the brain, not a finding.
NETWORKS = {
    "SMN": (
        "Precentral", "Postcentral", "Rolandic", "Supp_Motor", "Paracentral", "Heschl", "Temporal_Sup", "Putamen",
        "Pallidum", "Thalamus", "Cerebelum_3", "Cerebelum_4", "Cerebelum_6", "Cerebelum_8", "Vermis",
    ),
    "VIS": ("Calcarine", "Cuneus", "Lingual", "Occipital", "Fusiform"),
    "DMN": (
        "Precuneus", "Cingulate_Post", "Angular", "Frontal_Sup_Medial", "Frontal_Med_Orb", "Temporal_Mid",
        "Hippocampus", "ParaHippocampal", "Rectus", "Cerebelum_9",
    ),
    "ECN": (
        "Frontal_Mid", "Frontal_Sup_2", "Frontal_Inf_Tri", "Frontal_Inf_Orb", "Parietal", "Temporal_Inf", "OFCant",
        "OFClat", "Cerebelum_Crus", "Cerebelum_7b",
    ),
    "SAL": (
        "Insula", "Cingulate_Ant", "Cingulate_Mid", "SupraMarginal", "Frontal_Inf_Oper", "Amygdala", "Caudate",
        "Olfactory", "Temporal_Pole", "OFCmed", "OFCpost", "Cerebelum_10",
    ),
}  # fmt: skip


FIT_EVERY = 8  # voxels: their intensities' means and variances need no more


@dataclass(frozen=True)
class Function:
    """Tissues (3, X, Y, Z) in the order of TISSUES, 0 outside the brain, with their affine; labels and theirs.

    labels (X, Y, Z) number the parcels from 0 and are continued beyond them; network: of each parcel, and last that of
    the region with the effect, which is a separate parcel.
    """

    tissues: Array
    affine: Array
    labels: NDArray[np.int16]
    labels_affine: Array
    network: NDArray[np.intp]
    region: Region

    @property
    def network_name(self) -> str:
        """The network of the region with the simulated effect."""
        return list(NETWORKS)[int(self.network[-1])]

    @property
    def grey(self) -> float:
        """The grey-matter fraction of that region, by which the effect in its voxels is reduced."""
        inside = transform(np.argwhere(self.region.voxels).T.astype(np.float32), self.region.affine)
        return float(self.tissues_at(inside)[TISSUES.index("GM")].mean())

    def tissues_at(self, points: Array) -> Array:
        """Parts of GM, WM and CSF (3, N) at world points (3, N)."""
        voxels = transform(points, np.linalg.inv(self.affine))
        return np.stack([ndimage.map_coordinates(part, voxels, order=1) for part in self.tissues])

    def parcel_at(self, points: Array) -> NDArray[np.intp]:
        """The parcel (N,) at world points (3, N)."""
        voxels = transform(points, np.linalg.inv(self.labels_affine))
        parcels = ndimage.map_coordinates(self.labels, voxels, order=0, mode="nearest").astype(np.intp)
        return np.where(self.region.holds(points), len(self.network) - 1, parcels)


def prepare(brain: Brain, tissues: Array, region: Region, *, template_mm: float, resolution_mm: float) -> Function:
    """Smooth `tissues` (3, X, Y, Z), on the grid of `brain`, as a voxel does, and give the region its network.

    Raises UsageError for a region outside all parcels.
    """
    source = atlas.load("aal")
    order = sorted(source.names)
    numbers = np.zeros(max(order) + 1, np.int16)
    numbers[order] = np.arange(1, len(order) + 1)
    labelled = numbers[source.labels]
    nearest = ndimage.distance_transform_edt(labelled == 0, return_distances=False, return_indices=True)
    network = np.array([network_of(source.names[label]) for label in order])
    there = ndimage.map_coordinates(labelled, _region_voxels(region, source.affine), order=0)
    if not there.any():
        raise UsageError(
            f"--region {region.name} lies outside the cortex and the nuclei, where no BOLD effect is simulated"
        )
    network_of_region = np.bincount(network[there[there > 0] - 1]).argmax()
    return Function(
        tissues=smooth_tissues(tissues, template_mm=template_mm, resolution_mm=resolution_mm),
        affine=brain.affine,
        labels=(labelled[tuple(nearest)] - 1).astype(np.int16),
        labels_affine=source.affine,
        network=np.append(network, network_of_region),
        region=region,
    )


def smooth_tissues(tissues: Array, *, template_mm: float, resolution_mm: float) -> Array:
    """Tissues (3, X, Y, Z) as voxels of `resolution_mm` see them; as anatomy.prepare smooths the template."""
    sigma = float(np.sqrt(max((resolution_mm / template_mm) ** 2 - 1, 0) / 12))
    return np.stack([ndimage.gaussian_filter(part, sigma) for part in tissues])


def network_of(name: str) -> int:
    """Which of NETWORKS, from 0, a region of the AAL atlas belongs to."""
    return next(index for index, starts in enumerate(NETWORKS.values()) if name.startswith(starts))


def network_maps(shape: tuple[int, ...], affine: Array) -> NDArray[np.uint8]:
    """The networks (X, Y, Z, networks) on a grid of the template's space, 1 in their parcels and 0 elsewhere."""
    source = atlas.load("aal")
    labels = templates.nearest(source.labels, source.affine, (shape[0], shape[1], shape[2]), affine)
    maps = np.zeros((*shape, len(NETWORKS)), np.uint8)
    for label, name in source.names.items():
        maps[labels == label, network_of(name)] = 1
    return maps


def segment(values: Array, affine: Array, brain: Brain) -> Array:
    """Grey matter, white matter and CSF (3, X, Y, Z) of the template, on the grid of `brain`; 0 outside, their sum 1.

    By Bayes' rule: nilearn's priors of a sister template, and how likely an intensity is in each tissue, from normal
    distributions that fit the priors' own voxels and then, twice, the result.
    """
    start = np.rint(np.linalg.inv(affine) @ brain.affine[:, 3])[:3].astype(int)
    cropped = values[tuple(slice(low, low + size) for low, size in zip(start, brain.mask.shape, strict=True))]
    inside = cropped > 0
    at = transform(np.argwhere(inside).T.astype(np.float32), brain.affine)
    gm, wm = (_prior_at(at, tissue) for tissue in _PRIORS)
    prior = np.stack([gm, wm, np.clip(1 - gm - wm, 0, 1)]) + np.float32(0.01)
    share = prior[:, ::FIT_EVERY]
    seen = cropped[inside]
    for step in (FIT_EVERY, FIT_EVERY, 1):
        few, weight = seen[::FIT_EVERY], share / share.sum(axis=1, keepdims=True)
        mean = weight @ few
        variance = np.stack([part @ (few - centre) ** 2 for part, centre in zip(weight, mean, strict=True)])
        likely = np.exp(-((seen[::step] - mean[:, None]) ** 2) / (2 * variance[:, None])) / np.sqrt(variance[:, None])
        share = prior[:, ::step] * likely + np.float32(1e-6)
        share = share / share.sum(axis=0)
    whole = np.zeros((len(TISSUES), *inside.shape), np.float32)
    whole[:, inside] = share
    return whole


def _prior_at(points: Array, tissue: Literal["gm", "wm"]) -> Array:
    """How probable a tissue is at world points (3, N)."""
    prior = templates.tissue_prior(tissue)
    voxels = transform(points, np.linalg.inv(prior.affine))
    values: Array = ndimage.map_coordinates(prior.get_fdata(dtype=np.float32), voxels, order=1)
    return values


def _region_voxels(region: Region, affine: Array) -> Array:
    """The region's voxels (3, N) in those of another grid of the same world."""
    return transform(np.argwhere(region.voxels).T.astype(np.float32), np.linalg.inv(affine) @ region.affine)
