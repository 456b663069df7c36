"""Records passed between the graph of an analysis and its nodes, as values that nipype can hash."""

from typing import Any, TypedDict

from bids_app.dataset.folds import Split


class FoldRows(TypedDict):
    """The fields of a `Split`."""

    repeat: int
    fold: int
    train: tuple[int, ...]
    test: tuple[int, ...]
    groups: tuple[str, ...]


def to_rows(split: Split) -> FoldRows:
    """The fields of a split."""
    return {
        "repeat": split.repeat,
        "fold": split.fold,
        "train": split.train,
        "test": split.test,
        "groups": split.groups,
    }


def to_split(rows: FoldRows) -> Split:
    """The split with these fields."""
    return Split(
        repeat=rows["repeat"],
        fold=rows["fold"],
        train=tuple(rows["train"]),
        test=tuple(rows["test"]),
        groups=tuple(rows["groups"]),
    )


class IcaSettings(TypedDict):
    """How maps are fitted, as stated by models and heatmaps."""

    components: int
    networks: list[str]
    network_maps: str
    network_maps_sha256: str


class TrainingPlan(TypedDict):
    """The facts about the analysis that every model and fold needs.

    By map: `adjust` (columns), `smoothing` (FWHM, mm), `forms`, `resolutions` (mm), `map_parameters` (of its sidecar).
    `keep`: the columns that ComBat preserves, None without ComBat; `sites`: their names, by number; `levels`: the
    values of categorical covariates; `target`: the class to explain; `explainers` and `options`: options by
    explainer and by classifier; `weights`: folders of pretrained weights by classifier; `work`: the work folder.
    """

    analysis: str
    classes: list[str]
    explainers: dict[str, dict[str, Any]]
    target: str
    explain_checks: bool
    adjust: dict[str, list[str]]
    keep: list[str] | None
    sites: list[str]
    smoothing: dict[str, float]
    forms: dict[str, str]
    space: str
    resolutions: dict[str, float]
    map_parameters: dict[str, dict[str, Any]]
    folds_sha256: str
    ica: IcaSettings | None
    levels: dict[str, list[str]]
    seed: int
    options: dict[str, dict[str, Any]]
    weights: dict[str, str]
    device: str
    threads: int
    work: str


class MapScaling(TypedDict):
    """Smoothing (FWHM, mm) and form by map."""

    smoothing: dict[str, float]
    forms: dict[str, str]


class ComponentPlan(MapScaling):
    """Maps of an ICA: `maps`, those of the analysis; `networks`, all those matched with components."""

    maps: list[str]
    networks: list[str]


class SeriesFiles(TypedDict):
    """All participants' series as arrays, by participant and run, with their grid and the reference networks."""

    grid: str
    files: list[list[str]]
    references: str


class PagePrediction(TypedDict):
    """A model's prediction for a held-out participant, and the location of its heatmap.

    `row`: of the fold's arrays; `prediction`: the row of predictions.tsv; `folder`: the fold's.
    """

    cell: str
    maps: list[str]
    verdict: str
    slope: str
    folder: str
    method: str
    unit: str
    sign: str
    row: int
    prediction: dict[str, str]


class PageContext(TypedDict):
    """Shared by all prediction pages: files of the template, and the atlas.json of each map's first atlas."""

    brain: str
    mask: str
    classes: list[str]
    target: str
    atlases: dict[str, dict[str, Any]]
    work: str
    radiological: bool
