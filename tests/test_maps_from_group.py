"""Three sites with the same file names, sizes and time stamps, pooled from `group --maps-from` to report and model."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from site_studies import participants, write_site

import pellucid
from bids_app.run import main

pytestmark = pytest.mark.slow
SITES, PEOPLE, SEXES = ("NORTH", "SOUTH", "EAST"), 8, ["F", "M", "M", "F"] * 2
OPTIONS = ["--label", "diagnosis", "--classifiers", "svm", "--folds", "2"]


def measure(seed):
    """What a site's scanner makes of a participant's noise, with less grey matter in patients."""

    def change(noise, row):
        values = (1 + 0.2 * seed) * noise
        values[14:34, 20:40, 14:34] -= 0.5 * (row["diagnosis"] == "patient")
        return values

    return change


def arguments(home, *sites, out="out"):
    folders = [f"{site}={home / 'maps' / site}" for site in sites]
    return [str(home / "bids"), str(home / out), "group", "--nprocs", "2", "--maps-from", *folders]


def states(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def study(tmp_path_factory, with_template):
    """The folder of three sites and of their pooled analysis, and the state of the sites' folders before it."""
    home = tmp_path_factory.mktemp("pooled")
    for seed, site in enumerate(SITES):
        write_site(home, site, participants(PEOPLE, sex=SEXES), seed=seed, change=measure(seed))
    before = states(home / "maps")
    with_template(home / "out" / ".work")
    assert (
        main([*arguments(home, *SITES), *OPTIONS, "--explainers", "integrated_gradients", "--harmonize", "combat"]) == 0
    )
    return home, before


def test_folders_of_the_sites_are_only_read(study):
    home, before = study
    assert states(home / "maps") == before


def test_participants_are_named_by_site_in_all_tables(study):
    analysis = pellucid.load_analysis(study[0] / "out", "diagnosis")
    expected = {f"{site}:sub-{number:02}" for site in SITES for number in range(1, PEOPLE + 1)}
    for name in ("samples", "folds", "predictions", "heatmaps"):
        assert set(analysis.read_table(name)["participant_id"]) == expected, name
    assert set(analysis.participants["site"]) == set(SITES)
    assert analysis.read_table("sites")["participants"].tolist() == [PEOPLE] * 3


def test_heatmap_of_a_participant_is_the_one_of_the_own_site(study):
    home, _ = study
    table = pellucid.load_analysis(home / "out", "diagnosis").read_table("heatmaps")
    assert table["file"].is_unique
    images = []
    for participant, file in zip(table["participant_id"], table["file"], strict=True):
        assert file.startswith(f"{participant.replace(':', '/')}/anat/sub-")
        images.append(nib.load(home / "out" / file).get_fdata(dtype=np.float32).tobytes())
    assert len(set(images)) == len(images)


def test_bids_validator_accepts_the_output_tree(study):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.is_file():
        pytest.skip("bids-validator-deno is not installed: pip install 'pellucid[dev]'")
    command = [validator, "--format", "json", study[0] / "out"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    errors = [issue for issue in json.loads(result.stdout)["issues"]["issues"] if issue["severity"] == "error"]
    assert not errors


def test_prediction_pages_and_report_name_the_sites(study):
    folder = study[0] / "out" / "group" / "diagnosis"
    pages = sorted(path.relative_to(folder / "people").as_posix() for path in folder.glob("people/*/*.html"))
    assert pages == sorted(f"{site}/sub-{number:02}.html" for site in SITES for number in range(1, PEOPLE + 1))
    report = (folder / "report.html").read_text()
    assert all(f'<a href="people/{page}">{page[:-5].replace("/", ":")}</a>' in report for page in pages)
    assert "NORTH:sub-01: why this prediction" in (folder / "people" / "NORTH" / "sub-01.html").read_text()
    assert "8 from EAST, 8 from NORTH, 8 from SOUTH" in (folder / "methods.md").read_text()
    audit = json.loads((folder / "audit.json").read_text())
    accuracy = {kind: row["balanced_accuracy"] for kind, row in audit["site_predicted_from_maps"]["svm/gm"].items()}
    assert accuracy["without harmonisation"] > 0.5 > 1 / 3 > accuracy["harmonised"]


def test_leave_site_out_holds_out_each_site_and_finds_the_effect(study):
    home, _ = study
    assert (
        main([*arguments(home, *SITES), *OPTIONS, "--explainers", "weights", "--leave-site-out", "--analysis", "left"])
        == 0
    )
    analysis = pellucid.load_analysis(home / "out", "left")
    held_out = analysis.folds[analysis.folds["role"] == "test"].groupby("fold")["participant_id"].unique()
    assert [{name.partition(":")[0] for name in names} for names in held_out] == [{"EAST"}, {"NORTH"}, {"SOUTH"}]
    assert analysis.scores.set_index("cell").loc["svm/gm", "p_corrected"] < 0.05


def test_model_is_applied_to_other_sites(study, with_template):
    home, _ = study
    for seed, site in enumerate(("WEST", "NORTH2"), start=3):
        # their scanners are like that of SOUTH: a new site is not harmonised
        write_site(home, site, participants(8), seed=seed, change=measure(1))
    with_template(home / "applied" / ".work")
    model = ["--model", str(home / "out" / "group" / "diagnosis" / "models"), "--label", "diagnosis"]
    assert main([*arguments(home, "WEST", "NORTH2", out="applied"), *model]) == 0
    table = pellucid.load_analysis(home / "applied", "applied").predictions
    assert set(table["participant_id"]) == {f"{site}:sub-{n:02}" for site in ("WEST", "NORTH2") for n in range(1, 9)}
    assert (table["true"] == table["predicted"]).mean() > 0.7


def test_person_scanned_at_two_sites_is_named_with_both(study, with_template):
    home, _ = study
    (file,) = (home / "maps" / "NORTH" / "sub-01" / "anat").glob("*.nii.gz")
    for seed, site in enumerate(("ONE", "TWO"), start=7):
        files = write_site(home, site, participants(8), seed=seed, change=measure(seed))
        if site == "TWO":
            files[2].write_bytes(file.read_bytes())
    with_template(home / "copies" / ".work")
    options = [*OPTIONS, "--explainers", "weights", "--permutations", "0"]
    assert main([*arguments(home, "NORTH", "TWO", out="copies"), *options]) == 0
    folder = home / "copies" / "group" / "diagnosis"
    (sentence,) = json.loads((folder / "audit.json").read_text())["copies"]["gm"]
    assert "NORTH:sub-01 and TWO:sub-03" in sentence
    cell = tomllib.loads((folder / "models" / "svm" / "gm" / "cell.toml").read_text())
    assert not cell["verdict"]["claim"]
    assert pd.read_csv(folder / "sites.tsv", sep="\t")["site"].tolist() == ["NORTH", "TWO"]
