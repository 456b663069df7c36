"""--exclude FILE: participants or sessions to exclude, and why."""

from collections.abc import Mapping
from pathlib import Path

from bids_app.errors import DataError, MissingInputError

Exclusions = Mapping[tuple[str, str | None], str]


def read(path: Path | None) -> Exclusions:
    """Reason by participant and session, labels without "sub-" and "ses-"; session None: all sessions.

    A tab-separated table: participant_id, and optionally session_id (n/a: all of them) and reason. Raises
    MissingInputError without the file, DataError without the column or for a line without participant.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise MissingInputError(f"--exclude: there is no file {path}")
    import pandas as pd  # takes a fifth of a second, and most runs have no exclusions

    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_values=["n/a", ""])
    if "participant_id" not in table:
        raise DataError(f"--exclude {path.name} has no column participant_id; it has {', '.join(table.columns)}")
    if table["participant_id"].isna().any():
        raise DataError(f"--exclude {path.name} has a row without participant_id")
    table = table.reindex(columns=["participant_id", "session_id", "reason"]).astype(object)
    return {
        (participant.removeprefix("sub-"), None if pd.isna(session) else session.removeprefix("ses-")): (
            "listed" if pd.isna(reason) else reason
        )
        for participant, session, reason in table.itertuples(index=False)
    }


def reason(exclusions: Exclusions, person: str, session: str | None) -> str | None:
    """The reason for excluding this session, or None."""
    return exclusions.get((person, None)) or exclusions.get((person, session))
