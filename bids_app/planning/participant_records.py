"""What the participant level knows of a session, and what its nodes hand to one another."""

from dataclasses import dataclass, field
from typing import Any

from bids_app.bids.names import session_name


@dataclass(frozen=True)
class ParticipantJob:
    """One person in one session: T1w and who preprocesses it, BOLD runs, and two hashes. Either may be lacking.

    `inputs` is that of the files, and names the work folder, where nodes know by their own settings what is to be done
    again; `key` is that of all that the outputs depend on. `kinds`: the registration of each map of the anatomy.
    """

    participant: str
    session: str | None
    scan: str | None
    t1w: str | None
    source: str
    inputs: str
    key: str
    borrowed: dict[str, str] = field(default_factory=dict)
    brain_mask: str | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    registrations: list[str] = field(default_factory=list)
    own_t1w: bool = True
    without: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The BIDS name of person and session."""
        return session_name(self.participant, self.session)


@dataclass(frozen=True)
class ParticipantPlan:
    """What is to be done, what was done before by the same settings, and who cannot be done and why (by BIDS name)."""

    jobs: list[ParticipantJob]
    done: list[ParticipantJob]
    failed: dict[str, str]
    head: list[str] | None
    resolution: float
