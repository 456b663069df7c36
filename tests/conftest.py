"""Shared test setup: one thread, no display, and real data where available."""

import fcntl
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from bids_app.nodes.template import prepare_template

# before the first import of numpy or torch: they read the number of threads once
for variable in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[variable] = "1"
os.environ["MPLBACKEND"] = "Agg"
# how long an example takes says what else the machine does
hypothesis_settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
hypothesis_settings.load_profile("busy")
# a suite started in the background of a shell ignores SIGINT, and the commands it starts would, too
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, PELLUCID_TEST_DATA or shared/data beside the checkout; skips where there is none."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PELLUCID_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("real data are not here: set PELLUCID_TEST_DATA to a folder that holds ds002748, structural, ...")
    return folder


@pytest.fixture(scope="session")
def with_template(tmp_path_factory):
    """A function that puts the sloppy template at 4 mm into a work folder, so that it is not recomputed."""

    made = tmp_path_factory.mktemp("template")
    prepare_template(cache=str(made), space="MNI152NLin2009cAsym", resolution=4.0, sloppy=True, seed=1)

    def put(work: Path) -> Path:
        return shutil.copytree(made, work, dirs_exist_ok=True)

    return put


@pytest.fixture(scope="session")
def phantom_maps(tmp_path_factory, with_template):
    """A phantom of eight participants at 4 mm and the output folder of its sloppy participant level (gm).

    Computed once for all processes of a run, each of which has a copy of the output folder.
    """
    from bids_app.phantom.write import write
    from bids_app.run import main

    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "phantom"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            write(folder / "bids", people=8, resolution=4.0, random_seed=1)
            with_template(folder / "out" / ".work")
            work = ["--sloppy", "--resolution", "4", "--nprocs", "2"]
            assert main([str(folder / "bids"), str(folder / "out"), "participant", *work]) == 0
            (folder / "done").touch()
    return folder / "bids", shutil.copytree(folder / "out", tmp_path_factory.mktemp("maps") / "out", symlinks=True)


@pytest.fixture(scope="session")
def invented_gm():
    """A function that writes a simulated 4 mm `gm` map of a participant where the participant level would put it."""

    def put(out, person, image, random, session=None):
        folder = out / person / (f"ses-{session}/anat" if session else "anat")
        folder.mkdir(parents=True)
        prefix = f"{person}_ses-{session}" if session else person
        stem = folder / f"{prefix}_space-MNI152NLin2009cAsym_res-4_label-GM_desc-modulated_probseg"
        image.to_filename(f"{stem}.nii.gz")
        parameters = {"Map": "gm", "Registration": "nonlinear", "Space": "MNI152NLin2009cAsym", "ResolutionMm": 4.0}
        size = {"TotalIntracranialVolume": float(random.normal(1500, 100)), "PreprocessingSource": "invented"}
        about = {"MapParameters": {**parameters, "Sloppy": True}, **size}
        stem.with_name(stem.name + ".json").write_text(json.dumps(about))

    return put


@pytest.fixture
def study(tmp_path):
    """A function that writes noise for 24 participants, minus an effect in patients, and returns the arguments."""

    import numpy as np
    import pandas as pd

    from bids_app.dataset import folds
    from bids_app.dataset.grid import Grid

    def make(effect=0.0, *, people=24, seed=0, maps=("gm",)):
        random = np.random.default_rng(seed)
        mask = np.zeros((14, 15, 16), bool)
        mask[1:13, 2:13, 2:15] = True
        mask[1, 2, 2] = False
        grid = Grid(mask, np.diag([6.0, 6.0, 6.0, 1.0]))
        table = pd.DataFrame({"participant_id": [f"{row:03}" for row in range(people)], "session_id": "n/a"})
        table["class"] = np.array(("control", "patient"))[np.arange(people) % 2]
        table["tiv"] = random.normal(1500, 120, people)
        where = np.zeros(mask.shape, bool)
        where[4:8, 4:8, 4:8] = True
        arrays = {}
        for one in maps:
            x = random.normal(size=(people, grid.voxels)) + 0.002 * table["tiv"].to_numpy()[:, None]
            x[np.ix_(np.arange(people) % 2 == 1, grid.vector(where))] -= effect
            arrays[one] = tmp_path / f"{one}.npy"
            np.save(arrays[one], x.astype(np.float32))
        grid.write(tmp_path / "grid.npz")
        table.to_csv(tmp_path / "people.tsv", sep="\t", index=False)
        splits = folds.stratified_folds(table["class"].tolist(), table["participant_id"].tolist(), folds=3, seed=seed)
        common = {
            "maps": maps, "arrays": arrays, "grid_file": tmp_path / "grid.npz", "people": tmp_path / "people.tsv",
            "classes": ("control", "patient"), "adjust": dict.fromkeys(maps, ("tiv",)), "seed": 1, "device": "cpu",
            "settings": {"smoothing_mm": 4.0},
        }  # fmt: skip
        return common, splits, grid.vector(where)

    return make
