"""The command line: argparse only, one short function an argument group. Nothing heavy is imported here."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bids_app import __version__, catalogue, values
from bids_app.errors import UsageError

LEVELS = ("participant", "group")
ALONE = {"--write-config"}  # these say something without a data set


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError (exit 64) in place of exiting with 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to learn more."""
        raise UsageError(f"{message}\n{self.prog} --help lists all options")


class Describe(argparse.Action):
    """Prints the parser's Boutiques descriptor and stops, wherever it stands, as --version does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Never returns."""
        from bids_app import boutiques

        print(json.dumps(boutiques.descriptor(parser, LEVELS), indent=2))
        parser.exit()


def parse(argv: Sequence[str], *, alone: bool = False) -> dict[str, Any]:
    """The options given, by setting name, with `bids_dir`, `output_dir` and `level`; `_` and `-` both work.

    alone: these three may lack.
    """
    words = [_dashes(word) for word in argv]
    parsed = vars(parser(alone=alone or bool(ALONE & set(words))).parse_args(words))
    # a position with a type that may lack is not left out: argparse applies the type to SUPPRESS
    given = {name: value for name, value in parsed.items() if str(value) != argparse.SUPPRESS}
    for name, pairs in (
        ("derivatives", values.derivatives),
        ("classes", values.classes),
        ("maps_from", values.pairs),
        ("tune", values.tuned),
    ):
        if name in given:
            given[name] = pairs(given[name])
    return given


