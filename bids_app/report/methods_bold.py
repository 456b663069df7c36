"""The methods of the resting-state maps in words: where series came from, how they were cleaned, what each map is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bids_app.errors import UsageError
from bids_app.report.methods import about
from bids_app.report.page import number

BAND = (0.01, 0.08)  # Hz, of ALFF and fALFF where the series were not band-passed
STRATEGIES = {
    "24p-wm-csf": "the six motion parameters, their differences from volume to volume and the squares of both (Friston "
    "1996; Satterthwaite 2013), and the mean signals of white matter and CSF",
    "simple": "nilearn's strategy simple (Wang 2024): slow cosines, 24 motion parameters, and the mean signals of "
    "white matter and CSF",
    "scrubbing": "nilearn's strategy scrubbing (Power 2012; Wang 2024): slow cosines, 24 motion parameters, and the "
    "mean signals of white matter and CSF with their differences and squares; volumes of much motion, and pieces of "
    "fewer than five volumes between them, were dropped",
    "compcor": "nilearn's strategy compcor (Behzadi 2007; Wang 2024): slow cosines, 24 motion parameters, and all "
    "principal components of white matter and CSF that the table of confounds holds",
    "ica_aroma": "nilearn's strategy ica_aroma (Pruim 2015; Wang 2024), on series from which fMRIPrep had taken the "
    "motion components: slow cosines, and the mean signals of white matter and CSF",
}
ALFF = {
    "mean": "the mean of the one-sided amplitudes of the Fourier transform {band}, after a linear trend was taken out",
    "dpabi": "as DPABI has it (Yan 2016), the mean amplitude {band} of the series with zeros added up to the next "
    "power of two",
    "afni": "as AFNI's 3dRSFC has it (Taylor & Saad 2013), twice the sum of the transform's amplitudes {band} over "
    "the root of the number of volumes",
    "cpac": "as C-PAC has it (Craddock 2013), the SD of what lies {band}",
    "xcpd": "as XCP-D has it (Mehta 2024), twice the mean root of the power {band}, its upper edge left out",
}
FALFF = {
    "mean": "the amplitudes {band} as a share of the amplitudes at all frequencies",
    "dpabi": "as DPABI has it (Yan 2016), the share that the amplitudes {band} have of all, with zeros added up to the "
    "next power of two",
    "afni": "as AFNI's 3dRSFC has it (Taylor & Saad 2013), the share that the amplitudes {band} have of all but the "
    "highest frequency's",
    "cpac": "as C-PAC has it (Craddock 2013), the SD of what lies {band} over the SD of the whole",
}
STRENGTHS = {
    "mean-r": "the mean correlation with all others",
    "mean-z": "the mean of Fisher's z of the correlations with all others",
    "abs": "the mean absolute correlation with all others",
    "positive-squared": "the mean of the squared correlations with all others, negative ones counted as 0",
    "weighted-degree": "the sum of the correlations above 0.25",
    "binary-degree": "the number of correlations above 0.25",
}
UNTHRESHOLDED = ("mean-r", "mean-z")


MAP_OPTIONS = ("alff_definition", "strength", "neighbours")  # of maps: those that have words of their own


@dataclass(frozen=True)
class Options:
    """What was chosen, and what it came to.

    `denoise` is a strategy's name or 'none'; `band` in Hz; `fd_threshold` in mm, None or 0 where nothing was dropped
    for motion; `dropped` (None: not known) and `dummy_scans` are volumes of all runs; `slice_timing` is None where runs
    differ; `resampled`: fMRIPrep's series were brought to another voxel size; `parcellation` names the atlas of `rfcs`.
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
        """Whether volumes were dropped, as far as is known."""
        return self.dropped is None or self.dropped > 0


