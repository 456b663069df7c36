"""What an fMRIPrep folder without the expected files contains: names of first versions, or a run at a lower level."""

import re
from collections.abc import Iterable

_FIRST_NAMES = re.compile(
    r"sub-.*_(?:bold(?:_space-[0-9A-Za-z]+)?_(?:preproc|brainmask|confounds)"
    r"|T1w(?:_space-[0-9A-Za-z]+)?_(?:preproc|brainmask|dtissue|class-[A-Z]+_probtissue|target-.*_warp))\..*"
)
_ALIGNMENT = re.compile(r"sub-.*_desc-(?:hmc|coreg)_boldref\.nii\.gz")
# Written at the full level only, other than the series of single echoes (fMRIPrep's documentation, "Processing level").
_FULL = re.compile(
    r"(?!.*_echo-)sub-.*_desc-(?:preproc|smoothAROMAnonaggr)_bold\..*|sub-.*_desc-confounds_timeseries\.tsv"
)


def explain_missing_files(names: Iterable[str]) -> str:
    """Why a folder with these file names lacks what is looked for, and what to run; "" if the names do not show it."""
    names = sorted(names)
    if old := next(filter(_FIRST_NAMES.fullmatch, names), None):
        return (
            f"{old} is a name of fMRIPrep 1.0 or 1.1, before BIDS Derivatives: run fMRIPrep 20.2 or later for this "
            "participant"
        )
    if any(map(_ALIGNMENT.fullmatch, names)) and not any(map(_FULL.fullmatch, names)):
        return (
            "it was run with --level minimal or resampling, which write no BOLD series in a template: run fMRIPrep "
            "again for this participant with --level full"
        )
    return ""