def parser(*, alone: bool = False) -> Parser:
    """The whole command line; options that are not given are absent, so that a settings file can fill them.

    alone: the three positions may lack.
    """
    whole = Parser(
        prog="pellucid",
        description="Classify people by diagnosis from MRI, show where the evidence lies, and judge it.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    lacking: dict[str, Any] = {"nargs": "?"} if alone else {}
    whole.add_argument("bids_dir", type=Path, help="BIDS data set", **lacking)
    whole.add_argument("output_dir", type=Path, help="where the results go", **lacking)
    level = "scans -> maps, or maps -> classifiers and report"
    whole.add_argument("level", metavar="{participant,group}", help=level, **lacking)
    for add in (_select, _both, _participant, _functional, _group, _folds, _judging, _compute, _other):
        add(whole)
    return whole


def helps() -> dict[str, str]:
    """What each setting is, in the words of --help."""
    return {action.dest: str(action.help) for action in parser()._actions if action.option_strings}


def _select(whole: Parser) -> None:
    group = whole.add_argument_group("select")
    group.add_argument("--participant-label", nargs="+", metavar="LABEL", help="people, with or without sub-")
    group.add_argument(
        "--session-label", "--session-id", nargs="+", metavar="LABEL", help="sessions, with or without ses-"
    )
    group.add_argument("-t", "--task-id", metavar="TASK", help="BOLD task")
    group.add_argument(
        "--bids-filter-file", type=Path, metavar="FILE", help="JSON of entities for t1w, as for fMRIPrep"
    )
    group.add_argument("--bids-database-dir", type=Path, metavar="DIR", help="pybids database")
    group.add_argument("--skip-bids-validation", action="store_true", help="go on without dataset_description.json")
    group.add_argument(
        "-d",
        "--derivatives",
        "--datasets",
        nargs="+",
        metavar="NAME=PATH",
        help="fmriprep=PATH, freesurfer=PATH: use these",
    )
    group.add_argument("--exclude", type=Path, metavar="FILE", help="TSV: participant_id, session_id, reason")


def _both(whole: Parser) -> None:
    group = whole.add_argument_group("both levels")
    group.add_argument("--recipe", nargs="+", metavar="NAME|FILE", help="settings of a published study")
    group.add_argument(
        "--atlas", nargs="+", metavar="NAME|FILE", help="for region tables; each map names its own otherwise"
    )
    group.add_argument("--model", type=Path, metavar="DIR", help="a trained analysis to apply")
    group.add_argument("--write-config", action="store_true", help="print the whole settings as TOML and stop")


def _participant(whole: Parser) -> None:
    group = whole.add_argument_group("participant: anatomy")
    group.add_argument(
        "--maps", nargs="+", metavar="NAME", help=f"{', '.join(catalogue.names('maps'))} (gm; both levels)"
    )
    group.add_argument("--output-space", metavar="SPACE", help="template (MNI152NLin2009cAsym)")
    group.add_argument("--resolution", type=float, metavar="MM", help="voxel size of the maps (2; 3 with --sloppy)")
    group.add_argument(
        "--bounding-box", nargs=6, type=float, metavar="MM", help="outermost voxel centres: X Y Z least, X Y Z greatest"
    )
    group.add_argument("--registration", metavar="affine|syn", help="syn for tissue maps, affine for t1w unless given")
    group.add_argument("--intensity", metavar="zscore|minmax", help="scaling of t1w in the brain mask (zscore)")
    group.add_argument("--brain-mask", metavar="PATTERN", help="mask file with {participant} and {session} in its path")
    group.add_argument("--without-regions", nargs="+", metavar="NAME", help="set t1w to 0 there: FreeSurfer's names")
    group.add_argument("--fallback-preprocessing", action="store_true", help="preprocess whom the derivatives lack")
    group.add_argument("--sloppy", action="store_true", help="coarse and fast: for trying things out")


def _functional(whole: Parser) -> None:
    group = whole.add_argument_group("participant: BOLD")
    group.add_argument("--denoise", metavar="NAME|none", help="nilearn strategy")
    group.add_argument("--band", nargs="+", metavar="HZ", help="LOW HIGH, or none")
    group.add_argument("--dummy-scans", type=int, metavar="N", help="volumes to drop at the start")
    group.add_argument(
        "--fd-threshold", type=float, metavar="MM", help="framewise displacement above which volumes drop"
    )
    group.add_argument("--network-maps", type=Path, metavar="FILE", help="4D maps: networks, ica")
    group.add_argument("--alff-definition", metavar="NAME", help="mean|dpabi|afni|cpac|xcpd (mean)")
    group.add_argument("--strength", metavar="NAME", help="of fcs and rfcs: mean-r|mean-z|abs|positive-squared|...")
    group.add_argument("--reho-neighbours", type=int, metavar="N", help="7, 19 or 27, itself among them (27)")
    group.add_argument("--save-series", action="store_true", help="write the denoised series")


def _group(whole: Parser) -> None:
    group = whole.add_argument_group("group: people")
    group.add_argument("--analysis", metavar="NAME", help="name of this analysis (the label column)")
    group.add_argument("--label", metavar="COLUMN", help="diagnosis column of participants.tsv")
    group.add_argument("--classes", nargs="+", metavar="NAME=VALUE,VALUE", help="the first is the reference")
    group.add_argument("--people-per-class", type=int, metavar="N", help="so many at most, drawn at random: to try out")
    group.add_argument("--label-from-id", metavar="REGEX", help="diagnosis from the participant label")
    group.add_argument("--phenotype", type=Path, metavar="FILE", help="TSV with the diagnosis")
    group.add_argument("--keep-together", metavar="COLUMN", help="people of one value stay on one side of a fold")
    group.add_argument("--sessions", metavar="first|all|mean", help="where people have several sessions")
    group.add_argument("--site", metavar="COLUMN", help="site or scanner column")
    group.add_argument(
        "--adjust-for", nargs="+", metavar="COLUMN", help="regress out (tiv for gm and wm); none to switch off"
    )
    group.add_argument("--combat-keep", nargs="+", metavar="COLUMN", help="columns that ComBat preserves")
    group.add_argument("--harmonize", metavar="combat", help="remove site")
    group.add_argument(
        "--map-form", metavar="raw|mean|zscore", help="scale each person's map by itself; each map has its own"
    )
    group.add_argument(
        "--whole-grid", action="store_true", help="networks see the maps whole, not the box round the brain"
    )
    group.add_argument("--smoothing", type=float, metavar="MM", help="full width at half maximum; each map has its own")
    group.add_argument("--ica-components", type=int, metavar="N", help="of the map ica, fitted in each fold (20)")


def _folds(whole: Parser) -> None:
    group = whole.add_argument_group("group: classifiers")
    group.add_argument("--classifiers", nargs="+", metavar="NAME", help=f"{', '.join(catalogue.names('classifiers'))}")
    group.add_argument("--folds", type=int, metavar="K", help="stratified folds of people (5)")
    group.add_argument("--folds-file", type=Path, metavar="FILE", help="take folds.tsv back")
    group.add_argument("--repeats", type=int, metavar="N", help="repeat the folds (1)")
    group.add_argument("--leave-site-out", action="store_true", help="one fold a site")
    group.add_argument("--hold-out", type=float, metavar="SHARE", help="one fold of this share, drawn anew each repeat")
    group.add_argument("--test-per-class", type=int, metavar="N", help="each fold holds out N of every class")
    group.add_argument(
        "--inner-folds", type=int, metavar="K", help="choose the best cell within each fold; what the choice scores"
    )
    group.add_argument("--weights", metavar="DIR|none", help="pretrained weights")
    group.add_argument(
        "--tune",
        nargs="+",
        metavar="NAME.OPTION=VALUE",
        help="of a classifier or its training; without NAME of all networks",
    )
    group.add_argument("--maps-from", nargs="+", metavar="SITE=OUT_DIR", help="maps of several sites")
    group.add_argument("--training-list", type=Path, metavar="FILE", help="who was in training")


def _judging(whole: Parser) -> None:
    group = whole.add_argument_group("group: heatmaps and evidence")
    group.add_argument("--explainers", nargs="+", metavar="NAME", help=f"{', '.join(catalogue.names('explainers'))}")
    group.add_argument("--explain-target", metavar="true|predicted|CLASS", help="class explained (predicted)")
    group.add_argument("--explain-checks", action="store_true", help="sanity checks of the heatmaps")
    group.add_argument(
        "--permutations", type=int, metavar="N", help="labellings to judge chance by (linear 1000, networks 0)"
    )
    group.add_argument(
        "--power",
        type=int,
        metavar="N",
        help="plant differences of known size in N simulated studies, and show which would have been found (none); "
        "without --label: for planning",
    )
    group.add_argument("--max-mean-fd", type=float, metavar="MM", help="leave out people who moved more")
    group.add_argument("--min-minutes", type=float, metavar="N", help="leave out people with less data")
    group.add_argument("--reference-map", type=Path, metavar="FILE", help="map or coordinates to compare with")
    group.add_argument(
        "--voxelwise-test", type=int, metavar="N", help="compare classes voxel by voxel, with N permutations (none)"
    )
    group.add_argument("--allow-confounded", action="store_true", help="go on though a class occurs at one site only")


def _compute(whole: Parser) -> None:
    group = whole.add_argument_group("compute")
    group.add_argument("--nprocs", "--nthreads", "--n-cpus", type=int, metavar="N", help="processes at once (1)")
    group.add_argument("--omp-nthreads", type=int, metavar="N", help="threads a process (1); results depend on it")
    group.add_argument("--mem-mb", "--mem", metavar="MB", help="memory for all; 32G works too")
    group.add_argument("--device", metavar="auto|cpu|cuda", help="where networks are trained (auto)")
    group.add_argument("--use-plugin", type=Path, metavar="FILE", help="nipype plugin, YAML")
    group.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help="work folder (OUT_DIR/.work)")
    group.add_argument("--random-seed", type=int, metavar="N", help="seed of all randomness (1)")
    group.add_argument("--stop-on-first-crash", action="store_true", help="do not go on with the others")


