"""Names of BIDS files: parsed and built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The order of the BIDS schema, with XCP-D's `stat` before `desc`.
ORDER = (
    "task", "acq", "ce", "rec", "dir", "run", "echo", "part", "hemi", "space", "from", "to", "mode", "atlas", "seg",
    "scale", "res", "den", "label", "stat", "desc",
)  # fmt: skip

_NAME = re.compile(r"(?P<entities>(?:[a-zA-Z]+-[0-9a-zA-Z+]+_)+)(?P<suffix>[0-9a-zA-Z]+)(?P<extension>\.[.0-9a-zA-Z]+)")
_NOT_IN_A_RUN_LABEL = ("part", "space", "res", "cohort", "desc")


@dataclass(frozen=True)
class BidsFile:
    """A file's name by its parts: labels without "sub-" and "ses-", other entities by their short names, in order.

    `participant` None: a file of the group. `extension` begins with a dot.
    """

    participant: str | None
    session: str | None
    suffix: str
    extension: str
    entities: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str) -> BidsFile | None:
        """Parse a name; None if it does not have this form."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        entities = parse_entities(match["entities"].rstrip("_"))
        participant, session = entities.pop("sub", None), entities.pop("ses", None)
        file = cls(participant, session, match["suffix"], match["extension"], entities)
        return file if file.name == name else None  # an entity twice, or before the participant

    @classmethod
    def build(
        cls, participant: str | None, session: str | None, suffix: str, extension: str, **entities: str | None
    ) -> BidsFile:
        """Put entities in the order of the standard; those that are None are omitted.

        A Python keyword takes a trailing underscore (`from_`). Raises ValueError for an entity that BIDS does not know,
        and for a label that is not alphanumeric.
        """
        labels = {name.removesuffix("_"): value for name, value in entities.items() if value is not None}
        if unknown := set(labels) - set(ORDER):
            raise ValueError(f"not a BIDS entity: {', '.join(sorted(unknown))}")
        ordered = {name: labels[name] for name in ORDER if name in labels}
        for name, value in {"sub": participant, "ses": session, **ordered}.items():
            if value is not None and not re.fullmatch(r"[0-9A-Za-z+]+", value):
                raise ValueError(f"{name}-{value} is not alphanumeric: pass it through label() first")
        return cls(participant, session, suffix, extension, ordered)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.stem + self.extension

    @property
    def stem(self) -> str:
        """The file's name without its extension."""
        scope = [session_name(self.participant, self.session)] if self.participant or self.session else []
        return "_".join([*scope, *(f"{name}-{value}" for name, value in self.entities.items()), self.suffix])

    @property
    def description(self) -> str:
        """The file's name without participant and session."""
        return BidsFile(None, None, self.suffix, self.extension, self.entities).name

    @property
    def run_label(self) -> str:
        """What distinguishes a run from the others of its participant and session: "task-rest_dir-AP_run-1"."""
        pairs = [f"{name}-{value}" for name, value in self.entities.items() if name not in _NOT_IN_A_RUN_LABEL]
        return "_".join(pairs)

    @property
    def fields(self) -> dict[str, str]:
        """All entities, with `sub`, `ses`, `suffix` and `extension`, as filters and sidecars are compared with."""
        scope = {"sub": self.participant, "ses": self.session}
        known = {name: value for name, value in scope.items() if value is not None}
        return {**known, **self.entities, "suffix": self.suffix, "extension": self.extension}


def parse_entities(text: str) -> dict[str, str]:
    """Entities by their short names: task-rest_run-1 -> {"task": "rest", "run": "1"}."""
    return dict(pair.split("-", 1) for pair in text.split("_"))


def split_site(participant: str) -> tuple[str | None, str]:
    """Site and label of a participant of a pooled analysis: NORTH:01 -> NORTH, 01; None for the site of another."""
    site, colon, label = participant.rpartition(":")
    return (site if colon else None), label


def participant_name(participant: str) -> str:
    """A participant as in tables, pages and messages: sub-01, or NORTH:sub-01 where the label has a site, NORTH:01."""
    site, label = split_site(participant)
    return f"sub-{label}" if site is None else f"{site}:sub-{label}"


def parse_participant(name: str) -> str:
    """The label of a participant who is written with or without `sub-`: sub-01 -> 01, NORTH:sub-01 -> NORTH:01."""
    site, label = split_site(name)
    label = label.removeprefix("sub-")
    return label if site is None else f"{site}:{label}"


def participant_folder(participant: str) -> Path:
    """The folder of a participant in a data set: sub-01, or NORTH/sub-01 where the label has a site."""
    return Path(*participant_name(participant).split(":"))


def session_name(participant: str | None, session: str | None) -> str:
    """Participant and session as file names begin: sub-01, sub-01_ses-1."""
    names = [participant_name(participant)] if participant else []
    return "_".join([*names, f"ses-{session}"] if session else names)


def parse_session_name(name: str) -> tuple[str, str | None]:
    """Participant and session from such a name: sub-01_ses-1 -> 01, 1."""
    participant, _, session = name.partition("_ses-")
    return parse_participant(participant), session or None


def parse_session(text: str) -> str | None:
    """The session of a table's cell; None for n/a or nothing."""
    return None if text in ("", "n/a") else text


def resolution_label(mm: float) -> str:
    """The label of `res-` for voxels of so many mm: 2.0 -> 2, 1.5 -> 1p5."""
    return f"{mm:g}".replace(".", "p")
