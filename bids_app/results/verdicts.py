"""The verdicts, from scores, permutations, baselines without images, and confounds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bids_app import catalogue
from bids_app.dataset import combat
from bids_app.evaluation import audit, baselines, compare, sites, verdict
from bids_app.evaluation.verdict import Verdict
from bids_app.planning.group import GroupPlan, ModelSpec
from bids_app.planning.nested_cv import CHOSEN
from bids_app.planning.work_dir import WorkDir
from bids_app.results.permutations import permutation_table, site_prediction_scores
from bids_app.settings import Settings
from bids_app.training import scores, seeds


@dataclass(frozen=True, eq=False)
class Judgement:
    """`scores`: a row per cell or baseline, and repeat; `pairs` of cells; `audit`: audit.json; `verdicts` by cell."""

    scores: pd.DataFrame
    pairs: pd.DataFrame
    audit: dict[str, Any]
    verdicts: dict[str, Verdict]

    def claims(self) -> dict[str, tuple[str, float]]:
        """The text of each verdict with a claim, and the cell's calibration slope in the first repeat.

        The slope is NaN with more than two classes.
        """
        first = self.scores[self.scores["repeat"] == 1].set_index("cell")
        slopes = first.reindex(columns=["calibration_slope"])["calibration_slope"]
        return {name: (verdict.text, float(slopes[name])) for name, verdict in self.verdicts.items() if verdict.claim}


def judge_models(analysis: GroupPlan, settings: Settings, predictions: pd.DataFrame, work_dir: WorkDir) -> Judgement:
    """Determine the verdict on each cell from its predictions and the results in the work folder."""
    chance = permutation_table(analysis, settings, predictions, work_dir)
    seed, label = settings.compute.random_seed, analysis.label_column
    blind = baselines.predict_baselines(analysis.used, analysis.splits, analysis.classes, label=label)
    score_table = scores.score_table(pd.concat([predictions, blind], ignore_index=True), analysis.classes, seed=seed)
    score_table = score_table.merge(chance, on="cell", how="left")
    score_table.loc[score_table["repeat"] != 1, ["p", "p_max", "p_family", "p_corrected", "critical_score"]] = float(
        "nan"
    )
    known = baselines.available_baselines(analysis.used, label=label)
    chance_by_cell = {str(row["cell"]): row for row in chance.to_dict("records")}
    verdicts = {}
    for cell in analysis.cells:
        participants = _first_repeat(predictions, cell.name, analysis)
        rivals = {
            name: compare.bootstrap_difference(
                participants, _first_repeat(blind, name, analysis), seed=seeds.derive(seed, cell.name, name)
            )
            for name in known
        }
        verdicts[cell.name] = verdict.judge_model(
            score_table[score_table["cell"] == cell.name],
            analysis.classes,
            chance={str(key): value for key, value in chance_by_cell[cell.name].items()},
            rivals=rivals,
            unknown=[*_count_copies(cell, work_dir), *unexamined_confounds(analysis, cell)],
        )
    train, test = (
        float(np.mean([len(getattr(split, side)) for split in analysis.splits])) for side in ("train", "test")
    )
    pairs = compare.compare_pairs(predictions[predictions["cell"] != CHOSEN], train=train, test=test)
    return Judgement(score_table, pairs, _audit(analysis, predictions, known, work_dir), verdicts)


def _audit(
    analysis: GroupPlan, predictions: pd.DataFrame, known: Mapping[str, Sequence[str]], work_dir: WorkDir
) -> dict[str, Any]:
    """The content of audit.json; known: the columns of each baseline."""
    participants, label = analysis.used.drop_duplicates("participant_id"), analysis.label_column
    return {
        "by_class": audit.audit_classes(participants, analysis.samples, analysis.classes, label=label),
        "confounded": audit.list_single_site_classes(participants, analysis.classes, label=label),
        "baselines": {name: list(columns) for name, columns in known.items()},
        "baselines_omitted": baselines.describe_omitted(label),
        "site_predicted_from_maps": {
            cell.name: {
                ("harmonised" if analysis.keep is not None and name == "gram_matrix" else "without harmonisation"): row
                for name, row in site_scores.items()
            }
            for cell in analysis.cells
            if label != "site" and (site_scores := site_prediction_scores(cell, work_dir))
        },
        "copies": {cell.maps[0]: copies for cell in analysis.cells if (copies := _describe_copies(cell, work_dir))},
        "within_sites": _within_sites(analysis, predictions, participants),
        "not_harmonised": _unharmonised_sites(analysis),
    }


def _first_repeat(predictions: pd.DataFrame, name: str, analysis: GroupPlan) -> pd.DataFrame:
    """A cell's participants in the first repeat."""
    is_first = (predictions["cell"] == name) & (predictions["repeat"] == 1)
    return scores.average_sessions(predictions[is_first], analysis.classes)


def _within_sites(analysis: GroupPlan, predictions: pd.DataFrame, people: pd.DataFrame) -> dict[str, Any]:
    """Each cell's accuracy by site, if there are two or more sites, each of which may have every class."""
    if analysis.label_column == "site" or people["site"].nunique() < 2:
        return {}
    known = people.dropna(subset="site")
    site_of = dict(zip(known["participant_id"].astype(str), known["site"].astype(str), strict=True))
    return {
        cell.name: sites.accuracy_by_site(_first_repeat(predictions, cell.name, analysis), site_of, analysis.classes)
        for cell in analysis.cells
    }


def _unharmonised_sites(analysis: GroupPlan) -> list[str]:
    """The sites that ComBat left unchanged in some fold, because they had too few training participants."""
    if analysis.keep is None:
        return []
    site = analysis.used["site"].astype(str)
    return sorted(
        {
            name
            for split in analysis.splits
            for name in set(site.iloc[list(split.test)])
            if (site.iloc[list(split.train)] == name).sum() < combat.MIN_SITE_PEOPLE
        }
    )


def _describe_copies(cell: ModelSpec, work_dir: WorkDir) -> list[str]:
    """Sentences on the pairs of participants whose maps appear to be the same person's."""
    return [
        (
            f"the {name} maps of {' and '.join(pair)} appear to be from the same participant ({measure}): --exclude "
            "one, or use --groups"
        )
        for name in cell.maps
        for pair, measure in json.loads(work_dir.copies(name).read_text())
    ]


def _count_copies(cell: ModelSpec, work_dir: WorkDir) -> list[str]:
    """The number of such pairs, without names, for a verdict."""
    pairs = len(_describe_copies(cell, work_dir))
    return [f"{pairs} pairs of participants appear to be the same person (listed in the audit)"] if pairs else []


def unexamined_confounds(analysis: GroupPlan, cell: ModelSpec) -> list[str]:
    """The possible confounds that were not examined; the label itself is not one."""
    known = baselines.available_baselines(analysis.used)
    reasons = audit.list_single_site_classes(analysis.used, analysis.classes, label=analysis.label_column)
    if "site" not in known:
        reasons.append("the site is unknown (--site COLUMN; use a column with one value for a single-site study)")
    reasons += [f"{name} is unknown" for name in ("age", "sex") if name not in known.get("age and sex", ())]
    bold_maps = [name for name in cell.maps if catalogue.load("maps", name).SUFFIX == "boldmap"]
    if bold_maps and "motion" not in known:
        reasons.append("motion is unknown")
    return reasons
