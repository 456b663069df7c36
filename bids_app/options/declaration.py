"""What an option is, and how a field of a settings section declares one."""

import types
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from bids_app import catalogue

# the headings of --help, in their order
TOPICS = (
    "select",
    "both levels",
    "participant: anatomy",
    "participant: BOLD",
    "group: participants",
    "group: classifiers",
    "group: heatmaps and evidence",
    "group: several sites",
    "compute",
    "other",
    "phantom",
    "phantom: BOLD",
)


@dataclass(frozen=True)
class Option:
    """One option: how it is spelled, what it takes and what it means.

    `summary` is a line of --help, in Markdown; `{default}`, `{choices}` and `{names}` (of the kind `catalogue`) are
    filled in. `details` follow it in docs/usage.md. `former` are keys of earlier versions, still read, shown nowhere.
    `count` is the number of values where it is fixed; `parse` turns the words of the command line into a table,
    `convert` a value from any source. An option with `implemented` False is refused. `common` ones are listed by
    --help, all others by --help-all alone.
    """

    default: Any
    summary: str
    details: str = ""
    topic: str = ""
    metavar: str = ""
    aliases: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    choices: tuple[str | int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    count: int | None = None
    catalogue: str = ""
    parse: Callable[[list[str]], Any] | None = None
    convert: Callable[[Any], Any] | None = None
    implemented: bool = True
    common: bool = False
    name: str = ""
    hint: Any = None

    @property
    def flags(self) -> list[str]:
        """The spellings on the command line: the short one, the name, other long ones."""
        short = [text for text in self.aliases if not text.startswith("--")]
        return [*short, "--" + self.name.replace("_", "-"), *(text for text in self.aliases if text not in short)]

    @property
    def kind(self) -> type:
        """The type of one value: of a list its elements', of an optional value that which it has when it is given."""
        hint = get_args(self.hint)[0] if get_origin(self.hint) in (Union, types.UnionType) else self.hint
        kind: type = get_args(hint)[0] if get_origin(hint) in (tuple, dict) else hint
        return kind

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value; `verbose` is counted."""
        return self.kind is bool or not self.metavar

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        hint = get_args(self.hint)[0] if get_origin(self.hint) in (Union, types.UnionType) else self.hint
        return get_origin(hint) in (tuple, dict)

    @property
    def help(self) -> str:
        """The summary as plain text."""
        return self.describe(self.summary).replace("`", "")

    def describe(self, text: str) -> str:
        """The text with the default, the choices and the names of the catalogue filled in."""
        defaults = self.default if isinstance(self.default, tuple) else (self.default,)
        names = catalogue.names(self.catalogue) if self.catalogue else ()
        fillings = {"{default}": defaults, "{choices}": self.choices, "{names}": names}
        for place, entries in fillings.items():
            words = [f"{entry:g}" if isinstance(entry, int | float) else f"`{entry}`" for entry in entries]
            text = text.replace(place, ", ".join(words))
        return text


def declare(default: Any, summary: str, details: str = "", **properties: Any) -> Any:
    """A dataclass field with this default that declares an `Option`."""
    option = Option(default, summary, details, **properties)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"option": option})
    return field(default=default, metadata={"option": option})


def read_options(section: type) -> dict[str, Option]:
    """The options that the fields of a settings section declare, by name."""
    hints = get_type_hints(section)
    return {
        item.name: replace(item.metadata["option"], name=item.name, hint=hints[item.name]) for item in fields(section)
    }
