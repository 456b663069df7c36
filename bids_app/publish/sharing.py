"""`share/`: aggregates that may be shared, none of a group of fewer than ten participants."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from bids_app.planning import cohort
from bids_app.planning.disclosure import MIN_PEOPLE, SMALL, suppress_small_count
from bids_app.planning.group import GroupPlan
from bids_app.report.heatmap import Heatmap
from bids_app.report.model_card import write_model_card
from bids_app.results.region_tables import SMALL_GROUP_COLUMNS

TABLES = ("scores.tsv", "comparisons.tsv")
README = """# {analysis}: what may be shared

Aggregates over participants: scores, mean heatmaps with their regions, and differences between the classes. No row
describes a single participant, and no number a group of fewer than {fewest} participants: such numbers are omitted, or
given as "{small}". Trained models, tables of participants and pages are not included, because they can reveal who took
part. The terms of the input data still apply.
{left_out}"""


def write_share(
    folder: Path,
    analysis: GroupPlan,
    audit: dict[str, Any],
    maps: list[tuple[Heatmap, Path]],
    facts: dict[str, str | list[str]],
) -> None:
    """Write `share/` into a staged `group/<analysis>` that has all other files; maps: each with its file there; facts:
    those of the model card, without numbers of small groups.

    If fewer than ten participants of a class are tested, only the methods are shared: the scores of that class are
    those of a small group, and could be derived from those of the others.
    """
    share = folder / "share"
    share.mkdir()
    counts = analysis.used.groupby("class")["participant_id"].nunique()
    tested = cohort.count_tested(analysis.used, analysis.splits)
    small = [name for name in analysis.classes if tested[name] < MIN_PEOPLE]
    notice = (
        f"\nOnly the methods are included: fewer than {MIN_PEOPLE} participants of class {', '.join(small)} were "
        "tested.\n"
    )
    text = README.format(analysis=analysis.name, fewest=MIN_PEOPLE, small=SMALL, left_out=notice if small else "")
    (share / "README.md").write_text(text)
    shutil.copyfile(folder / "methods.md", share / "methods.md")
    if small:
        return
    for name in TABLES:
        shutil.copyfile(folder / name, share / name)
    sharable = [(heatmap, file) for heatmap, file in maps if heatmap.people is None or heatmap.people >= MIN_PEOPLE]
    for _, file in sharable:
        for part in (file, file.with_name(file.name.replace(".nii.gz", ".json"))):
            shutil.copyfile(part, share / part.name)
    keys = {(heatmap.cell, heatmap.method, heatmap.explained) for heatmap, _ in sharable}
    regions = pd.read_csv(folder / "regions.tsv", sep="\t", keep_default_na=False, dtype=str)
    known = [key in keys for key in zip(regions["cell"], regions["method"], regions["explained"], strict=True)]
    regions[known].drop(columns=[*SMALL_GROUP_COLUMNS], errors="ignore").to_csv(
        share / "regions.tsv", sep="\t", index=False
    )
    write_model_card(share, analysis.name, facts)
    about = {"classes": {name: int(counts[name]) for name in analysis.classes}, **suppress_small_groups(audit)}
    (share / "audit.json").write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")


def suppress_small_groups(audit: dict[str, Any]) -> dict[str, Any]:
    """The audit without numbers of small groups: counts below ten are "<10", sites of fewer participants are removed.

    A single suppressed count could be derived from the sum of the others: such a row has all of them suppressed.
    """
    rows = []
    for row in audit["by_class"]:
        of_numbers = all(set(values) == {"mean", "sd"} for values in row["by_class"].values())
        counts = [] if of_numbers else [count for values in row["by_class"].values() for count in values.values()]
        hidden = row["people"] < MIN_PEOPLE or any(0 < count < MIN_PEOPLE for count in counts)
        hidden |= of_numbers and row["lacking"] > 0  # the number without a value is not shared by class
        rows.append(
            {**row, "by_class": SMALL, "lacking": SMALL}
            if hidden
            else {**row, "lacking": suppress_small_count(row["lacking"])}
        )
    within = {
        cell: [row for row in sites if row["people"] >= MIN_PEOPLE]
        for cell, sites in audit.get("within_sites", {}).items()
    }
    return {
        "by_class": rows,
        "within_sites": within,
        "confounded": audit.get("confounded", []),
        "baselines_omitted": audit.get("baselines_omitted", []),
        "site_predicted_from_maps": audit.get("site_predicted_from_maps", {}),
    }
