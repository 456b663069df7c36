"""The fixed list of what a site answers: name, type, shape and meaning of every array that can leave it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """An array that leaves: `dims` name its axes (a number is a fixed size), `meaning` tells a reader what it holds."""

    dims: tuple[str | int, ...]
    meaning: str
    integer: bool = False


@dataclass(frozen=True)
class Question:
    """The arrays of an answer; `scores`: a site with few participants of a class does not answer."""

    fields: Mapping[str, Field]
    scores: bool = False


def _sum(meaning: str, *dims: str | int) -> Field:
    return Field(dims, f"sum over the site's participants of {meaning}")


VOXELS, COVARIATES, KEPT, ADJUSTED = "voxels", "covariates", "combat covariates", "map covariates"
FEATURES, PAIRS = "group features", "pairs of group features"
REGIONS, LABELLINGS, SLOPES = "regions", "labellings", "slopes"
VARIABLES = ("age", "mean_fd", "minutes", "tiv")
SEXES = ("F", "M")

QUESTIONS: dict[str, Question] = {
    "counts": Question({"people": Field((2,), "number of training participants by class", integer=True)}),
    "covariate_sums": Question({"sum": _sum("each covariate", COVARIATES)}),
    "covariate_products": Question({"products": _sum("products of centred covariates", COVARIATES, COVARIATES)}),
    "combat_sums": Question(
        {
            "sum": _sum("the map", VOXELS),
            "products": _sum("the map times each standardised covariate", KEPT, VOXELS),
        }
    ),
    "combat_squares": Question({"squares": _sum("squared residuals of the map", VOXELS)}),
    "adjust_products": Question({"products": _sum("the map times each standardised covariate", ADJUSTED, VOXELS)}),
    "sums": Question({"sum": _sum("the map", VOXELS)}),
    "squares": Question({"squares": _sum("squared deviations of the map from the mean", VOXELS)}),
    "logistic_loss": Question(
        {
            "loss": _sum("the weighted loss of a logistic model"),
            "gradient": _sum("its derivative by each voxel's weight", VOXELS),
            "intercept_gradient": _sum("its derivative by the intercept"),
        }
    ),
    "group_products": Question({"products": _sum("products of means over pairs of cubes and regions", PAIRS)}),
    "class_sums": Question({"sums": Field((FEATURES,), "sum of means over cubes and regions, second class")}),
    "permuted_class_sums": Question(
        {"sums": Field((LABELLINGS, FEATURES), "the same for random labellings, which are not sent")}
    ),
    "predict": Question({}),
    "predict_labellings": Question({}),
    "scores": Question(
        {
            "confusion": Field((2, 2), "held-out participants by true and predicted class", integer=True),
            "order": Field((), "Mann-Whitney U of held-out participants, summed over folds"),
            "pairs": Field((), "number of pairs that U counts"),
        },
        scores=True,
    ),
    "permuted_scores": Question(
        {"confusion": Field((LABELLINGS, 2, 2), "the same counts for random labellings", integer=True)}, scores=True
    ),
    "calibration_loss": Question({"loss": _sum("the loss of held-out probabilities", SLOPES)}, scores=True),
    "region_statistics": Question(
        {
            "sum": _sum("each region's mean", REGIONS),
            "squares": _sum("its square", REGIONS),
            "class_sum": Field((REGIONS,), "the sum over the second class"),
            "permuted_sums": Field((LABELLINGS, REGIONS), "the same for random labellings, which are not sent"),
        },
        scores=True,
    ),
    "pattern_sums": Question(
        {
            "decision": _sum("the model's decision"),
            "squares": _sum("its square"),
            "products": _sum("decision times map", VOXELS),
        }
    ),
    "audit_sums": Question(
        {
            "people": Field((len(VARIABLES), 2), "participants with a value, by variable and class", integer=True),
            "sum": Field((len(VARIABLES), 2), f"sums by class of {', '.join(VARIABLES)}"),
            "sex": Field((len(SEXES), 2), f"participants by sex ({', '.join(SEXES)}) and class", integer=True),
        },
        scores=True,
    ),
    "finish": Question({}),
    "audit_squares": Question(
        {"squares": Field((len(VARIABLES), 2), f"squared deviations from the class mean of {', '.join(VARIABLES)}")},
        scores=True,
    ),
}
