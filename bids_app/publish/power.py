"""The files of `group/<analysis>` for a planned study: tables, settings, methods and the report."""

from pathlib import Path

import pandas as pd

from bids_app import __version__
from bids_app.planning.group import GroupPlan
from bids_app.planning.permutations import count_labellings, first_repeat, is_linear
from bids_app.planning.power import class_counts
from bids_app.planning.provenance import read_computation
from bids_app.planning.work_dir import WorkDir
from bids_app.publish.group import add_bids_prefixes, settings_to_toml
from bids_app.report.methods import describe_power, describe_preparation
from bids_app.report.page import render_page, save_page
from bids_app.report.participants import tabulate_excluded
from bids_app.report.power import power_section
from bids_app.report.references import cited_references
from bids_app.settings import Settings


def stage_power(
    staged: Path, analysis: GroupPlan, table: pd.DataFrame, *, settings: Settings, work_dir: WorkDir
) -> list[str]:
    """Write everything about a planned study into a staged OUT_DIR; returns the results as sentences."""
    folder = staged / "group" / analysis.name
    folder.mkdir(parents=True)
    samples = analysis.samples.drop(columns=list(analysis.smoothing))
    for name, content in {"samples": samples, "power": table}.items():
        add_bids_prefixes(content).to_csv(
            folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g"
        )
    settings_toml = settings_to_toml(settings)
    (folder / "settings.toml").write_text(settings_toml)
    counts = class_counts(analysis)
    shown = power_section(table, counts, folder)
    cells = {cell.name: count_labellings(cell, settings) for cell in analysis.cells if is_linear(cell)}
    text = describe_power(
        cells,
        sum(counts),
        preparation=describe_preparation(analysis.smoothing, analysis.adjust, analysis.forms, analysis.keep),
        folds=len(first_repeat(analysis)),
        version=__version__,
        sloppy=analysis.sloppy,
    )
    (folder / "methods.md").write_text(text + "\n")
    page = render_page(
        "power_report.html",
        title=f"{analysis.name} - Pellucid",
        analysis=analysis.name,
        power=shown,
        excluded=tabulate_excluded(samples),
        settings=settings_toml,
        methods=text,
        references=cited_references(text),
        about=read_computation(work_dir.provenance),
        version=__version__,
    )
    save_page(folder / "report.html", page)
    return list(shown["sentences"])
