"""The files of a federated study: what a site computes from, the coordinator's plan, its results or their lack."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import FailedError, PellucidError
from bids_app.federated import evaluation
from bids_app.federated.analysis import FederatedResult, analyse
from bids_app.federated.linear import EXACT, Groups
from bids_app.federated.outgoing import OutgoingFilter
from bids_app.federated.pipeline import Steps
from bids_app.federated.protocol import Request, Transport
from bids_app.federated.rounds import Rounds, SiteFailedError
from bids_app.federated.site import Site, SiteData
from bids_app.federated.site_sums import FINISHED

SITE, PLAN, RESULTS, FAILURE, STATE = "site", "plan", "results", "failure.json", "state"


class AbortedError(FailedError):
    """The study was ended from outside."""


@dataclass(frozen=True)
class Plan:
    """What the coordinator asks of which sites.

    steps: by map; folds: their number; timeout: seconds for an answer; attempts: how often a question is asked;
    settings: the digest of the settings that all share.
    """

    sites: tuple[str, ...]
    classes: tuple[str, str]
    classifiers: tuple[str, ...]
    steps: Mapping[str, Steps]
    folds: int
    permutations: int
    timeout: float
    attempts: int
    settings: str
    groups: Mapping[str, Groups]


@dataclass(frozen=True, eq=False)
class StudyResults:
    """Results by cell (`logistic/gm`), the audit, and each site's participants (2,) by class."""

    cells: Mapping[str, FederatedResult]
    audit: list[dict[str, Any]]
    people: Mapping[str, list[int]]


