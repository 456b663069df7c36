"""The BOLD runs that fMRIPrep has preprocessed, found as it names them (BIDS Derivatives; fMRIPrep 1.2 and later)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_app.bids.functional import choose_task, entity_label, stated
from bids_app.bids.inputs import entities, list_names
from bids_app.errors import DataError, MissingInputError

log = logging.getLogger("pellucid")

_Parts = dict[str, str]
_SPACE = ("space", "cohort", "res", "den")


@dataclass(frozen=True)
class FmriprepRun:
    """A preprocessed run in standard space: 4D image, brain mask on its grid, table of confounds; `tr` in seconds.

    `tr` is what the sidecar states, None where it states nothing. `label` tells the run from the person's other runs.
    """

    bold: Path
    mask: Path
    confounds: Path
    task: str
    session: str | None
    run: str | None
    tr: float | None
    label: str


def find_fmriprep_sessions(root: Path, participant: str) -> list[str | None]:
    """The sessions of a person with a func folder, by label; None stands for the person's own."""
    person = root / f"sub-{participant}"
    found: list[str | None] = [None] if (person / "func").is_dir() else []
    labels = [name.removeprefix("ses-") for name in list_names(person) if name.startswith("ses-")]
    return found + [label for label in labels if (person / f"ses-{label}" / "func").is_dir()]


def find_fmriprep_runs(
    root: Path,
    participant: str,
    session: str | None,
    *,
    space: str,
    task: str | None = None,
    resolution: str | None = None,
    desc: str = "preproc",
) -> list[FmriprepRun]:
    """List a person's preprocessed runs in `space`, by name; of a run at several resolutions one is taken.

    `resolution` is the value of res- that is preferred; else the run at its own resolution, else the first by name.
    `desc` is "preproc", or "smoothAROMAnonaggr" for ICA-AROMA. Only the person's own folder is listed. Raises
    MissingInputError that names all that is lacking, UsageError for several tasks of which none is named.
    """
    folder = root / f"sub-{participant}" / ("func" if session is None else f"ses-{session}/func")
    there = [(parts, name) for name in list_names(folder) if (parts := _own(name, participant, session))]
    images = [(parts, name) for parts, name in there if _is(parts, desc, "bold", ".nii.gz") and "task" in parts]
    here = [(parts, name) for parts, name in images if parts.get("space") == space]
    chosen = choose_task([parts["task"] for parts, _ in here], task, f"sub-{participant}")
    runs: dict[str, list[tuple[_Parts, str]]] = {}
    for parts, name in here:
        if parts["task"] == chosen:
            runs.setdefault(entity_label(parts), []).append((parts, name))
    where = folder.relative_to(root).as_posix()
    if not runs:
        raise MissingInputError(
            f"sub-{participant}: {root.name} lacks "
            f"task-{chosen or '*'}_space-{space}_desc-{desc}_bold.nii.gz (looked in {where}; "
            f"{_describe_images(images)}): run fMRIPrep for this person with --output-spaces {space}."
        )
    best = [_choose_resolution(runs[label], resolution, participant) for label in sorted(runs)]
    beside = [_find_companions(parts, there) for parts, _ in best]
    if lacking := [what for _, names in beside for what in names]:
        raise MissingInputError(
            f"sub-{participant}: {root.name} lacks {', '.join(lacking)} (looked in {where}): "
            "fetch the missing files, or run fMRIPrep again for this person."
        )
    return [
        FmriprepRun(
            bold=folder / name,
            mask=folder / found["mask"],
            confounds=folder / found["confounds"],
            task=parts["task"],
            session=session,
            run=parts.get("run"),
            tr=_tr(root, folder / name),
            label=entity_label(parts),
        )
        for (parts, name), (found, _) in zip(best, beside, strict=True)
    ]


def _own(name: str, participant: str, session: str | None) -> _Parts | None:
    """The entities of a file of this person and session that is not of a single echo."""
    parts = entities(name)
    if parts is None or parts.get("sub") != participant or parts.get("ses") != session or "echo" in parts:
        return None
    return parts


def _is(parts: Mapping[str, str], desc: str, suffix: str, extension: str) -> bool:
    return (parts.get("desc"), parts["suffix"], parts["extension"]) == (desc, suffix, extension)


def _describe_images(images: Sequence[tuple[_Parts, str]]) -> str:
    """What else is there, which is most often what went wrong."""
    pairs = sorted({f"task-{parts['task']} in {parts.get('space', 'native space')}" for parts, _ in images})
    return f"there is {'; '.join(pairs)}" if pairs else "there is no such image of any task or space"


def _choose_resolution(
    copies: list[tuple[_Parts, str]], resolution: str | None, participant: str
) -> tuple[_Parts, str]:
    copies = sorted(copies, key=lambda copy: (copy[0].get("res") != resolution, "res" in copy[0], copy[1]))
    if len(copies) > 1:
        others = ", ".join(name for _, name in copies[1:])
        log.warning("sub-%s: %s is used; not used: %s", participant, copies[0][1], others)
    return copies[0]


def _find_companions(bold: Mapping[str, str], there: Sequence[tuple[_Parts, str]]) -> tuple[_Parts, list[str]]:
    """The names of a run's `mask` and `confounds`, and, without person and session, of those that it lacks."""
    plain = {entity: value for entity, value in bold.items() if entity not in _SPACE}  # a table is of no space
    table = {**plain, "desc": "confounds", "extension": ".tsv"}
    wanted = {
        "mask": [{**bold, "desc": "brain", "suffix": "mask"}],
        # `regressors` was the suffix before fMRIPrep 20.2
        "confounds": [{**table, "suffix": "timeseries"}, {**table, "suffix": "regressors"}],
    }
    found = {}
    for what, likes in wanted.items():
        names = [name for like in likes for parts, name in there if parts == like]
        if names:
            found[what] = names[0]
    lacking = [_spelled(likes[0]) for what, likes in wanted.items() if what not in found]
    return found, lacking


def _spelled(like: Mapping[str, str]) -> str:
    hidden = ("sub", "ses", "suffix", "extension")
    pairs = [f"{entity}-{value}" for entity, value in like.items() if entity not in hidden]
    return "_".join([*pairs, like["suffix"]]) + like["extension"]


def _tr(root: Path, bold: Path) -> float | None:
    tr = stated(root, bold, ("RepetitionTime",)).get("RepetitionTime")
    if tr is not None and (isinstance(tr, bool) or not isinstance(tr, int | float)):
        raise DataError(f"the sidecar of {bold.name} states RepetitionTime {tr!r}; a number of seconds is needed")
    return None if tr is None else float(tr)
