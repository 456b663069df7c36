"""Which participants --reports-only writes the pages of."""

from bids_app.bids.matching import list_failures
from bids_app.errors import MissingInputError
from bids_app.planning.participant_records import ParticipantPlan

REMEDY = "run the same command without --reports-only"


def select_complete(plan: ParticipantPlan) -> ParticipantPlan:
    """The plan with the complete participants to write again, and the others as failed.

    Raises MissingInputError where none is complete.
    """
    failed = plan.failed | {job.name: f"not complete with these settings: {REMEDY}" for job in plan.jobs}
    if not plan.done:
        raise MissingInputError(f"--reports-only: no participant is complete:\n{list_failures(failed)}")
    return ParticipantPlan(plan.done, [], failed, plan.head, plan.resolution)
