"""The files of `group/<analysis>` where a model was applied: tables, settings, methods and the report."""

from pathlib import Path

import pandas as pd

from bids_app import __version__
from bids_app.planning.model_application import ApplicationPlan
from bids_app.planning.provenance import read_computation
from bids_app.planning.work_dir import WorkDir
from bids_app.publish.group import add_bids_prefixes, settings_to_toml
from bids_app.report.model_application import AppliedModel, describe_application, write_application_report
from bids_app.settings import Settings
from bids_app.training.covariate_ranges import class_prevalence, list_unknown_covariates


def stage_application(
    staged: Path, application: ApplicationPlan, table: pd.DataFrame, scored: pd.DataFrame | None, *, settings: Settings
) -> None:
    """Write everything about an application into a staged OUT_DIR."""
    work_dir = WorkDir.of_application(settings, application.name, application.key)
    folder = staged / "group" / application.name
    folder.mkdir(parents=True)
    samples = application.samples.drop(columns=list(application.maps))
    tables = {"samples": samples, "predictions": table, **({} if scored is None else {"scores": scored})}
    for name, content in tables.items():
        add_bids_prefixes(content).to_csv(
            folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g"
        )
    settings_toml = settings_to_toml(settings)
    (folder / "settings.toml").write_text(settings_toml)
    cells = {
        cell: AppliedModel(
            verdict=application.cell_facts[cell]["verdict"]["text"],
            claim=application.cell_facts[cell]["verdict"]["claim"],
            models=len(models),
            prevalence=class_prevalence(application.cell_facts[cell]["training"], application.classes),
            people=sum(application.cell_facts[cell]["training"]["people"].values()),
            unknown=list_unknown_covariates(application.used, application.cell_facts[cell]["training"]),
        )
        for cell, models in application.cells.items()
    }
    write_application_report(
        folder / "report.html",
        analysis=application.name,
        cells=cells,
        classes=application.classes,
        samples=samples,
        predictions=add_bids_prefixes(table),
        scores=scored,
        labelled=bool(application.used["class"].notna().any()),
        checked=application.listed is not None,
        settings_toml=settings_toml,
        about=read_computation(work_dir.provenance),
        version=__version__,
    )
    (folder / "methods.md").write_text(
        describe_application(cells, checked=application.listed is not None, version=__version__) + "\n"
    )
