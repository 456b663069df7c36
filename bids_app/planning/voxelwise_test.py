"""Contrasts and requirements of the voxelwise test (--voxelwise-test)."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bids_app.bids import outputs
from bids_app.bids.names import participant_name
from bids_app.errors import DataError, UsageError
from bids_app.evaluation import voxelwise
from bids_app.planning.group import GroupPlan
from bids_app.settings import Settings

PERMUTATIONS_PER_NODE = 50  # permutations of a node


def check_voxelwise_test(analysis: GroupPlan, settings: Settings) -> None:
    """Raise UsageError or DataError where the test is impossible."""
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
            f"--voxelwise-test: the class of {participant_name(changed[0])} differs between sessions; "
            "use --sessions first"
        )
    for name, explained in list_contrasts(analysis):
        voxelwise.check_design(*design_columns(analysis.used, analysis.classes, explained, analysis.adjust[name]))
    contrasts = [contrast_label(name, explained) for name, explained in list_contrasts(analysis)]
    if twice := sorted({label for label in contrasts if contrasts.count(label) > 1}):
        raise UsageError(f"two outputs would have the same name, desc-{twice[0]}; rename the classes")


def count_voxelwise_nodes(count: int) -> int:
    """The number of nodes among which a contrast's permutations are divided."""
    return -(-count // PERMUTATIONS_PER_NODE)


def list_contrasts(analysis: GroupPlan) -> Iterator[tuple[str, str]]:
    """The contrasts: every map with every class but the reference."""
    return ((name, explained) for name in analysis.smoothing for explained in analysis.classes[1:])


def contrast_label(name: str, explained: str) -> str:
    """The `desc` of an image: map and class."""
    return outputs.camel(name) + outputs.camel(explained)


def design_columns(
    people: pd.DataFrame, classes: tuple[str, ...], explained: str, columns: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The column of a class (participants,), and those of other classes and covariates (participants, k)."""
    indicators = [(people["class"] == name).to_numpy(float) for name in classes[1:]]
    rows = np.column_stack([*indicators, *(people[name].to_numpy(float) for name in columns)])
    whole, at = voxelwise.average_sessions(rows, people["participant_id"].tolist()), classes.index(explained) - 1
    return whole[:, at], np.delete(whole, at, axis=1)
