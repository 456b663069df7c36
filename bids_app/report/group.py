"""The report of a group analysis: the main findings, then everything on which they are based."""

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.evaluation.verdict import UNJUDGED, WORDS, Verdict
from bids_app.report.audit import format_audit, two_decimals
from bids_app.report.curves import CAPTIONS, describe_curves, draw_confusion, draw_overlap, draw_roc
from bids_app.report.figures import draw_heatmap
from bids_app.report.glance import NO_IMAGE, summarise_models
from bids_app.report.heatmap import Heatmap, format_checks, format_overlap, heatmap_alternative, heatmap_caption
from bids_app.report.page import format_number, render_page, save_page
from bids_app.report.paper import write_captions
from bids_app.report.participants import tabulate_excluded, tabulate_used
from bids_app.report.region_table import tabulate_regions
from bids_app.report.viewer import write_viewer
from bids_app.report.voxelwise_test import VoxelwiseTest

MANY_UNJUDGED = 4
NO_CLAIM = "these maps show what the model used in these participants; they are not a finding"
MORE_SCORES = {
    "accuracy": "accuracy",
    "auprc": "area under the precision-recall curve",
    "brier": "Brier score",
    "log_loss": "log loss",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}
OTHER_ROWS = {"chosen": "best model of the inner folds, selected in each fold; no claim"}


def write_group_report(
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
    compared: VoxelwiseTest | None = None,
    sections: Mapping[str, Any] | None = None,
    pages: Sequence[str] = (),
    classes: tuple[str, ...] | None = None,
    radiological: bool = False,
    version: str = "",
) -> None:
    """Write the page, and its figures and viewers into `figures/` beside it; models without a claim are marked.

    `verdicts` is by model, `scores` also of classifiers that use no image; `audit`: that of audit.json; `classes`: the
    reference first (else as the probability columns); `pages`: paths in `people/`; `compared`: the voxelwise
    test; `sections`: by name, the content of `ica`, `power` and `sites`, if there is any, and `about`, a `Provenance`.
    """
    order, folder = classes or _class_names(predictions), path.parent / "figures"
    view: dict[str, Any] = {"template": template, "mask": mask, "radiological": radiological}
    curves = _draw_curves(folder, scores, predictions, order, overlap)
    panels = _draw_heatmaps(heatmaps, folder, checks, notes=atlas_notes, **view)
    page = render_page(
        "group.html",
        analysis=analysis,
        curves=curves,
        glance=summarise_models(scores, verdicts, order, panels),
        **select_findings(verdicts),
        audit=format_audit(audit),
        included=tabulate_used(samples, order),
        excluded=tabulate_excluded(samples),
        scores=_score_rows(scores, verdicts),
        more_scores=_more_score_rows(scores),
        pairs=_pair_rows(pairs),
        classes=order,
        models=[_model_section(name, verdict, panels) for name, verdict in verdicts.items()],
        overlap=None if overlap is None else format_overlap(overlap),
        voxelwise=None if compared is None else compared.section(folder, **view),
        **{"ica": None, "power": None, "sites": None, "about": None, **(sections or {})},
        pages={page.removesuffix(".html").replace("/", ":"): f"people/{page}" for page in pages},
        settings=settings_toml,
        methods=methods,
        references=references,
        version=version,
    )
    save_page(path, page)


