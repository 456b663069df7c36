"""The description of OUT_DIR: dataset_description.json, README.md, .bidsignore."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from bids_app import __version__
from bids_app.bids.json_files import name_generator, read_object
from bids_app.bids.outputs import write_root
from bids_app.errors import DataError
from bids_app.settings import Settings

BIDS_VERSION = "1.10.0"

# Folders are written without a trailing slash, which the validator does not support.
BIDSIGNORE = (
    "*_boldmap.*", "*_statmap.*", "*_timeseries.*", "*_relmat.*", "*_xfm.*", "*_morph.*", "*.html", "qc.tsv", "figures",
    "group", "log", "logs", ".tmp", ".work",
)  # fmt: skip

README = """# Outputs of Pellucid {version}

Input: {name}.{derivatives}

Pellucid classifies participants by diagnosis from MRI and shows what the classifiers used. Research use only; not for
diagnosis. Start with `index.html`; each participant has a page `sub-<label>.html`, and each analysis a report
`group/<analysis>/report.html`.

## What is private

Everything except `group/<analysis>/share/` is data about individual participants or can be traced to them, and must be
handled like the input data set: images and tables under `sub-*`, the pages of participants, `qc.tsv`, and in
`group/<analysis>/` the lists of participants, folds and predictions, the audit and the trained models. A model, or a
mean over few participants, can reveal who took part. Figures show only the inside of the brain mask, so that faces
cannot be recognised; the images themselves are not defaced.

## What may be shared

`group/<analysis>/share/` contains aggregates only and excludes groups of fewer than 10 participants. This folder may be
sent to colleagues, as far as the terms of the input data set permit.

## How to read it

File names follow BIDS Derivatives. Maps are in the space given by `space-`, without smoothing or scaling; the `.json`
sidecars describe how each map was computed. Files that BIDS does not define yet are listed in `.bidsignore`.
"""


def describe(out: Path, *, bids_dir: Path, derivatives: Mapping[str, Path], sites: Collection[str] = ()) -> None:
    """Write the three root files; sources are named by title, DOI and version, never by a path of this machine.

    sites: folders with participants of sites, which are no part of BIDS. Raises CannotWriteError.
    """
    source = _description(bids_dir)
    name = source.get("Name") or bids_dir.resolve().name
    used = {label: _description(path) for label, path in sorted(derivatives.items()) if path.is_dir()}
    description: dict[str, object] = {
        "Name": f"Pellucid: {name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "pellucid", "Version": __version__}],
    }
    if sources := [entry for entry in map(_source, (source, *used.values())) if entry]:
        description["SourceDatasets"] = sources
    write_root(out, "dataset_description.json", json.dumps(description, indent=2, ensure_ascii=False) + "\n")
    generators = "; ".join(f"{label} ({name_generator(metadata)})" for label, metadata in used.items())
    sentence = f" Derivatives used: {generators}." if generators else ""
    text = README.format(version=__version__, name=name, derivatives=sentence)
    write_root(out, "README.md", text)
    write_root(out, ".bidsignore", "\n".join(dict.fromkeys([*BIDSIGNORE, *_ignored_folders(out), *sites])) + "\n")


def describe_group(settings: Settings) -> None:
    """Write the root files of a group run, with the sites of --maps-from. Raises CannotWriteError."""
    sites, derivatives = settings.group.maps_from, settings.derivatives
    describe(settings.output_dir, bids_dir=settings.bids_dir, derivatives=derivatives, sites=sites)


def _ignored_folders(out: Path) -> list[str]:
    """The folders that .bidsignore names already, perhaps of the sites of another analysis."""
    file = out / ".bidsignore"
    return [line for line in file.read_text().split() if (out / line).is_dir()] if file.is_file() else []


def _description(folder: Path) -> dict[str, object]:
    """Return the description of a data set; empty if it has none (--skip-bids-validation)."""
    file = folder / "dataset_description.json"
    if not file.is_file():
        return {}
    try:
        return read_object(file, str(file))
    except DataError:
        return {}  # `open_dataset` has refused it, unless it was not to validate


def _source(metadata: Mapping[str, object]) -> dict[str, str]:
    """Return the identifiers of a source: its DOI, and the version if stated."""
    doi, version = metadata.get("DatasetDOI"), metadata.get("DatasetVersion")
    return {key: str(value) for key, value in (("DOI", doi), ("Version", version)) if value}
