"""Simulated participant-level maps of several sites, each in its own OUT_DIR, in the layout that --maps-from reads."""

import gzip
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from bids_app import settings
from bids_app.atlases import templates

SPACE, MM = "MNI152NLin2009cAsym", 4.0
TIME = 1_700_000_000_000_000_000  # of modification, the same for all files
PARAMETERS = {"Map": "gm", "Registration": "nonlinear", "Space": SPACE, "Sloppy": True, "Version": "1.0"}


def participants(number: int = 12, **columns) -> pd.DataFrame:
    """A table of participants sub-01, sub-02, ...: pairs of a patient and a control of one age; columns: other ones."""
    names = [f"sub-{count:02}" for count in range(1, number + 1)]
    table = pd.DataFrame({"participant_id": names, "diagnosis": ["patient", "control"] * (number // 2)})
    table["age"], table["sex"] = np.arange(number) // 2 % 7 + 30, np.where(np.arange(number) % 3 == 0, "F", "M")
    return table.assign(**columns)


def write_site(home: Path, site: str, table: pd.DataFrame, *, seed=1, change=None, **parameters):
    """Write HOME/bids/SITE/participants.tsv and simulated gm maps, HOME/maps/SITE/sub-*/anat; returns the files.

    change: what becomes of a participant's smooth noise (X, Y, Z) and row of the table; parameters: those of the
    sidecars that differ. The files of all sites have the same names, sizes (gzip without compression) and times.
    """
    bids, out = home / "bids" / site, home / "maps" / site
    bids.mkdir(parents=True)
    table.to_csv(bids / "participants.tsv", sep="\t", index=False)
    random = np.random.default_rng(seed)
    mm = parameters.get("ResolutionMm", MM)
    shape, affine = templates.grid(SPACE, mm)
    files = []
    for number, row in enumerate(table.to_dict("records")):
        name = row["participant_id"]
        folder = out / name / "anat"
        folder.mkdir(parents=True)
        stem = f"{name}_space-{SPACE}_res-{mm:g}_label-GM_desc-modulated_probseg"
        values = 0.5 + 2 * gaussian_filter(random.normal(size=shape), 2)
        values = values if change is None else change(values, row)
        image = nib.Nifti1Image(values.astype(np.float32), affine).to_bytes()
        files.append(folder / f"{stem}.nii.gz")
        files[-1].write_bytes(gzip.compress(image, compresslevel=0, mtime=0))
        os.utime(files[-1], ns=(TIME, TIME))
        sidecar = {
            "MapParameters": {**PARAMETERS, "ResolutionMm": mm, **parameters},
            "PreprocessingSource": "simulated",
        }
        sidecar |= {
            "Scanner": {"Manufacturer": site.title()},
            "TotalIntracranialVolume": 1400 + 100 * (number // 2 % 3),
        }
        (folder / f"{stem}.json").write_text(json.dumps(sidecar))
    return files


def group_settings(home: Path, *sites: str, **options):
    """The settings of a group run on these sites, with the label `diagnosis` unless given."""
    folders = {site: home / "maps" / site for site in sites}
    options = {"label": "diagnosis", "maps_from": folders, **options}
    return settings.build("group", home / "bids", home / "out", options=options)
