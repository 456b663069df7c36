"""A trained classifier with everything that was fitted for it; saved as safetensors and TOML, without anyone's name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from bids_app import __version__, catalogue
from bids_app.classifiers._places import Places
from bids_app.dataset.grid import Grid
from bids_app.training.feature_pipeline import FeaturePipeline, Samples
from bids_app.training.model_metadata import METADATA_FILE, MODEL_FORMAT, WEIGHTS_FILE, file_sha256, read_metadata


@dataclass(frozen=True, eq=False)
class Model:
    """One fold's classifier, by name, and its `module`, from prepared people to logits (batch, classes)."""

    cell: str
    classifier: str
    classes: tuple[str, ...]
    preparation: FeaturePipeline
    module: torch.nn.Module
    seed: int
    settings: Mapping[str, Any]
    repeat: int
    fold: int
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, people: Samples) -> NDArray[np.float64]:
        """Probabilities (people, classes), the softmax of the logits, of people as they are before preparation.

        They go through one at a time, so that nobody's number depends on their company.
        """
        rows = []
        self.module.eval()
        with torch.inference_mode():
            for person in range(len(people)):
                logits = self.module(self.tensor(people, person)[None])[0]
                rows.append(torch.softmax(logits.double(), dim=0).cpu().numpy())
        return np.array(rows).reshape(len(people), len(self.classes))

    def tensor(self, people: Samples, person: int) -> torch.Tensor:
        """One person, prepared, on the device: (channels, X, Y, Z), or (channels * voxels,), as the module takes."""
        prepared = self.preparation.vectors(people.rows(slice(person, person + 1)))
        if self.module.takes == "volumes":
            prepared = self.preparation.volumes(prepared)
        return torch.from_numpy(prepared[0]).to(self.device)


def build(
    classifier: str, preparation: FeaturePipeline, classes: int, *, seed: int, options: Mapping[str, Any] | None = None
) -> torch.nn.Module:
    """An untrained module from the catalogue, for what the preparation gives; options: those of its `build`."""
    part = catalogue.load("classifiers", classifier)
    box = preparation.grid.seen
    shape = (box.voxels,) if part.TAKES == "vectors" else box.mask.shape
    given: dict[str, Any] = {"voxel_mm": box.voxel_mm, "seed": seed, **(options or {})}
    module: torch.nn.Module = part.build(len(preparation.maps), classes, shape, **given)
    return module


def places(grid: Grid) -> Places:
    """Where the voxels of a vector lie, as classifiers are told."""
    return Places(np.argwhere(grid.mask), grid.voxel_mm, grid.regions)


def save(model: Model, folder: Path) -> None:
    """Write weights, fitted arrays and mask to `weights.safetensors`, the rest to `model.toml`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"classifier.{name}": tensor.cpu().numpy() for name, tensor in model.module.state_dict().items()}
    preparation = model.preparation
    arrays = state | dict(preparation.arrays) | {"grid.mask": preparation.grid.mask}
    # its own writer would make a file that only its owner can read
    content = to_bytes({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})
    (folder / WEIGHTS_FILE).write_bytes(content)
    card = {
        "format": MODEL_FORMAT,
        "pellucid_version": __version__,
        "cell": model.cell,
        "classifier": model.classifier,
        **({"options": dict(model.options)} if model.options else {}),
        "maps": list(preparation.maps),
        "classes": list(model.classes),
        "seed": model.seed,
        "repeat": model.repeat,
        "fold": model.fold,
        "weights_sha256": file_sha256(folder / WEIGHTS_FILE),
        "grid": {
            "shape": list(preparation.grid.mask.shape),
            "affine": preparation.grid.affine.tolist(),
            "whole": preparation.grid.whole,
        },
        "adjust": {one: list(columns) for one, columns in preparation.columns.items()},
        **({} if preparation.keep is None else {"combat_keep": list(preparation.keep)}),
        "settings": dict(model.settings),
    }
    (folder / METADATA_FILE).write_text(tomli_w.dumps(card), encoding="utf-8")


def load(folder: Path, *, device: str = "cpu") -> Model:
    """Read what `save` wrote.

    Raises as `model_metadata.read_metadata`.
    """
    card = read_metadata(folder)
    arrays = load_file(folder / WEIGHTS_FILE)
    grid = Grid(arrays.pop("grid.mask"), np.array(card["grid"]["affine"]), card["grid"]["whole"])
    fitted = {name: array for name, array in arrays.items() if not name.startswith("classifier.")}
    columns = {one: tuple(names) for one, names in card["adjust"].items()}
    keep = tuple(card["combat_keep"]) if "combat_keep" in card else None
    preparation = FeaturePipeline(tuple(card["maps"]), columns, grid, fitted, keep)
    options = card.get("options", {})
    module = build(card["classifier"], preparation, len(card["classes"]), seed=card["seed"], options=options)
    module.load_state_dict(
        {
            name.removeprefix("classifier."): torch.from_numpy(array)
            for name, array in arrays.items()
            if name not in fitted
        }
    )
    return Model(
        card["cell"],
        card["classifier"],
        tuple(card["classes"]),
        preparation,
        module.to(device).eval(),
        card["seed"],
        card["settings"],
        card["repeat"],
        card["fold"],
        device,
        options,
    )
