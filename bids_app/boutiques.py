"""The Boutiques descriptor of the command line, made from its parser (Glatard et al. 2018, GigaScience 7:giy016)."""

from pathlib import Path
from typing import Any

from bids_app import __version__, errors, settings

SCHEMA = "0.5"
KEYS = {"level": "[ANALYSIS_LEVEL]"}  # the others are named after themselves
FIRST = ("bids_dir", "output_dir", "level", "participant_label", "session_label")  # as BIDS Apps are called
ALONE = {"help", "version", "write_config", "bids_exec_spec"}  # they print and stop
NEW_FOLDERS = {"output_dir", "work_dir"}  # folders that need not be there: no File


def descriptor(parser: Any, levels: tuple[str, ...]) -> dict[str, Any]:
    """Every argument of an argparse parser as an input; `bosh validate --bids` accepts it."""
    actions = {action.dest: action for action in parser._actions if action.dest not in ALONE}
    names = [*FIRST, *(name for name in actions if name not in FIRST)]
    inputs = [_input(actions[name]) for name in names]
    inputs[names.index("level")]["value-choices"] = list(levels)
    existing = {**inputs[names.index("output_dir")], "id": "output_dir_there", "type": "File", "optional": True}
    inputs[names.index("output_dir")]["optional"] = True
    return {
        "name": parser.prog,
        "description": parser.description,
        "tool-version": __version__,
        "schema-version": SCHEMA,
        "author": "The Pellucid developers",
        "command-line": f"mkdir -p [OUTPUT_DIR]; {parser.prog} {' '.join(entry['value-key'] for entry in inputs)}",
        "inputs": [*inputs, existing],
        "groups": [
            {
                "id": "where",
                "name": "Output folder",
                "description": "output folder; created if it does not exist",
                "members": ["output_dir", "output_dir_there"],
                "mutually-exclusive": True,
                "one-is-required": True,
            }
        ],
        "output-files": [
            {"id": "results", "name": "BIDS derivative data set", "path-template": "[OUTPUT_DIR]", "optional": False}
        ],
        "error-codes": [
            {"code": kind.code, "description": (kind.__doc__ or "").rstrip(".")}
            for kind in vars(errors).values()
            if isinstance(kind, type) and issubclass(kind, errors.PellucidError) and "code" in vars(kind)
        ],
        "tags": {"domain": ["neuroinformatics", "bids-app", "mri", "fmri"]},
    }


def _input(action: Any) -> dict[str, Any]:
    """One argument of the parser. argparse's own classes are not asked for: its attributes say enough."""
    name = action.dest
    described: dict[str, Any] = {
        "id": name,
        "name": name.replace("_", " "),
        "description": action.help,
        "type": _type(action),
        "value-key": KEYS.get(name, f"[{name.upper()}]"),
        "optional": bool(action.option_strings),
    }
    if action.option_strings:
        described["command-line-flag"] = next(text for text in action.option_strings if text.startswith("--"))
    if action.nargs not in (None, 0):
        described["list"] = True
        if action.nargs != "+":
            described |= {"min-list-entries": action.nargs, "max-list-entries": action.nargs}
    if action.type is int:
        described["integer"] = True
    return described | _limits(name, described)


def _limits(name: str, described: dict[str, Any]) -> dict[str, Any]:
    """The smallest number and the choices that its declaration allows."""
    item = settings.OPTIONS.get(name)
    limits: dict[str, Any] = {}
    if item is not None and item.minimum is not None and described["type"] == "Number":
        limits["minimum"] = item.minimum
    if item is not None and item.choices and "list" not in described:
        limits["value-choices"] = list(item.choices)
    return limits


def _type(action: Any) -> str:
    if action.nargs == 0:
        return "Flag"
    if action.type in (int, float):
        return "Number"
    return "File" if action.type is Path and action.dest not in NEW_FOLDERS else "String"
