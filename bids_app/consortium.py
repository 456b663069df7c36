"""Spine 5: several sites whose images stay there: a site answers with sums, the coordinator writes the results."""

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bids_app.bids import description, inputs, outputs, run_locks
from bids_app.classifiers._voxel_grid import CUBES, REGIONS
from bids_app.dataset.grid import Grid
from bids_app.errors import FailedError, UsageError
from bids_app.federated import kits, study
from bids_app.federated.coordinator import MIN_SITES, ask_sites, running
from bids_app.federated.linear import Groups
from bids_app.federated.site import SiteData
from bids_app.nodes.site_maps import stack_site_maps
from bids_app.planning.federated import FederatedPlan, check_engine, covariate, digest_settings, plan_federated
from bids_app.planning.work_dir import WorkDir
from bids_app.publish.federated import stage_federated
from bids_app.publish.group import remove_previous_group
from bids_app.publish.index import publish_index
from bids_app.settings import Settings
from bids_app.training.models import places

log = logging.getLogger("pellucid")
AUDITED = ("age", "mean_fd", "minutes", "tiv")


def run(settings: Settings) -> int:
    """Take part in a federated analysis as --federated says; returns 0."""
    check_engine()
    coordinates = settings.federated.federated == "coordinator"
    dataset = inputs.open_dataset(settings.bids_dir, validate=not settings.select.skip_bids_validation)
    outputs.check_output(settings.output_dir, settings.bids_dir, settings.work_dir)
    plan = plan_federated(dataset, settings)
    kit = kits.find_kit(settings.federated.kit or Path(), "server" if coordinates else "client")
    run_locks.lock(settings, f"analysis {plan.analysis.name}", plan.analysis.key)
    outputs.sweep(settings.output_dir)
    description.describe_group(settings)
    work_dir = WorkDir(settings.work_dir / f"federated-{plan.analysis.name}-{plan.analysis.key}")
    work_dir.path.mkdir(parents=True, exist_ok=True)
    arrays = stack_site_maps(plan.analysis, settings, work_dir)
    grids = {name: work_dir.grid(name) for name in arrays}
    groups = {name: _groups(Grid.read(file)) for name, file in grids.items()}
    digest = digest_settings(plan, settings, grids)
    if coordinates:
        return _coordinate(plan, settings, groups, digest, work_dir)
    return _answer(plan, settings, _site_data(plan, arrays, groups), digest, work_dir, kit)


def _answer(plan: FederatedPlan, settings: Settings, data: SiteData, digest: str, work_dir: WorkDir, kit: Path) -> int:
    """Answer the coordinator's questions until it has no more."""
    folder = work_dir.path / "study"
    messages = settings.output_dir / "group" / plan.analysis.name
    study.write_site(folder, data, settings=digest, messages=messages)
    workspace = work_dir.path / "flare"
    kits.install_kit(kit, workspace, site=True)
    log.info("%s: settings %s; what leaves is written to %s", kits.client_name(kit), digest[:12], messages)
    with running(workspace, folder, work_dir.path / "flare.log") as process:
        while not study.is_finished(folder):
            if process.poll() is not None:
                raise FailedError(f"the client of NVIDIA FLARE ended; see {work_dir.path / 'flare.log'}")
            time.sleep(1)
    study.write_predictions(folder, messages / "predictions.tsv", plan.analysis.classes)
    log.info("the coordinator has ended the analysis; own predictions, which stay here: %s", messages)
    return 0


def _coordinate(
    plan: FederatedPlan, settings: Settings, groups: dict[str, Groups], digest: str, work_dir: WorkDir
) -> int:
    """Ask the sites, drop those that fail if that is the rule, and write the results."""
    options, kit = settings.federated, settings.federated.kit or Path()
    if len(options.federated_sites) < MIN_SITES:
        raise UsageError("--federated coordinator requires --federated-sites, the names of two sites or more")
    folder, workspace, admin = work_dir.path / "study", work_dir.path / "flare", kits.find_kit(kit, "admin")
    kits.install_kit(kits.find_kit(kit, "server"), workspace, site=False)
    first, second = plan.analysis.classes
    asked = study.Plan(
        sites=tuple(sorted(options.federated_sites)),
        classes=(first, second),
        classifiers=plan.classifiers,
        steps=plan.steps,
        folds=settings.group.folds,
        permutations=plan.permutations,
        timeout=options.site_timeout,
        attempts=options.site_attempts,
        settings=digest,
        groups=groups,
    )
    with running(workspace, folder, work_dir.path / "flare.log"):
        dropped = ask_sites(asked, folder, admin, drop=options.on_site_failure == "drop")
    facts, results = study.read_results(folder)
    with outputs.staging(settings.output_dir) as stage, outputs.staging(settings.output_dir) as old:
        sentences = stage_federated(stage, plan, settings, facts, results, work_dir, dropped=dropped)
        remove_previous_group(settings.output_dir, plan.analysis.name, old)
        outputs.publish(stage, settings.output_dir)
    publish_index(settings.output_dir)
    for sentence in sentences:
        log.info("%s", sentence)
    log.info("report: %s", settings.output_dir / "group" / plan.analysis.name / "report.html")
    return 0


def _groups(grid: Grid) -> Groups:
    """The cube and the region of each voxel; sets of fewer than two groups are left out."""
    voxel_grid = places(grid)
    groups = {name: voxel_grid.labels(name, grid.voxels) for name in (CUBES, REGIONS)}
    return {name: labels for name, labels in groups.items() if labels.max(initial=-1) > 0}


def _site_data(plan: FederatedPlan, arrays: dict[str, Path], groups: dict[str, Groups]) -> SiteData:
    used = plan.analysis.used
    folds = np.zeros(len(used), np.int64)
    for split in plan.analysis.splits:
        folds[list(split.test)] = split.fold
    columns = {name for steps in plan.steps.values() for name in (*steps.adjust, *(steps.keep or ()))}
    known = {name for name in AUDITED if name in used} | columns
    keeps = [steps.keep for steps in plan.steps.values()]
    return SiteData(
        values={name: np.load(file) for name, file in arrays.items()},
        y=np.array([plan.analysis.classes.index(name) for name in used["class"]], np.int64),
        folds=folds,
        covariates={name: np.asarray(covariate(used, name), np.float64) for name in sorted(known)},
        sex=tuple("" if pd.isna(sex) else str(sex) for sex in used["sex"]),
        adjust={name: steps.adjust for name, steps in plan.steps.items()},
        keep=keeps[0],
        groups=groups,
        units=plan.analysis.splits[0].groups,
        participants=tuple(used["participant_id"].astype(str)),
        permutations=plan.permutations,
    )
