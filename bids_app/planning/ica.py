"""The plan of an ICA within folds, checked before anything is computed."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bids_app.bids.names import participant_name
from bids_app.dataset.folds import Split
from bids_app.errors import DataError
from bids_app.planning import available_maps, network_templates
from bids_app.planning.group_records import IcaSettings
from bids_app.preprocess.conform import read_image
from bids_app.settings import Settings

INNER = "inner"  # of the folds within a fold
MAX_NAMED = 5  # participants named in a message


@dataclass(frozen=True)
class IcaPlan:
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
    def settings(self) -> IcaSettings:
        """Its metadata for models and heatmaps."""
        return {
            "components": self.components,
            "networks": list(self.networks),
            "network_maps": self.file.name,
            "network_maps_sha256": self.sha256,
        }


def plan_ica(used: pd.DataFrame, maps: tuple[str, ...], settings: Settings) -> IcaPlan | None:
    """The plan; None if no map is fitted. Raises DataError for unusable series or networks."""
    fitted = tuple(name for name in maps if available_maps.is_fitted(name))
    if not fitted:
        return None
    file, components = settings.participant.network_templates, settings.group.ica_components
    networks = network_templates.read_labels(file, "ica")
    assert file is not None  # refused by `read_labels`
    if len(networks) > components:
        raise DataError(
            f"--network-templates {file.name} has {len(networks)} networks, more than the {components} components of "
            "the ICA: raise --ica-components, or use fewer networks"
        )
    gb = check_series(used, fitted[0], components)
    runs = sum(map(len, used[fitted[0]]))
    return IcaPlan(fitted, networks, file, hashlib.sha256(file.read_bytes()).hexdigest(), components, gb, runs)


def check_series(used: pd.DataFrame, name: str, components: int) -> float:
    """Check the headers of all series; returns the size of the largest as float32, GB.

    Raises DataError if they have several grids, or too few volumes for the dual regression.
    """
    first, odd, short, most = None, [], [], 0.0
    for participant, files in zip(used["participant_id"], used[name], strict=True):
        for path in files:
            grid, shape = available_maps.read_grid(path), read_image(path).shape
            first = first or grid
            odd += [participant_name(participant)] if grid != first else []
            short += [f"{participant_name(participant)} ({shape[3]})"] if shape[3] < components + 2 else []
            most = max(most, math.prod(shape) * 4e-9)
    if odd:
        raise DataError(
            f"the series of {_name_some(odd)} are not on the grid of the others; run the participant level again "
            "with one --resolution and --output-space"
        )
    if short:
        raise DataError(
            f"{components} components require {components + 2} volumes, and these have fewer: {_name_some(short)}; "
            "lower --ica-components, raise --fd-threshold at the participant level, or --exclude them"
        )
    return most


def _name_some(people: list[str]) -> str:
    unique = list(dict.fromkeys(people))
    return ", ".join(unique[:MAX_NAMED]) + (f" and {len(unique) - MAX_NAMED} more" if len(unique) > MAX_NAMED else "")


def fold_key(split: Split) -> str:
    """The name of a fold in nodes and inputs: repeat_fold."""
    return f"{split.repeat}_{split.fold}"


def inner_prefix(split: Split) -> str:
    """The prefix of the names of the inner folds of a split."""
    return f"{INNER}_{fold_key(split)}_"
