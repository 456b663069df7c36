"""The methods of the resting-state maps as text: origin of the series, denoising, and the definition of each map."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bids_app.errors import UsageError
from bids_app.report.methods import describe_part
from bids_app.report.page import format_number

BAND = (0.01, 0.08)  # Hz, of ALFF and fALFF where the series were not band-passed
STRATEGIES = {
    "24p-wm-csf": "the six motion parameters, their temporal differences and the squares of both (Friston 1996; "
    "Satterthwaite 2013), and the mean signals of white matter and CSF",
    "simple": "nilearn's strategy simple (Wang 2024): cosine drift regressors, 24 motion parameters, and the mean "
    "signals of white matter and CSF",
    "scrubbing": "nilearn's strategy scrubbing (Power 2012; Wang 2024): cosine drift regressors, 24 motion parameters, "
    "and the mean signals of white matter and CSF with their temporal differences and squares; high-motion volumes, "
    "and segments of fewer than five volumes between them, were censored",
    "compcor": "nilearn's strategy compcor (Behzadi 2007; Wang 2024): cosine drift regressors, 24 motion parameters, "
    "and all principal components of white matter and CSF in the confounds table",
    "ica_aroma": "nilearn's strategy ica_aroma (Pruim 2015; Wang 2024), on series from which fMRIPrep had removed the "
    "motion components: cosine drift regressors, and the mean signals of white matter and CSF",
}
ALFF = {
    "mean": "the mean of the one-sided amplitudes of the Fourier transform {band}, after removal of a linear trend",
    "dpabi": "as in DPABI (Yan 2016), the mean amplitude {band} of the series, zero-padded to the next power of two",
    "afni": "as in AFNI's 3dRSFC (Taylor & Saad 2013), twice the sum of the Fourier amplitudes {band}, divided by the "
    "square root of the number of volumes",
    "cpac": "as in C-PAC (Craddock 2013), the SD of the signal {band}",
    "xcpd": "as in XCP-D (Mehta 2024), twice the mean square root of the power {band}, excluding the upper limit",
}
FALFF = {
    "mean": "the amplitudes {band} as a proportion of the amplitudes at all frequencies",
    "dpabi": "as in DPABI (Yan 2016), the amplitudes {band} as a proportion of those at all frequencies, with the "
    "series zero-padded to the next power of two",
    "afni": "as in AFNI's 3dRSFC (Taylor & Saad 2013), the amplitudes {band} as a proportion of those at all "
    "frequencies except the highest",
    "cpac": "as in C-PAC (Craddock 2013), the SD of the signal {band}, divided by the SD of the unfiltered signal",
}
STRENGTHS = {
    "mean-r": "the mean correlation with all others",
    "mean-z": "the mean of the Fisher z-transformed correlations with all others",
    "abs": "the mean absolute correlation with all others",
    "positive-squared": "the mean of the squared correlations with all others, negative correlations counted as 0",
    "weighted-degree": "the sum of the correlations above 0.25",
    "binary-degree": "the number of correlations above 0.25",
}
UNTHRESHOLDED = ("mean-r", "mean-z")
MAP_OPTIONS = ("alff_definition", "strength", "neighbours")  # options of maps that the text describes


@dataclass(frozen=True)
class BoldOptions:
    """The options of the BOLD steps, and what resulted from them.

    `denoise` is a strategy's name or 'none'; `band` in Hz; `fd_threshold` in mm, None or 0 without censoring by
    motion; `dropped` (None if unknown) and `dummy_scans` are volumes of all runs; `slice_timing` is None where runs
    differ; `resampled`: fMRIPrep's series were resampled to another voxel size; `parcellation`: the atlas of `rfcs`.
    """

    denoise: str
    band: tuple[float, float] | None
    fd_threshold: float | None
    dropped: int | None = 0
    dummy_scans: int = 0
    resampled: bool = False
    slice_timing: bool | None = False
    alff_definition: str = "mean"
    neighbours: int = 27
    strength: str = "mean-r"
    parcellation: str = ""
    network_names: Sequence[str] = ()

    @property
    def bridged(self) -> bool:
        """Whether volumes may have been censored."""
        return self.dropped is None or self.dropped > 0


def map_options(parameters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The options, of several maps together, that `BoldOptions` describes."""
    return {key: value for options in parameters for key, value in options.items() if key in MAP_OPTIONS}


