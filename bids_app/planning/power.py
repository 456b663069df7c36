"""Requirements of --power N, and the models and maps it simulates."""

from collections.abc import Iterator, Sequence

from bids_app import catalogue
from bids_app.errors import UsageError
from bids_app.planning.group import GroupPlan, ModelSpec
from bids_app.planning.permutations import is_linear
from bids_app.settings import Settings

STUDIES_PER_NODE = 5  # studies of a node


def check_power(analysis: GroupPlan, settings: Settings) -> None:
    """Raise UsageError if no effect can be simulated."""
    if settings.group.power is None:
        return
    if len(analysis.classes) != 2:
        raise UsageError("--power simulates a difference between two classes; specify two with --classes")
    if not list(linear_cells_by_map(analysis)):
        raise UsageError("--power requires a linear classifier on a map that is not fitted within folds (ica)")
    if settings.group.permutations == 0:
        raise UsageError("--power requires permutations to determine what is detected; remove --permutations 0")


def is_linear_classifier(classifier: str) -> bool:
    """Whether a classifier can be trained on a simulated study: a linear one."""
    return catalogue.has("classifiers", classifier, "decision_function")


def linear_cells_by_map(analysis: GroupPlan) -> Iterator[tuple[str, list[ModelSpec]]]:
    """Every map that is the same in all folds, with the linear cells on only this map."""
    fitted = analysis.ica.maps if analysis.ica else ()
    for name in analysis.smoothing:
        cells = [cell for cell in analysis.cells if cell.maps == (name,) and is_linear(cell)]
        if cells and name not in fitted:
            yield name, cells


def class_counts(analysis: GroupPlan) -> Sequence[int]:
    counts = analysis.used.groupby("class")["participant_id"].nunique()
    return [int(counts[name]) for name in analysis.classes]
