"""Voxelwise maps: one map per file, pure functions on arrays.

Each file has a docstring with the citation (printed into reports and sidecars: its first line describes the map) and
`compute`, which takes the array that `INPUT` names and, as keywords without defaults, whatever else it needs: names of
`KEYWORDS` and of its own `OPTIONS`. It returns one float32 array like its input's voxels, or several by name.

`REFERENCES`, a literal dictionary, has the full text of what the docstring cites: "Good 2001" by "Good CD, et al. ...".

Constants: `INPUT` (one of `INPUTS`), `UNIT`, `ENTITIES` and `SUFFIX` (BIDS; `{name}` of an option or of one of several
arrays is filled in), and defaults: `REGISTRATION`; for the group level `ANALYSIS_MASK` (the prior whose territory is
analysed), `SCALING` (raw, mean or zscore: how an image is scaled by its own values), `SMOOTHING_MM`, `ADJUST_FOR`,
`ATLASES`. `caption(mask, *, ...)` of a map of BOLD, with names of `CAPTION_KEYWORDS` and of `OPTIONS`, may return a
sentence about the map of a run for the report.

`OPTIONS` declares what a user may set, by keyword of `compute`: a literal dictionary of `default`, `summary` (a line of
--help) and, if needed, `choices`, `minimum`, `details` (for the documentation), `metavar`, `setting`, the name on the
command line and in settings files if it is not the keyword, and `former`, names of earlier versions. The command line,
settings, documentation, sidecars (`MapParameters`) and the application of models follow from it. Maps may share options
(`OPTIONS = _strength.OPTIONS`).

A map with `FITTED` is computed at the group level from what is fitted on the training participants of each fold; the
participant level writes its input series.
"""

import inspect
from types import ModuleType

from bids_app.errors import UsageError

# by datatype (BIDS): arrays that INPUT may name, and keywords that compute may ask for
INPUTS = {
    "anat": {
        "t1w": "bias-corrected intensities, in template space (X, Y, Z)",
        "gm": "probability of grey matter, 0 to 1, in template space (X, Y, Z)",
        "wm": "probability of white matter, 0 to 1, in template space (X, Y, Z)",
        "csf": "probability of CSF, 0 to 1, in template space (X, Y, Z)",
    },
    "func": {
        "denoised": "series without confounds, not band-passed, without censored volumes (voxels, time)",
        "filtered": "the same series, band-passed (voxels, time)",
    },
}
KEYWORDS = {
    "anat": INPUTS["anat"]
    | {
        "mask": "the participant's brain in template space, without the regions of --exclude-regions (X, Y, Z)",
        "jacobian": "determinant of the composed affine and warp (X, Y, Z)",
        "affine": "from voxel indices to mm (4, 4)",
    },
    "func": {
        "mask": "the voxels of the series on their grid (X, Y, Z)",
        "affine": "from voxel indices to mm (4, 4)",
        "tr": "repetition time, s",
        "band": "edges of the band-pass filter in Hz, None without one",
        "sample_mask": "volumes that were not censored (all volumes,)",
        "parcels": "region of each voxel in the map's first atlas, 0 for none (voxels,)",
        "network_maps": "network templates on the voxels of the series (voxels, networks)",
        "network_names": "their names (networks,)",
    },
}

# those that `caption` may ask for beside the mask
CAPTION_KEYWORDS = ("affine", "tr", "band", "sample_mask")


def datatype(module: ModuleType) -> str:
    """`anat` or `func`, the BIDS datatype of a map's input."""
    return next(name for name, inputs in INPUTS.items() if module.INPUT in inputs)


def keywords(module: ModuleType) -> list[str]:
    """The arguments of a map's `compute` besides its input."""
    return list(inspect.signature(module.compute).parameters)[1:]


def check_contract(name: str, module: ModuleType) -> None:
    """Raise UsageError for an INPUT, a keyword or an option that does not exist; each is named."""
    inputs = [*INPUTS["anat"], *INPUTS["func"]]
    if getattr(module, "INPUT", None) not in inputs or not hasattr(module, "compute"):
        raise UsageError(f"maps/{name}.py needs a function compute, and INPUT, one of {', '.join(inputs)}")
    options, supplied = getattr(module, "OPTIONS", {}), KEYWORDS[datatype(module)]
    if unknown := [key for key in keywords(module) if key not in {*supplied, *options}]:
        raise UsageError(
            f"maps/{name}.py: compute asks for {', '.join(unknown)}, which is neither one of its OPTIONS nor one of "
            f"{', '.join(supplied)}"
        )
    if unused := [key for key in options if key not in keywords(module) or key in supplied]:
        raise UsageError(f"maps/{name}.py: OPTIONS declares {', '.join(unused)}, which compute does not take as such")
    _check_caption(name, module)


def caption_keywords(module: ModuleType) -> list[str]:
    """The arguments of a map's `caption` besides the mask."""
    return list(inspect.signature(module.caption).parameters)[1:]


def _check_caption(name: str, module: ModuleType) -> None:
    if not hasattr(module, "caption"):
        return
    if datatype(module) != "func":
        raise UsageError(f"maps/{name}.py: caption is for maps of BOLD; describe the map in the docstring instead")
    known = [*CAPTION_KEYWORDS, *getattr(module, "OPTIONS", {})]
    if unknown := [key for key in caption_keywords(module) if key not in known]:
        raise UsageError(f"maps/{name}.py: caption asks for {', '.join(unknown)}; it may have {', '.join(known)}")
