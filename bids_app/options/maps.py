"""Options of single maps, declared as `OPTIONS` in the maps' own files."""

from typing import Any, TypeVar

from bids_app import catalogue
from bids_app.errors import UsageError
from bids_app.options.declaration import declare

PROPERTIES = {"default", "summary", "details", "choices", "minimum", "metavar", "setting", "former"}
Section = TypeVar("Section", bound=type)


def read_map_options(name: str) -> dict[str, dict[str, Any]]:
    """The options that a map declares, by keyword of its `compute`; the map is read, not imported."""
    options = catalogue.constant("maps", name, "OPTIONS") if catalogue.has("maps", name, "OPTIONS") else {}
    for keyword, properties in options.items():
        if strange := sorted(set(properties) - PROPERTIES) + sorted({"default", "summary"} - set(properties)):
            raise UsageError(f"maps/{name}.py: OPTIONS[{keyword!r}]: {', '.join(strange)} is unknown or missing")
    return {keyword: {"setting": keyword, **properties} for keyword, properties in options.items()}


def map_parameters(participant: Any, name: str) -> dict[str, Any]:
    """The values of a map's options in the settings section of the participant level, by keyword of its `compute`."""
    base = name.partition("-")[0]
    return {keyword: getattr(participant, option["setting"]) for keyword, option in read_map_options(base).items()}


def add_map_options(section: Section) -> Section:
    """Give a settings section a field for every option of every map. Raises UsageError for two of one name."""
    declared: dict[str, dict[str, Any]] = {name: {} for name in section.__annotations__}
    for name in catalogue.names("maps"):
        for properties in read_map_options(name).values():
            setting = properties["setting"]
            if declared.setdefault(setting, properties) != properties:
                raise UsageError(f"maps/{name}.py: another option is called {setting}; give it another `setting`")
            section.__annotations__[setting] = type(properties["default"])
            setattr(section, setting, _field(name, properties))
    return section


def _field(name: str, properties: dict[str, Any]) -> Any:
    of_bold = catalogue.constant("maps", name, "SUFFIX") == "boldmap"
    choices = properties.get("choices", ())
    number = isinstance(properties["default"], int | float)
    metavar = "N" if number else "|".join(choices) if 0 < len(choices) < 3 else "NAME"
    return declare(
        **{"metavar": metavar, **{key: value for key, value in properties.items() if key != "setting"}},
        topic="participant: BOLD" if of_bold else "participant: anatomy",
    )
