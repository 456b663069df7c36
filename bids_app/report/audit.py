"""The audit as tables and sentences: other differences between the classes, and site effects in maps and scores."""

from collections.abc import Mapping
from typing import Any

from bids_app.report.page import format_number


def format_audit(audit: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of audit.json: tables as rows by heading, notes as sentences."""
    return {
        "by_class": [format_class_row(row) for row in audit["by_class"]],
        "confounded": audit["confounded"],
        "excluded_baselines": audit.get("baselines_omitted", []),
        "copies": [text for texts in audit.get("copies", {}).values() for text in texts],
        "site_notes": _site_notes(audit),
        "within_sites": _within_sites(audit),
    }


def two_decimals(value: object) -> str:
    """A number with two decimals."""
    text = format_number(value)
    return text if text == "n/a" else f"{float(str(value)):.2f}"


def format_class_row(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of `audit.audit_classes` as text."""
    by_class = [f"{name}: {_format_summary(summary)}" for name, summary in row["by_class"].items()]
    participants = f"{row['people']}" + (f" ({row['lacking']} unknown)" if row["lacking"] else "")
    return {
        "variable": row["what"],
        "participants": participants,
        "by class": "; ".join(by_class),
        "test": row["test"],
        "p": format_number(row["p"]),
        "effect size (0 to 1)": two_decimals(row["effect"]),
    }


def _site_notes(audit: Mapping[str, Any]) -> list[str]:
    """How well sites can be predicted from the maps, and which sites were not harmonised, in sentences."""
    notes = []
    for model, scores in audit.get("site_predicted_from_maps", {}).items():
        accuracies = [
            f"{two_decimals(score['balanced_accuracy'])} ({_interval(score)}) {condition}"
            for condition, score in sorted(scores.items())
        ]
        chance = two_decimals(next(iter(scores.values()))["chance"])
        notes.append(
            f"{model}: the same classifier predicts the site of held-out participants with a balanced accuracy of "
            f"{', '.join(accuracies)}; chance is {chance}."
        )
    if sites := audit.get("not_harmonised", []):
        notes.append(
            f"ComBat did not change the participants of {', '.join(sites)} in at least one fold, because too few of "
            "them were in the training set."
        )
    return notes


def _within_sites(audit: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row per model, one column per site: balanced accuracy."""
    rows: dict[str, dict[str, str]] = {}
    for model, sites in audit.get("within_sites", {}).items():
        row = rows.setdefault(model, {"model": model})
        for site in sites:
            bounds = "" if site["balanced_accuracy"] is None else f" ({_interval(site)})"
            heading = f"{site['site']}, {site['people']} participants: balanced accuracy"
            row[heading] = two_decimals(site["balanced_accuracy"]) + bounds
    return list(rows.values())


def _interval(score: Mapping[str, Any]) -> str:
    return f"{two_decimals(score['low'])} to {two_decimals(score['high'])}"


def _format_summary(summary: Mapping[str, Any]) -> str:
    if set(summary) == {"mean", "sd"}:
        return f"{format_number(summary['mean'])} (SD {format_number(summary['sd'])})"
    return ", ".join(f"{count} {name}" for name, count in summary.items())
