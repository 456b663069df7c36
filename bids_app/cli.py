"""The command line: argparse only, made from the declarations of `options`. Nothing heavy is imported here."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bids_app import __version__, catalogue
from bids_app.errors import UsageError
from bids_app.options.declaration import TOPICS, Option, read_options
from bids_app.options.other_programs import suggest
from bids_app.options.phantom import Phantom
from bids_app.settings import FORMER, OPTIONS

LEVELS = ("participant", "group")
SHELLS = ("bash", "zsh", "tcsh")
ALONE = {"--write-config"}  # these work without a data set
UNKNOWN = "unrecognized arguments: "


EXAMPLES = """
examples:
  pellucid BIDS_DIR OUT_DIR participant --nprocs 4
      maps of grey matter from the T1w images of all participants
  pellucid BIDS_DIR OUT_DIR participant --maps alff reho -d fmriprep=DIR
      maps of resting-state BOLD from the outputs of fMRIPrep
  pellucid BIDS_DIR OUT_DIR group --label group --classes control patient
      classifiers of the column "group" of participants.tsv, and the report

{more}.
"""
ALWAYS = {"bids_dir", "output_dir", "level", "help", "version"}  # listed by --help


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError (exit 64) instead of exiting with 2, and suggests options."""

    def error(self, message: str) -> NoReturn:
        """Raise with the error, what to write in place of an unknown option, and a pointer to --help-all."""
        for word in message.removeprefix(UNKNOWN).split() if message.startswith(UNKNOWN) else ():
            if word.startswith("-") and (hint := suggest(word, self._option_string_actions)):
                message = f"{word.partition('=')[0]} is not an option of {self.prog}: {hint}"
                break
        raise UsageError(f"{message}\n{self.prog} --help-all lists all options")


class Layout(argparse.RawDescriptionHelpFormatter):
    """An option's spellings, then once what it takes."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {self._format_args(action, str(action.metavar))}"

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return f"{default_metavar} ..." if action.nargs == "+" else super()._format_args(action, default_metavar)


class Help(argparse.Action):
    """Prints the common options, or all, and stops."""

    def __call__(self, parser: argparse.ArgumentParser, *words: Any) -> None:
        """Never returns."""
        every = words[-1] == "--help-all"
        common = {name for name, item in OPTIONS.items() if item.common}
        if not every:
            for action in parser._actions:
                if action.dest not in ALWAYS | common:
                    action.help = argparse.SUPPRESS
        more = f"--help-all also lists the other {len(OPTIONS) - len(common)} options"
        parser.epilog = EXAMPLES.format(more="--help lists the common options alone" if every else more)
        parser.print_help()
        parser.exit()


class Describe(argparse.Action):
    """Prints the parser's Boutiques descriptor and stops, wherever it is given, as --version does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Never returns."""
        from bids_app import boutiques

        print(json.dumps(boutiques.descriptor(parser, LEVELS), indent=2))
        parser.exit()


