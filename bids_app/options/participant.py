"""Options of the participant level: from scans to maps."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bids_app.options.declaration import declare
from bids_app.options.maps import add_map_options

shared = partial(declare, topic="both levels")
of_anatomy = partial(declare, topic="participant: anatomy")
bold = partial(declare, topic="participant: BOLD")


@dataclass(frozen=True)
@add_map_options
class Participant:
    """From scans to maps. An empty `registration` means what each map asks for; maps add options of their own."""

    maps: tuple[str, ...] = shared(
        ("gm",),
        "{names} ({default})",
        "[What each is](parts.md#maps), computed from T1w images or BOLD. Participant level: maps to write; "
        "group level: maps to learn from (`networks-NAME` and `ica-NAME` are single networks). For `ica` the "
        "participant level writes the series; see [below](#networks-by-ica)",
        metavar="NAME",
        catalogue="maps",
        common=True,
    )
    output_space: str = of_anatomy(
        "MNI152NLin2009cAsym", "template of the maps ({default})", metavar="SPACE", common=True
    )
    resolution: float | None = of_anatomy(
        None,
        "voxel size of the maps (2; 3 with `--sloppy`)",
        "Maps of BOLD default to 3 mm, or to the voxel size of fMRIPrep's series",
        metavar="MM",
        minimum=0.5,
        maximum=10,
        common=True,
    )
    bounding_box: tuple[float, ...] = of_anatomy(
        (),
        "centres of the outermost voxels of anatomical maps, in mm: X Y Z minimum, X Y Z maximum",
        "The template's own box unless given. `-90 -126 -72 90 90 108` with `--resolution 1.5` is the grid of CAT12",
        metavar="MM",
        count=6,
    )
    registration: str | None = of_anatomy(
        None,
        "registration to the template; unless given, `nonlinear` for tissue maps and `affine` for `t1w`",
        metavar="affine|nonlinear",
        choices=("affine", "nonlinear"),
        convert=lambda value: "nonlinear" if value == "syn" else value,
    )
    anatomy: str = of_anatomy(
        "fast",
        "steps from a T1w image to tissues in template space: {choices}",
        "`fast`: own registration, bias correction and segmentation, about fifteen times faster "
        "([what was compared](decisions/0018-fast-anatomy.md)); `ants`: N4, SyN and Atropos. Maps of both are not "
        "interchangeable, and the group level does not mix them",
        metavar="NAME",
        choices=("fast", "ants"),
    )
    brain_mask: str | None = of_anatomy(
        None,
        "path of each participant's mask, with {participant} and {session} in it",
        metavar="PATTERN",
    )
    exclude_regions: tuple[str, ...] = of_anatomy(
        (),
        "regions in which `t1w` is set to 0, by FreeSurfer's names",
        "These voxels are also left out of its scaling. Regions come from `sub-XX[_ses-Y]/mri/wmparc.mgz` in the "
        "folder `-d freesurfer=PATH`, or in fMRIPrep's `sourcedata/freesurfer`; without either, and for all "
        "participants with `-d freesurfer=none`, from the atlas Neuromorphometrics, as far as it has them. The group "
        "level accepts maps of one source only",
        metavar="NAME",
        former=("without_regions",),
    )
    fallback_preprocessing: bool = of_anatomy(
        False,
        "preprocess participants missing from the derivatives",
        "It applies to T1w and BOLD images; the atlas is used for participants missing from FreeSurfer's folder. The "
        "source is recorded for each participant",
    )
    sloppy: bool = shared(False, "coarse and fast, for testing; not for results", common=True)
    denoise: str | None = bold(
        None,
        "confounds that are regressed out: `24p-wm-csf` (default), `simple`, `scrubbing`, `compcor`, `ica_aroma`, "
        "`none`",
        "`24p-wm-csf`: 24 motion parameters, white matter and CSF. The others but `none` are nilearn's strategies; "
        "`none` leaves the series unchanged",
        metavar="NAME|none",
        common=True,
    )
    band: tuple[str, ...] = bold(
        (),
        "band-pass filter: LOW HIGH in Hz, or `none` (0.01 0.08)",
        "`alff` and `falff` are computed from unfiltered series; for them it is the band of the amplitude",
        metavar="HZ",
    )
    dummy_scans: int | None = bold(
        None,
        "volumes to discard at the start",
        "Unless given, the non-steady-state volumes: detected in raw runs, taken from fMRIPrep's confounds otherwise",
        metavar="N",
        minimum=0,
    )
    fd_threshold: float | None = bold(
        None,
        "framewise displacement above which volumes are censored (0.5; 0 censors none)",
        metavar="MM",
        minimum=0,
    )
    network_templates: Path | None = bold(
        None,
        "4D image of network templates, for `networks` and `ica`",
        "For `networks` they are the spatial maps of dual regression; for `ica`, at the group level, components are "
        "matched to them. The column `name` of a table `FILE.tsv` beside the image names them",
        metavar="FILE",
        former=("network_maps",),
    )
    save_series: bool = bold(False, "write the denoised series, `desc-denoised_bold`, with its mask")
