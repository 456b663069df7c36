"""The files of `group/<analysis>` at the coordinator of a federated analysis: tables, heatmaps, methods and report."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bids_app import __version__
from bids_app.atlases import templates
from bids_app.bids import outputs
from bids_app.bids.names import resolution_label
from bids_app.classifiers.model_averaging import ATLAS
from bids_app.dataset.grid import Grid
from bids_app.evaluation.permutation import ALPHA, MIN_PERMUTATIONS
from bids_app.explainers import pattern, weights
from bids_app.nodes.template import template_of_analysis
from bids_app.planning.federated import FederatedPlan
from bids_app.planning.provenance import GROUP_SOFTWARE, describe_run
from bids_app.planning.work_dir import WorkDir
from bids_app.preprocess.conform import read_image
from bids_app.publish.group import settings_to_toml
from bids_app.report.audit import format_class_row, two_decimals
from bids_app.report.figures import draw_heatmap
from bids_app.report.methods_federated import describe_federated
from bids_app.report.page import format_number, render_page, save_page
from bids_app.settings import Settings

UNITS = {"weights": weights.UNIT, "pattern": pattern.UNIT}
UNTESTED = "Whether age, sex, site, motion or brain size alone could do as well was not tested."


def stage_federated(
    staged: Path,
    plan: FederatedPlan,
    settings: Settings,
    facts: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
    work_dir: WorkDir,
    *,
    dropped: dict[str, str],
) -> list[str]:
    """Write everything into a staged OUT_DIR; returns the results as sentences.

    facts, arrays: as `study.read_results` returns them; dropped: the sites that were left out, with the reason.
    """
    folder = staged / "group" / plan.analysis.name
    folder.mkdir(parents=True)
    scores = tabulate_scores(facts, arrays)
    sites = _tabulate_sites(plan, facts, dropped)
    regions = _tabulate_regions(plan, arrays, work_dir)
    for name, content in {"scores": scores, "sites": sites, "regions": regions}.items():
        content.to_csv(folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    (folder / "settings.toml").write_text(settings_to_toml(settings))
    (folder / "audit.json").write_text(json.dumps({"by_class": facts["audit"]}, indent=2) + "\n")
    text = describe_federated(
        classifiers=plan.classifiers,
        sites=len(facts["people"]),
        folds=settings.group.folds,
        permutations=plan.permutations,
        harmonised=any(steps.keep is not None for steps in plan.steps.values()),
        version=__version__,
    )
    (folder / "methods.md").write_text(text + "\n")
    figures = _write_heatmaps(folder, plan, settings, arrays, work_dir)
    sentences = describe_results(scores, plan.analysis.classes)
    page = render_page(
        "federated.html",
        title=f"{plan.analysis.name} - Pellucid",
        analysis=plan.analysis.name,
        sentences=sentences,
        dropped=[f"{name} was dropped: {reason}" for name, reason in dropped.items()],
        uneven=[row["what"] for row in facts["audit"] if row["uneven"]],
        scores=[_score_row(row) for row in scores.to_dict("records")],
        sites=sites.to_dict("records"),
        audit=[format_class_row(row) for row in facts["audit"]],
        regions=[_shown(row) for row in regions.head(20).to_dict("records")],
        figures=figures,
        rounds=facts["rounds"],
        settings=settings_to_toml(settings),
        methods=text,
        about=describe_run(
            settings, software=(*GROUP_SOFTWARE, "nvflare"), templates=templates.source_files(plan.analysis.space)
        ),
        version=__version__,
    )
    save_page(folder / "report.html", page)
    return sentences


def tabulate_scores(facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """A row per cell: the scores of `evaluation.score_sites`, with p from the labellings (NaN with fewer than 19).

    `p_max`: against the best of all permuted cells under the same labellings.
    """
    nulls = {cell: arrays[f"{cell}:null"] for cell in facts["cells"]}
    enough = [null for null in nulls.values() if len(null) >= MIN_PERMUTATIONS]
    highest = np.max(enough, axis=0) if enough else np.zeros(0)
    rows = []
    for cell, result in facts["cells"].items():
        score = {name: value for name, value in result["scores"].items() if name != "silent"}
        tested = len(nulls[cell]) >= MIN_PERMUTATIONS
        value = score["balanced_accuracy"]
        p, p_max = (_p_value(value, null) if tested else math.nan for null in (nulls[cell], highest))
        rows.append({"cell": cell, **score, "permutations": len(nulls[cell]), "p": p, "p_max": p_max})
    return pd.DataFrame(rows)


def describe_results(scores: pd.DataFrame, classes: tuple[str, ...]) -> list[str]:
    """One sentence per cell: what it distinguished, or that nothing is claimed."""
    sentences = []
    for row in scores.to_dict("records"):
        name = " on ".join(str(row["cell"]).split("/"))
        if pd.isna(row["balanced_accuracy"]):
            sentences.append(f"{name} was not scored: no site has ten participants of each class.")
            continue
        low, high = row["balanced_accuracy_low"], row["balanced_accuracy_high"]
        score = f"balanced accuracy {row['balanced_accuracy']:.2f}, 95 % interval {low:.2f} to {high:.2f}"
        if pd.isna(row["p_max"]):
            sentences.append(f"{name}: {score}. No permutations were run, so nothing is claimed.")
        elif row["p_max"] <= ALPHA and row["balanced_accuracy"] > 1 / len(classes):
            words = f"distinguished {classes[1]} from {classes[0]} above chance"
            sentences.append(f"{name} {words} ({score}, p = {format_number(row['p_max'])}). {UNTESTED}")
        else:
            words = f"did not distinguish {classes[1]} from {classes[0]} above chance"
            sentences.append(f"{name} {words} ({score}, p = {format_number(row['p_max'])}); do not interpret its maps.")
    return sentences


def _p_value(score: float, null: NDArray[Any]) -> float:
    return float((1 + (null >= score - 1e-9).sum()) / (1 + len(null)))


def _tabulate_sites(plan: FederatedPlan, facts: dict[str, Any], dropped: dict[str, str]) -> pd.DataFrame:
    silent = next(iter(facts["cells"].values()))["scores"]["silent"]
    rows = [
        {"site": name, **dict(zip(plan.analysis.classes, counts, strict=True)), "scores": silent.get(name, "sent")}
        for name, counts in facts["people"].items()
    ]
    rows += [{"site": name, **dict.fromkeys(plan.analysis.classes, "n/a"), "scores": "dropped"} for name in dropped]
    return pd.DataFrame(rows)


def _tabulate_regions(plan: FederatedPlan, arrays: dict[str, NDArray[Any]], work_dir: WorkDir) -> pd.DataFrame:
    """Student's t of each region's mean, and p corrected over the regions of a map, strongest first."""
    rows = []
    for name in plan.steps:
        cell = next((cell for cell in (f"{c}/{name}" for c in plan.classifiers) if f"{cell}:region:t" in arrays), None)
        if cell is None:
            continue
        grid = Grid.read(work_dir.grid(name))
        names = work_dir.read_atlas(plan.analysis.grids[name], ATLAS)[1]["names"]
        labels = np.unique(grid.regions[grid.regions > 0]) if grid.regions is not None else np.zeros(0, int)
        values = zip(labels.tolist(), arrays[f"{cell}:region:t"], arrays[f"{cell}:region:p"], strict=True)
        rows += [{"map": name, "region": names[str(label)], "t": t, "p": p} for label, t, p in values]
    table = pd.DataFrame(rows, columns=["map", "region", "t", "p"])
    return table.iloc[np.argsort(-table["t"].abs().to_numpy(float), kind="stable")]


def _write_heatmaps(
    folder: Path, plan: FederatedPlan, settings: Settings, arrays: dict[str, NDArray[Any]], work_dir: WorkDir
) -> list[dict[str, str]]:
    """Write the maps of the final models for the second class, with sidecars and figures; returns what a page shows."""
    analysis, explained = plan.analysis, plan.analysis.classes[1]
    files = template_of_analysis(analysis, settings)
    template, mask = read_image(files["brain"]), read_image(files["mask"])
    shown = []
    for key, values in arrays.items():
        cell, _, method = key.partition(":heatmap:")
        if not method:
            continue
        map_name = cell.partition("/")[2]
        grid = Grid.read(work_dir.grid(map_name))
        image = Nifti1Image(grid.volume(values[1]), grid.affine)
        stem = outputs.filename(
            None,
            None,
            "statmap",
            "",
            space=analysis.space,
            res=resolution_label(analysis.resolutions[map_name]),
            stat=method,
            desc=outputs.camel(cell) + outputs.camel(explained),
        )
        image.to_filename(folder / f"{stem}.nii.gz")
        sidecar = {
            "Description": f"what {cell}, trained on all sites, used for the class {explained}; not where a disease is",
            "Method": method,
            "Cell": cell,
            "ExplainedClass": explained,
            "Units": UNITS[method],
            "Space": analysis.space,
            "PellucidVersion": __version__,
        }
        (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
        figure = Path("figures") / f"{stem}.png"
        title, unit = f"{cell}: {method}, {explained}", UNITS[method]
        draw_heatmap(image, template, mask, folder / figure, title=title, unit=unit)
        shown.append({"file": str(figure), "title": title, "unit": unit})
    return shown


def _score_row(row: dict[Any, Any]) -> dict[str, str]:
    low, high, p = row["balanced_accuracy_low"], row["balanced_accuracy_high"], format_number(row["p_max"])
    return {
        "model": str(row["cell"]),
        "participants": str(row["n"]),
        "balanced accuracy (95 % interval)": f"{row['balanced_accuracy']:.2f} ({low:.2f} to {high:.2f})",
        "AUROC within site and fold": two_decimals(row["auroc"]),
        "p": "not tested" if p == "n/a" else p,
    }


def _shown(row: dict[Any, Any]) -> dict[str, str]:
    return {str(name): format_number(value) for name, value in row.items()}