class PrintCompletion(argparse.Action):
    """Prints the script by which a shell completes the command line, made by shtab, and stops."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, *__: Any) -> None:
        """Never returns. Raises UsageError without shtab."""
        try:
            import shtab
        except ImportError:
            raise UsageError(f"{parser.prog} --print-completion requires shtab: pip install shtab") from None
        for action in parser._actions:
            item = OPTIONS.get(action.dest)
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.dest == "level":
                action.choices = LEVELS
            elif item is not None and not item.is_flag:
                action.choices = item.choices or _plugin_names(action.dest)
        print(shtab.complete(parser, shell))
        parser.exit()


def _plugin_names(kind: str) -> list[str] | None:
    """The values of --maps, --classifiers and --explainers; None for another option."""
    return catalogue.names(kind) if kind in catalogue.KINDS else None


def parse(argv: Sequence[str], *, alone: bool = False) -> dict[str, Any]:
    """The options given, by setting name, with `bids_dir`, `output_dir` and `level`; `_` and `-` both work.

    alone: these three may be missing. Former spellings are accepted.
    """
    words = [_normalise(word, FORMER) for word in argv]
    parsed = vars(parser(alone=alone or bool(ALONE & set(words))).parse_args(words))
    # a position with a type that may be missing is not left out: argparse applies the type to SUPPRESS
    values = {name: value for name, value in parsed.items() if str(value) != argparse.SUPPRESS}
    for name, item in OPTIONS.items():
        if name in values and item.parse is not None:
            values[name] = item.parse(values[name])
    return values


def parser(*, alone: bool = False) -> Parser:
    """The whole command line; options that are not given are absent, so that a settings file can fill them.

    alone: the three positions may be missing.
    """
    whole = Parser(
        prog="pellucid",
        usage="%(prog)s BIDS_DIR OUT_DIR {participant,group} [options]",
        description="Classify participants by diagnosis from MRI, and show and evaluate the evidence.",
        formatter_class=Layout,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    whole.add_argument("-h", "--help", "--help-all", action=Help, nargs=0, help="show the common options, or all")
    optional: dict[str, Any] = {"nargs": "?"} if alone else {}
    whole.add_argument("bids_dir", type=Path, help="BIDS data set", **optional)
    whole.add_argument("output_dir", type=Path, help="output folder", **optional)
    level = "from scans to maps, or from maps to classifiers and report"
    whole.add_argument("level", metavar="{participant,group}", help=level, **optional)
    groups = _add_options(whole, OPTIONS)
    groups["other"].add_argument(
        "--bids-exec-spec", action=Describe, nargs=0, help="print the Boutiques descriptor and exit"
    )
    groups["other"].add_argument(
        "--print-completion",
        action=PrintCompletion,
        metavar="SHELL",
        choices=SHELLS,
        help="print the completion script for bash, zsh or tcsh and exit (requires shtab)",
    )
    groups["other"].add_argument("--version", action="version", version=f"pellucid {__version__}")
    return whole


def phantom(argv: Sequence[str]) -> dict[str, Any]:
    """The command line of pellucid-phantom: what is given and what has a default."""
    whole = Parser(
        prog="pellucid-phantom",
        description="Write a BIDS data set with a planted, known effect.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    whole.add_argument("out", type=Path, help="output folder, which must not exist yet")
    options = read_options(Phantom)
    _add_options(whole, options)
    whole.add_argument("--version", action="version", version=f"pellucid {__version__}")
    values = vars(whole.parse_args([_normalise(word, {}) for word in argv]))
    if "bold" not in values and (idle := sorted({"bold_effect", "bold_volumes", "tr", "derivatives"} & set(values))):
        raise UsageError(f"--{idle[0].replace('_', '-')} requires --bold EFFECT_SIZE (0 plants no effect)")
    return {**{name: item.default for name, item in options.items() if item.default is not None}, **values}


def _add_options(whole: Parser, options: Mapping[str, Option]) -> dict[str, Any]:
    """Add each option to the group of its topic, in the order of the topics; returns the groups."""
    groups: dict[str, Any] = {}
    for topic in TOPICS:
        for item in (item for item in options.values() if item.topic == topic):
            if topic not in groups:
                groups[topic] = whole.add_argument_group(topic)
            groups[topic].add_argument(*item.flags, dest=item.name, help=item.help.replace("%", "%%"), **_reading(item))
    return groups


def _reading(item: Option) -> dict[str, Any]:
    """How argparse is to read an option."""
    if item.is_flag:
        return {"action": "store_true" if item.kind is bool else "count"}
    kind = {"type": item.kind} if item.kind in (int, float, Path) and item.convert is None else {}
    many = {"nargs": item.count or "+"} if item.is_list else {}
    return {"metavar": item.metavar, **kind, **many}


def _normalise(word: str, former: Mapping[str, str]) -> str:
    """An option with dashes and its present name; any other word as it is."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    key = name[2:].replace("-", "_")
    return "--" + former.get(key, key).replace("_", "-") + equals + value