def describe_bold(
    maps: Sequence[str], options: BoldOptions, *, source: str, space: str, resolution: float | None
) -> str:
    """How the resting-state maps of one participant were computed, as paragraphs under a heading.

    `source` is 'pellucid' (raw BOLD) or 'fmriprep'; `resolution` in mm, None for that of the series. Raises UsageError
    for a map or an option that does not exist.
    """
    names = list(dict.fromkeys(name.partition("-")[0] for name in maps))
    voxels = "the voxel size of the series" if resolution is None else f"{format_number(resolution)} mm"
    computed = [name for name in names if name != "ica"]
    parts = [
        "## Resting state",
        _describe_raw(space, options) if source == "pellucid" else _describe_fmriprep_bold(space, options),
        _describe_denoising(options),
    ]
    if computed:
        parts += [
            f"Maps were computed for each run from unsmoothed series, at {voxels} in {space}, and were not smoothed or "
            "scaled further:",
            "\n".join(f"- {name}: {_describe_map(name, options)}" for name in computed),
        ]
    if len(computed) < len(names):
        parts.append(
            f"The unsmoothed series were written at {voxels} in {space}: the ica maps are computed from them at the "
            "group level, by an ICA of the training participants of each fold."
        )
    if options.strength in UNTHRESHOLDED and {"fcs", "rfcs"} & set(names):
        parts.append(_describe_global_signal(options.strength))
    parts.append("In the carpet plots each row is one voxel (Power 2017).")
    return "\n\n".join(parts)


def _describe_raw(space: str, options: BoldOptions) -> str:
    slices = (
        "Where the sidecar states SliceTiming, slice timing was corrected by temporal interpolation. "
        if options.slice_timing is None
        else "Slice timing was corrected by temporal interpolation, using SliceTiming of the sidecar. "
        if options.slice_timing
        else "Slice timing was not corrected. "
    )
    return (
        f"BOLD images were preprocessed from raw data. {_describe_dummies(options)}{slices}Each volume was registered "
        "rigidly to a reference image of the run by least squares (after Friston 1995), from coarse to fine. The "
        "reference image was registered rigidly to the T1w image with ANTs (mutual information; Tustison 2021). "
        f"All transforms to {space} were concatenated, so that each volume was resampled once. Framewise "
        "displacement is the sum of the absolute changes of the six motion parameters, with rotations expressed as "
        "displacements on a sphere of 50 mm radius (Power 2012). DVARS is the root mean square change of the image "
        "from volume to volume (Power 2012), standardised (Nichols 2017). Mean signals and principal components "
        "(aCompCor; Behzadi 2007) of white matter and CSF were taken from the eroded tissue masks of the T1w image.\n\n"
        "Susceptibility distortion was not corrected: near the sinuses and ear canals the BOLD image is displaced "
        "relative to the T1w image, and values there belong to other locations. Where field maps or images with "
        "opposite phase encoding are available, preprocessing with fMRIPrep (Esteban 2019), which corrects this "
        "distortion, is recommended; pass its output with -d fmriprep=PATH."
    )


def _describe_fmriprep_bold(space: str, options: BoldOptions) -> str:
    return (
        f"The BOLD series in {space}, their brain masks and the confounds tables, with framewise displacement and "
        "DVARS (Power 2014), were taken from fMRIPrep (Esteban 2019) without modification; its report states whether "
        "susceptibility distortion was corrected."
        + (" The series were interpolated linearly to the voxels of the maps." if options.resampled else "")
        + f" {_describe_dummies(options)}".rstrip()
    )


def _describe_dummies(options: BoldOptions) -> str:
    if not options.dummy_scans:
        return ""
    return (
        f"Dummy scans removed at the start of the runs, before the signal reached steady state: {options.dummy_scans}. "
    )


