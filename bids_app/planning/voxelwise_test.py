"""What the voxelwise test (--voxelwise-test) compares, and what it needs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bids_app.bids import outputs
from bids_app.errors import DataError, UsageError
from bids_app.evaluation import voxelwise
from bids_app.planning.group import Analysis
from bids_app.settings import Settings

PERMUTATIONS_PER_NODE = 50  # permutations of a node


def check_voxelwise_test(analysis: Analysis, settings: Settings) -> None:
    """Raise UsageError or DataError where the test cannot be made."""
    count = settings.group.voxelwise_test
    if not count:
        return
    if count < voxelwise.MIN_PERMUTATIONS:
        raise UsageError(
            f"--voxelwise-test {count}: at least {voxelwise.MIN_PERMUTATIONS} permutations are needed for p = 0.05; "
            "1000 are recommended"
        )
    classes = analysis.used.groupby("participant_id")["class"].nunique()
    if len(changed := classes.index[classes > 1]):
        raise DataError(
            f"--voxelwise-test: the class of sub-{changed[0]} differs between sessions; use --sessions first"
        )
    for name, one in comparisons(analysis):
        voxelwise.check_design(*design_columns(analysis.used, analysis.classes, one, analysis.adjust[name]))
    planned = [contrast_label(name, one) for name, one in comparisons(analysis)]
    if twice := sorted({name for name in planned if planned.count(name) > 1}):
        raise UsageError(f"two outputs would share the name desc-{twice[0]}; rename the classes")


def count_nodes(count: int) -> int:
    """How many nodes share the permutations of one comparison."""
    return -(-count // PERMUTATIONS_PER_NODE)


def comparisons(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Every map with every class but the reference."""
    return ((name, one) for name in analysis.smoothing for one in analysis.classes[1:])


def permutation_file(work: Path, name: str, explained: str, number: int) -> Path:
    """Where a node leaves its permutations."""
    return work / "voxelwise" / name / f"{outputs.camel(explained)}_{number}.npz"


def contrast_label(name: str, explained: str) -> str:
    """The `desc` of an image: map and class."""
    return outputs.camel(name) + outputs.camel(explained)


def design_columns(
    people: pd.DataFrame, classes: tuple[str, ...], explained: str, columns: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The column of a class (people,), and those of other classes and covariates (people, k); a row a person."""
    own = [(people["class"] == name).to_numpy(float) for name in classes[1:]]
    rows = np.column_stack([*own, *(people[name].to_numpy(float) for name in columns)])
    whole, at = voxelwise.average_sessions(rows, people["participant_id"].tolist()), classes.index(explained) - 1
    return whole[:, at], np.delete(whole, at, axis=1)
