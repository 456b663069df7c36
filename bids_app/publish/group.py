"""The files of `group/<analysis>`: tables, mean maps, models, settings, methods and the report."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import tomli_w

from bids_app import __version__, settings
from bids_app.bids import outputs
from bids_app.bids.names import resolution_label
from bids_app.evaluation import checks
from bids_app.graphs.prediction_pages import FOLDER
from bids_app.nodes.template import prepare_template
from bids_app.planning import cohort
from bids_app.planning.group import Analysis, Cell
from bids_app.planning.permutations import count_labellings
from bids_app.planning.power import class_counts
from bids_app.planning.work_dir import fold_folders
from bids_app.publish.ica_text import describe_ica
from bids_app.publish.model_card import model_card_facts
from bids_app.publish.participant_heatmaps import remove_participant_heatmaps, stage_participant_heatmaps
from bids_app.publish.sharing import write_share
from bids_app.publish.voxelwise_test import write_voxelwise_test
from bids_app.report import card as model_card
from bids_app.report import group as page
from bids_app.report import methods
from bids_app.report.heatmap import Heatmap
from bids_app.report.ica import Matched, section
from bids_app.report.power import section as detected
from bids_app.report.voxelwise import Compared
from bids_app.results.collect import atlas_notes, region_table
from bids_app.results.ica import matched_components
from bids_app.results.verdicts import Judgement
from bids_app.settings import Settings
from bids_app.training.covariate_ranges import compute_ranges
from bids_app.training.model_metadata import CELL_FILE


def stage_group(
    staged: Path,
    analysis: Analysis,
    work: Path,
    *,
    chosen: Settings,
    tables: dict[str, pd.DataFrame],
    judged: Judgement,
    maps: list[Heatmap],
    pages: Path | None = None,
    compared: Compared | None = None,
) -> None:
    """Write everything about an analysis into a staged OUT_DIR: `group/<analysis>`, and people's heatmaps."""
    folder = staged / "group" / analysis.name
    folder.mkdir(parents=True)
    folds = [place for cell in analysis.cells for place in fold_folders(analysis, cell, work)]
    made = stage_participant_heatmaps(staged, folds)
    tables = {**tables, "checks": checks.tabulate_checks(maps)}
    for name, content in {**tables, "regions": region_table(maps), "heatmaps": made}.items():
        add_bids_prefixes(content).to_csv(
            folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g"
        )
    (folder / "settings.toml").write_text(settings_to_toml(chosen))
    (folder / "audit.json").write_text(json.dumps(judged.audit, indent=2, allow_nan=False) + "\n")
    files = [(one, _mean(folder, one, analysis)) for one in maps]
    for cell in analysis.cells:
        for place, split in zip(fold_folders(analysis, cell, work), analysis.splits, strict=True):
            shutil.copytree(place / "model", folder / "models" / cell.name / f"repeat-{split.repeat}_fold-{split.fold}")
        (folder / "models" / cell.name / CELL_FILE).write_text(tomli_w.dumps(_cell(analysis, cell, judged, work)))
    if pages is not None:
        shutil.copytree(pages, folder / FOLDER)
    if compared is not None:
        write_voxelwise_test(folder, compared.tested, analysis, compared.limits)
    notes, matched = atlas_notes(analysis, work), matched_components(analysis, work)
    _report(folder, analysis, chosen, tables, judged, maps, compared, notes, matched)
    model_card.write(folder, analysis.name, model_card_facts(analysis, judged, chosen))
    write_share(folder, analysis, judged.audit, files, model_card_facts(analysis, judged, chosen, shared=True))


def remove_previous_group(out: Path, name: str, old: Path) -> None:
    """Take what an earlier run of an analysis wrote out of OUT_DIR, into a folder that is removed."""
    remove_participant_heatmaps(out, name, old)
    outputs.remove_previous(out / "group" / name, old)


def _cell(analysis: Analysis, cell: Cell, judged: Judgement, work: Path) -> dict[str, Any]:
    """What is true of all models of a cell together: what was found, and whom they were trained on."""
    found = judged.verdicts[cell.name]
    apart = np.concatenate([np.load(place / "distances.npy") for place in fold_folders(analysis, cell, work)])
    return {
        "verdict": {"kind": found.kind, "claim": found.claim, "text": found.text},
        "training": compute_ranges(analysis.used, apart.tolist()),
    }


