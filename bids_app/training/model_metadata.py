"""Metadata of trained models: `model.toml` beside the weights, and `cell.toml` above the folds; read without torch."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bids_app.bids import images
from bids_app.errors import DataError, MissingInputError
from bids_app.text_files import find_mismatch, read_toml

WEIGHTS_FILE, METADATA_FILE, CELL_FILE = "weights.safetensors", "model.toml", "cell.toml"
MODEL_FORMAT = (
    1  # of the weights and of model.toml, and of how maps are prepared: a change of any of these is a new one
)
# what is read from these files, by type
SCHEMA = {
    "cell": str, "classifier": str, "maps": [str], "classes": [str], "seed": int, "repeat": int, "fold": int,
    "weights_sha256": str, "grid": {"shape": [int], "affine": [[float]], "whole": bool}, "adjust": {"*": [str]},
    "settings": {},
}  # fmt: skip
SETTINGS_SCHEMA = {
    "folds_sha256": str, "levels": {"*": [str]}, "made": {"*": {}}, "smoothing_mm": {"*": float}, "map_form": {"*": str}
}  # fmt: skip
CELL_SCHEMA = {
    "verdict": {"kind": str, "claim": bool, "text": str},
    "training": {"people": {"*": int}},
    "files": {"*": str},
}


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read one model's metadata.

    Raises MissingInputError when a file is missing, DataError when the weights do not match the metadata or the model
    has another format.
    """
    lacking = [name for name in (WEIGHTS_FILE, METADATA_FILE) if not (folder / name).is_file()]
    if lacking:
        raise MissingInputError(
            f"{folder} has no {' and no '.join(lacking)}; specify the folder of a model that was written by the "
            "group level"
        )
    card = read_toml(str(folder / METADATA_FILE), folder / METADATA_FILE, error=DataError)
    if card.get("format") != MODEL_FORMAT:
        raise DataError(
            f"{folder / METADATA_FILE} is of format {card.get('format', 'unknown')} "
            f"(Pellucid {card.get('pellucid_version')}), and this version reads format {MODEL_FORMAT}: "
            "apply the model with the version that trained it"
        )
    _check_types(card, SCHEMA, folder / METADATA_FILE)
    _check_grid(card["grid"], folder / METADATA_FILE)
    if card["weights_sha256"] != file_sha256(folder / WEIGHTS_FILE):
        raise DataError(f"{folder / WEIGHTS_FILE} is not the file that {METADATA_FILE} describes; copy the model again")
    return card


def find_models(root: Path) -> dict[str, dict[Path, dict[str, Any]]]:
    """Return the models under a folder, by cell: fold folder -> card, in order of repeat and fold.

    `root` may be an analysis, its `models`, or one cell's folder. Raises as `read_metadata` does, MissingInputError
    where there is no model, and DataError where the models of one cell differ in their inputs.
    """
    if not root.is_dir():
        raise MissingInputError(f"--model: there is no folder {root}")
    models: dict[str, dict[Path, dict[str, Any]]] = {}
    for file in root.rglob(METADATA_FILE):
        card = read_metadata(file.parent)
        _check_types(card["settings"], SETTINGS_SCHEMA, file)
        _check_maps(card, file)
        models.setdefault(card["cell"], {})[file.parent] = card
    if not models:
        raise MissingInputError(
            f"--model: there is no {METADATA_FILE} in {root}; specify group/ANALYSIS/models of a trained analysis"
        )
    for cell, cards in models.items():
        first = next(iter(cards.values()))
        for key in ("classes", "maps", "grid", "settings", "adjust"):
            if any(card[key] != first[key] for card in cards.values()):
                raise DataError(
                    f"--model: the fold models of {cell} in {root} differ in {key}; specify a single analysis"
                )
        if len({(card["repeat"], card["fold"]) for card in cards.values()}) < len(cards):
            raise DataError(f"--model: {cell} has several models of the same fold in {root}; specify a single analysis")
    return {
        cell: dict(sorted(models[cell].items(), key=lambda entry: (entry[1]["repeat"], entry[1]["fold"])))
        for cell in sorted(models)
    }


