"""Settings: frozen sections, one a stage, from the command line, a TOML file and a recipe, the first winning."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bids_app import recipes
from bids_app.errors import UsageError
from bids_app.options.compute import Compute, Other
from bids_app.options.declaration import Option, read_options
from bids_app.options.evidence import Group
from bids_app.options.federated import Federated
from bids_app.options.participant import Participant
from bids_app.options.selection import Select, Shared
from bids_app.text_files import find_mismatch, read_yaml
from bids_app.values import coerce, option

SECTIONS = {
    "select": Select,
    "shared": Shared,
    "participant": Participant,
    "group": Group,
    "federated": Federated,
    "compute": Compute,
    "other": Other,
}


@dataclass(frozen=True)
class Settings:
    """All settings of one run; `command`: the words of the command line, the program's name first, empty in Python."""

    bids_dir: Path
    output_dir: Path
    level: str
    select: Select = Select()
    shared: Shared = Shared()
    participant: Participant = Participant()
    group: Group = Group()
    federated: Federated = Federated()
    compute: Compute = Compute()
    other: Other = Other()
    command: tuple[str, ...] = ()

    @property
    def work_dir(self) -> Path:
        """The folder of everything that can be computed again."""
        return self.compute.work_dir or self.output_dir / ".work"

    @property
    def derivatives(self) -> dict[str, Path]:
        """The folders of derivatives that a run reads, by name: of --derivatives and of the sites of --maps-from."""
        return {**self.select.derivatives, **self.group.maps_from}


NAMES = {section: tuple(read_options(kind)) for section, kind in SECTIONS.items()}
OPTIONS: dict[str, Option] = {name: item for kind in SECTIONS.values() for name, item in read_options(kind).items()}
FORMER = {former: name for name, item in OPTIONS.items() for former in item.former}
SPLITS = {"folds_file", "leave_site_out", "test_size", "n_test_per_class"}  # at most one of them divides participants
PLUGIN_ARGUMENTS = {  # of nipype's plugins, by type
    **dict.fromkeys(("max_jobs", "n_procs"), int),
    **dict.fromkeys(("sbatch_args", "qsub_args", "bsub_args", "oarsub_args", "template"), str),
}
IN_PROCESS_PLUGINS = ("Linear", "Debug")
NOT_IN_A_FILE = {"write_config", "config_file"}  # they say what to read and what to do


def build(level: str, bids_dir: Path, output_dir: Path, *, options: Mapping[str, Any]) -> Settings:
    """Merge the options of the command line over the settings file, and that over the recipe; check every value.

    With several recipes there are as many runs, `each`. Raises UsageError for an unknown key or a bad value,
    MissingInputError for a settings file that does not exist.
    """
    values = recipes.merge(options, _read_file(options))
    for name in _recipe_names(values):
        recipe, if_sloppy = recipes.read("--recipe", recipes.find(name), NAMES, FORMER)
        recipe = recipes.merge(if_sloppy, recipe) if values.get("sloppy") else recipe
        values = recipes.merge(values, {"analysis": recipes.title(name), **recipe})
    if splits := SPLITS & set(options):  # those of the command line replace those of a file
        values = {name: value for name, value in values.items() if name in splits or name not in SPLITS}
    if unknown := sorted(set(values) - set(OPTIONS)):
        raise UsageError(f"unknown setting: {', '.join(unknown)}")
    for name, value in values.items():
        item = OPTIONS[name]
        values[name] = coerce(name, value if item.convert is None or value is None else item.convert(value), item.hint)
        _check(item, values[name])
    sections: dict[str, Any] = {
        section: kind(**{name: values[name] for name in NAMES[section] if name in values})
        for section, kind in SECTIONS.items()
    }
    if sections["compute"].use_plugin is not None:
        read_plugin(sections["compute"].use_plugin)  # found wrong now rather than when the graph is run
    return Settings(bids_dir=bids_dir, output_dir=output_dir, level=level, **sections)


def each(level: str, bids_dir: Path, output_dir: Path, *, options: Mapping[str, Any]) -> list[Settings]:
    """The settings of every recipe, each of which is a run, or those of the one run without a recipe.

    Raises as `build`, and UsageError where several recipes would share a name.
    """
    names = _recipe_names({**_read_file(options), **options})
    runs = [{**options, "recipe": (name,)} for name in names] or [dict(options)]
    if len(runs) > 1 and "analysis" in options:
        raise UsageError(
            "--analysis names a single analysis; with several recipes, each analysis has the name of its recipe"
        )
    return [build(level, bids_dir, output_dir, options=options) for options in runs]


