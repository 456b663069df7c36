"""What a phantom says of itself: the files at the top of the data set."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_app import __version__
from bids_app.errors import DataError

STATEMENT = "A check of the software, not an estimate of statistical power."

COLUMNS: dict[str, dict[str, object]] = {
    "group": {
        "Description": "Whether the effect was planted in the person's image",
        "Levels": {"control": "Nothing planted", "patient": "The region named in sourcedata/phantom.json lacks volume"},
    },
    "age": {"Description": "Invented age, which shows in no image", "Units": "year"},
    "sex": {"Description": "Invented sex, which shows in no image", "Levels": {"F": "female", "M": "male"}},
    "site": {
        "Description": "Invented site, which shows in no image",
        "Levels": {"siteA": "First site", "siteB": "Second site"},
    },
}

WITH_BOLD: dict[str, object] = {
    "Description": "Whether the effect was planted in the person's images",
    "Levels": {"control": "Nothing planted", "patient": "The region named in sourcedata/phantom.json differs"},
}

README = """# {name}

{statement}

{source}
{planted} Nothing else differs between the
groups. The region is taken where the coordinates of the atlas put it, in whatever space that was drawn. The truth is in
`sourcedata/phantom.json`.

Real effects of a disease are smaller, wider and unlike each other in different people, and real scanners add more than
this. A method that finds this region works as it should; how many people a study needs cannot be learned from it.
"""

SHRUNK = (
    "In the images of patients one region, {region} of the atlas {atlas}, has {percent:g} % less volume than without "
    "the\neffect: it is contracted, keeps its intensities, and the tissue round it moves in."
)

RUNS = """Everybody has a BOLD run too, made of the same brain: slow fluctuations (0.01 to 0.08 Hz) of grey matter,
shared within five networks, within the regions of the atlas AAL and between neighbours; smooth and white noise, drift,
pulsation of white matter and CSF, a head that moves and what that adds, slices measured one after the other. It is not
distorted. The networks are in `sourcedata/network-maps.nii.gz`.

In patients the {kind} of the fluctuations differs, by {size:g}, in one region, {region} of the atlas {atlas}:
{meaning}."""

MEANINGS = {
    "amplitude": "they are 1 + that number times as large",
    "coherence": "that part of each voxel's own variance becomes its neighbours' too (below 0: the other way)",
    "connectivity": "that part of the region's own variance becomes its network's too (below 0: the other way)",
}

INVENTED = """Synthetic T1-weighted images of people who do not exist. Each is the skull-stripped template
MNI152NLin2009cAsym (ICBM 152; Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033) in a random smooth deformation,
size and pose, with shading, noise and a random scale of intensities. Age, sex and site are invented, and independent of
the images and of the group.
"""

FROM_BASE = """Real T1-weighted images, of the data set "{base}", all taken as controls; half of the people, drawn at
random, are called patients here. They are images of real people: the terms of that data set hold for them. Every image,
of patients and controls, was moved by a random part of a voxel and interpolated once, so that the groups do not differ
in blur.
"""


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file in the form that all files of the data set have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(folder: Path, truth: Mapping[str, object], *, base: str | None) -> None:
    """Write dataset_description.json, README and sourcedata/phantom.json; `base` names the data set planted in."""
    name = f"Phantom with {truth['region']} planted" + (f" in {base}" if base else "")
    description = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "Authors": ["Pellucid phantom"],
        "Acknowledgements": STATEMENT,
        "GeneratedBy": [{"Name": "pellucid-phantom", "Version": __version__, "Description": STATEMENT}],
    }
    write_json(folder / "dataset_description.json", description)
    write_json(folder / "sourcedata" / "phantom.json", {"statement": STATEMENT, "version": __version__, **truth})
    text = README.format(
        name=name,
        statement=STATEMENT,
        source=FROM_BASE.format(base=base) if base else INVENTED,
        planted=_describe_effect(truth),
    )
    (folder / "README").write_text(text, encoding="utf-8")


def _describe_effect(truth: Mapping[str, object]) -> str:
    """What was done to the region, in words."""
    named = {"region": truth["region"], "atlas": truth["atlas"]}
    percent = 100 * float(str(truth["effect"]))
    bold = truth.get("bold")
    if not isinstance(bold, Mapping):
        return SHRUNK.format(**named, percent=percent)
    runs = RUNS.format(**named, kind=bold["effect"], size=bold["size"], meaning=MEANINGS[bold["effect"]])
    return f"{runs}\n\n{SHRUNK.format(**named, percent=percent)}" if percent else runs


def write_participants(
    folder: Path, rows: Sequence[Mapping[str, str]], *, described: Mapping[str, Mapping[str, object]]
) -> None:
    """Write participants.tsv and, of its columns, participants.json; a value that is lacking is n/a."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (folder / "participants.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", restval="n/a")
        table.writeheader()
        table.writerows(rows)
    person = {"participant_id": {"Description": "Unique label of the person"}}
    write_json(
        folder / "participants.json", person | {name: dict(described[name]) for name in columns if name in described}
    )


def read_participants(root: Path) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, object]]]:
    """A data set's rows by participant_id, and what its participants.json says of columns; empty without such files."""
    table, sidecar = root / "participants.tsv", root / "participants.json"
    rows: dict[str, dict[str, str]] = {}
    described: dict[str, dict[str, object]] = {}
    try:
        if table.is_file():
            with table.open(encoding="utf-8-sig", newline="") as file:
                rows = {row.pop("participant_id"): row for row in csv.DictReader(file, delimiter="\t", restval="n/a")}
        if sidecar.is_file():
            described = dict(json.loads(sidecar.read_text(encoding="utf-8")))
    except (KeyError, ValueError) as error:
        raise DataError(
            f"participants.tsv or .json of --base cannot be read ({error}); mend them, or leave them out"
        ) from error
    return rows, described