def _other(whole: Parser) -> None:
    group = whole.add_argument_group("other")
    group.add_argument("--config-file", type=Path, metavar="FILE", help="settings, TOML; the command line wins")
    group.add_argument("--reports-only", action="store_true", help="make the reports again")
    group.add_argument("--radiological", action="store_true", help="left of the person on the right of the picture")
    group.add_argument(
        "--write-graph", action="store_true", help="write the graph of nodes as .dot into the work folder"
    )
    group.add_argument("--resource-monitor", action="store_true", help="record memory and processors")
    group.add_argument("--bids-exec-spec", action=Describe, nargs=0, help="print the Boutiques descriptor and stop")
    group.add_argument("--notrack", action="store_true", help="accepted; there is no tracking")
    group.add_argument("-v", "--verbose", action="count", help="say more; -vv even more")
    group.add_argument("--version", action="version", version=f"pellucid {__version__}")


def phantom(argv: Sequence[str]) -> dict[str, Any]:
    """The command line of pellucid-phantom."""
    whole = Parser(
        prog="pellucid-phantom", description="Write a BIDS data set with a planted, known effect.", allow_abbrev=False
    )
    whole.add_argument("out", type=Path, help="a folder that does not exist yet")
    whole.add_argument("--people", type=int, default=24, metavar="N", help="half are patients (24)")
    whole.add_argument("--region", default="Putamen_L", metavar="NAME", help="region of the atlas that lacks tissue")
    whole.add_argument("--atlas", default="aal", metavar="NAME|FILE", help="atlas of the region (aal)")
    whole.add_argument(
        "--effect", type=float, metavar="X", help="fraction of tissue that patients lack (0.3; 0 with --bold)"
    )
    whole.add_argument("--resolution", type=float, default=3.0, metavar="MM", help="voxel size (3)")
    whole.add_argument("--random-seed", type=int, default=1, metavar="N", help="same seed, same files (1)")
    whole.add_argument(
        "--base", type=Path, metavar="BIDS", help="plant the effect in these people in place of the template"
    )
    _phantom_bold(whole)
    whole.add_argument("--version", action="version", version=f"pellucid {__version__}")
    given = vars(whole.parse_args([_dashes(word) for word in argv]))
    given = {name: value for name, value in given.items() if value is not None}
    if "bold" not in given and (idle := sorted({"bold_effect", "bold_volumes", "tr", "derivatives"} & set(given))):
        raise UsageError(
            f"--{idle[0].replace('_', '-')} is about BOLD: give --bold EFFECT_SIZE as well (0 plants nothing)"
        )
    return given


def _phantom_bold(whole: Parser) -> None:
    group = whole.add_argument_group("BOLD")
    group.add_argument(
        "--bold", type=float, metavar="EFFECT_SIZE", help="make BOLD, with an effect of this size in patients' region"
    )
    group.add_argument(
        "--bold-effect", metavar="KIND", help="what differs: amplitude|coherence|connectivity (amplitude)"
    )
    group.add_argument("--bold-volumes", type=int, metavar="N", help="volumes of the run (120)")
    group.add_argument("--tr", type=float, metavar="SECONDS", help="repetition time (2)")
    group.add_argument(
        "--derivatives", type=Path, metavar="DIR", help="write there what fMRIPrep would have made of these people"
    )


def _dashes(word: str) -> str:
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word
