"""Records of a session at the participant level, passed between its nodes; files are paths as strings."""

from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from bids_app.bids.names import session_name


class BoldRun(TypedDict):
    """A BOLD run as planned: raw, with its slice times, or fMRIPrep's, with its mask and confounds.

    `scan`: its path in its data set; `timing`: what its sidecars state of TIMING_FIELDS; `label` distinguishes it from
    the session's other runs. With the header known: `tr` (s), `tr_source`, the field that states it, `delay` (s), slice
    times, `gb`, its size as float32.
    """

    bold: str
    task: str
    run: str | None
    session: str | None
    label: str
    source: str
    scan: str
    timing: dict[str, object]
    scanner: dict[str, object]
    mask: NotRequired[str]
    confounds: NotRequired[str]
    skipped: NotRequired[int]
    slice_times: NotRequired[list[float] | None]
    slice_direction: NotRequired[str | None]
    dummies: NotRequired[int | None]
    tr: NotRequired[float]
    tr_source: NotRequired[str]
    delay: NotRequired[float]
    gb: NotRequired[float]


class MotionCorrectedRun(TypedDict):
    """A raw run without dummy scans (`steady`), with slice times corrected (`timed`), and its head motion.

    `moved`: one transform per volume; `parameters`: .npy (T, 6); `reference`: the volume that all are aligned to.
    """

    steady: str
    timed: str
    tr: float
    dropped: int
    slice_time: float | None
    reference: str
    moved: list[str]
    parameters: str


class AlignedRun(TypedDict):
    """The alignment of a raw run with its T1w (`overlap`: Dice coefficient of the brains), and its confounds table."""

    transform: str
    confounds: str
    overlap: float


class PreprocessedRun(TypedDict):
    """A run in template space: fMRIPrep's, or Pellucid's own with facts about its preprocessing.

    `skipped`: volumes at the start to remove; `dummies`: those already removed.
    """

    bold: str
    mask: str
    confounds: str
    tr: float
    skipped: int
    dummies: NotRequired[int]
    slice_time: NotRequired[float | None]
    transform: NotRequired[str]
    overlap: NotRequired[float]


class CleanedRun(TypedDict):
    """A run's series in its mask, as .npy files (voxels, time), before and after denoising and filtering.

    `sample_mask`, `fd` and `dvars` (time,) are .npy files too; `denoised` and `filtered` hold the retained volumes.
    `freedom`: degrees of freedom in the band.
    """

    series: str
    denoised: str
    filtered: str
    sample_mask: str
    fd: str
    dvars: str
    mask: str
    tr: float
    band: tuple[float, float] | None
    confounds: str
    confound_columns: list[str]
    dummies: int
    freedom: int | None
    slice_time: float | None
    transform: str | None
    overlap: float | None


class DenoisingSettings(TypedDict):
    """How series are denoised: strategy, band in Hz, threshold of framewise displacement in mm."""

    denoise: str
    band: list[float] | None
    fd_threshold: float


class BoldSettings(DenoisingSettings):
    """The settings stated by BOLD outputs; `atlases` by a label that is valid in node names."""

    maps: list[str]
    parameters: dict[str, dict[str, Any]]
    atlases: dict[str, str]
    space: str
    anatomy: str
    sloppy: bool
    registration: str
    resampled: bool
    save_series: bool
    radiological: bool


class AnatomySettings(TypedDict):
    """The settings stated by anatomical outputs; `parameters`: of each map, by keyword of its `compute`."""

    output_space: str
    parameters: dict[str, dict[str, Any]]
    anatomy: str
    sloppy: bool
    bounding_box: tuple[float, ...]
    resolution: float


class TemplateFiles(TypedDict):
    """The template to register to, with its priors, and on the output grid with its mask and tissues."""

    target: str
    target_gm: str
    target_wm: str
    brain: str
    mask: str
    gm: str
    wm: str


class NativeAnatomy(TypedDict):
    """A T1w without its bias field, its brain mask, and facts about the image by heading."""

    t1w: str
    mask: str
    facts: dict[str, str]


class Tissues(TypedDict):
    """Probabilities in native space, the most probable tissue, and volumes in mL."""

    gm: str
    wm: str
    csf: str
    dseg: str
    volumes: dict[str, float]


class Transforms(TypedDict):
    """Files in ANTs' order from native to template space, and back if known."""

    forward: list[str]
    inverse: NotRequired[list[str]]
    invert: NotRequired[list[bool]]


class Anatomy(TypedDict):
    """The results for a T1w, extended by each step; `warps` by kind (affine, nonlinear)."""

    native: NativeAnatomy
    tissues: NotRequired[Tissues]
    warps: NotRequired[dict[str, Transforms]]


class WarpedAnatomy(TypedDict):
    """The inputs of maps, on the output grid."""

    t1w: str
    mask: str
    gm: str
    wm: str
    csf: str
    jacobian: str


class ExcludedRegions(TypedDict):
    """Regions excluded from `t1w`, and the source of their location: wmparc or the name of an atlas.

    `lacking`: those missing from the atlas.
    """

    source: str
    regions: list[str]
    file: str | None
    lacking: list[str]


class ExcludedMask(TypedDict):
    """A mask on the output grid, 1 in the excluded regions, and a note on how they were obtained."""

    mask: str
    note: str


@dataclass(frozen=True)
class ParticipantJob:
    """One participant in one session: T1w and its preprocessing, BOLD runs, and two hashes. T1w or BOLD may be missing.

    `inputs` is the hash of the files, and names the work folder, where each node determines from its own settings
    whether to run again; `key` is the hash of everything that the outputs depend on. `kinds`: the registration
    of each map of the anatomy.
    `own_t1w`: the T1w is of this session; `scanner`: the metadata of the raw T1w; `preprocessed_scan`: the path of
    fMRIPrep's T1w in its data set; `merged_sessions`: those that it is the average of, if it is not of this one alone.
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
    runs: list[BoldRun] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    registrations: list[str] = field(default_factory=list)
    own_t1w: bool = True
    scanner: dict[str, object] = field(default_factory=dict)
    preprocessed_scan: str | None = None
    merged_sessions: list[str] = field(default_factory=list)
    excluded_regions: ExcludedRegions | None = None

    @property
    def name(self) -> str:
        """The BIDS name of participant and session."""
        return session_name(self.participant, self.session)


@dataclass(frozen=True)
class ParticipantPlan:
    """Sessions to process, those completed with the same settings, and unusable ones with reasons (by BIDS name)."""

    jobs: list[ParticipantJob]
    done: list[ParticipantJob]
    failed: dict[str, str]
    head: list[str] | None
    resolution: float
