"""The tables of maps, classifiers and explainers in docs/parts.md: `python -m bids_app.options.parts FILE`."""

import functools
import math
import re
import sys
from pathlib import Path
from typing import Any

from bids_app import catalogue
from bids_app.options.maps import read_map_options

TABLE = re.compile(r"(?<=<!-- parts: )(?P<kind>\w+)(?P<open> -->\n).*?(?=<!-- end of parts -->)", re.DOTALL)
COLUMNS = {
    "maps": ("name", "what it is", "computed from", "scaling", "options"),
    "classifiers": ("name", "what it is", "weights", "options"),
    "explainers": ("name", "what it is", "of which classifiers", "options"),
}
# of the images for which weights are counted: a head at 1.5 mm
SHAPE, VOXEL_MM = (121, 145, 121), (1.5, 1.5, 1.5)


def write_tables(text: str) -> str:
    """The Markdown text with every table between its two comments regenerated."""
    return TABLE.sub(lambda match: match["kind"] + match["open"] + "\n" + format_table(match["kind"]) + "\n", text)


def format_table(kind: str) -> str:
    """All parts of a kind as a Markdown table, with the columns `COLUMNS`."""
    describe = {"maps": _describe_map, "classifiers": _describe_classifier, "explainers": _describe_explainer}[kind]
    rows = [(f"`{name}`", _summary(kind, name), *describe(name)) for name in catalogue.names(kind)]
    lines = [f"| {' | '.join(row)} |" for row in (COLUMNS[kind], *rows)]
    return "\n".join([lines[0], "|---" * len(COLUMNS[kind]) + "|", *lines[1:], ""])


def _summary(kind: str, name: str) -> str:
    """The first paragraph of the docstring."""
    return " ".join(catalogue.docstring(kind, name).split("\n\n")[0].split()).replace("|", r"\|")


def _describe_map(name: str) -> tuple[str, str, str]:
    settings = [properties["setting"] for properties in read_map_options(name).values()]
    source = "BOLD" if catalogue.constant("maps", name, "SUFFIX") == "boldmap" else "T1w"
    options = ", ".join(f"`--{setting.replace('_', '-')}`" for setting in settings)
    return source, f"`{catalogue.constant('maps', name, 'SCALING')}`", options


def _describe_classifier(name: str) -> tuple[str, str]:
    return _count_weights(_untrained(name)), _options("classifiers", name)


def _describe_explainer(name: str) -> tuple[str, str]:
    explainer, names = catalogue.load("explainers", name), catalogue.names("classifiers")
    refused = [one for one in names if explainer.check(_untrained(one)) is not None]
    suited = ", ".join(f"`{one}`" for one in names if one not in refused)
    if len(refused) < 3:
        suited = f"all but {', '.join(f'`{one}`' for one in refused)}" if refused else "all"
    return suited, _options("explainers", name)


def _options(kind: str, name: str) -> str:
    """The options of --set with their defaults."""
    options = catalogue.constant(kind, name, "OPTIONS") if catalogue.has(kind, name, "OPTIONS") else {}
    return ", ".join(f"`{option}={'none' if value is None else value}`" for option, value in options.items())


@functools.cache
def _untrained(name: str) -> Any:
    """A classifier of one map and two classes, on torch's meta device, which computes no values."""
    import torch

    part = catalogue.load("classifiers", name)
    shape = SHAPE if part.INPUT_FORMAT == "volumes" else (math.prod(SHAPE),)
    with torch.device("meta"):
        return part.build(1, 2, shape, voxel_mm=VOXEL_MM, seed=1)


def _count_weights(classifier: Any) -> str:
    """The number of weights of a network, to two digits; "" of what is neither a network nor linear."""
    if hasattr(classifier, "linear"):
        return "one per voxel and class"
    count = sum(one.numel() for one in classifier.parameters())
    if not hasattr(classifier, "cam_layer"):
        return ""
    digits = round(count, 1 - int(math.log10(count)))
    return f"{digits / 1e6:g} million" if digits >= 1e6 else f"{digits:,}".replace(",", " ")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(write_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
