"""Which of several images is used: one order for T1w images, BOLD runs and derivatives, logged per participant."""

import logging
import re
from collections.abc import Sequence

from bids_app.bids.names import BidsFile

log = logging.getLogger("pellucid")

WITHOUT_AGENT = (None, "none", "no", "without", "pre")  # labels of ce- that state an image without contrast agent
_OF_ONE_RUN = ("ce", "rec")  # a run may be stored several times with these


def preference(file: BidsFile) -> tuple[object, ...]:
    """A sort key, the preferred image first.

    Without contrast agent before with; combined echoes before single ones; then by rec-, acq- and run-, none before any
    and 2 before 10; then by the other entities and the name.
    """
    entities = [_natural_order(file.entities.get(entity)) for entity in ("rec", "acq", "run")]
    return has_contrast_agent(file), "echo" in file.entities, *entities, len(file.entities), _natural_order(file.name)


def has_contrast_agent(file: BidsFile) -> bool:
    """Whether an image was acquired with a contrast agent, by its ce- label."""
    label = file.entities.get("ce")
    return (label and label.casefold()) not in WITHOUT_AGENT


def choose_image(files: Sequence[BidsFile], participant: str) -> BidsFile:
    """The preferred one of a participant's images; the others are logged."""
    chosen, *others = sorted(files, key=preference)
    _log_choice([chosen], others, participant)
    return chosen


def choose_runs(files: Sequence[BidsFile], participant: str) -> list[BidsFile]:
    """The BOLD runs to use, in the order given, and one reconstruction of each; the others are logged.

    Runs with and without a contrast agent are never averaged: those with one are used only if all have one, and of
    several agents the first.
    """
    agents: dict[str | None, list[BidsFile]] = {}
    for file in sorted(files, key=preference):
        agents.setdefault(file.entities.get("ce") if has_contrast_agent(file) else None, []).append(file)
    copies: dict[tuple[tuple[str, str], ...], list[BidsFile]] = {}
    for file in next(iter(agents.values()), []):
        run = tuple(pair for pair in file.entities.items() if pair[0] not in _OF_ONE_RUN)
        copies.setdefault(run, []).append(file)
    used = {group[0].name for group in copies.values()}
    chosen = [file for file in files if file.name in used]
    _log_choice(chosen, [file for file in files if file.name not in used], participant)
    return chosen


def _log_choice(chosen: Sequence[BidsFile], others: Sequence[BidsFile], participant: str) -> None:
    if others:
        names = [", ".join(file.name for file in files) for files in (chosen, others)]
        log.warning("sub-%s: using %s; not using %s", participant, *names)
    for file in chosen:
        if has_contrast_agent(file):
            log.warning("sub-%s: %s was acquired with a contrast agent; there is no other", participant, file.name)


def _natural_order(label: str | None) -> list[tuple[int, str]]:
    """A sort key: nothing before any label, 2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", label or "")]
