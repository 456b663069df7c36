"""The tables of maps, classifiers and explainers in docs/parts.md: `python -m bids_app.options.parts FILE`."""

import re
import sys
from pathlib import Path

from bids_app import catalogue
from bids_app.options.maps import read_map_options

TABLE = re.compile(r"(?<=<!-- parts: )(?P<kind>\w+)(?P<open> -->\n).*?(?=<!-- end of parts -->)", re.DOTALL)


def write_tables(text: str) -> str:
    """The Markdown text with every table between its two comments regenerated."""
    return TABLE.sub(lambda match: match["kind"] + match["open"] + "\n" + format_table(match["kind"]) + "\n", text)


def format_table(kind: str) -> str:
    """All parts of a kind as a Markdown table: name, summary, and the options that they declare."""
    rows = [f"| `{name}` | {_summary(kind, name)} | {_options(kind, name)} |" for name in catalogue.names(kind)]
    return "\n".join(["| name | what it is | options |", "|---|---|---|", *rows, ""])


def _summary(kind: str, name: str) -> str:
    """The first paragraph of the docstring."""
    return " ".join(catalogue.docstring(kind, name).split("\n\n")[0].split()).replace("|", r"\|")


def _options(kind: str, name: str) -> str:
    """Of a map the options of the command line, else those of --set with their defaults."""
    if kind == "maps":
        settings = [properties["setting"] for properties in read_map_options(name).values()]
        return ", ".join(f"`--{setting.replace('_', '-')}`" for setting in settings)
    options = catalogue.constant(kind, name, "OPTIONS") if catalogue.has(kind, name, "OPTIONS") else {}
    return ", ".join(f"`{option}={'none' if value is None else value}`" for option, value in options.items())


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(write_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
