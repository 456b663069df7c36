"""What the participant level knows of a session, and what its nodes hand to one another; files are paths as text."""

from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from bids_app.bids.names import session_name


class BoldRun(TypedDict):
    """A BOLD run as planned: raw, with its slice times, or fMRIPrep's, with its mask and confounds.

    `tr` is what the sidecar states, s; `label` tells it from the session's other runs; `gb` is its size as float32.
    """

    bold: str
    task: str
    run: str | None
    session: str | None
    label: str
    source: str
    tr: float | None
    scanner: dict[str, object]
    mask: NotRequired[str]
    confounds: NotRequired[str]
    skipped: NotRequired[int]
    slice_times: NotRequired[list[float] | None]
    slice_direction: NotRequired[str | None]
    dummies: NotRequired[int | None]
    gb: NotRequired[float]


class MotionCorrectedRun(TypedDict):
    """A raw run without dummy scans (`steady`), with slice times corrected (`timed`), and how the head moved in it.

    `moved`: a transform a volume; `parameters`: .npy (T, 6); `reference`: the volume that all are aligned to.
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
    """How a raw run lies in its T1w (`overlap`: Dice coefficient of the two brains), and its table of confounds."""

    transform: str
    confounds: str
    overlap: float


class PreprocessedRun(TypedDict):
    """A run in template space: fMRIPrep's, or one of our own with what is known of its preprocessing.

    `skipped`: volumes at the start to leave out; `dummies`: those that are left out already.
    """

    bold: str
    mask: str
    confounds: str
    tr: float | None
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
    """How series are cleaned: strategy, band in Hz, threshold of framewise displacement in mm."""

    denoise: str
    band: list[float] | None
    fd_threshold: float


class BoldSettings(DenoisingSettings):
    """What the outputs of BOLD state of the settings; `atlases` by a label that nodes can have."""

    maps: list[str]
    parameters: dict[str, dict[str, Any]]
    atlases: dict[str, str]
    space: str
    sloppy: bool
    registration: str
    resampled: bool
    save_series: bool
    radiological: bool


class AnatomySettings(TypedDict):
    """What the outputs of the anatomy state of the settings; `parameters`: of each map, by keyword of its `compute`."""

    output_space: str
    parameters: dict[str, dict[str, Any]]
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
    """Probabilities in native space, the likeliest tissue, and volumes in mL."""

    gm: str
    wm: str
    csf: str
    dseg: str
    volumes: dict[str, float]


class Transforms(TypedDict):
    """Files in ANTs' order from native to template space, and back where that is known."""

    forward: list[str]
    inverse: NotRequired[list[str]]
    invert: NotRequired[list[bool]]


class Anatomy(TypedDict):
    """What is known of a T1w, more after each step; `warps` by kind (affine, syn)."""

    native: NativeAnatomy
    tissues: NotRequired[Tissues]
    warps: NotRequired[dict[str, Transforms]]


class WarpedAnatomy(TypedDict):
    """What maps are made of, on the output grid."""

    t1w: str
    mask: str
    gm: str
    wm: str
    csf: str
    jacobian: str


class ExcludedRegions(TypedDict):
    """Regions that are taken out of `t1w`, and what says where they are: `source` is wmparc or an atlas's name.

    `lacking`: those that the atlas does not have.
    """

    source: str
    regions: list[str]
    file: str | None
    lacking: list[str]


class ExcludedMask(TypedDict):
    """A mask on the output grid that is 1 in the excluded regions, and how they came there."""

    mask: str
    note: str


@dataclass(frozen=True)
class ParticipantJob:
    """One person in one session: T1w and who preprocesses it, BOLD runs, and two hashes. Either may be lacking.

    `inputs` is that of the files, and names the work folder, where nodes know by their own settings what is to be done
    again; `key` is that of all that the outputs depend on. `kinds`: the registration of each map of the anatomy.
    `own_t1w`: the T1w is of this session.
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
    excluded_regions: ExcludedRegions | None = None

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