def _describe_denoising(options: BoldOptions) -> str:
    if options.denoise != "none" and options.denoise not in STRATEGIES:
        raise UsageError(f"--denoise {options.denoise}: choose from {', '.join((*STRATEGIES, 'none'))}")
    parts = []
    by_motion = options.fd_threshold and (options.denoise != "none" or options.bridged)
    if by_motion:
        threshold = format_number(options.fd_threshold)
        parts.append(f"Volumes with a framewise displacement above {threshold} mm were censored (Power 2012).")
    if options.dropped is not None and (by_motion or options.dropped):
        parts.append(f"Censored volumes, over all runs: {options.dropped or 'none'}.")
    if options.denoise == "none":
        parts.append("No confounds were removed from the series.")
    else:
        parts.append(
            "The following confounds were regressed out by least squares, with the mean and a linear trend: "
            f"{STRATEGIES[options.denoise]}. The global signal was not regressed out. The regression was fitted to the "
            "retained volumes."
        )
    return " ".join([*parts, *_describe_filter(options)])


def _describe_filter(options: BoldOptions) -> list[str]:
    if options.band is None:
        return ["The series were not band-pass filtered."]
    parts = [
        f"For the maps that require it, the series were band-pass filtered ({_format_band(options.band)}; fifth-order "
        "Butterworth, applied forward and backward)."
    ]
    if options.denoise != "none":
        parts.append("Series and confounds were filtered in the same way before the regression (Lindquist 2019).")
    if options.bridged:
        parts.append("Censored volumes were interpolated with a cubic spline, for the filter only.")
    return parts


def _describe_map(name: str, options: BoldOptions) -> str:
    if name not in ("alff", "falff", "reho", "fcs", "rfcs", "networks"):
        return describe_part("maps", name)
    if name == "alff":
        return f"ALFF (Zang 2007): {_describe_spectrum(ALFF, options)}"
    if name == "falff":
        return f"Fractional ALFF (Zou 2008): {_describe_spectrum(FALFF, options)}"
    filtered = (
        "Computed from unfiltered series." if options.band is None else "Computed from band-pass filtered series."
    )
    if name == "reho":
        text = (
            "Regional homogeneity (Zang 2004): Kendall's W, corrected for ties, of a voxel and its neighbours in the "
            f"mask, at most {options.neighbours} voxels."
        )
    elif name == "fcs":
        strength = _describe_strength(options)
        text = f"Connectivity strength of voxels (Buckner 2009; Zuo 2012): {strength}, over the voxels of the mask."
    elif name == "rfcs":
        regions = f" of {options.parcellation}" if options.parcellation else ""
        text = (
            f"Connectivity strength of regions: {_describe_strength(options)}, between the mean series of the "
            f"regions{regions}; each voxel has the value of its region."
        )
    else:
        named = f" ({', '.join(options.network_names)})" if options.network_names else ""
        text = (
            f"Dual regression (Beckmann 2009; Nickerson 2017): all network maps{named} were fitted jointly to each "
            "volume, giving one time course per network; the time courses, standardised to mean 0 and SD 1, were then "
            "fitted jointly to each voxel. Maps are the coefficients (beta) and their t values converted to Z."
        )
    return f"{text} {filtered}"


def _describe_spectrum(definitions: dict[str, str], options: BoldOptions) -> str:
    if options.alff_definition not in definitions:
        raise UsageError(f"--alff-definition {options.alff_definition}: choose from {', '.join(definitions)}")
    text = definitions[options.alff_definition].format(band=f"within {_format_band(options.band or BAND)}")
    censored = (
        " Where volumes were censored, amplitudes are those of least-squares sines and cosines (Lomb 1976; Scargle "
        "1982)."
        if options.bridged
        else ""
    )
    return f"{text}. Computed from unfiltered series.{censored}"


def _describe_strength(options: BoldOptions) -> str:
    if options.strength not in STRENGTHS:
        raise UsageError(f"--fcs-measure {options.strength}: choose from {', '.join(STRENGTHS)}")
    return STRENGTHS[options.strength]


def _describe_global_signal(strength: str) -> str:
    form = "is" if strength == "mean-r" else "is nearly"
    return (
        f"The strength measure {strength} has no threshold and therefore {form} a form of the global signal: the mean "
        "correlation of a series with all others is its product with the mean of all standardised series (Saad 2013). "
        "Whole-brain signals, such as those of breathing and head motion, raise it everywhere; compare it with the "
        "mean framewise displacement."
    )


def _format_band(band: tuple[float, float]) -> str:
    return f"0-{format_number(band[1])} Hz" if not band[0] else f"{format_number(band[0])}-{format_number(band[1])} Hz"
