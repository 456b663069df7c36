"""What an ICA within folds needs, looked at before anything is computed: named networks, and series that agree."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import pandas as pd

from bids_app.dataset.folds import Split
from bids_app.errors import DataError
from bids_app.planning import available_maps, network_templates
from bids_app.settings import Settings

INNER = "inner"  # of the folds within a fold
FIRST = 5  # of many people, how many are named


@dataclass(frozen=True)
class Ica:
    """`maps`: those of the analysis that are fitted; `networks`: all of `file`, in its order; `gb`: of the largest run.

    `runs` counts the files of series.
    """

    maps: tuple[str, ...]
    networks: tuple[str, ...]
    file: Path
    sha256: str
    components: int
    gb: float
    runs: int

    @property
    def stated(self) -> dict[str, Any]:
        """What models and heatmaps say of it."""
        told = {"components": self.components, "networks": list(self.networks)}
        return {**told, "network_maps": self.file.name, "network_maps_sha256": self.sha256}


def make(used: pd.DataFrame, maps: tuple[str, ...], settings: Settings) -> Ica | None:
    """The plan of it, None where no map is fitted. Raises DataError for series or networks that cannot be used."""
    fitted = tuple(name for name in maps if available_maps.fitted(name))
    if not fitted:
        return None
    file, components = settings.participant.network_maps, settings.group.ica_components
    networks = network_templates.read_labels(file, "ica")
    if len(networks) > components:
        raise DataError(
            f"--network-maps {file.name} has {len(networks)} networks, and an ICA of {components} components cannot "
            "have one for each: raise --ica-components, or give fewer networks"
        )
    gb = check_series(used, fitted[0], components)
    runs = sum(map(len, used[fitted[0]]))
    return Ica(fitted, networks, file, hashlib.sha256(file.read_bytes()).hexdigest(), components, gb, runs)


def check_series(used: pd.DataFrame, name: str, components: int) -> float:
    """Look at the headers of all series; returns the size of the largest as float32, GB.

    Raises DataError where they lie on several grids, or have too few volumes for the dual regression.
    """
    first, odd, short, most = None, [], [], 0.0
    for person, files in zip(used["participant_id"], used[name], strict=True):
        for path in files:
            grid, shape = available_maps.grid(path), nib.load(path).shape
            first = first or grid
            odd += [f"sub-{person}"] if grid != first else []
            short += [f"sub-{person} ({shape[3]})"] if shape[3] < components + 2 else []
            most = max(most, math.prod(shape) * 4e-9)
    if odd:
        raise DataError(
            f"the series of {_some(odd)} do not lie on the grid of the others; run the participant level again with "
            "one --resolution and --output-space"
        )
    if short:
        raise DataError(
            f"{components} components need {components + 2} volumes, and these have fewer: {_some(short)}; lower "
            "--ica-components, raise --fd-threshold at the participant level, or --exclude them"
        )
    return most


def _some(people: list[str]) -> str:
    unique = list(dict.fromkeys(people))
    return ", ".join(unique[:FIRST]) + (f" and {len(unique) - FIRST} more" if len(unique) > FIRST else "")


def key(split: Split) -> str:
    """A fold in names of nodes and inputs."""
    return f"{split.repeat}_{split.fold}"


def within(split: Split) -> str:
    """What stands before the places of the inner folds of a split."""
    return f"{INNER}_{key(split)}_"