def select_findings(verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """One sentence per model; if MANY_UNJUDGED or more cannot be judged, these are listed in one sentence instead."""
    unjudged = {name: verdict.text for name, verdict in verdicts.items() if verdict.kind == UNJUDGED}
    if len(unjudged) < MANY_UNJUDGED:
        return {"findings": [verdict.text for verdict in verdicts.values()], "unjudged": None}
    findings = [verdict.text for name, verdict in verdicts.items() if name not in unjudged]
    return {"findings": findings, "unjudged": {"models": list(unjudged), "sentences": list(unjudged.values())}}


def _class_names(predictions: pd.DataFrame) -> tuple[str, ...]:
    return tuple(name.removeprefix("probability_") for name in map(str, predictions) if name.startswith("probability_"))


def _pair_rows(pairs: pd.DataFrame) -> list[dict[Hashable, str]]:
    """The rows of comparisons.tsv, with the headings of the page."""
    headings = {"cell": "model", "other": "compared with"}
    return [
        {headings.get(str(key), str(key).replace("_", " ")): format_number(value) for key, value in row.items()}
        for row in pairs.to_dict("records")
    ]


def _draw_curves(
    folder: Path,
    scores: pd.DataFrame,
    predictions: pd.DataFrame,
    classes: tuple[str, ...],
    overlap: pd.DataFrame | None,
) -> dict[str, dict[str, str]]:
    """Draw ROC curves, confusion matrices and overlap; returns what each shows, in words, and its caption."""
    draw_roc(predictions, classes, folder / "roc.png")
    draw_confusion(predictions, classes, folder / "confusion.png")
    if overlap is not None:
        draw_overlap(overlap, folder / "overlap.png")
    words = describe_curves(scores, predictions)
    return {name: {"words": words.get(name, ""), "caption": caption} for name, caption in CAPTIONS.items()}


def _model_section(name: str, verdict: Verdict, panels: list[dict[str, Any]]) -> dict[str, Any]:
    maps = [panel for panel in panels if panel["cell"] == name]
    checks = [
        {"heatmap": panel["title"], "passed": panel["checks"]["passed"], "failed": panel["checks"]["failed"] or "none"}
        for panel in maps
        if panel["checks"] is not None
    ]
    warning = None if verdict.claim else f"{name}: {WORDS[verdict.kind]}; {NO_CLAIM}"
    return {"name": name, "warning": warning, "maps": maps, "checks": checks}


def _heatmap_checks(heatmap: Heatmap, table: pd.DataFrame | None) -> dict[str, Any] | None:
    if table is None:
        return None
    wanted = (heatmap.cell, heatmap.method, heatmap.explained)
    rows = table[[key == wanted for key in zip(table["cell"], table["method"], table["explained"], strict=True)]]
    return None if rows.empty else format_checks(rows)


def _draw_heatmaps(
    heatmaps: list[Heatmap], folder: Path, checks: pd.DataFrame | None, **view: Any
) -> list[dict[str, Any]]:
    panels = [_draw_heatmap(heatmap, number, folder, checks, **view) for number, heatmap in enumerate(heatmaps, 1)]
    write_captions(folder, CAPTIONS | {panel["stem"]: panel["caption"] for panel in panels})
    return panels


def _draw_heatmap(
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
    title = f"{heatmap.cell}, {heatmap.method}, class {heatmap.explained}"
    stem = (
        f"heatmap-{index:02d}-"
        + re.sub(r"[^A-Za-z0-9]+", "", f"{heatmap.cell}{heatmap.method}{heatmap.explained}")[:60]
    )
    threshold = draw_heatmap(
        heatmap.image,
        template,
        mask,
        folder / f"{stem}.png",
        title=title,
        unit=heatmap.unit,
        sign=heatmap.sign,
        radiological=radiological,
        paper=True,
    )
    write_viewer(
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
        "title": f"{heatmap.method}, class {heatmap.explained}",
        "caption": heatmap_caption(heatmap, threshold),
        "stem": stem,
        "alternative": heatmap_alternative(heatmap),
        "picture": f"figures/{stem}.png",
        "viewer": f"figures/{stem}.html",
        "checks": _heatmap_checks(heatmap, checks),
        "regions": [tabulate_regions(atlas, table, notes.get(atlas, "")) for atlas, table in heatmap.regions.items()],
    }


def format_score(row: Mapping[Any, Any], name: str) -> str:
    """A score with its interval, or n/a."""
    middle, low, high = (two_decimals(row.get(f"{name}{end}")) for end in ("", "_low", "_high"))
    return middle if low == "n/a" else f"{middle} ({low} to {high})"


def _more_score_rows(scores: pd.DataFrame) -> list[dict[str, str]]:
    names = {name: heading for name, heading in MORE_SCORES.items() if name in scores}
    return [
        {
            "model": str(row["cell"]),
            "repeat": format_number(row["repeat"]),
            **{heading: format_score(row, name) for name, heading in names.items()},
        }
        for row in scores.to_dict("records")
    ]


def _score_rows(scores: pd.DataFrame, verdicts: Mapping[str, Verdict]) -> list[dict[str, str]]:
    return [
        {
            "model": str(row["cell"]),
            "repeat": format_number(row["repeat"]),
            "participants": format_number(row["n"]),
            "balanced accuracy (95 % interval)": format_score(row, "balanced_accuracy"),
            "AUROC (95 % interval)": format_score(row, "auroc"),
            "sensitivity": format_score(row, "sensitivity"),
            "specificity": format_score(row, "specificity"),
            "p": format_number(row["p_corrected"]),
            "verdict": WORDS[verdicts[str(row["cell"])].kind]
            if str(row["cell"]) in verdicts
            else OTHER_ROWS.get(str(row["cell"]), NO_IMAGE),
        }
        for row in scores.to_dict("records")
    ]
