"""Included and excluded participants, as tables for the reports."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bids_app.bids.names import participant_name
from bids_app.report.page import format_number


def tabulate_used(samples: pd.DataFrame, classes: Sequence[str]) -> list[dict[str, str]]:
    """One row per class and one for all, of the included samples; unknown values are counted as n/a.

    Columns of `samples`: class, used (bool), age, sex, site, tiv (mL), source.
    """
    included = samples[samples["used"].astype(bool)]
    groups = [(name, included[included["class"].eq(name)]) for name in classes]
    if len(groups) > 1:
        groups.append(("all", included))
    return [
        {
            "class": name,
            "participants": str(table["participant_id"].nunique()),
            "age, mean (SD)": _format_mean(table, "age"),
            "sex": _format_counts(table, "sex"),
            "site": _format_counts(table, "site"),
            "TIV in mL, mean (SD)": _format_mean(table, "tiv"),
            "maps from": _format_counts(table, "source"),
        }
        for name, table in groups
    ]


def tabulate_excluded(samples: pd.DataFrame) -> list[dict[str, Any]]:
    """Reasons for exclusion, the most common first, each with its participants (by class, and by name)."""
    excluded = samples[~samples["used"].astype(bool)]
    reasons = excluded["reason"].fillna("no reason given").astype(str)
    return [
        {
            "reason": reason,
            "participants": len(table),
            "classes": _format_counts(table, "class"),
            "names": [_participant_name(row) for row in table.to_dict("records")],
        }
        for reason, table in sorted(excluded.groupby(reasons), key=lambda group: (-len(group[1]), group[0]))
    ]


def format_sites(table: pd.DataFrame) -> dict[str, Any]:
    """The rows of sites.tsv for the page, and the settings of the maps, which are those of all sites."""
    rows = []
    for row in table.to_dict("records"):
        counts = {str(name): count for name, count in row.items() if str(name).startswith("n_")}
        age = format_number(row["age_mean"])
        rows.append(
            {
                "site": row["site"],
                "participants": format_number(row["participants"]),
                "excluded": format_number(row["excluded"]),
                "classes": ", ".join(f"{name.removeprefix('n_')} {count}" for name, count in counts.items()),
                "age, mean (SD)": age if pd.isna(row["age_sd"]) else f"{age} ({format_number(row['age_sd'])})",
                "sex": row["sex"],
                "mean FD in mm": format_number(row["mean_fd"]),
                "scanner": row["scanner"],
                "maps from": row["source"],
            }
        )
    first = table.iloc[0]
    return {"rows": rows, "settings": f"{first['map_parameters']}; Pellucid {first['version']}"}


def _participant_name(row: dict[Any, Any]) -> str:
    session = row.get("session_id")
    return participant_name(row["participant_id"]) + ("" if session is None or pd.isna(session) else f" ses-{session}")


def _format_mean(table: pd.DataFrame, column: str) -> str:
    if column not in table:
        return "n/a"
    values = pd.to_numeric(table[column], errors="coerce")
    known = values.dropna()
    if known.empty:
        return "n/a"
    spread = f" ({format_number(float(known.std()))})" if len(known) > 1 else ""
    lacking = len(values) - len(known)
    return f"{format_number(float(known.mean()))}{spread}" + (f"; n/a for {lacking}" if lacking else "")


def _format_counts(table: pd.DataFrame, column: str) -> str:
    if column not in table:
        return "n/a"
    counts = table[column].astype("object").where(table[column].notna(), "n/a").astype(str).value_counts()
    if list(counts.index) == ["n/a"]:
        return "n/a"
    return ", ".join(f"{value} {count}" for value, count in counts.items())