def map_options(parameters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The options of maps, of several maps together, that `Options` has words for."""
    return {key: value for of_map in parameters for key, value in of_map.items() if key in MAP_OPTIONS}


def participant(maps: Sequence[str], options: Options, *, source: str, space: str, resolution: float | None) -> str:
    """How one person's resting-state maps were made, as paragraphs under a heading.

    `source` is 'pellucid' (raw BOLD) or 'fmriprep'; `resolution` in mm, None for that of the series. Raises UsageError
    for a map or an option that does not exist.
    """
    names = list(dict.fromkeys(name.partition("-")[0] for name in maps))
    voxels = "the voxel size of the series" if resolution is None else f"{number(resolution)} mm"
    made = [name for name in names if name != "ica"]
    parts = [
        "## Resting state",
        _raw(space, options) if source == "pellucid" else _borrowed(space, options),
        _cleaning(options),
    ]
    if made:
        parts += [
            f"Maps were computed for each run on series that were not smoothed, at {voxels} in {space}, and are "
            "neither smoothed nor scaled further:",
            "\n".join(f"- {name}: {_map(name, options)}" for name in made),
        ]
    if len(made) < len(names):
        parts.append(
            f"The series themselves were written, at {voxels} in {space}, not smoothed: the map ica is made of them at "
            "the group level, by an ICA of the training people of each fold."
        )
    if options.strength in UNTHRESHOLDED and {"fcs", "rfcs"} & set(names):
        parts.append(_global(options.strength))
    parts.append("In the carpet plots each row is one voxel (Power 2017).")
    return "\n\n".join(parts)


def _raw(space: str, options: Options) -> str:
    slices = (
        "Where the sidecar states SliceTiming, slices were brought to one time by interpolation along time. "
        if options.slice_timing is None
        else "Slices were brought to one time by interpolation along time, by the sidecar's SliceTiming. "
        if options.slice_timing
        else "The times of the slices were not corrected. "
    )
    return (
        f"BOLD images were preprocessed from raw data. {_dummies(options)}{slices}Each volume was registered rigidly "
        "to a reference of the run, with ANTs (mutual information; Tustison 2021) and then by least squares (after "
        "Friston 1995), and the reference rigidly to the T1w image, by mutual information, with ANTs. All transforms "
        f"to {space} were joined, so that each volume was resampled once. Framewise displacement is the sum of the "
        "absolute changes of the six motion parameters, rotations on a sphere of 50 mm (Power 2012). "
        "DVARS is the root mean square change of the image from volume to volume (Power 2012), standardised (Nichols "
        "2017). Mean signals and principal components (aCompCor; Behzadi 2007) of white matter and CSF were taken from "
        "the tissues of the T1w image, eroded.\n\n"
        "Susceptibility distortion was not corrected: near the sinuses and ear canals the BOLD image is displaced "
        "against the T1w image, and values there are those of other places. Where there are field maps or images of "
        "opposed phase encoding, it is recommended to preprocess with fMRIPrep (Esteban 2019), which corrects it, and "
        "to give its output by -d fmriprep=PATH."
    )


def _borrowed(space: str, options: Options) -> str:
    return (
        f"The BOLD series in {space}, their brain masks and the tables of confounds, with framewise displacement and "
        "DVARS (Power 2014), are those of fMRIPrep (Esteban 2019), taken as they are; whether susceptibility "
        "distortion was corrected is said in its report."
        + (" They were interpolated linearly to the voxels of the maps." if options.resampled else "")
        + f" {_dummies(options)}".rstrip()
    )


def _dummies(options: Options) -> str:
    if not options.dummy_scans:
        return ""
    return f"Volumes left out at the start of the runs, before the signal was steady: {options.dummy_scans}. "


def _cleaning(options: Options) -> str:
    if options.denoise != "none" and options.denoise not in STRATEGIES:
        raise UsageError(f"--denoise {options.denoise}: known are {', '.join((*STRATEGIES, 'none'))}")
    parts = []
    by_motion = options.fd_threshold and (options.denoise != "none" or options.bridged)
    if by_motion:
        parts.append(
            f"Volumes with a framewise displacement over {number(options.fd_threshold)} mm are dropped (Power 2012)."
        )
    if options.dropped is not None and (by_motion or options.dropped):
        parts.append(f"Dropped, over all runs: {options.dropped or 'no'} volume{'' if options.dropped == 1 else 's'}.")
    if options.denoise == "none":
        parts.append("No confounds were taken out of the series.")
    else:
        parts.append(
            f"Confounds taken out by least squares, with the mean and a linear trend: {STRATEGIES[options.denoise]}. "
            "The global signal was not taken out. They were fitted on the volumes that were kept."
        )
    return " ".join([*parts, *_filter(options)])


def _filter(options: Options) -> list[str]:
    if options.band is None:
        return ["The series were not band-passed."]
    parts = [
        f"For the maps that ask for it the series were band-passed ({_hertz(options.band)}; Butterworth of order 5, "
        "run forth and back)."
    ]
    if options.denoise != "none":
        parts.append("Series and confounds passed the same filter before the fit (Lindquist 2019).")
    if options.bridged:
        parts.append("Dropped volumes were bridged by a cubic spline, for the filter alone.")
    return parts


def _map(name: str, options: Options) -> str:
    if name not in ("alff", "falff", "reho", "fcs", "rfcs", "networks"):
        return about("maps", name)
    if name == "alff":
        return f"ALFF (Zang 2007): {_spectrum(ALFF, options)}"
    if name == "falff":
        return f"Fractional ALFF (Zou 2008): {_spectrum(FALFF, options)}"
    filtered = "On series that were not band-passed." if options.band is None else "On band-passed series."
    if name == "reho":
        text = (
            "Regional homogeneity (Zang 2004): Kendall's W, corrected for ties, of a voxel and its neighbours in the "
            f"mask, {options.neighbours} voxels at most."
        )
    elif name == "fcs":
        text = (
            f"Connectivity strength of voxels (Buckner 2009; Zuo 2012): {_strength(options)}, over the voxels of the "
            "mask."
        )
    elif name == "rfcs":
        regions = f" of {options.parcellation}" if options.parcellation else ""
        text = (
            f"Connectivity strength of regions: {_strength(options)}, between the mean series of the regions{regions}; "
            "each voxel has the value of its region."
        )
    else:
        named = f" ({', '.join(options.network_names)})" if options.network_names else ""
        text = (
            f"Dual regression (Beckmann 2009; Nickerson 2017): all network maps{named} were fitted to each volume "
            "together, for one time course a network; the time courses, at mean 0 and SD 1, were then fitted to each "
            "voxel together. Maps are the coefficients (beta), and their t values brought to Z."
        )
    return f"{text} {filtered}"


def _spectrum(definitions: dict[str, str], options: Options) -> str:
    if options.alff_definition not in definitions:
        raise UsageError(f"--alff-definition {options.alff_definition}: choose from {', '.join(definitions)}")
    text = definitions[options.alff_definition].format(band=f"within {_hertz(options.band or BAND)}")
    bridged = (
        " Where volumes were dropped, amplitudes are those of least-squares sines and cosines (Lomb 1976; Scargle "
        "1982)."
        if options.bridged
        else ""
    )
    return f"{text}. On series that were not band-passed.{bridged}"


def _strength(options: Options) -> str:
    if options.strength not in STRENGTHS:
        raise UsageError(f"--fcs-measure {options.strength}: choose from {', '.join(STRENGTHS)}")
    return STRENGTHS[options.strength]


def _global(strength: str) -> str:
    form = "is" if strength == "mean-r" else "is nearly"
    return (
        f"The strength {strength} has no threshold, and as such {form} a form of the global signal: the mean "
        "correlation of a series with all others is its product with the mean of all standardised series (Saad 2013). "
        "What moves the whole brain at once, as breathing and head motion do, raises it everywhere; hold it against "
        "the mean framewise displacement."
    )


def _hertz(band: tuple[float, float]) -> str:
    return f"0-{number(band[1])} Hz" if not band[0] else f"{number(band[0])}-{number(band[1])} Hz"
