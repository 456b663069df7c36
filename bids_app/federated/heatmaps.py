"""Mean heatmaps of the final model, as explainers/weights.py and explainers/pattern.py define them, for each class."""

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError
from bids_app.federated.linear import LinearModel
from bids_app.federated.pipeline import MapQuestions
from bids_app.federated.protocol import Floats, sum_answers


def weights(model: LinearModel, slope: float) -> NDArray[np.float32]:
    """The weights (2, voxels): change of each logit per training SD of a voxel."""
    return _both_classes(slope / 2 * model.weight)


def pattern(questions: MapQuestions, model: LinearModel, slope: float, people: int) -> NDArray[np.float32]:
    """The patterns (2, voxels): covariance of a voxel with the logit over the logit's variance.

    Raises DataError if the decision is the same for all training participants.
    """
    answers = questions.ask("pattern_sums", "scale", {"weight": slope / 2 * model.weight, "centre": model.centre})
    total, squares, products = (sum_answers(answers, name) for name in ("decision", "squares", "products"))
    variation = float(squares - total**2 / people)
    if variation <= np.finfo(np.float32).tiny:
        raise DataError("all training participants have the same decision value, so there is no pattern")
    return _both_classes(products / variation)  # the map is centred, so that the mean decision adds nothing


def _both_classes(second: Floats) -> NDArray[np.float32]:
    return np.stack([-second, second]).astype(np.float32)
