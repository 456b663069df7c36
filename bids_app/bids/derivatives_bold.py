"""BOLD runs preprocessed by fMRIPrep, found by its file names (BIDS Derivatives; fMRIPrep 20.2 and later)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bids_app.bids import outputs
from bids_app.bids.choice import choose_runs
from bids_app.bids.fmriprep_outputs import explain_missing_files
from bids_app.bids.functional import choose_task
from bids_app.bids.inputs import ENTITIES, list_names, passes
from bids_app.bids.metadata import TIMING_FIELDS, read_metadata
from bids_app.bids.names import BidsFile, session_name
from bids_app.errors import MissingInputError

log = logging.getLogger("pellucid")

# Entities of raw runs that fMRIPrep keeps in the names of its outputs, as a filter file writes them.
_KEPT = ("session", "task", "acquisition", "ceagent", "reconstruction", "direction", "run")
_SPACE = ("space", "cohort", "res", "den")


@dataclass(frozen=True)
class FmriprepRun:
    """A preprocessed run in standard space: 4D image, brain mask on its grid, table of confounds.

    `timing`: the fields of TIMING_FIELDS in its sidecars. `label` distinguishes the participant's runs.
    """

    bold: Path
    mask: Path
    confounds: Path
    task: str
    session: str | None
    run: str | None
    timing: dict[str, object]
    label: str


def find_fmriprep_sessions(
    root: Path, participant: str, filters: Mapping[str, object] | None = None
) -> list[str | None]:
    """The sessions of a participant with a func folder, by label; None stands for the participant's own.

    Sessions all of whose series `filters` leave out are not listed.
    """
    names = list_names(root / session_name(participant, None))
    labels = [name.removeprefix("ses-") for name in names if name.startswith("ses-")]
    return [label for label in (None, *labels) if _has_series(root, participant, label, filters or {})]


def _has_series(root: Path, participant: str, session: str | None, filters: Mapping[str, object]) -> bool:
    folder = outputs.folder(root, participant, session, "func")
    series = [file for file in _list_files(folder, participant, session) if file.suffix == "bold"] if filters else []
    return folder.is_dir() and (not series or any(_is_selected(file, filters) for file in series))


def find_fmriprep_runs(
    root: Path,
    participant: str,
    session: str | None,
    *,
    space: str,
    task: str | None = None,
    resolution: str | None = None,
    desc: str = "preproc",
    filters: Mapping[str, object] | None = None,
) -> list[FmriprepRun]:
    """List a participant's preprocessed runs in `space`, by name; one resolution per run.

    `filters` is the `bold` entry of a BIDS filter file; what fMRIPrep does not keep in names (echo, part) is ignored.
    `resolution` is the preferred value of res-; otherwise native resolution, otherwise the first by name.
    `desc` is "preproc", or "smoothAROMAnonaggr" for ICA-AROMA. Only the participant's own folder is listed. Raises
    MissingInputError that names everything missing, UsageError for several tasks if none is selected.
    """
    folder = outputs.folder(root, participant, session, "func")
    files = _list_files(folder, participant, session)
    every = [file for file in files if _is_image(file, desc) and "task" in file.entities]
    images = [file for file in every if _is_selected(file, filters or {})]
    candidates = [file for file in images if file.entities.get("space") == space]
    selected_task = choose_task([file.entities["task"] for file in candidates], task, f"sub-{participant}")
    copies: dict[str, list[BidsFile]] = {}
    for file in candidates:
        if file.entities["task"] == selected_task:
            copies.setdefault(file.run_label, []).append(file)
    where = folder.relative_to(root).as_posix()
    if not copies:
        name = f"task-{selected_task or '*'}_space-{space}_desc-{desc}_bold.nii.gz"
        reason = _explain_no_run(list_names(folder), every, images, wanted=name, space=space, where=where)
        raise MissingInputError(f"sub-{participant}: {root.name} {reason}.")
    runs = [_choose_resolution(copies[label], resolution, participant) for label in sorted(copies)]
    runs = choose_runs(runs, participant)
    companions = [_find_companions(run, files) for run in runs]
    if lacking := [name for _, names in companions for name in names]:
        raise MissingInputError(
            f"sub-{participant}: {root.name} lacks {', '.join(lacking)} (searched in {where}): fetch the missing "
            f"files, or run fMRIPrep again for this participant, with --level full and --output-spaces {space}."
        )
    return [
        FmriprepRun(
            bold=folder / run.name,
            mask=folder / paths["mask"],
            confounds=folder / paths["confounds"],
            task=run.entities["task"],
            session=session,
            run=run.entities.get("run"),
            timing=read_metadata(root, folder / run.name, TIMING_FIELDS),
            label=run.run_label,
        )
        for run, (paths, _) in zip(runs, companions, strict=True)
    ]


def _list_files(folder: Path, participant: str, session: str | None) -> list[BidsFile]:
    """The files of this participant and session that are not of a single echo."""
    files = [file for name in list_names(folder) if (file := BidsFile.parse(name)) is not None]
    files = [file for file in files if "echo" not in file.entities]
    return [file for file in files if (file.participant, file.session) == (participant, session)]


def _is_image(file: BidsFile, desc: str) -> bool:
    return (file.entities.get("desc"), file.suffix, file.extension) == (desc, "bold", ".nii.gz")


def _is_selected(file: BidsFile, filters: Mapping[str, object]) -> bool:
    kept = {ENTITIES[name]: filters[name] for name in _KEPT if name in filters}
    return all(passes(file.fields.get(short), value) for short, value in kept.items())


def _describe_images(images: Sequence[BidsFile]) -> str:
    """What exists instead, which usually shows what went wrong."""
    fields = [file.entities for file in images]
    pairs = sorted({f"task-{labels['task']} in {labels.get('space', 'native space')}" for labels in fields})
    return f"there is {'; '.join(pairs)}" if pairs else "there is no such image for any task or space"


def _explain_no_run(
    names: Sequence[str],
    every: Sequence[BidsFile],
    selected: Sequence[BidsFile],
    *,
    wanted: str,
    space: str,
    where: str,
) -> str:
    """Why no image `wanted` is among the `selected` of `every` series in the folder `where`, and what to do."""
    if reason := explain_missing_files(names):
        return f"has no preprocessed BOLD in {where}: {reason}"
    if every and not selected:
        labels = ", ".join(sorted({file.run_label for file in every}))
        return f"has no run in {where} that --bids-filter-file selects; there is {labels}: correct the entry bold"
    return (
        f"lacks {wanted} (searched in {where}; {_describe_images(selected)}): {_suggest_space(selected)}run fMRIPrep "
        f"for this participant with --output-spaces {space}"
    )


def _suggest_space(images: Sequence[BidsFile]) -> str:
    """The other template of these images, if any: that of ICA-AROMA is always MNI152NLin6Asym."""
    spaces = sorted({space for file in images if (space := file.entities.get("space", "")).startswith("MNI152")})
    return f"add --output-space {spaces[0]}, or " if spaces else ""


def _choose_resolution(copies: list[BidsFile], resolution: str | None, participant: str) -> BidsFile:
    def rank(file: BidsFile) -> tuple[bool, bool, str]:
        label = file.entities.get("res", "").lstrip("0")  # res-2 or res-02, as --output-spaces of fMRIPrep had it
        return label != resolution, "res" in file.entities, file.name

    copies = sorted(copies, key=rank)
    if len(copies) > 1:
        others = ", ".join(file.name for file in copies[1:])
        log.warning("sub-%s: using %s; not using %s", participant, copies[0].name, others)
    return copies[0]


def _find_companions(bold: BidsFile, files: Sequence[BidsFile]) -> tuple[dict[str, str], list[str]]:
    """The names of a run's `mask` and `confounds`, and, without participant and session, of those missing."""
    of_no_space = {entity: value for entity, value in bold.entities.items() if entity not in _SPACE}
    table = replace(bold, extension=".tsv", entities={**of_no_space, "desc": "confounds"})
    patterns = {
        "mask": [replace(bold, suffix="mask", entities={**bold.entities, "desc": "brain"})],
        # `regressors` was the suffix before fMRIPrep 20.2
        "confounds": [replace(table, suffix="timeseries"), replace(table, suffix="regressors")],
    }
    companions = {}
    for part, alternatives in patterns.items():
        names = [file.name for pattern in alternatives for file in files if file == pattern]
        if names:
            companions[part] = names[0]
    lacking = [alternatives[0].description for part, alternatives in patterns.items() if part not in companions]
    return companions, lacking
