"""The files of `group/<analysis>` where a model was applied: tables, settings, methods and the report."""

from pathlib import Path

import pandas as pd

from bids_app import __version__
from bids_app.planning.model_application import Application
from bids_app.publish.group import add_bids_prefixes, settings_to_toml
from bids_app.report import applied as page
from bids_app.settings import Settings
from bids_app.training.covariate_ranges import class_prevalence, list_unknown_covariates


def stage_application(
    staged: Path, planned: Application, table: pd.DataFrame, scored: pd.DataFrame | None, *, chosen: Settings
) -> None:
    """Write everything about an application into a staged OUT_DIR."""
    folder = staged / "group" / planned.name
    folder.mkdir(parents=True)
    samples = planned.samples.drop(columns=list(planned.maps))
    tables = {"samples": samples, "predictions": table, **({} if scored is None else {"scores": scored})}
    for name, content in tables.items():
        add_bids_prefixes(content).to_csv(
            folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g"
        )
    settings = settings_to_toml(chosen)
    (folder / "settings.toml").write_text(settings)
    cells = {
        cell: page.Cell(
            verdict=planned.about[cell]["verdict"]["text"],
            claim=planned.about[cell]["verdict"]["claim"],
            models=len(models),
            prevalence=class_prevalence(planned.about[cell]["training"], planned.classes),
            people=sum(planned.about[cell]["training"]["people"].values()),
            unknown=list_unknown_covariates(planned.used, planned.about[cell]["training"]),
        )
        for cell, models in planned.cells.items()
    }
    page.write(
        folder / "report.html",
        analysis=planned.name,
        cells=cells,
        classes=planned.classes,
        samples=samples,
        predictions=add_bids_prefixes(table),
        scores=scored,
        labelled=bool(planned.used["class"].notna().any()),
        checked=planned.listed is not None,
        settings_toml=settings,
        version=__version__,
    )
    (folder / "methods.md").write_text(
        page.methods(cells, checked=planned.listed is not None, version=__version__) + "\n"
    )
