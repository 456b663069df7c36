"""--exclude FILE: participants, or sessions of participants, who are left out and why."""

from collections.abc import Collection, Mapping
from pathlib import Path

from bids_app.bids import tables
from bids_app.bids.matching import describe_unmatched
from bids_app.bids.names import parse_participant
from bids_app.errors import DataError

Exclusions = Mapping[tuple[str, str | None], str]


def read(path: Path | None) -> Exclusions:
    """Reason by participant and session, labels without "sub-" and "ses-"; session None: all sessions.

    A table separated by tabs: participant_id, and if wanted session_id (n/a: all of them) and reason. Raises
    MissingInputError without the file, DataError without the column or without a participant in a line.
    """
    if path is None:
        return {}
    title = f"--exclude {path.name}"
    table = tables.read_values(path, title)
    tables.check_key(table, "participant_id", title)
    columns = ["participant_id", "session_id", "reason"]
    rows = table.reindex(columns=columns).astype(object).fillna("").itertuples(index=False)
    return {
        (parse_participant(participant), session.removeprefix("ses-") or None): reason or "listed"
        for participant, session, reason in rows
    }


def check_exclusions(excluded: Exclusions, sessions: Mapping[str, Collection[str]]) -> None:
    """Raise DataError where an exclusion names a participant or a session that is not among `sessions`.

    sessions: session labels (without "ses-") by participant (without "sub-").
    """
    unmatched = [describe_unmatched((participant for participant, _ in excluded), sessions)]
    for participant, session in excluded:
        if session is not None and participant in sessions:
            odd = describe_unmatched([session], sessions[participant], prefix="ses-")
            unmatched += [f"session {odd} of {participant}"] if odd else []
    if named := ", ".join(filter(None, unmatched)):
        raise DataError(
            f"--exclude lists {named}, not in this data set, and would not exclude them: correct the list, or continue "
            "with --allow-unmatched-exclusions."
        )


def reason(exclusions: Exclusions, participant: str, session: str | None) -> str | None:
    """Why this session is left out, or None."""
    return exclusions.get((participant, None)) or exclusions.get((participant, session))
