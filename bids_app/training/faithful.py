"""Whether a heatmap foretells what a classifier does when regions are taken away, and whether it stands a little noise.

A region is taken away by setting it to the training mean, which is zero in scaled data.
"""

from types import ModuleType

import numpy as np
import torch
from captum.metrics import infidelity, sensitivity_max
from numpy.typing import NDArray

from bids_app.explainers._state import evaluating
from bids_app.training import heatmaps, loop
from bids_app.training.models import Model
from bids_app.training.prepare import People

ORDERS = 19  # random ones, so that a share of 1 is as rare as 1 in 20
STEPS = 10
PERTURBATIONS = 20
RADIUS, NOISES = 0.1, 4  # of the uniform noise, in training SDs


def measure(
    explainer: ModuleType, model: Model, people: People, targets: NDArray[np.integer], parcels: heatmaps.Parcels
) -> dict[str, float]:
    """Means over people of what is measured of each one's map of class `targets` (people,); parcels (voxels,).

    deletion: the share of random orders in which the class's lead over the others falls more slowly, on the whole,
    than when the regions that speak most for it go first; insertion: the share in which it grows more slowly than when
    they come first (Petsiuk et al. 2018, BMVC, doi:10.48550/arXiv.1806.07421, there by pixels). infidelity: what share
    of the squared changes of the logit, when random halves of the regions go, the map at its best scale does not
    foretell (Yeh et al. 2019, NeurIPS, doi:10.48550/arXiv.1901.09392; captum). max_sensitivity: the most that a map
    changes with noise of up to 0.1 SD, as a share of its norm (there too). Without regions only the last.
    """
    box = model.preparation.grid.cropped
    regions = None if parcels is None or not parcels.any() else box.volume(parcels)
    found = []
    with evaluating(model.module), loop.seeded(model.seed, model.device):
        for row, target in enumerate(targets.tolist()):
            x = model.tensor(people, row)
            told = {"max_sensitivity": _sensitivity(explainer, model, x, target, parcels)}
            if regions is not None:
                person = Person(model, x, target, regions if x.ndim > 1 else regions[box.mask])
                speaking = person.contributions(explainer, heatmaps.one(explainer, model, x, target, parcels))
                told |= person.orders(speaking) | {"infidelity": person.infidelity(speaking)}
            found.append(told)
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}


class Person:
    """x, one person, before a classifier's class `target`; regions can be taken away, 0 being none.

    regions: (X, Y, Z) for x (channels, X, Y, Z), (voxels,) for x (channels * voxels,).
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

    def contributions(self, explainer: ModuleType, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """What a map (voxels,) says that each region adds to the logit, (regions,); of slopes, slope times value."""
        mask = self.model.preparation.grid.cropped.mask
        places = self.places.cpu().numpy()
        at = places[mask] if places.ndim > 1 else places
        if getattr(explainer, "SLOPE", False):
            voxels = self.x.reshape(-1, *places.shape).sum(dim=0).cpu().numpy()
            values = values * (voxels[mask] if places.ndim > 1 else voxels)
        return np.asarray(np.bincount(at, weights=values, minlength=self.count + 1)[1:], np.float64)

    def orders(self, speaking: NDArray[np.float64]) -> dict[str, float]:
        """Shares of random orders that do worse than the regions by what they add (regions,), the most first."""
        random = np.random.default_rng(self.model.seed)
        own = np.argsort(-speaking, kind="stable")
        areas = np.array([self._area(random.permutation(self.count)) for _ in range(ORDERS)])
        # an order's insertion is the deletion of its reverse, so that one set of random orders serves both
        return {
            "deletion": float(np.mean(areas > self._area(own))),
            "insertion": float(np.mean(areas < self._area(own[::-1]))),
        }

    def _area(self, order: NDArray[np.integer]) -> float:
        """The class's mean lead over the other classes' mean while regions go in this order, in ten steps."""
        ends = np.linspace(0, len(order), STEPS + 1).round().astype(int)[1:]
        gates = torch.ones(STEPS, self.count)
        for step, end in enumerate(ends):
            gates[step, order[:end].copy()] = 0
        logits = self.logits(gates).numpy()
        return float(np.mean(logits[:, self.target] - np.delete(logits, self.target, axis=1).mean(axis=1)))

    def infidelity(self, speaking: NDArray[np.float64]) -> float:
        """Captum's infidelity of what regions add (regions,), at its best scale, over the squared changes."""
        changes: list[torch.Tensor] = []
        whole = self.logits(torch.ones(1, self.count))

        def perturb(gates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            gone = (torch.rand(gates.shape) < 0.5).double()
            changes.append((whole - self.logits(gates - gone))[:, self.target])
            return gone, gates - gone

        ones, given = torch.ones(1, self.count).double(), torch.from_numpy(speaking)[None]
        missed = infidelity(
            self.logits, perturb, ones, given, target=self.target, n_perturb_samples=PERTURBATIONS, normalize=True
        )
        size = float(torch.cat(changes).square().mean())
        return float(missed) / size if size else float("nan")


def _sensitivity(explainer: ModuleType, model: Model, x: torch.Tensor, target: int, parcels: heatmaps.Parcels) -> float:
    def maps(given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        rows = [heatmaps.one(explainer, model, each, target, parcels) for each in given[0]]
        return (torch.from_numpy(np.stack(rows)),)

    found = sensitivity_max(maps, (x[None],), perturb_radius=RADIUS, n_perturb_samples=NOISES)
    return float(found)
