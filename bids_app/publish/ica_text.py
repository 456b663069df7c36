"""How maps were fitted by ICA, in words."""

from bids_app.dataset import ica
from bids_app.planning.group import Analysis
from bids_app.report import ica as report


def describe_ica(analysis: Analysis) -> str | None:
    """How the maps were made; None without ICA."""
    plan = analysis.ica
    if plan is None:
        return None
    fixed = {"smoothing_mm": ica.FWHM_MM, "least_r": ica.MIN_R}
    return report.words(components=plan.components, networks=plan.file.name, **fixed)
