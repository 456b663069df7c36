"""A trained classifier with its fitted feature pipeline; saved as safetensors and TOML, without participant names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as to_bytes

from bids_app import __version__, catalogue
from bids_app.classifiers._voxel_grid import VoxelGrid
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError
from bids_app.training.feature_pipeline import FeaturePipeline, Samples
from bids_app.training.model_metadata import (
    METADATA_FILE,
    MODEL_FORMAT,
    WEIGHTS_FILE,
    file_sha256,
    read_arrays,
    read_metadata,
)


@dataclass(frozen=True, eq=False)
class Model:
    """One fold's classifier, by name, and its `module`, which maps features to logits (batch, classes)."""

    cell: str
    classifier: str
    classes: tuple[str, ...]
    pipeline: FeaturePipeline
    module: torch.nn.Module
    seed: int
    settings: Mapping[str, Any]
    repeat: int
    fold: int
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, samples: Samples) -> NDArray[np.float64]:
        """Return probabilities (samples, classes), the softmax of the logits, of samples before the feature pipeline.

        Samples are processed one at a time, so that predictions do not depend on the batch.
        """
        rows = []
        self.module.eval()
        with torch.inference_mode():
            for row in range(len(samples)):
                logits = self.module(self.tensor(samples, row)[None])[0]
                rows.append(torch.softmax(logits.double(), dim=0).cpu().numpy())
        return np.array(rows).reshape(len(samples), len(self.classes))

    def tensor(self, samples: Samples, row: int) -> torch.Tensor:
        """Return a sample's features on the device: (channels, X, Y, Z) or (channels * voxels,)."""
        prepared = self.pipeline.transform(samples.select(slice(row, row + 1)))
        if self.module.input_format == "volumes":
            prepared = self.pipeline.to_volumes(prepared)
        return torch.from_numpy(prepared[0]).to(self.device)


def build(
    classifier: str, pipeline: FeaturePipeline, classes: int, *, seed: int, options: Mapping[str, Any] | None = None
) -> torch.nn.Module:
    """Build an untrained module of the catalogue for the pipeline's features; options: those of its `build`."""
    part = catalogue.load("classifiers", classifier)
    box = pipeline.grid.seen
    shape = (box.voxels,) if part.INPUT_FORMAT == "vectors" else box.mask.shape
    arguments: dict[str, Any] = {"voxel_mm": box.voxel_mm, "seed": seed, **(options or {})}
    module: torch.nn.Module = part.build(len(pipeline.maps), classes, shape, **arguments)
    return module


def places(grid: Grid) -> VoxelGrid:
    """Return where the voxels of a feature vector lie, as classifiers take it."""
    return VoxelGrid(np.argwhere(grid.mask), grid.voxel_mm, grid.regions)


def save(model: Model, folder: Path) -> None:
    """Write weights, fitted arrays and mask to `weights.safetensors`, the rest to `model.toml`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"classifier.{name}": tensor.cpu().numpy() for name, tensor in model.module.state_dict().items()}
    pipeline = model.pipeline
    arrays = state | dict(pipeline.arrays) | {"grid.mask": pipeline.grid.mask}
    # safetensors' own writer makes a file that only its owner can read
    content = to_bytes({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})
    (folder / WEIGHTS_FILE).write_bytes(content)
    card = {
        "format": MODEL_FORMAT,
        "pellucid_version": __version__,
        "cell": model.cell,
        "classifier": model.classifier,
        **({"options": dict(model.options)} if model.options else {}),
        "maps": list(pipeline.maps),
        "classes": list(model.classes),
        "seed": model.seed,
        "repeat": model.repeat,
        "fold": model.fold,
        "weights_sha256": file_sha256(folder / WEIGHTS_FILE),
        "grid": {
            "shape": list(pipeline.grid.mask.shape),
            "affine": pipeline.grid.affine.tolist(),
            "whole": pipeline.grid.whole,
        },
        "adjust": {map_name: list(columns) for map_name, columns in pipeline.columns.items()},
        **({} if pipeline.keep is None else {"combat_keep": list(pipeline.keep)}),
        "settings": dict(model.settings),
    }
    (folder / METADATA_FILE).write_text(tomli_w.dumps(card), encoding="utf-8")


def load(folder: Path, *, device: str = "cpu") -> Model:
    """Read what `save` wrote.

    Raises as `model_metadata.read_arrays`, and DataError where the weights are not those of the classifier.
    """
    card = read_metadata(folder)
    arrays = read_arrays(folder)
    grid = Grid(arrays.pop("grid.mask"), np.array(card["grid"]["affine"]), card["grid"]["whole"])
    fitted = {name: array for name, array in arrays.items() if not name.startswith("classifier.")}
    columns = {map_name: tuple(names) for map_name, names in card["adjust"].items()}
    keep = tuple(card["combat_keep"]) if "combat_keep" in card else None
    pipeline = FeaturePipeline(tuple(card["maps"]), columns, grid, fitted, keep)
    options = card.get("options", {})
    state = {
        name.removeprefix("classifier."): torch.from_numpy(array)
        for name, array in arrays.items()
        if name not in fitted
    }
    try:
        module = build(card["classifier"], pipeline, len(card["classes"]), seed=card["seed"], options=options)
        module.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise DataError(
            f"{folder / METADATA_FILE} and {WEIGHTS_FILE} do not make a {card['classifier']} ({reason}); copy the "
            "model again"
        ) from error
    return Model(
        card["cell"],
        card["classifier"],
        tuple(card["classes"]),
        pipeline,
        module.to(device).eval(),
        card["seed"],
        card["settings"],
        card["repeat"],
        card["fold"],
        device,
        options,
    )
