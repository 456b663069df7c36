"""The files of `group/<analysis>`: tables, mean maps, models, settings, methods and the report."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.bids.names import participant_name, resolution_label
from bids_app.evaluation import checks
from bids_app.nodes.template import template_of_analysis
from bids_app.planning import cohort, sites
from bids_app.planning.group import GroupPlan, ModelSpec
from bids_app.planning.permutations import count_labellings
from bids_app.planning.power import class_counts
from bids_app.planning.provenance import read_computation
from bids_app.planning.work_dir import WorkDir
from bids_app.preprocess.conform import read_image
from bids_app.publish.ica_text import describe_ica
from bids_app.publish.index import publish_index
from bids_app.publish.model_card import model_card_facts
from bids_app.publish.participant_heatmaps import remove_participant_heatmaps, stage_participant_heatmaps
from bids_app.publish.sharing import write_share
from bids_app.publish.voxelwise_test import write_voxelwise_test
from bids_app.report.group import write_group_report
from bids_app.report.heatmap import Heatmap
from bids_app.report.ica import MatchedComponent, ica_section
from bids_app.report.methods import SIMULATIONS, describe_group
from bids_app.report.model_card import write_model_card
from bids_app.report.participants import format_sites
from bids_app.report.power import power_section
from bids_app.report.references import cited_references
from bids_app.report.voxelwise_test import VoxelwiseTest
from bids_app.results.collect import atlas_notes, region_table
from bids_app.results.ica import matched_components
from bids_app.results.verdicts import Judgement
from bids_app.settings import Settings, to_dict
from bids_app.training.covariate_ranges import compute_ranges
from bids_app.training.model_metadata import CELL_FILE, compute_digests

PAGES = "people"  # the folder of pages that explain predictions


@dataclass(frozen=True, eq=False)
class GroupResults:
    """The results of an analysis: tables by name, mean `heatmaps`, and the folder of prediction pages, if any."""

    tables: dict[str, pd.DataFrame]
    judgement: Judgement
    heatmaps: list[Heatmap]
    pages: Path | None
    voxelwise: VoxelwiseTest | None


def publish_group(analysis: GroupPlan, settings: Settings, results: GroupResults, work_dir: WorkDir) -> None:
    """Replace OUT_DIR/group/<name> by the results, all at once, and list the analysis in index.html."""
    with outputs.staging(settings.output_dir) as stage, outputs.staging(settings.output_dir) as old:
        stage_group(stage, analysis, settings, results, work_dir)
        remove_previous_group(settings.output_dir, analysis.name, old)
        outputs.publish(stage, settings.output_dir)
    publish_index(settings.output_dir)


def stage_group(
    staged: Path, analysis: GroupPlan, settings: Settings, results: GroupResults, work_dir: WorkDir
) -> None:
    """Write everything about an analysis into a staged OUT_DIR: `group/<analysis>`, and participants' heatmaps."""
    folder, judgement = staged / "group" / analysis.name, results.judgement
    folder.mkdir(parents=True)
    folds = [files for cell in analysis.cells for files in work_dir.folds(cell.name, analysis.splits)]
    tables = {**results.tables, "checks": checks.tabulate_checks(results.heatmaps)}
    tables |= {"regions": region_table(results.heatmaps), "heatmaps": stage_participant_heatmaps(staged, folds)}
    for name, content in tables.items():
        add_bids_prefixes(content).to_csv(
            folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g"
        )
    (folder / "settings.toml").write_text(settings_to_toml(settings))
    (folder / "audit.json").write_text(json.dumps(judgement.audit, indent=2, allow_nan=False) + "\n")
    images = [(heatmap, _write_mean_heatmap(folder, heatmap, analysis)) for heatmap in results.heatmaps]
    _copy_models(folder / "models", analysis, judgement, work_dir)
    if results.pages is not None:
        shutil.copytree(results.pages, folder / PAGES)
    if results.voxelwise is not None:
        write_voxelwise_test(folder, results.voxelwise.tested, analysis, results.voxelwise.limits)
    _write_report(folder, analysis, settings, replace(results, tables=tables), work_dir)
    write_model_card(folder, analysis.name, model_card_facts(analysis, judgement, settings))
    facts = model_card_facts(analysis, judgement, settings, shared=True)
    write_share(folder, analysis, judgement.audit, images, facts)


def remove_previous_group(out: Path, name: str, old: Path) -> None:
    """Move the files of an earlier run of an analysis out of OUT_DIR into `old`."""
    remove_participant_heatmaps(out, name, old)
    outputs.remove_previous(out / "group" / name, old)


def _copy_models(models: Path, analysis: GroupPlan, judgement: Judgement, work_dir: WorkDir) -> None:
    """Copy the model of every cell and fold, and write the facts shared by all models of a cell into cell.toml."""
    for cell in analysis.cells:
        for files, split in zip(work_dir.folds(cell.name, analysis.splits), analysis.splits, strict=True):
            shutil.copytree(files.model, models / cell.name / f"repeat-{split.repeat}_fold-{split.fold}")
        facts = _cell_facts(models, analysis, cell, judgement, work_dir)
        (models / cell.name / CELL_FILE).write_text(tomli_w.dumps(facts))


def _cell_facts(
    models: Path, analysis: GroupPlan, cell: ModelSpec, judgement: Judgement, work_dir: WorkDir
) -> dict[str, Any]:
    """The content of cell.toml: the verdict, the digests of all files, and the ranges of the training participants."""
    verdict = judgement.verdicts[cell.name]
    distances = np.concatenate([np.load(files.distances) for files in work_dir.folds(cell.name, analysis.splits)])
    return {
        "verdict": {"kind": verdict.kind, "claim": verdict.claim, "text": verdict.text},
        "files": compute_digests(models / cell.name),
        "training": compute_ranges(analysis.used, distances.tolist()),
    }


