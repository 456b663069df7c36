"""The audit in words and tables: what else differs between classes, and what sites leave in maps and scores."""

from collections.abc import Mapping
from typing import Any

from bids_app.report.page import number


def shown(audit: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of audit.json: tables as rows by heading, notes as sentences."""
    return {
        "by_class": [_audited(row) for row in audit["by_class"]],
        "confounded": audit["confounded"],
        "baselines_left_out": audit.get("baselines_left_out", []),
        "copies": [text for told in audit.get("copies", {}).values() for text in told],
        "site_notes": _site_notes(audit),
        "within_sites": _within_sites(audit),
    }


def two(value: object) -> str:
    """A number with two places."""
    text = number(value)
    return text if text == "n/a" else f"{float(str(value)):.2f}"


def _audited(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of the audit in words."""
    by_class = [f"{name}: {_summary(its)}" for name, its in row["by_class"].items()]
    people = f"{row['people']}" + (f" ({row['lacking']} unknown)" if row["lacking"] else "")
    told = {"what": row["what"], "people": people, "by class": "; ".join(by_class), "test": row["test"]}
    return told | {"p": number(row["p"]), "effect (0 to 1)": two(row["effect"])}


def _site_notes(audit: Mapping[str, Any]) -> list[str]:
    """How well sites are told from the maps, and who was not harmonised, in sentences."""
    notes = []
    for cell, found in audit.get("site_told_from_maps", {}).items():
        each = [
            f"{two(its['balanced_accuracy'])} ({two(its['low'])} to {two(its['high'])}) {how}"
            for how, its in sorted(found.items())
        ]
        chance = two(next(iter(found.values()))["chance"])
        notes.append(
            f"{cell}: the same classifier tells the site of people held out with a balanced accuracy of "
            f"{', '.join(each)}; chance {chance}."
        )
    if left := audit.get("not_harmonised", []):
        notes.append(
            f"ComBat left people of {', '.join(left)} as they were in at least one fold: too few of the site trained."
        )
    return notes


def _within_sites(audit: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row a cell, a column a site: balanced accuracy."""
    rows: dict[str, dict[str, str]] = {}
    for cell, each in audit.get("within_sites", {}).items():
        row = rows.setdefault(cell, {"cell": cell})
        for its in each:
            bounds = "" if its["balanced_accuracy"] is None else f" ({two(its['low'])} to {two(its['high'])})"
            row[f"{its['site']}, {its['people']} people: balanced accuracy"] = two(its["balanced_accuracy"]) + bounds
    return list(rows.values())


def _summary(its: Mapping[str, Any]) -> str:
    if set(its) == {"mean", "sd"}:
        return f"{number(its['mean'])} (SD {number(its['sd'])})"
    return ", ".join(f"{count} {name}" for name, count in its.items())
