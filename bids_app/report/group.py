"""The report of a group analysis: what was found first, then everything that it rests on."""

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.evaluation.verdict import UNJUDGED, WORDS, Verdict
from bids_app.regions.tables import OUTSIDE
from bids_app.report import audit as audits
from bids_app.report import curves, figures, people, voxelwise
from bids_app.report.audit import two
from bids_app.report.heatmap import Heatmap, caption, shown_checks, shown_overlap
from bids_app.report.page import number, render, save
from bids_app.report.viewer import interactive

MANY = 4
TOP = 15
UNITS = {
    "rank": "rank",
    "region": "region",
    "volume_ml": "volume (mL)",
    "coverage": "covered",
    "mean": "mean",
    "mean_right": "right",
    "mean_wrong": "wrong",
    "p95": "p95",
    "maximum": "maximum",
    "share": "share of mass",
    "p_size": "p (size)",
    "person_rank": "in people",
    "person_maximum": "maximum in people",
    "rank_by_person_maximum": "rank by it",
    "fold_ranks": "in folds",
}
NOT_A_FINDING = "these maps show what the model used on these people, not a finding"
MORE = {
    "accuracy": "accuracy",
    "auprc": "area under precision and recall",
    "brier": "Brier score",
    "log_loss": "log loss",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}
OTHERS = {"chosen": "the best cell of inner folds, chosen anew in each fold; carries no claim"}
BLIND = "sees no image"


def write(
    path: Path,
    *,
    analysis: str,
    verdicts: Mapping[str, Verdict],
    audit: Mapping[str, Any],
    samples: pd.DataFrame,
    scores: pd.DataFrame,
    pairs: pd.DataFrame,
    predictions: pd.DataFrame,
    heatmaps: list[Heatmap],
    atlas_notes: dict[str, str],
    settings_toml: str,
    methods: str,
    references: list[str],
    template: Nifti1Image,
    mask: Nifti1Image,
    checks: pd.DataFrame | None = None,
    overlap: pd.DataFrame | None = None,
    compared: voxelwise.Compared | None = None,
    sections: Mapping[str, Any] | None = None,
    pages: Sequence[str] = (),
    classes: tuple[str, ...] | None = None,
    radiological: bool = False,
    version: str = "",
) -> None:
    """Write the page, and its pictures and viewers into `figures/` beside it; a cell without a claim says so.

    `verdicts` is by cell, `scores` also of classifiers that see no image; `audit`: that of audit.json; `classes`: the
    reference first (else as the probability columns); `pages`: names of those in `people/`; `compared`: the voxelwise
    test; `sections`: by name, `ica` and `power`, what these modules have to show, if they were asked.
    """
    order, folder = classes or _classes(predictions), path.parent / "figures"
    _curves(folder, predictions, order, overlap)
    view: dict[str, Any] = {"template": template, "mask": mask, "radiological": radiological}
    drawn = [_draw(one, at, folder, checks, notes=atlas_notes, **view) for at, one in enumerate(heatmaps, start=1)]
    page = render(
        "group.html",
        title=f"{analysis} - Pellucid",
        analysis=analysis,
        **_found(verdicts),
        audit=audits.shown(audit),
        used=people.used(samples, order),
        left_out=people.left_out(samples),
        scores=_scores(scores, verdicts),
        more_scores=_more_scores(scores),
        pairs=_numbers(pairs),
        classes=order,
        cells=[_cell(cell, one, drawn) for cell, one in verdicts.items()],
        not_a_finding=NOT_A_FINDING,
        overlap=None if overlap is None else shown_overlap(overlap),
        voxelwise=None if compared is None else compared.shown(folder, **view),
        **{"ica": None, "power": None, **(sections or {})},
        pages={page.removesuffix(".html"): f"people/{page}" for page in pages},
        settings=settings_toml,
        methods=methods,
        references=references,
        version=version,
    )
    save(path, page)


