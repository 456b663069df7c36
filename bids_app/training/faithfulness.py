"""Whether a heatmap foretells what a classifier does when regions are taken away, and whether it stands a little noise.

A region is taken away by setting it to the training mean, which is zero in scaled data.
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

RANDOM_ORDERS = 19  # random ones, so that a share of 1 is as rare as 1 in 20
STEPS = 10
PERTURBATIONS = 20
NOISE_RADIUS, NOISE_SAMPLES = 0.1, 4  # of the uniform noise, in training SDs


class OccludedSample:
    """One person's prepared x before a classifier's class `target`, from which regions can be taken away.

    regions: (X, Y, Z) for x (channels, X, Y, Z), (voxels,) for x (channels * voxels,), 0 for none. What is random is
    drawn once, from the model's seed, so that all methods meet the same.
    """

    def __init__(self, model: Model, x: torch.Tensor, target: int, regions: NDArray[np.integer]) -> None:
        self.model, self.x, self.target = model, x, target
        names, places = np.unique(regions, return_inverse=True)
        first = int(names[0] != 0)  # the place of what lies in no region is 0, whether there is any or not
        self.places = torch.from_numpy(places.reshape(regions.shape) + first).to(x.device)
        self.count = len(names) - 1 + first

    def logits(self, gates: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes) of the person with each region times its gate (n, regions), one after the other."""
        voxels = self.x.reshape(-1, *self.places.shape)
        scales = torch.cat([torch.ones(len(gates), 1), gates], dim=1).to(self.x)
        with torch.no_grad():
            rows = [self.model.module((voxels * one[self.places]).reshape(1, *self.x.shape))[0] for one in scales]
        return torch.stack(rows).double().cpu()

    def contributions(self, explainer: heatmaps.Explainer, values: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """What a map (voxels,) says that each region adds to the logit, (regions,); None where it does not say.

        Of slopes: slope times value, which a map summed over several channels no longer tells.
        """
        mask, places = self.model.preparation.grid.seen.mask, self.places.cpu().numpy()
        at = places[mask] if places.ndim > 1 else places
        if getattr(explainer, "SLOPE", False):
            voxels = self.x.reshape(-1, *places.shape).cpu().numpy()
            if len(voxels) > 1:
                return None
            values = values * (voxels[0][mask] if places.ndim > 1 else voxels[0])
        found = np.bincount(at, weights=values, minlength=self.count + 1)[1:]
        if getattr(explainer, "WHOLE", False):
            found = found / np.maximum(np.bincount(at, minlength=self.count + 1)[1:], 1)
        return np.asarray(found, np.float64)

    def orders(self, speaking: NDArray[np.float64]) -> dict[str, float]:
        """Shares of random orders that do worse than the regions by what they add (regions,), the most first."""
        own = np.argsort(-speaking, kind="stable")
        # an order's insertion is the deletion of its reverse, so that one set of random orders serves both
        return {
            "deletion": float(np.mean(self._random_areas > self._area(own))),
            "insertion": float(np.mean(self._random_areas < self._area(own[::-1]))),
        }

    @cached_property
    def _random_areas(self) -> NDArray[np.float64]:
        random = np.random.default_rng(self.model.seed)
        return np.array([self._area(random.permutation(self.count)) for _ in range(RANDOM_ORDERS)])

    def _area(self, order: NDArray[np.integer]) -> float:
        """The class's mean lead over the other classes' mean while regions go in this order, in ten steps."""
        ends = np.linspace(0, len(order), STEPS + 1).round().astype(int)[1:]
        gates = torch.ones(STEPS, self.count)
        for step, end in enumerate(ends):
            gates[step, order[:end].copy()] = 0
        logits = self.logits(gates).numpy()
        return float(np.mean(logits[:, self.target] - np.delete(logits, self.target, axis=1).mean(axis=1)))

    @cached_property
    def perturbed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Which regions go, (n, regions), each with probability one half, and how much the logit falls, (n,)."""
        gone = np.random.default_rng(self.model.seed).integers(0, 2, (PERTURBATIONS, self.count)).astype(np.float64)
        logits = self.logits(torch.cat([torch.ones(1, self.count), torch.from_numpy(1 - gone).float()]))
        return gone, (logits[0, self.target] - logits[1:, self.target]).numpy()

    def infidelity(self, speaking: NDArray[np.float64]) -> float:
        """The squared falls of the logit that what regions add (regions,) does not foretell at its best scale, as a
        share; NaN where nothing falls.
        """
        gone, falls = self.perturbed
        foretold = gone @ speaking
        if not falls.any():
            return float("nan")
        return float(1 - (foretold @ falls) ** 2 / ((foretold @ foretold) * (falls @ falls))) if foretold.any() else 1.0


def make_occluded_samples(
    model: Model, people: Samples, targets: NDArray[np.integer], parcels: heatmaps.Parcels
) -> list[OccludedSample]:
    """Each of some people before class `targets` (people,); parcels (voxels,): regions, all in none without them."""
    box = model.preparation.grid.seen
    regions = box.volume(np.zeros(box.voxels, np.int32) if parcels is None else parcels)
    made = []
    for row, target in enumerate(targets.tolist()):
        x = model.tensor(people, row)
        made.append(OccludedSample(model, x, target, regions if x.ndim > 1 else regions[box.mask]))
    return made


def measure_faithfulness(
    explainer: heatmaps.Explainer, some: Sequence[OccludedSample], parcels: heatmaps.Parcels
) -> dict[str, float]:
    """Means over people of what is measured of each one's map.

    deletion: the share of random orders in which the class's lead over the others falls more slowly, on the whole,
    than when the regions that speak most for it go first; insertion: the share in which it grows more slowly than when
    they come first (Petsiuk et al. 2018, BMVC, doi:10.48550/arXiv.1806.07421, there by pixels). infidelity: what share
    of the squared changes of the logit, when random halves of the regions go, the map at its best scale does not
    foretell (Yeh et al. 2019, NeurIPS, doi:10.48550/arXiv.1901.09392). max_sensitivity: the most that a map changes
    with noise of up to 0.1 SD, as a share of its norm (there too; captum). With fewer than two regions, and of slopes
    of several maps, only the last.
    """
    found = []
    for one in some:
        told = {"max_sensitivity": _max_sensitivity(explainer, one, parcels)}
        speaking = one.contributions(explainer, heatmaps.explain(explainer, one.model, one.x, one.target, parcels))
        if speaking is not None and one.count > 1:
            told |= one.orders(speaking) | {"infidelity": one.infidelity(speaking)}
        found.append(told)
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}


def _max_sensitivity(explainer: heatmaps.Explainer, person: OccludedSample, parcels: heatmaps.Parcels) -> float:
    model, x = person.model, person.x
    inside = torch.from_numpy(model.preparation.grid.seen.mask).to(x.device) if x.ndim > 1 else torch.ones(1).to(x)

    def maps(given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        rows = [heatmaps.explain(explainer, model, each, person.target, parcels) for each in given[0]]
        return (torch.from_numpy(np.stack(rows)),)

    def perturb(given: torch.Tensor, radius: float) -> tuple[torch.Tensor]:
        return (given + inside * (2 * torch.rand_like(given) - 1) * radius,)

    with loop.fixed_seed(model.seed, model.device):
        return float(sensitivity_max(maps, (x[None],), perturb, NOISE_RADIUS, NOISE_SAMPLES))
