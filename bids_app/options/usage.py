"""The tables of options in docs/usage.md, written from the declarations: `python -m bids_app.options.usage FILE`."""

import re
import sys
from pathlib import Path

from bids_app.options.compute import Compute, Other
from bids_app.options.declaration import TOPICS, Option, read_options
from bids_app.options.evidence import Group
from bids_app.options.federated import Federated
from bids_app.options.participant import Participant
from bids_app.options.phantom import Phantom
from bids_app.options.selection import Select, Shared

SECTIONS = (Select, Shared, Participant, Group, Federated, Compute, Other, Phantom)
TABLE = re.compile(r"(?<=<!-- options: )(?P<topic>[^>]+?)(?P<open> -->\n).*?(?=<!-- end of options -->)", re.DOTALL)
# printed by a program itself, and no setting
PRINTED = {
    "other": {
        "--help": "list the common options and three examples",
        "--help-all": "list all options",
        "--bids-exec-spec": "print the [Boutiques](https://boutiques.github.io) descriptor and stop; needs no folders",
        "--version": "print the version",
    },
    "phantom": {"--version": "print the version"},
}


def write_tables(text: str) -> str:
    """The Markdown text with every table between its two comments regenerated."""
    return TABLE.sub(lambda match: match["topic"] + match["open"] + "\n" + format_table(match["topic"]) + "\n", text)


def format_table(topic: str) -> str:
    """The options of one topic as a Markdown table. Raises ValueError for an unknown topic."""
    if topic not in TOPICS:
        raise ValueError(f"no options have the topic {topic}")
    options = [item for section in SECTIONS for item in read_options(section).values() if item.topic == topic]
    rows = [(_spelling(item), _meaning(item)) for item in options]
    rows += [(f"`{flag}`", meaning) for flag, meaning in PRINTED.get(topic, {}).items()]
    lines = [f"| {spelling} | {meaning} |" for spelling, meaning in rows]
    return "\n".join(["| option | meaning |", "|---|---|", *lines, ""])


def _spelling(item: Option) -> str:
    """The spellings, the main one with what it takes."""
    main = "--" + item.name.replace("_", "-")
    *others, last = item.metavar.split("|")
    values = "" if item.is_flag else " " + (f"{', '.join(others)} or {last}" if others else last)
    values += " ..." if item.is_list and item.count is None else ""
    values = " X Y Z X Y Z" if item.count == 6 else values
    return ", ".join(f"`{flag}{values}`" if flag == main else f"`{flag}`" for flag in item.flags)


def _meaning(item: Option) -> str:
    text = item.describe(". ".join(filter(None, [item.summary, item.details])))
    text = text if item.implemented else f"{text}; *not yet implemented*"
    return text.replace("|", r"\|")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(write_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
