"""Faithfulness of heatmaps: whether they predict the effect of removing regions, and whether they are robust to noise.

A region is removed by setting it to the training mean, which is zero in scaled data.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from captum.metrics import sensitivity_max
from numpy.typing import NDArray

from bids_app.training import heatmaps, loop
from bids_app.training.feature_pipeline import Samples
from bids_app.training.models import Model

RANDOM_ORDERS = 19  # so that outperforming all of them has p = 1 / 20
STEPS = 10
PERTURBATIONS = 20
NOISE_RADIUS, NOISE_SAMPLES = 0.1, 4  # of the uniform noise, in training SDs


class OccludedSample:
    """A sample's features x, from which regions can be removed, and the class `target` whose logit is examined.

    regions: (X, Y, Z) for x (channels, X, Y, Z), (voxels,) for x (channels * voxels,), 0 for none. Random numbers are
    drawn once, from the model's seed, so that all methods are compared on the same ones.
    """

    def __init__(self, model: Model, x: torch.Tensor, target: int, regions: NDArray[np.integer]) -> None:
        self.model, self.x, self.target = model, x, target
        names, places = np.unique(regions, return_inverse=True)
        first = int(names[0] != 0)  # index 0 is for voxels outside all regions, whether there are any or not
        self.places = torch.from_numpy(places.reshape(regions.shape) + first).to(x.device)
        self.count = len(names) - 1 + first

    def logits(self, gates: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes) of the sample with each region multiplied by its gate (n, regions), row by row."""
        voxels = self.x.reshape(-1, *self.places.shape)
        scales = torch.cat([torch.ones(len(gates), 1), gates], dim=1).to(self.x)
        with torch.no_grad():
            rows = [self.model.module((voxels * scale[self.places]).reshape(1, *self.x.shape))[0] for scale in scales]
        return torch.stack(rows).double().cpu()

    def contributions(self, explainer: heatmaps.Explainer, values: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Return what each region adds to the logit according to a map (voxels,), (regions,), or None.

        Maps of slopes are multiplied by the values, which is impossible once several channels are summed: then None.
        """
        mask, places = self.model.pipeline.grid.seen.mask, self.places.cpu().numpy()
        at = places[mask] if places.ndim > 1 else places
        if getattr(explainer, "SENSITIVITY", False):
            voxels = self.x.reshape(-1, *places.shape).cpu().numpy()
            if len(voxels) > 1:
                return None
            values = values * (voxels[0][mask] if places.ndim > 1 else voxels[0])
        sums = np.bincount(at, weights=values, minlength=self.count + 1)[1:]
        if getattr(explainer, "REGIONWISE", False):
            sums = sums / np.maximum(np.bincount(at, minlength=self.count + 1)[1:], 1)
        return np.asarray(sums, np.float64)

    def orders(self, contributions: NDArray[np.float64]) -> dict[str, float]:
        """Return the shares of random orders that do worse than the regions by decreasing contribution (regions,)."""
        order = np.argsort(-contributions, kind="stable")
        # an order's insertion is the deletion of its reverse, so that one set of random orders serves both
        return {
            "deletion": float(np.mean(self._random_areas > self._area(order))),
            "insertion": float(np.mean(self._random_areas < self._area(order[::-1]))),
        }

    @cached_property
    def _random_areas(self) -> NDArray[np.float64]:
        random = np.random.default_rng(self.model.seed)
        return np.array([self._area(random.permutation(self.count)) for _ in range(RANDOM_ORDERS)])

    def _area(self, order: NDArray[np.integer]) -> float:
        """Return the mean margin of the class over the mean of the others while regions are removed in ten steps."""
        ends = np.linspace(0, len(order), STEPS + 1).round().astype(int)[1:]
        gates = torch.ones(STEPS, self.count)
        for step, end in enumerate(ends):
            gates[step, order[:end].copy()] = 0
        logits = self.logits(gates).numpy()
        return float(np.mean(logits[:, self.target] - np.delete(logits, self.target, axis=1).mean(axis=1)))

    @cached_property
    def perturbed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Which regions are removed, (n, regions), each with probability 0.5, and by how much the logit falls, (n,)."""
        removed = np.random.default_rng(self.model.seed).integers(0, 2, (PERTURBATIONS, self.count)).astype(np.float64)
        logits = self.logits(torch.cat([torch.ones(1, self.count), torch.from_numpy(1 - removed).float()]))
        return removed, (logits[0, self.target] - logits[1:, self.target]).numpy()

    def infidelity(self, contributions: NDArray[np.float64]) -> float:
        """Return the share of the squared logit changes not explained by the optimally scaled contributions (regions,);
        NaN where the logit does not change.
        """
        removed, falls = self.perturbed
        predicted = removed @ contributions
        if not falls.any():
            return float("nan")
        return (
            float(1 - (predicted @ falls) ** 2 / ((predicted @ predicted) * (falls @ falls)))
            if predicted.any()
            else 1.0
        )


def make_occluded_samples(
    model: Model, samples: Samples, targets: NDArray[np.integer], parcels: heatmaps.Parcels
) -> list[OccludedSample]:
    """Return an `OccludedSample` for each sample and its class `targets` (samples,); parcels (voxels,): the regions."""
    box = model.pipeline.grid.seen
    regions = box.volume(np.zeros(box.voxels, np.int32) if parcels is None else parcels)
    occluded = []
    for row, target in enumerate(targets.tolist()):
        x = model.tensor(samples, row)
        occluded.append(OccludedSample(model, x, target, regions if x.ndim > 1 else regions[box.mask]))
    return occluded


def measure_faithfulness(
    explainer: heatmaps.Explainer, samples: Sequence[OccludedSample], parcels: heatmaps.Parcels
) -> dict[str, float]:
    """Return the means over samples of each sample's faithfulness measures.

    deletion: the share of random orders in which the margin of the class falls more slowly, on average, than when the
    regions with the largest contributions are removed first; insertion: the share in which it grows more slowly than
    when they are added first (Petsiuk et al. 2018, BMVC, doi:10.48550/arXiv.1806.07421, there by pixels). infidelity:
    the share of the squared logit changes, when random halves of the regions are removed, that the optimally scaled map
    does not explain (Yeh et al. 2019, NeurIPS, doi:10.48550/arXiv.1901.09392). max_sensitivity: the largest change of
    the map under noise of up to 0.1 SD, relative to its norm (ibid.; captum). With fewer than two regions, and for
    slopes of several maps, only max_sensitivity.
    """
    rows = []
    for sample in samples:
        measures = {"max_sensitivity": _max_sensitivity(explainer, sample, parcels)}
        contributions = sample.contributions(
            explainer, heatmaps.explain(explainer, sample.model, sample.x, sample.target, parcels)
        )
        if contributions is not None and sample.count > 1:
            measures |= sample.orders(contributions) | {"infidelity": sample.infidelity(contributions)}
        rows.append(measures)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _max_sensitivity(explainer: heatmaps.Explainer, sample: OccludedSample, parcels: heatmaps.Parcels) -> float:
    model, x = sample.model, sample.x
    inside = torch.from_numpy(model.pipeline.grid.seen.mask).to(x.device) if x.ndim > 1 else torch.ones(1).to(x)

    def maps(inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        rows = [heatmaps.explain(explainer, model, each, sample.target, parcels) for each in inputs[0]]
        return (torch.from_numpy(np.stack(rows)),)

    def perturb(inputs: torch.Tensor, radius: float) -> tuple[torch.Tensor]:
        return (inputs + inside * (2 * torch.rand_like(inputs) - 1) * radius,)

    with loop.fixed_seed(model.seed, model.device):
        return float(sensitivity_max(maps, (x[None],), perturb, NOISE_RADIUS, NOISE_SAMPLES))
