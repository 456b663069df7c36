"""The description of the ICA."""

from bids_app.dataset import ica
from bids_app.planning.group import GroupPlan
from bids_app.report.ica import describe_group_ica


def describe_ica(analysis: GroupPlan) -> str | None:
    """A paragraph on how maps were fitted by ICA; None without ICA."""
    plan = analysis.ica
    if plan is None:
        return None
    fixed = {"smoothing_mm": ica.FWHM_MM, "least_r": ica.MIN_R}
    return describe_group_ica(components=plan.components, networks=plan.file.name, **fixed)
