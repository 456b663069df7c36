"""Sites that differ in scanner and in class, without any effect of disease: what the group level reports.

Simulated participant-level maps: 40 participants, two sites, a scanner that brightens
and tilts its maps, and four in five of the patients on it.
"""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.atlases import templates
from bids_app.run import main

pytestmark = pytest.mark.slow
SPACE, MM, PEOPLE = "MNI152NLin2009cAsym", 4.0, 40
OPTIONS = ["--label", "group", "--classes", "control", "patient", "--classifiers", "svm", "--explainers", "weights"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, with_template, invented_gm):
    """BIDS and OUT_DIR. Site and class go together: 16 and 4, 4 and 16."""
    home = tmp_path_factory.mktemp("sites")
    bids, out = home / "bids", home / "out"
    bids.mkdir()
    with_template(out / ".work")
    random = np.random.default_rng(3)
    table = pd.DataFrame({"participant_id": [f"sub-{number:02}" for number in range(1, PEOPLE + 1)]})
    table["group"] = ["patient", "control"] * (PEOPLE // 2)
    table["site"] = np.where(np.arange(PEOPLE) % 10 < 8, np.where(table["group"] == "patient", "A", "B"), "")
    table.loc[table["site"] == "", "site"] = np.where(table["group"] == "patient", "B", "A")[table["site"] == ""]
    table["age"], table["sex"] = random.integers(20, 60, PEOPLE), random.choice(["F", "M"], PEOPLE)
    table.to_csv(bids / "participants.tsv", sep="\t", index=False)
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "sites", "BIDSVersion": "1.10.0"}))
    shape, affine = templates.grid(SPACE, MM)
    tilt = np.linspace(-1, 1, shape[1])[None, :, None]
    for person, site in zip(table["participant_id"], table["site"], strict=True):
        (bids / person).mkdir()
        values = 0.5 + 0.1 * gaussian_filter(random.normal(size=shape), 2) / 0.05
        values = values * (1.1 + 0.05 * tilt) if site == "A" else values
        invented_gm(out, person, nib.Nifti1Image(values.astype(np.float32), affine), random)
    return bids, out


def analysed(study, name, *options):
    bids, out = study
    assert main([str(bids), str(out), "group", "--analysis", name, *OPTIONS, *options]) == 0
    folder = out / "group" / name
    audit = json.loads((folder / "audit.json").read_text())
    score = pd.read_csv(folder / "scores.tsv", sep="\t").set_index("cell").loc["svm/gm"]
    page = (folder / "report.html").read_text()
    sentence = " ".join(page[page.index("<strong>Results in words") : page.index("Research use only")].split())
    told = audit["site_predicted_from_maps"].get("svm/gm", {})
    print("\n", name, round(score["balanced_accuracy"], 3), score["p_corrected"], told, sentence)
    return score, told, sentence, audit


def test_scanner_effect_confounded_with_class_is_not_reported_as_a_disease_effect(study):
    score, told, sentence, audit = analysed(study, "plain")
    assert score["p_corrected"] <= 0.05
    assert told["without harmonisation"]["balanced_accuracy"] > 0.9
    assert "was not shown to perform better than" in sentence
    assert "site" in sentence[sentence.index("better than", sentence.index("was not shown")) :]
    assert next(row for row in audit["by_class"] if row["what"] == "site")["uneven"]


def test_shared_files_name_no_participant_and_mask_small_counts(study):
    _, out = study
    share = out / "group" / "plain" / "share"
    names = {path.name for path in share.iterdir()}
    assert {
        "README.md",
        "methods.md",
        "scores.tsv",
        "comparisons.tsv",
        "regions.tsv",
        "audit.json",
        "model_card.md",
        "model_card.json",
    } < names
    assert sum(name.endswith("statmap.nii.gz") for name in names) == 2
    for path in share.glob("*.*"):
        assert b"sub-" not in path.read_bytes(), path.name
    rows = {row["what"]: row for row in json.loads((share / "audit.json").read_text())["by_class"]}
    assert rows["site"]["by_class"] == "<10"  # 16 and 4
    assert set(rows["age"]["by_class"]) == {"control", "patient"}
    assert rows["site"]["p"] < 0.05


def test_permutation_within_sites_gives_no_significant_score(study):
    score, _, sentence, _ = analysed(study, "within", "--site", "site")
    assert score["p_corrected"] > 0.05
    assert "did not distinguish" in sentence


def test_leave_site_out_does_not_distinguish_the_classes(study):
    score, _, sentence, _ = analysed(study, "left", "--leave-site-out")
    assert score["balanced_accuracy"] < 0.6  # well below a half: what tells class at one site misleads at the other
    assert "did not distinguish" in sentence


def test_combat_removes_site_information_from_the_maps(study):
    _, told, sentence, _ = analysed(study, "combat", "--harmonize", "combat")
    assert told["without harmonisation"]["balanced_accuracy"] > 0.9
    assert told["harmonised"]["balanced_accuracy"] < 0.7
    assert "svm on gm distinguished patient from control above chance and" not in sentence
