"""Repeated scans: follow-ups stay on one side of each split, duplicates and copied slices are reported."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.atlases import templates
from bids_app.run import main

pytestmark = pytest.mark.slow
PEOPLE = 24
OPTIONS = ["--label", "group", "--classes", "control", "patient", "--classifiers", "svm", "--explainers", "weights"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, with_template, invented_gm):
    """24 participants; six have a follow-up; sub-03 is sub-05 scanned again, sub-09 has slices of sub-08."""
    home = tmp_path_factory.mktemp("copies")
    bids, out = home / "bids", home / "out"
    bids.mkdir()
    with_template(out / ".work")
    random = np.random.default_rng(5)
    names = [f"sub-{number:02}" for number in range(1, PEOPLE + 1)]
    table = pd.DataFrame({"participant_id": names, "group": ["patient", "control"] * (PEOPLE // 2), "site": "one"})
    table["age"], table["sex"] = random.integers(20, 60, PEOPLE), random.choice(["F", "M"], PEOPLE)
    table.to_csv(bids / "participants.tsv", sep="\t", index=False)
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "copies", "BIDSVersion": "1.10.0"}))
    shape, affine = templates.grid("MNI152NLin2009cAsym", 4.0)
    maps = {name: 0.5 + 2 * gaussian_filter(random.normal(size=shape), 2) for name in names}
    maps["sub-03"] = maps["sub-05"] * 1.03 + random.normal(0, 0.02, shape)
    maps["sub-09"][:, 10:30] = maps["sub-08"][:, 10:30]
    for number, (name, values) in enumerate(maps.items()):
        (bids / name).mkdir()
        for session in ("1", "2") if number >= PEOPLE - 6 else (None,):
            seen = values + random.normal(0, 0.02, shape)
            if name in ("sub-08", "sub-09"):
                seen = values
            invented_gm(out, name, nib.Nifti1Image(seen.astype(np.float32), affine), random, session)
    return bids, out


def test_follow_ups_require_the_sessions_option_and_stay_on_one_side_of_each_split(study, capsys):
    bids, out = study
    assert main([str(bids), str(out), "group", "--analysis", "unsaid", *OPTIONS]) == 64
    assert "several sessions: 19 (1, 2)" in capsys.readouterr().err
    assert (
        main([str(bids), str(out), "group", "--analysis", "all", "--sessions", "all", "--repeats", "3", *OPTIONS]) == 0
    )
    folds = pd.read_csv(out / "group" / "all" / "folds.tsv", sep="\t", dtype=str)
    assert len(folds.query("repeat == '1' and fold == '1'")) == PEOPLE + 6
    roles = folds.groupby(["repeat", "fold", "participant_id"])["role"].nunique()
    assert (roles == 1).all()
    scores = pd.read_csv(out / "group" / "all" / "scores.tsv", sep="\t")
    assert (scores["n"] == PEOPLE).all()


def test_duplicate_scans_and_copied_slices_are_reported_and_no_claim_is_made(study):
    _, out = study
    told = json.loads((out / "group" / "all" / "audit.json").read_text())["copies"]["gm"]
    print("\n".join(told))
    assert len(told) == 2
    assert any("sub-03 and sub-05" in text and "alike" in text for text in told)
    assert any("sub-08 and sub-09" in text and "slices" in text for text in told)
    cell = (out / "group" / "all" / "models" / "svm" / "gm" / "cell.toml").read_text()
    assert "claim = false" in cell
