"""Settings: frozen sections, one a stage, from the command line, a TOML file and a recipe, the first winning."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from bids_app import recipes
from bids_app.errors import UsageError
from bids_app.values import coerce, listed, megabytes, option


@dataclass(frozen=True)
class Select:
    """Which people, sessions and files."""

    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    task_id: str | None = None
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    derivatives: dict[str, Path] = field(default_factory=dict)
    exclude: Path | None = None


@dataclass(frozen=True)
class Both:
    """What both levels share."""

    recipe: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()
    model: Path | None = None
    write_config: bool = False


@dataclass(frozen=True)
class Participant:
    """From scans to maps. An empty `registration` means what each map asks for."""

    maps: tuple[str, ...] = ("gm",)
    output_space: str = "MNI152NLin2009cAsym"
    resolution: float | None = None
    bounding_box: tuple[float, ...] = ()
    registration: str | None = None
    intensity: str = "zscore"
    brain_mask: str | None = None
    without_regions: tuple[str, ...] = ()
    fallback_preprocessing: bool = False
    denoise: str | None = None
    band: tuple[str, ...] = ()
    dummy_scans: int | None = None
    fd_threshold: float | None = None
    network_maps: Path | None = None
    save_series: bool = False
    alff_definition: str = "mean"
    strength: str = "mean-r"
    reho_neighbours: int = 27
    sloppy: bool = False


@dataclass(frozen=True)
class Group:
    """From maps to classifiers, heatmaps and report. None for smoothing and adjusting means what each map asks for."""

    analysis: str | None = None
    label: str | None = None
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    label_from_id: str | None = None
    phenotype: Path | None = None
    keep_together: str | None = None
    sessions: str | None = None
    site: str | None = None
    adjust_for: tuple[str, ...] | None = None
    combat_keep: tuple[str, ...] = ()
    harmonize: str | None = None
    smoothing: float | None = None
    map_form: str | None = None
    whole_grid: bool = False
    classifiers: tuple[str, ...] = ("model_averaging", "svm")
    explainers: tuple[str, ...] = ("gradcam", "weights", "pattern")
    explain_target: str = "predicted"
    explain_checks: bool = False
    folds: int = 5
    folds_file: Path | None = None
    repeats: int = 1
    hold_out: float | None = None
    test_per_class: int | None = None
    inner_folds: int | None = None
    ica_components: int = 20
    leave_site_out: bool = False
    tune: dict[str, dict[str, Any]] = field(default_factory=dict)
    people_per_class: int | None = None
    permutations: int | None = None
    power: int | None = None
    max_mean_fd: float | None = None
    min_minutes: float | None = None
    reference_map: Path | None = None
    voxelwise_test: int | None = None
    allow_confounded: bool = False
    weights: str | None = None
    maps_from: dict[str, Path] = field(default_factory=dict)
    training_list: Path | None = None


@dataclass(frozen=True)
class Compute:
    """How much of which machine."""

    nprocs: int = 1
    omp_nthreads: int = 1
    mem_mb: int | None = None
    device: str = "auto"
    use_plugin: Path | None = None
    work_dir: Path | None = None
    random_seed: int = 1
    stop_on_first_crash: bool = False


@dataclass(frozen=True)
class Other:
    """What changes no result."""

    config_file: Path | None = None
    reports_only: bool = False
    radiological: bool = False
    write_graph: bool = False
    resource_monitor: bool = False
    notrack: bool = False
    verbose: int = 0


@dataclass(frozen=True)
class Settings:
    """One run, whole."""

    bids_dir: Path
    output_dir: Path
    level: str
    select: Select = Select()
    both: Both = Both()
    participant: Participant = Participant()
    group: Group = Group()
    compute: Compute = Compute()
    other: Other = Other()

    @property
    def work_dir(self) -> Path:
        """Where what can be computed again is kept."""
        return self.compute.work_dir or self.output_dir / ".work"


SECTIONS = {
    "select": Select,
    "both": Both,
    "participant": Participant,
    "group": Group,
    "compute": Compute,
    "other": Other,
}

NAMES = {name: tuple(item.name for item in fields(section)) for name, section in SECTIONS.items()}

# Parsed from the start so that command lines stay valid; each leaves this list with the part that reads it.
NOT_YET = frozenset({
    "bids_database_dir", "maps_from", "reports_only", "resource_monitor",
})  # fmt: skip
CHOICES: dict[str, tuple[str | int, ...]] = {
    "registration": ("affine", "syn"),
    "intensity": ("zscore", "minmax"),
    "alff_definition": ("mean", "dpabi", "afni", "cpac", "xcpd"),
    "strength": ("mean-r", "mean-z", "abs", "positive-squared", "weighted-degree", "binary-degree"),
    "reho_neighbours": (7, 19, 27),
    "map_form": ("raw", "mean", "zscore"),
    "sessions": ("first", "all", "mean"),
    "harmonize": ("combat",),
    "device": ("auto", "cpu", "cuda"),
}
SPLITS = {"folds_file", "leave_site_out", "hold_out", "test_per_class"}
LEAST = {
    "folds": 2, "inner_folds": 2, "people_per_class": 2, "ica_components": 2,
    "repeats": 1, "permutations": 0, "power": 20, "nprocs": 1, "omp_nthreads": 1, "smoothing": 0,
    "random_seed": 0, "mem_mb": 512, "fd_threshold": 0, "dummy_scans": 0, "max_mean_fd": 0, "min_minutes": 0,
    "resolution": 0.5, "test_per_class": 1, "voxelwise_test": 0,
}  # fmt: skip


def build(level: str, bids_dir: Path, output_dir: Path, *, given: Mapping[str, Any]) -> Settings:
    """Merge what was given on the command line over the settings file, and that over the recipe; check every value.

    With several recipes there are as many runs, `each`. Raises UsageError for an unknown key or a bad value,
    MissingInputError for a settings file that is not there.
    """
    values = recipes.over(given, _own(given)[0])
    for name in listed(values.get("recipe", ())):
        recipe, hasty = recipes.read("--recipe", recipes.find(name), NAMES)
        recipe = {"analysis": recipes.title(name), **(recipes.over(hasty, recipe) if values.get("sloppy") else recipe)}
        values = recipes.over(values, recipe)
    if asked := SPLITS & set(given):  # what is asked for here takes the place of what a file asks for
        values = {name: value for name, value in values.items() if name in asked or name not in SPLITS}
    if values.get("mem_mb") is not None:
        values["mem_mb"] = megabytes(values["mem_mb"])
    owner = {item.name: name for name, section in SECTIONS.items() for item in fields(section)}
    unknown = sorted(set(values) - set(owner))
    if unknown:
        raise UsageError(f"unknown setting: {', '.join(unknown)}")
    parts: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        hints = get_type_hints(section)
        mine = {key: coerce(key, value, hints[key]) for key, value in values.items() if owner[key] == name}
        parts[name] = section(**mine)
        _check(parts[name])
    return Settings(bids_dir=bids_dir, output_dir=output_dir, level=level, **parts)


def each(level: str, bids_dir: Path, output_dir: Path, *, given: Mapping[str, Any]) -> list[Settings]:
    """The settings of every recipe asked for, which are runs of their own, or those of the one run without any.

    Raises as `build`, and UsageError where several recipes would share a name.
    """
    chosen = listed({**_own(given)[0], **given}.get("recipe", ()))
    runs = [{**given, "recipe": (name,)} for name in chosen] or [dict(given)]
    if len(runs) > 1 and "analysis" in given:
        raise UsageError("--analysis names one analysis; several recipes are named after themselves")
    return [build(level, bids_dir, output_dir, given=one) for one in runs]


def _own(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the settings file says, nothing where there is none."""
    file = given.get("config_file")
    return ({}, {}) if file is None else recipes.read("--config-file", Path(file), NAMES)


