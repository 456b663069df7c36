"""Options of both levels: which participants, sessions and files; recipes, atlases and models."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bids_app import values
from bids_app.options.declaration import declare

select = partial(declare, topic="select")
shared = partial(declare, topic="both levels")


@dataclass(frozen=True)
class Select:
    """Which participants, sessions and files."""

    participant_label: tuple[str, ...] = select(
        (),
        "participants, with or without `sub-`; all unless given",
        metavar="LABEL",
        common=True,
    )
    session_label: tuple[str, ...] = select(
        (), "sessions, with or without `ses-`; all unless given", metavar="LABEL", aliases=("--session-id",)
    )
    task_id: str | None = select(
        None, "task of the BOLD runs, where there are several", metavar="TASK", aliases=("-t",)
    )
    bids_filter_file: Path | None = select(
        None, "JSON file of entities that select images, under `t1w` and `bold`, as for fMRIPrep", metavar="FILE"
    )
    bids_database_dir: Path | None = select(
        None,
        "accepted without effect; no database is needed, since only the requested folders are listed",
        metavar="DIR",
    )
    skip_bids_validation: bool = select(False, "continue without `dataset_description.json`")
    derivatives: dict[str, Path] = select(
        {},
        "folders of existing derivatives: `fmriprep=PATH`, `freesurfer=PATH`",
        "`fmriprep=PATH` (or a bare path): use fMRIPrep's outputs in place of Pellucid's own preprocessing. "
        "`freesurfer=PATH`: FreeSurfer's subjects, for `--exclude-regions`",
        metavar="NAME=PATH",
        aliases=("-d", "--datasets"),
        parse=values.derivatives,
        common=True,
    )
    exclude: Path | None = select(
        None,
        "TSV of participants to leave out: `participant_id`, optionally `session_id` and `reason`",
        "It applies at both levels; a `session_id` of n/a means all sessions",
        metavar="FILE",
        common=True,
    )
    allow_unmatched_exclusions: bool = select(
        False, "continue where a line of `--exclude` names no participant or session of the data set"
    )


@dataclass(frozen=True)
class Shared:
    """What both levels share."""

    recipe: tuple[str, ...] = shared(
        (),
        "settings of a published study, or of a file",
        "The settings file and the command line override a recipe; several recipes are separate analyses",
        metavar="NAME|FILE",
        common=True,
    )
    atlas: tuple[str, ...] = shared(
        (),
        "atlases of the region tables; unless given, each map names its own",
        metavar="NAME|FILE",
        common=True,
    )
    model: Path | None = shared(
        None,
        "a trained analysis to apply",
        "It is `group/ANALYSIS/models`, or the folder of one model below it. Participant level: compute its maps, as "
        "they were computed for training. Group level: [apply](applying.md) it to all participants with such maps",
        metavar="DIR",
    )
    write_config: bool = shared(
        False,
        "print all settings as TOML, each with its meaning, and stop",
        "It needs no folders: `pellucid --recipe NAME --write-config`",
    )