def _report(
    folder: Path,
    planned: Analysis,
    chosen: Settings,
    tables: dict[str, pd.DataFrame],
    judged: Judgement,
    maps: list[Heatmap],
    compared: Compared | None,
    notes: dict[str, str],
    matched: list[Matched],
) -> None:
    text = _methods(planned, chosen, judged.audit, notes)
    (folder / "methods.md").write_text(text + "\n")
    files = prepare_template(
        cache=str(chosen.work_dir),
        space=planned.space,
        resolution=min(planned.resolutions.values()),
        sloppy=planned.sloppy,
        seed=chosen.compute.random_seed,
    )
    template, mask = nib.load(files["brain"]), nib.load(files["mask"])
    drawn = {"template": template, "mask": mask, "radiological": chosen.other.radiological}
    page.write(
        folder / "report.html",
        analysis=planned.name,
        verdicts=judged.verdicts,
        audit=judged.audit,
        samples=tables["samples"],
        scores=tables["scores"],
        pairs=judged.pairs,
        predictions=tables["predictions"],
        heatmaps=maps,
        atlas_notes=notes,
        settings_toml=settings_to_toml(chosen),
        methods=text,
        references=methods.cited(text),
        **drawn,
        checks=tables["checks"],
        overlap=tables.get("overlap"),
        compared=compared,
        sections=_sections(folder, planned, tables, matched, drawn),
        pages=sorted(page.name for page in (folder / FOLDER).glob("*.html")),
        classes=planned.classes,
        version=__version__,
    )


def _sections(
    folder: Path, planned: Analysis, tables: dict[str, pd.DataFrame], matched: list[Matched], drawn: dict[str, Any]
) -> dict[str, Any]:
    """What the report shows of what was asked for besides, by name."""
    made: dict[str, Any] = {"ica": section(folder, tables["ica"], matched, **drawn)} if matched else {}
    if "power" in tables:
        made["power"] = detected(tables["power"], class_counts(planned), folder)
    return made


def _methods(planned: Analysis, chosen: Settings, audit: dict[str, Any], notes: dict[str, str]) -> str:
    """What was done, in words."""
    counts = planned.used.groupby("class")["participant_id"].nunique()
    split = [cohort.split_words(chosen), cohort.tested_words(planned.used, planned.splits, planned.classes)]
    text = methods.group(
        cells=[cell.name for cell in planned.cells],
        classes={name: int(counts[name]) for name in planned.classes},
        split=" ".join(part for part in split if part),
        keep=planned.keep,
        permutations={cell.name: count_labellings(cell, chosen) for cell in planned.cells},
        baselines=list(audit["baselines"]),
        left_out=audit["baselines_left_out"],
        smoothing=planned.smoothing,
        forms=planned.forms,
        adjust=planned.adjust,
        explainers=chosen.group.explainers,
        checked=chosen.group.explain_checks,
        reference=None if chosen.group.reference_map is None else chosen.group.reference_map.name,
        voxelwise=chosen.group.voxelwise_test,
        ica=describe_ica(planned),
        version=__version__,
        atlases=list(notes),
        sloppy=planned.sloppy,
    )
    return text if chosen.group.power is None else f"{text}\n\n{methods.SIMULATED}"


def _mean(folder: Path, one: Heatmap, analysis: Analysis) -> Path:
    """Write a mean heatmap and its sidecar; returns the image's file."""
    stem = outputs.filename(
        None,
        None,
        "statmap",
        "",
        space=analysis.space,
        res=resolution_label(analysis.resolutions[one.cell.partition("/")[2].partition("+")[0]]),
        stat=outputs.label(one.method),
        desc=outputs.camel(one.cell) + outputs.camel(one.explained),
    )
    one.image.to_filename(folder / f"{stem}.nii.gz")
    over = f"mean over {one.people} held-out people" if one.people is not None else "mean over the models of all folds"
    sidecar = {
        "Description": f"{over}: what {one.cell} used for the class {one.explained}; not where a disease is",
        "Method": one.method,
        "Cell": one.cell,
        "ExplainedClass": one.explained,
        "People": one.people,
        "Units": one.unit,
        "Sign": one.sign,
        "Space": analysis.space,
        "PellucidVersion": __version__,
    }
    (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
    return folder / f"{stem}.nii.gz"


def settings_to_toml(chosen: Settings) -> str:
    """The settings as TOML, with the names alone of folders and files of this machine."""
    return tomli_w.dumps(_names_only(settings.to_dict(chosen)))


def add_bids_prefixes(table: pd.DataFrame) -> pd.DataFrame:
    """People and sessions as in participants.tsv and sessions.tsv: sub-01, ses-1."""
    named = table.copy()
    for column, prefix in (("participant_id", "sub-"), ("session_id", "ses-")):
        if column in named:
            known = named[column].notna() & named[column].ne("n/a")
            named[column] = named[column].astype(object).where(~known, prefix + named[column].astype(str))
    return named


def _names_only(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _names_only(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_names_only(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
