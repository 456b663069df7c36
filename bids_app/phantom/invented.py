"""Images of people who do not exist."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from bids_app.atlases import templates
from bids_app.phantom import anatomy, description, people
from bids_app.phantom.image import save
from bids_app.phantom.region import Region, remaining, shrink
from bids_app.phantom.scanner import acquire

SPACE = "MNI152NLin2009cAsym"
SIDECAR = {"Manufacturer": "Pellucid phantom", "MagneticFieldStrength": 3, "SkullStripped": True}


def write_images(
    folder: Path, region: Region, *, count: int, effect: float, resolution: float, random_seed: int
) -> dict[str, object]:
    """Write the images and the table of `count` people; returns what is to be known about them."""
    template = templates.brain(SPACE)
    brain = anatomy.prepare(template.get_fdata(dtype=np.float32), template.affine, resolution_mm=resolution)
    shape, scanner = anatomy.scanner_grid(template.shape, template.affine, resolution_mm=resolution)
    planted = shrink(region, effect=effect)
    crowd = people.invent(count, random_seed=random_seed)
    for index, person in enumerate(tqdm(crowd, desc="phantom", unit="person", disable=None)):
        rng = people.generator(random_seed, people.PERSON, index)
        posed = anatomy.pose(rng)
        fields = [anatomy.own_shape(brain, rng)] + [planted] * (person.group == people.PATIENT)
        seen = acquire(anatomy.sample_brain(brain, fields, posed, shape, scanner), rng, white=brain.white)
        save(folder, person.label, None, seen, scanner, sidecar=SIDECAR)
    rows = [{"participant_id": f"sub-{one.label}", "group": one.group, **_invented(one)} for one in crowd]
    description.write_participants(folder, rows, described=description.COLUMNS)
    return {"people": count, "resolution_mm": resolution, "remaining_share": round(remaining(region, planted), 4)}


def _invented(person: people.Person) -> dict[str, str]:
    return {"age": str(person.age), "sex": person.sex, "site": person.site}
