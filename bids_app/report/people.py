"""Who was used and who was left out, as tables for the group report."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bids_app.report.page import number


def used(samples: pd.DataFrame, classes: Sequence[str]) -> list[dict[str, str]]:
    """One row a class and one for all, of the samples that were used; what is not known is counted as n/a.

    Columns of `samples` that are looked at: class, used (bool), age, sex, site, tiv (mL), source.
    """
    chosen = samples[samples["used"].astype(bool)]
    groups = [(name, chosen[chosen["class"].eq(name)]) for name in classes]
    if len(groups) > 1:
        groups.append(("all", chosen))
    return [
        {
            "class": name,
            "people": str(table["participant_id"].nunique()),
            "age, mean (SD)": _mean(table, "age"),
            "sex": _counts(table, "sex"),
            "site": _counts(table, "site"),
            "TIV in mL, mean (SD)": _mean(table, "tiv"),
            "maps from": _counts(table, "source"),
        }
        for name, table in groups
    ]


def left_out(samples: pd.DataFrame) -> list[dict[str, Any]]:
    """Reasons, the commonest first, each with the people whom it left out (by class, and by name)."""
    out = samples[~samples["used"].astype(bool)]
    reasons = out["reason"].fillna("no reason given").astype(str)
    return [
        {
            "reason": reason,
            "people": len(table),
            "classes": _counts(table, "class"),
            "names": [_name(row) for row in table.to_dict("records")],
        }
        for reason, table in sorted(out.groupby(reasons), key=lambda group: (-len(group[1]), group[0]))
    ]


def _name(row: dict[Any, Any]) -> str:
    session = row.get("session_id")
    return f"sub-{row['participant_id']}" + ("" if session is None or pd.isna(session) else f" ses-{session}")


def _mean(table: pd.DataFrame, column: str) -> str:
    if column not in table:
        return "n/a"
    values = pd.to_numeric(table[column], errors="coerce")
    known = values.dropna()
    if known.empty:
        return "n/a"
    spread = f" ({number(float(known.std()))})" if len(known) > 1 else ""
    lacking = len(values) - len(known)
    return f"{number(float(known.mean()))}{spread}" + (f"; n/a for {lacking}" if lacking else "")


def _counts(table: pd.DataFrame, column: str) -> str:
    if column not in table:
        return "n/a"
    counts = table[column].astype("object").where(table[column].notna(), "n/a").astype(str).value_counts()
    if list(counts.index) == ["n/a"]:
        return "n/a"
    return ", ".join(f"{value} {count}" for value, count in counts.items())