def compute_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the models in a cell's folder, by path from there; without CELL_FILE."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CELL_FILE)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def read_cell_metadata(models: Mapping[Path, dict[str, Any]], *, root: Path) -> dict[str, Any]:
    """Read the metadata shared by all models of a cell: `verdict`, `training` (`compute_ranges`) and `files`.

    root: as in `find_models`; where it is the folder of one fold, the other folds may be missing. Raises
    MissingInputError where the file is missing above the folds; DataError where it cannot be read, or where a file of
    the models is missing, differs from that which training wrote, or was added.
    """
    file = next(iter(models)).parent / CELL_FILE
    if not file.is_file():
        raise MissingInputError(f"--model: {CELL_FILE} is not in {file.parent}; copy the complete folder of the model")
    facts = read_cell_file(file)
    if root in models:
        there = {f"{root.name}/{name}": digest for name, digest in compute_digests(root).items()}
        written = {name: digest for name, digest in facts["files"].items() if name.startswith(f"{root.name}/")}
    else:
        there, written = compute_digests(file.parent), facts["files"]
    if changed := sorted(name for name in {*there, *written} if there.get(name) != written.get(name)):
        raise DataError(
            f"--model: {', '.join(changed[:3])} in {file.parent} "
            f"{'differs' if len(changed) == 1 else f'and {len(changed)} files in all differ'} from what training wrote "
            f"({CELL_FILE}); copy the complete folder of the model again"
        )
    return facts


def read_cell_file(file: Path) -> dict[str, Any]:
    """Read CELL_FILE without comparing the models with its digests. Raises as `read_cell_metadata` for its content."""
    facts = read_toml(str(file), file, error=DataError)
    _check_types(facts, CELL_SCHEMA, file)
    return facts


def read_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Read the weights and the fitted arrays of a model.

    Raises DataError for a file that safetensors did not write, for numbers that are not finite, and without the mask of
    the grid that the metadata state.
    """
    file, shape = folder / WEIGHTS_FILE, read_metadata(folder)["grid"]["shape"]
    try:
        arrays = load_file(file)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{file} cannot be read ({error}); copy the model again") from error
    mask = arrays.get("grid.mask")
    if mask is None or mask.dtype != np.bool_ or list(mask.shape) != shape or not mask.any():
        raise DataError(f"{file} has no mask of the shape {shape}, which {METADATA_FILE} states; copy the model again")
    if odd := [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]:
        raise DataError(f"{file}: {', '.join(odd[:3])} has numbers that are not finite; train the model again")
    return arrays


def read_mask(folder: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Read a model's mask (X, Y, Z) and its affine."""
    return read_arrays(folder)["grid.mask"], np.array(read_metadata(folder)["grid"]["affine"])


def _check_types(table: dict[str, Any], schema: Mapping[str, Any], file: Path) -> None:
    """Raise DataError for a key that is missing or of a wrong type."""
    if wrong := find_mismatch(table, schema, "its table"):
        raise DataError(f"{file} is not as the group level wrote it: {wrong}; copy the model again")


def _check_grid(grid: dict[str, Any], file: Path) -> None:
    """Raise DataError unless a grid has three lengths above 0 and an affine of 4 by 4 finite numbers."""
    shape, affine = grid["shape"], grid["affine"]
    if len(shape) != 3 or min(shape) < 1 or [len(row) for row in affine] != [4, 4, 4, 4]:
        raise DataError(f"{file} has no grid of three axes with an affine of 4 by 4 numbers; copy the model again")
    images.check_affine(str(file), np.array(affine, float))


def _check_maps(card: dict[str, Any], file: Path) -> None:
    """Raise DataError where the settings of a map are missing."""
    settings = card["settings"]
    tables = {"adjust": card["adjust"], **{name: settings[name] for name in ("made", "smoothing_mm", "map_form")}}
    for table, entries in tables.items():
        if lacking := [name for name in card["maps"] if name not in entries]:
            raise DataError(f"{file}: {table} has no {', '.join(lacking)}; copy the model again")
    if "combat_keep" in card:
        _check_types(settings, {"sites": [str]}, file)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
