"""Spine 2: maps -> samples -> folds -> train -> explain -> regions -> report."""

import logging
from pathlib import Path

import nibabel as nib
import pandas as pd

from bids_app import __version__
from bids_app.bids import description, inputs, outputs
from bids_app.evaluation import verdict
from bids_app.report import group as page
from bids_app.report import methods
from bids_app.settings import Settings
from bids_app.training import scores
from bids_app.workflow import analysis, cells, collect, templates

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Train, judge and explain every cell; returns 0."""
    outputs.check_output(settings.output_dir, settings.bids_dir)
    dataset = inputs.open_dataset(settings.bids_dir, validate=not settings.select.skip_bids_validation)
    planned = analysis.make(dataset, settings)
    outputs.sweep(settings.output_dir)
    description.describe(settings.output_dir, bids_dir=settings.bids_dir, derivatives=settings.select.derivatives)
    counts = planned.used["class"].value_counts()
    log.info("%s; %d left out", ", ".join(f"{counts[name]} {name}" for name in planned.classes), (~planned.samples["used"]).sum())

    work = cells.run(planned, settings)
    told = collect.predictions(planned, work)
    judged = scores.table(told, planned.classes, seed=settings.compute.random_seed)
    verdicts = {cell.name: verdict.sentence(judged[judged["cell"] == cell.name], planned.classes) for cell in planned.cells}
    maps = collect.heatmaps(planned, work)

    with outputs.staging(settings.output_dir) as stage:
        folder = stage / "group" / planned.name
        tables = {"samples": _people(planned), "folds": collect.fold_table(planned), "predictions": told, "scores": judged}
        toml = collect.shown(settings)
        collect.stage(folder, planned, work, tables={**tables, "regions": collect.region_table(maps)}, maps=maps, settings_toml=toml)
        _report(folder, planned, settings, tables, verdicts, maps, collect.atlas_notes(planned, work), toml)
        outputs.publish(stage, settings.output_dir)
    for _, sentence in verdicts.values():
        log.info("%s", sentence)
    log.info("report: %s", settings.output_dir / "group" / planned.name / "report.html")
    return 0


def _people(planned: analysis.Analysis) -> pd.DataFrame:
    return planned.samples.drop(columns=list(planned.smoothing))


def _report(
    folder: Path,
    planned: analysis.Analysis,
    settings: Settings,
    tables: dict[str, pd.DataFrame],
    verdicts: dict[str, tuple[bool, str]],
    maps: list[page.Heatmap],
    notes: dict[str, str],
    toml: str,
) -> None:
    counts = planned.used["class"].value_counts()
    text = methods.group(
        cells=[cell.name for cell in planned.cells],
        classes={name: int(counts[name]) for name in planned.classes},
        folds=settings.group.folds,
        repeats=settings.group.repeats,
        smoothing=planned.smoothing,
        adjust=planned.adjust,
        explainers=settings.group.explainers,
        version=__version__,
        atlases=list(notes),
    )
    (folder / "methods.md").write_text(text + "\n")
    files = templates.prepare(
        cache=str(settings.work_dir),
        space=planned.space,
        resolution=planned.resolution,
        sloppy=planned.sloppy,
        seed=settings.compute.random_seed,
    )
    page.write(
        folder / "report.html",
        analysis=planned.name,
        findings=[sentence for _, sentence in verdicts.values()],
        claims={name: claim for name, (claim, _) in verdicts.items()},
        samples=tables["samples"],
        scores=tables["scores"],
        predictions=tables["predictions"],
        heatmaps=maps,
        atlas_notes=notes,
        settings_toml=toml,
        methods=text,
        references=methods.cited(text),
        template=nib.load(files["brain"]),
        mask=nib.load(files["mask"]),
        classes=planned.classes,
        radiological=settings.other.radiological,
        version=__version__,
    )
