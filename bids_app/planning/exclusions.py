"""The exclusions of a run, each of which names somebody."""

from collections.abc import Iterable

from bids_app.bids import exclusions, inputs
from bids_app.bids.exclusions import Exclusions
from bids_app.settings import Settings


def read_exclusions(
    dataset: inputs.Dataset, settings: Settings, *, described: Iterable[tuple[str, str | None]] = ()
) -> Exclusions:
    """Read --exclude, and check that each line names a participant or session of the data set or among `described`.

    described: participant and session (None or "" for no session) of tables and maps. Raises what `exclusions.read`
    and `exclusions.check_exclusions` raise.
    """
    excluded = exclusions.read(settings.select.exclude)
    if excluded and not settings.select.allow_unmatched_exclusions:
        sessions: dict[str, set[str]] = {label: set() for label in dataset.participants}
        for participant, session in described:
            sessions.setdefault(participant, set()).update([session] if session else [])
        for participant in {participant for participant, session in excluded if session} & set(sessions):
            sessions[participant].update(inputs.session_labels(dataset.root, participant))
        exclusions.check_exclusions(excluded, sessions)
    return excluded
