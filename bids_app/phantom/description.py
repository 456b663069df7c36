"""The description of a phantom: the files at the top of the data set."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_app import __version__
from bids_app.bids.json_files import read_object
from bids_app.errors import DataError

STATEMENT = "A check of the software, not an estimate of statistical power."

COLUMNS: dict[str, dict[str, object]] = {
    "group": {
        "Description": "Whether the effect was planted in the participant's image",
        "Levels": {"control": "Nothing planted", "patient": "The region named in sourcedata/phantom.json lacks volume"},
    },
    "age": {"Description": "Simulated age, not reflected in any image", "Units": "year"},
    "sex": {"Description": "Simulated sex, not reflected in any image", "Levels": {"F": "female", "M": "male"}},
    "site": {
        "Description": "Simulated site, not reflected in any image",
        "Levels": {"siteA": "First site", "siteB": "Second site"},
    },
}

WITH_BOLD: dict[str, object] = {
    "Description": "Whether the effect was planted in the participant's images",
    "Levels": {"control": "Nothing planted", "patient": "The region named in sourcedata/phantom.json differs"},
}

README = """# {name}

{statement}

{source}
{planted} Nothing else differs between the
groups. The region is located by the coordinates of the atlas, in whatever space the atlas was drawn. The ground truth
is in `sourcedata/phantom.json`.

Real disease effects are smaller, more widespread and more variable between participants, and real scanners add further
variation. A method that detects this region works as intended; the sample size that a study requires cannot be
inferred from it.
"""

SHRUNK = (
    "In the images of patients one region, {region} of the atlas {atlas}, has {percent:g} % less volume than without "
    "the\neffect: it is contracted with unchanged intensities, and the surrounding tissue moves inwards."
)

RUNS = """All participants also have a BOLD run, simulated from the same brain: slow fluctuations (0.01 to 0.08 Hz)
of grey matter, shared within five networks, within the regions of the atlas AAL and between neighbours; smooth and
white noise, drift, pulsation of white matter and CSF, head motion and its artefacts, and sequential slice timing. There
is no distortion. The networks are in `sourcedata/network-maps.nii.gz`.

In patients the {kind} of the fluctuations differs, by {size:g}, in one region, {region} of the atlas {atlas}:
{meaning}."""

MEANINGS = {
    "amplitude": "their amplitude is multiplied by 1 + that number",
    "coherence": "this proportion of each voxel's own variance is shared with its neighbours (below 0: the reverse)",
    "connectivity": "this proportion of the region's own variance is shared with its network (below 0: the reverse)",
}

INVENTED = """Synthetic T1-weighted images of simulated participants. Each is the skull-stripped template
MNI152NLin2009cAsym (ICBM 152; Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033) with a random smooth
deformation, size and pose, shading, noise and a random scaling of intensities. Age, sex and site are simulated, and
independent of the images and of the group.
"""

FROM_BASE = """Real T1-weighted images of the data set "{base}", all treated as controls; half of the participants,
drawn at random, are labelled patients here. They are images of real people: the terms of that data set apply. Every
image was shifted by a random fraction of a voxel and interpolated once, in patients and controls alike, so that the
groups do not differ in blur.
"""


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file in the format of all files of the data set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(folder: Path, truth: Mapping[str, object], *, base: str | None) -> None:
    """Write dataset_description.json, README and sourcedata/phantom.json; `base`: the name of the source data set."""
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
    """A description of the effect in the region."""
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
    """Write participants.tsv and, of its columns, participants.json; a missing value is n/a."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (folder / "participants.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", restval="n/a")
        table.writeheader()
        table.writerows(rows)
    person = {"participant_id": {"Description": "Unique participant label"}}
    write_json(
        folder / "participants.json", person | {name: dict(described[name]) for name in columns if name in described}
    )


def read_participants(root: Path) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, object]]]:
    """A data set's rows by participant_id, and column descriptions of participants.json; empty without the files."""
    table, sidecar = root / "participants.tsv", root / "participants.json"
    rows: dict[str, dict[str, str]] = {}
    described: dict[str, dict[str, object]] = {}
    try:
        if table.is_file():
            with table.open(encoding="utf-8-sig", newline="") as file:
                rows = {row.pop("participant_id"): row for row in csv.DictReader(file, delimiter="\t", restval="n/a")}
        if sidecar.is_file():
            described = read_object(sidecar, "participants.json of --base")
    except (KeyError, ValueError) as error:
        raise DataError(f"participants.tsv of --base cannot be read ({error}); correct or remove it") from error
    return rows, described