def write_site(folder: Path, data: SiteData, *, settings: str, messages: Path) -> None:
    """Write what a site computes from; messages: the folder of messages.tsv."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE / FINISHED).unlink(missing_ok=True)
    arrays: dict[str, NDArray[Any]] = {"y": data.y, "folds": data.folds}
    arrays |= {f"values/{name}": array for name, array in data.values.items()}
    arrays |= {f"covariates/{name}": array for name, array in data.covariates.items()}
    arrays |= {f"groups/{name}/{kind}": a for name, sets in data.groups.items() for kind, a in sets.items()}
    np.savez(folder / f"{SITE}.npz", **arrays)  # type: ignore[arg-type]
    facts = {name: getattr(data, name) for name in ("sex", "adjust", "keep", "units", "participants", "permutations")}
    facts |= {"settings": settings, "messages": str(messages.absolute())}
    facts |= {"per_class": np.bincount(data.y, minlength=2).tolist(), "sizes": {m: data.sizes(m) for m in data.values}}
    (folder / f"{SITE}.json").write_text(json.dumps(facts))


def read_filter(folder: Path) -> OutgoingFilter:
    """The filter of a site."""
    facts = json.loads((folder / f"{SITE}.json").read_text())
    negatives, positives = facts["per_class"]
    return OutgoingFilter(Path(facts["messages"]), per_class=(negatives, positives), sizes=facts["sizes"])


def read_site(folder: Path) -> Site:
    """The site whose files `write_site` wrote."""
    facts = json.loads((folder / f"{SITE}.json").read_text())
    parts: dict[str, dict[str, Any]] = {"values": {}, "covariates": {}, "groups": {}}
    with np.load(folder / f"{SITE}.npz") as stored:
        for key in stored.files:
            kind, _, name = key.partition("/")
            if kind == "groups":
                parts[kind].setdefault(name.partition("/")[0], {})[name.partition("/")[2]] = stored[key]
            elif name:
                parts[kind][name] = stored[key]
        y, folds = stored["y"], stored["folds"]
    data = SiteData(
        **parts,
        y=y,
        folds=folds,
        sex=tuple(facts["sex"]),
        adjust={name: tuple(columns) for name, columns in facts["adjust"].items()},
        keep=None if facts["keep"] is None else tuple(facts["keep"]),
        units=tuple(facts["units"]),
        participants=tuple(facts["participants"]),
        permutations=facts["permutations"],
    )
    return Site(data, folder / STATE, read_filter(folder), facts["settings"])


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the plan for the coordinator's job."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (FAILURE, f"{RESULTS}.json"):
        (folder / file).unlink(missing_ok=True)
    facts = {name: value for name, value in vars(plan).items() if name not in ("steps", "groups")}
    facts["steps"] = {name: asdict(steps) for name, steps in plan.steps.items()}
    (folder / f"{PLAN}.json").write_text(json.dumps(facts))
    groups = {f"{name}/{kind}": array for name, sets in plan.groups.items() for kind, array in sets.items()}
    np.savez(folder / f"{PLAN}.npz", **groups)  # type: ignore[arg-type]


def read_plan(folder: Path) -> Plan:
    """The plan that `write_plan` wrote."""
    facts = json.loads((folder / f"{PLAN}.json").read_text())
    groups: dict[str, dict[str, NDArray[np.int_]]] = {}
    with np.load(folder / f"{PLAN}.npz") as stored:
        for key in stored.files:
            groups.setdefault(key.partition("/")[0], {})[key.partition("/")[2]] = stored[key]
    steps = {
        name: Steps(tuple(part["adjust"]), None if part["keep"] is None else tuple(part["keep"]))
        for name, part in facts.pop("steps").items()
    }
    facts |= {name: tuple(facts[name]) for name in ("sites", "classes", "classifiers")}
    return Plan(**facts, steps=steps, groups=groups)


def run_plan(plan: Plan, transport: Transport, folder: Path) -> StudyResults:
    """Run every classifier on every map, write the results into `folder`, and return them.

    Rounds are kept in `folder`: a run that was ended goes on with the question that was not answered. Raises
    SiteFailedError for a site that failed.
    """
    kept = folder / f"rounds-{'-'.join(plan.sites)}"
    rounds = Rounds(transport, kept, attempts=plan.attempts, settings=plan.settings)
    counts = rounds.ask_all(Request("counts"))
    people = {name: np.asarray(answer.arrays["people"]).tolist() for name, answer in counts.items()}
    audit = evaluation.audit_confounds(rounds, plan.classes, people)
    cells = {
        f"{classifier}/{name}": analyse(
            rounds,
            name,
            classifier,
            steps=steps,
            groups=plan.groups[name],
            folds=range(1, plan.folds + 1),
            permutations=plan.permutations,
        )
        for name, steps in plan.steps.items()
        for classifier in plan.classifiers
    }
    rounds.ask_all(Request("finish"))
    results = StudyResults(cells, audit, people)
    _write_results(folder, results, rounds.number)
    return results


def _write_results(folder: Path, results: StudyResults, rounds: int) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    facts: dict[str, Any] = {"audit": results.audit, "people": results.people, "rounds": rounds, "cells": {}}
    for cell, result in results.cells.items():
        facts["cells"][cell] = {"scores": result.scores, "slope": result.slope, "intercept": result.model.intercept}
        arrays |= {f"{cell}:null": result.null, f"{cell}:weight": result.model.weight}
        arrays |= {f"{cell}:centre": result.model.centre}
        arrays |= {f"{cell}:step:{name}": array for name, array in result.steps.items()}
        arrays |= {f"{cell}:heatmap:{name}": array for name, array in result.heatmaps.items()}
        if result.regions is not None:
            arrays |= {f"{cell}:region:{name}": array for name, array in vars(result.regions).items()}
    np.savez(folder / f"{RESULTS}.npz", **arrays)  # type: ignore[arg-type]
    (folder / f"{RESULTS}.json").write_text(json.dumps(facts))
    (folder / FAILURE).unlink(missing_ok=True)


def has_results(folder: Path) -> bool:
    """Whether the plan was run to its end."""
    return (folder / f"{RESULTS}.json").exists()


def is_finished(folder: Path) -> bool:
    """Whether the coordinator has told this site that it has no more questions."""
    return (folder / STATE / FINISHED).exists()


def write_predictions(folder: Path, file: Path, classes: Sequence[str]) -> None:
    """Write the site's own held-out participants with their decisions, which stay there, by map and classifier."""
    site, lines = read_site(folder), ["participant_id\tcell\tfold\ttrue\tdecision\tpredicted"]
    for stored in sorted((site.folder / "decisions").glob("*.npz")):
        parts = re.fullmatch(r"(.+)_(" + "|".join(EXACT) + r")_(\d+)\.npz", stored.name)
        if parts is None:
            continue
        name, classifier, fold = parts.groups()
        rows = site.held_out_rows(int(fold))
        with np.load(stored) as arrays:
            for row, decision in zip(rows.tolist(), arrays["decision"].tolist(), strict=True):
                true, predicted = classes[site.data.y[row]], classes[int(decision > 0)]
                cells = (f"sub-{site.data.participants[row]}", f"{classifier}/{name}", fold, true, f"{decision:.6g}")
                lines.append("\t".join((*cells, predicted)))
    file.write_text("\n".join(lines) + "\n")


def read_results(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The facts and the arrays that `run_plan` wrote."""
    with np.load(folder / f"{RESULTS}.npz") as stored:
        return json.loads((folder / f"{RESULTS}.json").read_text()), {name: stored[name] for name in stored.files}


def write_failure(folder: Path, error: PellucidError) -> None:
    """Write why a run has no results, for the program that started it."""
    site = error.site if isinstance(error, SiteFailedError) else None
    (folder / FAILURE).write_text(json.dumps({"site": site, "reason": str(error)}))


def read_failure(folder: Path) -> tuple[str | None, str] | None:
    """The site, if a single one failed, and the reason of the last failure; None if there was none."""
    file = folder / FAILURE
    if not file.exists():
        return None
    facts = json.loads(file.read_text())
    return facts["site"], facts["reason"]