def _found(verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """What stands first: a sentence a cell; where MANY cannot be judged these are named in one, with theirs below."""
    apart = {cell: one.text for cell, one in verdicts.items() if one.kind == UNJUDGED}
    if len(apart) < MANY:
        return {"findings": [one.text for one in verdicts.values()], "unjudged": None}
    findings = [one.text for cell, one in verdicts.items() if cell not in apart]
    return {"findings": findings, "unjudged": {"cells": list(apart), "sentences": list(apart.values())}}


def _classes(predictions: pd.DataFrame) -> tuple[str, ...]:
    return tuple(name.removeprefix("probability_") for name in map(str, predictions) if name.startswith("probability_"))


def _numbers(table: pd.DataFrame) -> list[dict[Hashable, str]]:
    return [{key: number(value) for key, value in row.items()} for row in table.to_dict("records")]


def _curves(folder: Path, predictions: pd.DataFrame, classes: tuple[str, ...], overlap: pd.DataFrame | None) -> None:
    curves.roc(predictions, classes, folder / "roc.png")
    curves.confusion(predictions, classes, folder / "confusion.png")
    if overlap is not None:
        curves.overlap(overlap, folder / "overlap.png")


def _cell(name: str, verdict: Verdict, drawn: list[dict[str, Any]]) -> dict[str, Any]:
    maps = [one for one in drawn if one["cell"] == name]
    checks = [
        {"map": one["title"], "checks passed": one["checks"]["passed"], "failed": one["checks"]["failed"] or "none"}
        for one in maps
        if one["checks"] is not None
    ]
    return {"name": name, "claim": verdict.claim, "words": WORDS[verdict.kind], "maps": maps, "checks": checks}


def _checks(heatmap: Heatmap, table: pd.DataFrame | None) -> dict[str, Any] | None:
    if table is None:
        return None
    named = (heatmap.cell, heatmap.method, heatmap.explained)
    own = table[[key == named for key in zip(table["cell"], table["method"], table["explained"], strict=True)]]
    return None if own.empty else shown_checks(own)


def _draw(
    heatmap: Heatmap,
    index: int,
    folder: Path,
    checks: pd.DataFrame | None,
    *,
    template: Nifti1Image,
    mask: Nifti1Image,
    notes: dict[str, str],
    radiological: bool,
) -> dict[str, Any]:
    title = f"{heatmap.cell}, {heatmap.method}, explaining {heatmap.explained}"
    stem = (
        f"heatmap-{index:02d}-"
        + re.sub(r"[^A-Za-z0-9]+", "", f"{heatmap.cell}{heatmap.method}{heatmap.explained}")[:60]
    )
    threshold = figures.heatmap(
        heatmap.image,
        template,
        mask,
        folder / f"{stem}.png",
        title=title,
        unit=heatmap.unit,
        sign=heatmap.sign,
        radiological=radiological,
    )
    interactive(
        heatmap.image,
        template,
        folder / f"{stem}.html",
        mask=mask,
        threshold=threshold,
        title=title,
        unit=heatmap.unit,
        sign=heatmap.sign,
        radiological=radiological,
    )
    return {
        "cell": heatmap.cell,
        "title": f"{heatmap.method}, explaining {heatmap.explained}",
        "caption": caption(heatmap, threshold),
        "picture": f"figures/{stem}.png",
        "viewer": f"figures/{stem}.html",
        "checks": _checks(heatmap, checks),
        "regions": [_regions(atlas, table, notes.get(atlas, "")) for atlas, table in heatmap.regions.items()],
    }


def _regions(atlas: str, table: pd.DataFrame, note: str) -> dict[str, Any]:
    table = table.assign(region=_flagged(table))
    if "fold_rank_best" in table:
        both = zip(table["fold_rank_best"], table["fold_rank_worst"], strict=True)
        table["fold_ranks"] = ["-" if pd.isna(best) else f"{best:.0f} to {worst:.0f}" for best, worst in both]
    outside = table["region"].eq(OUTSIDE)
    ranked = table[~outside].sort_values("rank", kind="stable")
    columns = [c for c in UNITS if c in table]

    def rows(part: pd.DataFrame) -> list[list[str]]:
        return [[_region_cell(column, row[column]) for column in columns] for row in part.to_dict("records")]

    return {
        "atlas": atlas,
        "note": note,
        "columns": [UNITS[column] for column in columns],
        "top": rows(ranked.head(TOP)),
        "rest": rows(ranked.iloc[TOP:]),
        "outside": rows(table[outside]),
    }


def _flagged(table: pd.DataFrame) -> list[str]:
    """Names of regions, a dagger behind those that the method cannot resolve."""
    small = table.get("below_resolution", pd.Series(False, table.index)).eq(True)
    return [f"{name} \N{DAGGER}" if flag else str(name) for name, flag in zip(table["region"], small, strict=True)]


def _region_cell(column: str, value: object) -> str:
    text = number(value)
    if text == "n/a" and column != "share":
        return "-"
    if text != "n/a" and column in ("share", "coverage"):
        return f"{float(str(value)):.1%}"
    return text


def score_interval(row: Mapping[Any, Any], name: str) -> str:
    """A score with its interval, n/a where there is none."""
    middle, low, high = (two(row.get(f"{name}{end}")) for end in ("", "_low", "_high"))
    return middle if low == "n/a" else f"{middle} ({low} to {high})"


def _more_scores(scores: pd.DataFrame) -> list[dict[str, str]]:
    names = {name: heading for name, heading in MORE.items() if name in scores}
    return [
        {
            "cell": str(row["cell"]),
            "repeat": number(row["repeat"]),
            **{heading: score_interval(row, name) for name, heading in names.items()},
        }
        for row in scores.to_dict("records")
    ]


def _scores(scores: pd.DataFrame, verdicts: Mapping[str, Verdict]) -> list[dict[str, str]]:
    return [
        {
            "cell": str(row["cell"]),
            "repeat": number(row["repeat"]),
            "people": number(row["n"]),
            "balanced accuracy (95 % interval)": score_interval(row, "balanced_accuracy"),
            "AUROC (95 % interval)": score_interval(row, "auroc"),
            "sensitivity": score_interval(row, "sensitivity"),
            "specificity": score_interval(row, "specificity"),
            "p": number(row["p_corrected"]),
            "verdict": WORDS[verdicts[str(row["cell"])].kind]
            if str(row["cell"]) in verdicts
            else OTHERS.get(str(row["cell"]), BLIND),
        }
        for row in scores.to_dict("records")
    ]
