"""Simulated participant-level outputs of hospitals with different scanners, and their settings file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from bids_app.atlases import templates

SPACE, MM = "MNI152NLin2009cAsym", 4.0
PEOPLE = {"ams": (16, 14), "berlin": (12, 18), "cork": (13, 12)}  # controls and patients of a site
SCANNER = {"ams": (1.0, 0.0), "berlin": (1.12, 0.05), "cork": (0.93, -0.04)}  # gain, and tilt from back to front
SETTINGS = """[group]
label = "group"
classes = {control = ["control"], patient = ["patient"]}
folds = 3
permutations = 19
harmonize = "combat"
combat_covariates = ["age"]
covariates = ["tiv", "sex"]
"""


def write_sites(
    home: Path, put: Callable[..., None], *, effect: float = 0.1, people: Mapping[str, tuple[int, int]] = PEOPLE
) -> None:
    """Write `bids`, `out` and `settings.toml` of each site below `home`; put: writes a map (`invented_gm`)."""
    shape, affine = templates.grid(SPACE, MM)
    tilt = np.linspace(-1, 1, shape[1])[None, :, None]
    patch = np.zeros(shape)
    patch[20:28, 26:34, 16:24] = 1
    for number, (site, counts) in enumerate(people.items()):
        random, bids = np.random.default_rng(number), home / site / "bids"
        bids.mkdir(parents=True)
        patient = random.permutation(np.repeat([False, True], counts))
        table = pd.DataFrame({"participant_id": [f"sub-{row + 1:02}" for row in range(len(patient))]})
        table["group"] = np.where(patient, "patient", "control")
        table["age"], table["sex"] = random.integers(20, 60, len(patient)), random.choice(["F", "M"], len(patient))
        table.to_csv(bids / "participants.tsv", sep="\t", index=False)
        (bids / "dataset_description.json").write_text(json.dumps({"Name": site, "BIDSVersion": "1.10.0"}))
        gain, slope = SCANNER[site]
        for person, ill in zip(table["participant_id"], patient, strict=True):
            (bids / person).mkdir()
            values = 0.5 + 2 * gaussian_filter(random.normal(size=shape), 2) - effect * ill * patch
            values = values * (gain + slope * tilt)
            put(home / site / "out", person, nib.Nifti1Image(values.astype(np.float32), affine), random)
        (home / site / "settings.toml").write_text(SETTINGS)