def _write_report(
    folder: Path, analysis: GroupPlan, settings: Settings, results: GroupResults, work_dir: WorkDir
) -> None:
    tables, judgement, notes = results.tables, results.judgement, atlas_notes(analysis, work_dir)
    text = _methods_text(analysis, settings, judgement.audit, notes)
    (folder / "methods.md").write_text(text + "\n")
    files = template_of_analysis(analysis, settings)
    template, mask = read_image(files["brain"]), read_image(files["mask"])
    background: dict[str, Any] = {"template": template, "mask": mask, "radiological": settings.other.radiological}
    write_group_report(
        folder / "report.html",
        analysis=analysis.name,
        verdicts=judgement.verdicts,
        audit=judgement.audit,
        samples=tables["samples"],
        scores=tables["scores"],
        pairs=judgement.pairs,
        predictions=tables["predictions"],
        heatmaps=results.heatmaps,
        atlas_notes=notes,
        settings_toml=settings_to_toml(settings),
        methods=text,
        references=cited_references(text),
        **background,
        checks=tables["checks"],
        overlap=tables.get("overlap"),
        compared=results.voxelwise,
        sections={
            **_sections(folder, analysis, tables, matched_components(analysis, work_dir), background),
            "about": read_computation(work_dir.provenance),
        },
        pages=_list_pages(folder / PAGES),
        classes=analysis.classes,
        version=__version__,
    )


def _list_pages(folder: Path) -> list[str]:
    """The paths of prediction pages in their folder, which are in one folder for each site of a pooled analysis."""
    pages = [*folder.glob("*.html"), *folder.glob("*/sub-*.html")]
    return sorted(page.relative_to(folder).as_posix() for page in pages)


def _sections(
    folder: Path,
    analysis: GroupPlan,
    tables: dict[str, pd.DataFrame],
    matched: list[MatchedComponent],
    background: dict[str, Any],
) -> dict[str, Any]:
    """The optional sections of the report, by name."""
    sections: dict[str, Any] = {"ica": ica_section(folder, tables["ica"], matched, **background)} if matched else {}
    if "sites" in tables:
        sections["sites"] = format_sites(tables["sites"])
    if "power" in tables:
        sections["power"] = power_section(tables["power"], class_counts(analysis), folder)
    return sections


def _methods_text(analysis: GroupPlan, settings: Settings, audit: dict[str, Any], notes: dict[str, str]) -> str:
    """The text of methods.md."""
    counts = analysis.used.groupby("class")["participant_id"].nunique()
    split = [
        sites.describe_sites(analysis.used),
        cohort.describe_splits(settings),
        cohort.describe_tested(analysis.used, analysis.splits, analysis.classes),
    ]
    text = describe_group(
        cells=[cell.name for cell in analysis.cells],
        classes={name: int(counts[name]) for name in analysis.classes},
        split=" ".join(part for part in split if part),
        keep=analysis.keep,
        permutations={cell.name: count_labellings(cell, settings) for cell in analysis.cells},
        baselines=list(audit["baselines"]),
        left_out=audit["baselines_omitted"],
        smoothing=analysis.smoothing,
        forms=analysis.forms,
        adjust=analysis.adjust,
        explainers=settings.group.explainers,
        checked=settings.group.explainer_checks,
        reference=None if settings.group.reference_map is None else settings.group.reference_map.name,
        voxelwise=settings.group.voxelwise_test,
        ica=describe_ica(analysis),
        version=__version__,
        atlases=list(notes),
        sloppy=analysis.sloppy,
    )
    return text if settings.group.power is None else f"{text}\n\n{SIMULATIONS}"


def _write_mean_heatmap(folder: Path, heatmap: Heatmap, analysis: GroupPlan) -> Path:
    """Write a mean heatmap and its sidecar; returns the image's file."""
    stem = outputs.filename(
        None,
        None,
        "statmap",
        "",
        space=analysis.space,
        res=resolution_label(analysis.resolutions[heatmap.cell.partition("/")[2].partition("+")[0]]),
        stat=outputs.label(heatmap.method),
        desc=outputs.camel(heatmap.cell) + outputs.camel(heatmap.explained),
    )
    heatmap.image.to_filename(folder / f"{stem}.nii.gz")
    averaged = "the models of all folds" if heatmap.people is None else f"{heatmap.people} held-out participants"
    content = f"what {heatmap.cell} used for the class {heatmap.explained}; not where a disease is"
    sidecar = {
        "Description": f"mean over {averaged}: {content}",
        "Method": heatmap.method,
        "Cell": heatmap.cell,
        "ExplainedClass": heatmap.explained,
        "People": heatmap.people,
        "Units": heatmap.unit,
        "Sign": heatmap.sign,
        "Space": analysis.space,
        "PellucidVersion": __version__,
    }
    (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
    return folder / f"{stem}.nii.gz"


def settings_to_toml(settings: Settings) -> str:
    """The settings as TOML, with local paths reduced to file names."""
    return tomli_w.dumps(_names_only(to_dict(settings)))


def add_bids_prefixes(table: pd.DataFrame) -> pd.DataFrame:
    """The table with participant and session labels as in BIDS: sub-01 (or NORTH:sub-01), ses-1."""
    prefixed = table.copy()
    for column, write in (("participant_id", participant_name), ("session_id", "ses-{}".format)):
        if column in prefixed:
            known = prefixed[column].notna() & prefixed[column].ne("n/a")
            prefixed[column] = prefixed[column].astype(object).where(~known, prefixed[column].astype(str).map(write))
    return prefixed


def _names_only(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _names_only(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_names_only(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