def read_plugin(file: Path) -> tuple[str, dict[str, Any]]:
    """The name of nipype's plugin and its arguments, from a YAML file.

    Raises UsageError for a file of another form, MissingInputError where there is none.
    """
    content = read_yaml(f"--use-plugin {file}", file)
    wrong = find_mismatch(content, {"plugin": str}, "it")
    arguments = {} if wrong else content.get("plugin_args") or {}
    wrong = wrong or find_mismatch(arguments, {}, "plugin_args")
    kinds = {} if wrong else {key: kind for key, kind in PLUGIN_ARGUMENTS.items() if key in arguments}
    wrong = wrong or find_mismatch(arguments, kinds, "plugin_args")
    if wrong:
        raise UsageError(
            f"--use-plugin {file}: {wrong}; it must contain `plugin: NAME` and, optionally, a table `plugin_args:`"
        )
    if content["plugin"] in IN_PROCESS_PLUGINS:
        raise UsageError(
            f"--use-plugin {file}: {content['plugin']} runs everything in one process, in which an error ends the run; "
            "leave the option out, and write --nprocs 1"
        )
    return content["plugin"], arguments


def _recipe_names(values: Mapping[str, Any]) -> tuple[str, ...]:
    names: tuple[str, ...] = coerce("recipe", values.get("recipe", ()), tuple[str, ...])
    return names


def _read_file(options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the settings file, none without one."""
    file = options.get("config_file")
    return {} if file is None else recipes.read("--config-file", Path(file), NAMES, FORMER)[0]


def to_first_names(section: Any) -> dict[str, Any]:
    """A section's values by the first name that each setting had: hashes that finished outputs hold stay valid."""
    return {(OPTIONS[name].former or (name,))[0]: value for name, value in asdict(section).items()}


def to_dict(settings: Settings) -> dict[str, Any]:
    """The sections as plain values for TOML, to be read back; what is unset, or only says what to read, is left out."""
    sections = {section: _to_plain(asdict(getattr(settings, section))) for section in SECTIONS}
    return {
        section: {name: value for name, value in values.items() if name not in NOT_IN_A_FILE}
        for section, values in sections.items()
    }


def to_toml(settings: Settings) -> str:
    """The settings as TOML, each below its meaning; those that are unset stand behind a #."""
    import tomli_w

    parts = []
    for section, written in to_dict(settings).items():
        parts.append(f"[{section}]")
        values = {name: value for name, value in written.items() if not isinstance(value, dict)}
        for name in NAMES[section]:
            if name not in NOT_IN_A_FILE and (name in values or name not in written):
                line = tomli_w.dumps({name: values[name]}) if name in values else f"# {name} =\n"
                parts.append(f"# {OPTIONS[name].help}\n{line}")
        tables = {name: value for name, value in written.items() if isinstance(value, dict)}
        parts += [
            f"# {OPTIONS[name].help}\n{tomli_w.dumps({section: {name: table}})}" for name, table in tables.items()
        ]
    return "\n".join(parts)


def _check(item: Option, value: Any) -> None:
    """Raise UsageError for a value beyond the limits of its option."""
    if not item.implemented and value != item.default:
        raise UsageError(f"{option(item.name)} is not implemented in this version")
    if value is None:
        return
    if item.choices and value not in item.choices:
        raise UsageError(f"{option(item.name)}: choose from {', '.join(map(str, item.choices))}, not {value!r}")
    if item.is_list and item.default and not value:
        raise UsageError(f"{option(item.name)} requires at least one value; remove the empty list for the default")
    if item.name == "bounding_box" and value and not _is_box(value):
        raise UsageError("--bounding-box requires six numbers in mm: X Y Z of the lowest corner, then of the highest")
    if item.minimum is not None and not value >= item.minimum:
        raise UsageError(f"{option(item.name)} must be at least {item.minimum}, not {value}")
    if item.maximum is not None and not value <= item.maximum:
        raise UsageError(f"{option(item.name)} must be at most {item.maximum}, not {value}")


def _is_box(corners: tuple[float, ...]) -> bool:
    return len(corners) == 6 and all(low < high for low, high in zip(corners[:3], corners[3:], strict=True))


def _to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, tuple | list):
        return [_to_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