def to_dict(settings: Settings) -> dict[str, Any]:
    """The sections as plain values for TOML, to be read back; what is unset, or only says how to read, is left out."""
    whole = {name: _plain(asdict(getattr(settings, name))) for name in SECTIONS}
    del whole["both"]["write_config"]
    whole["other"].pop("config_file", None)
    return whole


def shown(settings: Settings, helps: Mapping[str, str]) -> str:
    """The settings as TOML, each with what `helps` says of it; those that are unset stand behind a #."""
    import tomli_w

    parts = []
    for name, section in to_dict(settings).items():
        parts.append(f"[{name}]")
        values = {key: value for key, value in section.items() if not isinstance(value, dict)}
        for key in NAMES[name]:
            if key in helps and key not in ("write_config", "config_file"):
                value = tomli_w.dumps({key: values[key]}) if key in values else f"# {key} =\n"
                parts.append(f"# {helps[key]}\n{value}" if key not in section or key in values else "")
        tables = {key: value for key, value in section.items() if isinstance(value, dict)}
        parts += [f"# {helps[key]}\n{tomli_w.dumps({name: {key: value}})}" for key, value in tables.items()]
    return "\n".join(part for part in parts if part)


def _check(section: Any) -> None:
    for item in fields(section):
        value = getattr(section, item.name)
        if item.name in NOT_YET and value != _default(item):
            raise UsageError(f"{option(item.name)} is not there yet in this version; leave it out")
        if value is None:
            continue
        if item.name in CHOICES and value not in CHOICES[item.name]:
            known = ", ".join(map(str, CHOICES[item.name]))
            raise UsageError(f"{option(item.name)}: choose from {known}, not {value!r}")
        if item.name == "bounding_box" and value and not _is_box(value):
            raise UsageError("--bounding-box: six numbers in mm, X Y Z of the least corner, then of the greatest")
        if item.name in LEAST and not value >= LEAST[item.name]:
            raise UsageError(f"{option(item.name)} has to be at least {LEAST[item.name]}, not {value}")


def _is_box(corners: tuple[float, ...]) -> bool:
    return len(corners) == 6 and all(low < high for low, high in zip(corners[:3], corners[3:], strict=True))


def _default(item: Any) -> Any:
    return item.default_factory() if callable(item.default_factory) else item.default


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
