"""Images of simulated participants."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from bids_app.atlases import templates
from bids_app.phantom import anatomy, bold, description, functional, people
from bids_app.phantom.image import save
from bids_app.phantom.region import Region, remaining, shrink
from bids_app.phantom.scanner import acquire

SPACE = "MNI152NLin2009cAsym"
SIDECAR = {"Manufacturer": "Pellucid phantom", "MagneticFieldStrength": 3, "SkullStripped": True}


def write_images(
    folder: Path,
    region: Region,
    *,
    count: int,
    effect: float,
    resolution: float,
    random_seed: int,
    plan: bold.Plan | None = None,
    tree: Path | None = None,
) -> dict[str, object]:
    """Write the images and the table of `count` participants; returns facts about them.

    With `plan`, all participants have a BOLD run; with `tree`, a folder, derivatives are written there.
    """
    template = templates.brain(SPACE)
    brain = anatomy.prepare(template.get_fdata(dtype=np.float32), template.affine, resolution_mm=resolution)
    shape, scanner = anatomy.scanner_grid(template.shape, template.affine, resolution_mm=resolution)
    study = None
    if plan:
        study = functional.prepare(
            brain, template, region, plan=plan, resolution_mm=resolution, tree=tree, random_seed=random_seed
        )
    planted = shrink(region, effect=effect)
    crowd = people.invent(count, random_seed=random_seed)
    for index, person in enumerate(tqdm(crowd, desc="phantom", unit="person", disable=None)):
        rng = people.generator(random_seed, people.PERSON, index)
        posed = anatomy.draw_pose(rng)
        fields = [anatomy.draw_shape(brain, rng)] + [planted] * (person.group == people.PATIENT)
        image = anatomy.sample_brain(brain, fields, posed, shape, scanner)
        save(folder, person.label, None, acquire(image, rng, white=brain.white), scanner, sidecar=SIDECAR)
        if study:
            functional.write_person(folder, study, index, person, image, scanner, fields, posed)
    rows = [_participant_row(participant) for participant in crowd]
    of_group = {"group": description.WITH_BOLD} if study else {}
    description.write_participants(folder, rows, described=description.COLUMNS | of_group)
    known: dict[str, object] = {
        "people": count,
        "resolution_mm": resolution,
        "remaining_share": round(remaining(region, planted), 4),
    }
    if study is None:
        return known
    functional.write_networks(folder / "sourcedata")
    return known | {"bold": study.truth()}


def _participant_row(person: people.Person) -> dict[str, str]:
    """A row of participants.tsv."""
    row = {"participant_id": f"sub-{person.label}", "group": person.group}
    return row | {"age": str(person.age), "sex": person.sex, "site": person.site}
