"""Templates to HTML: one environment with escaping on, and the filters that the templates use."""

import math
import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import SupportsFloat

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

RESEARCH_USE = "Research use only; not for diagnosis."
COLUMNS: dict[str, str] = tomllib.loads(Path(__file__).with_name("columns.toml").read_text(encoding="utf-8"))
_LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;)]")


def render_page(template: str, **values: object) -> str:
    """The page from a template under `templates/` and its values; all values are escaped."""
    return _environment().get_template(template).render(research_use=RESEARCH_USE, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(explain=COLUMNS.get, explained_columns=COLUMNS)
    environment.filters.update(number=format_number, prose=render_prose, linked=link_addresses, breakable=allow_breaks)
    return environment


def format_number(value: object, digits: int = 3) -> str:
    """A number with significant digits; 'n/a' where it is missing."""
    if isinstance(value, bool | str):
        return str(value)
    as_float = float(value) if isinstance(value, SupportsFloat) else float("nan")  # None, pandas' NA
    if math.isnan(as_float):
        return "n/a"
    if as_float.is_integer() and abs(as_float) < 1e6:
        return str(int(as_float))
    return f"{as_float:.{digits}g}" if abs(as_float) < 10**digits else f"{as_float:.0f}"


def link_addresses(text: str) -> Markup:
    """Text with its web addresses as links, everything else escaped."""
    parts, last = [], 0
    for match in _LINK.finditer(text):
        address = escape(match.group())
        parts += [escape(text[last : match.start()]), Markup('<a href="{0}">{0}</a>').format(address)]
        last = match.end()
    return Markup("").join([*parts, escape(text[last:])])


def allow_breaks(text: str) -> Markup:
    """Text whose lines may break after underscores, as in names of regions."""
    return escape(text).replace("_", Markup("_<wbr>"))


def render_prose(text: str) -> Markup:
    """Paragraphs (separated by empty lines), `## ` headings and `- ` lists as HTML, escaped."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in block.splitlines()]
        if lines[0].startswith("#"):
            blocks.append(Markup("<h3>{}</h3>").format(lines[0].lstrip("# ")))
            lines = lines[1:]
        if lines and all(line.startswith("- ") for line in lines):
            items = Markup("").join(Markup("<li>{}</li>").format(link_addresses(line[2:])) for line in lines)
            blocks.append(Markup("<ul>{}</ul>").format(items))
        elif lines and lines[0]:
            blocks.append(Markup("<p>{}</p>").format(link_addresses(" ".join(lines))))
    return Markup("\n").join(blocks)


def save_page(path: Path, page: str) -> None:
    """Write a page as UTF-8, with its folder: completely or not at all, and only if its content changes."""
    if path.is_file() and path.read_text(encoding="utf-8") == page:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(page, encoding="utf-8", newline="\n")
    unfinished.replace(path)
