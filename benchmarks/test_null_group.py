"""How many of two hundred studies without an effect claim one: the whole group level, from planning to report.

Each draws 24 of 32 simulated participants and shuffles two labels among them. The rate of claims is held at 0.05, so
about ten; more than sixteen would come up in 2 of 100 such series. It takes 20 CPU s a study, and prints
every study with a corrected p of .05 or less: `scripts/test -m slow -s benchmarks/test_null_group.py`.
"""

import multiprocessing
import os
import random
import shutil
import tomllib
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pandas as pd
import pytest

from bids_app import run

pytestmark = pytest.mark.slow
STUDIES, OF, PARTICIPANTS, FOLDS = 200, 32, 24, 4
SLOPPY = ("--sloppy", "--skip-bids-validation")


def run_study(folder, study):
    """p of each cell of one study, and what its verdicts claim."""
    out = folder / f"out_{os.getpid()}"
    if not out.exists():
        shutil.copytree(folder / "out", out)
    rng = random.Random(10_000 + study)
    ids = [row.split("\t")[0] for row in (folder / "bids/participants.tsv").read_text().splitlines()[1:]]
    sides = ["heads", "tails"] * (PARTICIPANTS // 2)
    rng.shuffle(sides)
    rows = zip(rng.sample(ids, PARTICIPANTS), sides, strict=True)
    (out / "coin.tsv").write_text(
        "participant_id\tcoin\n" + "".join(f"{participant}\t{side}\n" for participant, side in rows)
    )
    command = [*map(str, (folder / "bids", out, "group")), *SLOPPY, "--nprocs", "1"]
    command += ["--phenotype", str(out / "coin.tsv"), "--label", "coin", "--folds", str(FOLDS)]
    assert run.main([*command, "--analysis", f"null{study}"]) == 0
    results = out / "group" / f"null{study}"
    p = pd.read_csv(results / "scores.tsv", sep="\t")["p_corrected"].dropna()
    verdicts = [tomllib.loads(file.read_text()) for file in results.glob("models/*/*/cell.toml")]
    shutil.rmtree(results)
    for work in (out / ".work").glob(f"*null{study}-*"):
        shutil.rmtree(work)
    return study, p.tolist(), verdicts


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A folder with maps of grey matter of all simulated participants; PELLUCID_NULL_MAPS names one made before."""
    if made := os.environ.get("PELLUCID_NULL_MAPS"):
        return Path(made)
    folder = tmp_path_factory.mktemp("null")
    bids, out = str(folder / "bids"), str(folder / "out")
    assert run.phantom([bids, "--people", str(OF), "--effect", "0", "--random-seed", "7"]) == 0
    assert run.main([bids, out, "participant", "--maps", "gm", "--resolution", "4", *SLOPPY]) == 0
    return folder


def test_null_studies_make_no_more_claims_than_alpha_allows(maps):
    spawn, claims = multiprocessing.get_context("spawn"), 0
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        for done in as_completed([pool.submit(run_study, maps, study) for study in range(STUDIES)]):
            study, p, verdicts = done.result()
            assert len(p) == len(verdicts) == 2
            claim = any(verdict["verdict"]["claim"] for verdict in verdicts)
            claims += claim
            if claim or min(p) <= 0.05:
                print(f"study {study}: p {p}, {[verdict['verdict']['kind'] for verdict in verdicts]}", flush=True)
    assert claims <= 16
