"""The coordinator's fit of ComBat, covariate adjustment and scaling: `training.feature_pipeline` from sums.

ComBat treats each federated site as one site. Sums of centred values replace least squares on rows, so that results
agree with the pooled fit to the rounding of its float32 arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset import combat, scale
from bids_app.dataset.adjust import CONSTANT_TOLERANCE
from bids_app.errors import DataError
from bids_app.federated.protocol import Answers, Arrays, Floats, Request, Transport, sum_answers


@dataclass(frozen=True)
class Steps:
    """The steps of a map: the covariates regressed out, and those that ComBat preserves (None: no ComBat)."""

    adjust: tuple[str, ...]
    keep: tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class _Covariates:
    """Means (k,), centred products (k, k) and SDs (k,) of covariates over `people` participants."""

    mean: Floats
    products: Floats
    people: int

    @property
    def sd(self) -> Floats:
        return np.sqrt(np.diag(self.products) / self.people)

    @property
    def varies(self) -> NDArray[np.bool_]:
        return np.asarray(self.sd > CONSTANT_TOLERANCE * np.maximum(np.abs(self.mean), 1e-12))

    @property
    def divisor(self) -> Floats:
        """The SDs, 1 for those that do not vary."""
        return np.where(self.varies, self.sd, 1.0)

    def part(self, columns: slice) -> "_Covariates":
        return _Covariates(self.mean[columns], self.products[columns, columns], self.people)


@dataclass(eq=False)
class MapQuestions:
    """Questions about one map and fold; `arrays`, those of the steps fitted so far, were sent with earlier ones."""

    transport: Transport
    map_name: str
    fold: int
    classifier: str = ""

    def ask(
        self, name: str, stage: str, arrays: Arrays | None = None, *, for_site: Mapping[str, Arrays] | None = None
    ) -> Answers:
        """The answers of all sites; `arrays` may hold those of a step, as "scale.mean"."""
        request = Request(name, self.map_name, self.classifier, self.fold, stage, arrays or {}, for_site or {})
        return self.transport.ask_all(request)


def fit_steps(questions: MapQuestions, steps: Steps) -> dict[str, NDArray[np.generic]]:
    """Fit the steps of one map on the training participants of a fold; returns arrays "<step>.<name>".

    Each array is as the `fit` of dataset.combat, dataset.adjust or dataset.scale returns it. The sites know all of
    them once the next question carries them. Raises DataError as these do.
    """
    counts = {name: int(np.sum(answer.arrays["people"])) for name, answer in questions.ask("counts", "raw").items()}
    k = len(steps.adjust)
    covariates, by_site = _sum_covariates(questions, sum(counts.values()), k + len(steps.keep or ()))
    arrays: dict[str, NDArray[np.generic]] = {}
    if steps.keep is not None:
        kept = {name: sums[k:] for name, sums in by_site.items()}
        fitted = _fit_combat(questions, covariates.part(slice(k, None)), counts, kept)
        arrays |= {f"combat.{name}": array for name, array in fitted.items()}
    if steps.adjust:
        fitted = _fit_adjustment(questions, covariates.part(slice(0, k)), arrays)
        arrays |= {f"adjust.{name}": array for name, array in fitted.items()}
    total = questions.ask("sums", "adjust", arrays)
    mean = sum_answers(total, "sum") / covariates.people
    squares = sum_answers(questions.ask("squares", "adjust", {"mean": mean}), "squares")
    sd = np.sqrt(squares / max(covariates.people - 1, 1))
    arrays["scale.mean"] = mean.astype(np.float32)
    arrays["scale.sd"] = np.maximum(sd, scale.floor(sd)).astype(np.float32)
    return arrays


def _sum_covariates(questions: MapQuestions, people: int, columns: int) -> tuple[_Covariates, dict[str, Floats]]:
    """All covariates, and their sums (k,) at each site."""
    if not columns:
        return _Covariates(np.zeros(0), np.zeros((0, 0)), people), {}
    answers = questions.ask("covariate_sums", "raw")
    mean = sum_answers(answers, "sum") / people
    products = sum_answers(questions.ask("covariate_products", "raw", {"mean": mean}), "products")
    by_site = {name: np.asarray(answer.arrays["sum"], float) for name, answer in answers.items()}
    return _Covariates(mean, products, people), by_site


def _fit_combat(
    questions: MapQuestions, keep: _Covariates, counts: Mapping[str, int], kept_sums: Mapping[str, Floats]
) -> dict[str, NDArray[np.generic]]:
    names, people = sorted(counts), np.array([counts[name] for name in sorted(counts)])
    standard = {"covariate_mean": keep.mean, "covariate_sd": keep.divisor}
    answers = questions.ask("combat_sums", "raw", standard)
    sums = np.array([answers[name].arrays["sum"] for name in names], float)
    if len(names) < 2:
        return combat.identity(sums.shape[1], len(keep.mean))
    if people.min() < combat.MIN_SITE_PEOPLE:
        raise DataError("ComBat needs two training participants at every site in every fold; use fewer folds")
    varies = keep.varies
    cross = np.array([kept_sums.get(name, np.zeros(0)) - counts[name] * keep.mean for name in names]) / keep.divisor
    cross = cross.reshape(len(names), len(varies))[:, varies]
    inner = (keep.products / np.outer(keep.divisor, keep.divisor))[np.ix_(varies, varies)]
    normal = np.block([[np.diag(people.astype(float)), cross], [cross.T, inner]])
    if len(normal) >= people.sum() or np.linalg.matrix_rank(normal) < len(normal):
        raise DataError("covariates of --combat-covariates are collinear with the sites or each other, or too many")
    coefficients = np.linalg.solve(normal, np.vstack([sums, sum_answers(answers, "products")[varies]]))
    level, slope = coefficients[: len(names)], np.zeros((len(varies), sums.shape[1]))
    slope[varies] = coefficients[len(names) :]
    levels = {name: {"level": row} for name, row in zip(names, level, strict=True)}
    answers = questions.ask("combat_squares", "raw", {"slope": slope, **standard}, for_site=levels)
    squares = np.array([answers[name].arrays["squares"] for name in names], float)
    slope = slope / keep.divisor[:, None]
    return combat.shrink_sites(level, squares, codes=np.arange(len(names)), counts=people, mean=keep.mean, slope=slope)


def _fit_adjustment(questions: MapQuestions, covariates: _Covariates, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    varies = covariates.varies
    if varies.sum() + 2 > covariates.people:
        raise DataError(f"{varies.sum()} covariates are too many for {covariates.people} training participants")
    standard = {"covariate_mean": covariates.mean, "covariate_sd": covariates.divisor}
    products = sum_answers(questions.ask("adjust_products", "combat", {**standard, **arrays}), "products")
    inner = (covariates.products / np.outer(covariates.divisor, covariates.divisor))[np.ix_(varies, varies)]
    slope = np.zeros(products.shape)
    slope[varies] = np.linalg.pinv(inner, hermitian=True) @ products[varies] / covariates.sd[varies, None]
    return {"mean": covariates.mean, "kept": varies, "slope": slope.astype(np.float32)}
