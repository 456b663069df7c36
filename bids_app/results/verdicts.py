"""What the verdicts rest on: scores, shuffled labels, classifiers that see no image, and what tells classes apart."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app import catalogue
from bids_app.dataset import combat
from bids_app.evaluation import audit, baselines, compare, sites, verdict
from bids_app.evaluation.verdict import Verdict
from bids_app.planning.group import Analysis, Cell
from bids_app.planning.nested_cv import CHOSEN
from bids_app.results.permutations import permutation_table, site_prediction_scores
from bids_app.settings import Settings
from bids_app.training import scores, seeds


@dataclass(frozen=True, eq=False)
class Judgement:
    """`scores`: a row a cell, or baseline, and repeat; `pairs` of cells; `audit`: audit.json; `verdicts` by cell."""

    scores: pd.DataFrame
    pairs: pd.DataFrame
    audit: dict[str, Any]
    verdicts: dict[str, Verdict]

    def claims(self) -> dict[str, tuple[str, float]]:
        """The text of each verdict that claims something, and the cell's calibration slope in the first repeat."""
        first = self.scores[self.scores["repeat"] == 1].set_index("cell")["calibration_slope"]
        return {name: (found.text, float(first[name])) for name, found in self.verdicts.items() if found.claim}


def judge_models(analysis: Analysis, settings: Settings, told: pd.DataFrame, work: Path) -> Judgement:
    """Judge every cell by its predictions and by what its nodes left in the work folder."""
    chance = permutation_table(analysis, settings, told, work)
    seed = settings.compute.random_seed
    people = analysis.used.drop_duplicates("participant_id")
    label = analysis.label_column
    blind = baselines.predict_baselines(analysis.used, analysis.splits, analysis.classes, label=label)
    told_all = pd.concat([told, blind], ignore_index=True)
    judged = scores.score_table(told_all, analysis.classes, seed=seed).merge(chance, on="cell", how="left")
    judged.loc[judged["repeat"] != 1, ["p", "p_max", "p_family", "p_corrected", "critical_score"]] = float("nan")
    known = baselines.available_baselines(analysis.used, label=label)
    verdicts = {}
    for cell in analysis.cells:
        own = _first(told, cell.name, analysis)
        rivals = {
            name: compare.bootstrap_difference(
                own, _first(blind, name, analysis), seed=seeds.derive(seed, cell.name, name)
            )
            for name in known
        }
        verdicts[cell.name] = verdict.judge_model(
            judged[judged["cell"] == cell.name],
            analysis.classes,
            chance=chance.set_index("cell").loc[cell.name].to_dict(),
            rivals=rivals,
            unknown=[*_alike(cell, work), *_unknown(analysis, cell)],
        )
    found = {
        "by_class": audit.audit_classes(people, analysis.samples, analysis.classes, label=label),
        "confounded": audit.list_single_site_classes(people, analysis.classes, label=label),
        "baselines": {name: list(columns) for name, columns in known.items()},
        "baselines_left_out": baselines.describe_omitted(label),
        "site_told_from_maps": {
            cell.name: {
                ("harmonised" if analysis.keep is not None and of == "gram_matrix" else "as they are"): its
                for of, its in found.items()
            }
            for cell in analysis.cells
            if label != "site" and (found := site_prediction_scores(cell, work))
        },
        "copies": {cell.maps[0]: alike for cell in analysis.cells if (alike := _copies(cell, work))},
        "within_sites": _within_sites(analysis, told, people),
        "not_harmonised": _not_harmonised(analysis),
    }
    train, test = (
        float(np.mean([len(getattr(split, side)) for split in analysis.splits])) for side in ("train", "test")
    )
    return Judgement(
        judged, compare.compare_pairs(told[told["cell"] != CHOSEN], train=train, test=test), found, verdicts
    )


def _first(told: pd.DataFrame, name: str, analysis: Analysis) -> pd.DataFrame:
    """A cell's people in the first repeat."""
    return scores.average_sessions(told[(told["cell"] == name) & (told["repeat"] == 1)], analysis.classes)


def _within_sites(analysis: Analysis, told: pd.DataFrame, people: pd.DataFrame) -> dict[str, Any]:
    """Each cell's accuracy by site, where there are two or more, of which each may have every class."""
    if analysis.label_column == "site" or people["site"].nunique() < 2:
        return {}
    of = people.dropna(subset="site").set_index("participant_id")["site"].astype(str).to_dict()
    return {
        cell.name: sites.accuracy_by_site(_first(told, cell.name, analysis), of, analysis.classes)
        for cell in analysis.cells
    }


def _not_harmonised(analysis: Analysis) -> list[str]:
    """The sites whose held-out people ComBat left as they were in some fold, since too few of theirs trained."""
    if analysis.keep is None:
        return []
    of = analysis.used["site"].astype(str)
    return sorted(
        {
            site
            for split in analysis.splits
            for site in set(of.iloc[list(split.test)])
            if (of.iloc[list(split.train)] == site).sum() < combat.MIN_SITE_PEOPLE
        }
    )


def _copies(cell: Cell, work: Path) -> list[str]:
    """Who looks like one person under two names, in the maps of a cell."""
    return [
        f"the {name} maps of {' and '.join(who)} look like one person's ({measure}): --exclude one or --keep-together"
        for name in cell.maps
        for who, measure in json.loads((work / f"copies_{name}.json").read_text())
    ]


def _alike(cell: Cell, work: Path) -> list[str]:
    """The same for a verdict, which goes where names do not belong."""
    pairs = len(_copies(cell, work))
    return [f"{pairs} pairs of people look like one person each (named in the audit)"] if pairs else []


def _unknown(analysis: Analysis, cell: Cell) -> list[str]:
    """What could explain a difference and was not looked at; the label itself is nothing of the kind, and known."""
    known = baselines.available_baselines(analysis.used)
    told = audit.list_single_site_classes(analysis.used, analysis.classes, label=analysis.label_column)
    if "site" not in known:
        told.append("the site is not known (--site COLUMN; a column with one value where there is one site)")
    told += [f"{name} is not known" for name in ("age", "sex") if name not in known.get("age and sex", ())]
    of_bold = [name for name in cell.maps if catalogue.load("maps", name).SUFFIX == "boldmap"]
    if of_bold and "motion" not in known:
        told.append("motion is not known")
    return told
