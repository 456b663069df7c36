"""What every test stands on: one thread, no window, and the real data where they are to be had."""

import json
import os
import shutil
from pathlib import Path

import pytest

# before the first import of numpy or torch: they read the number of threads once
for variable in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[variable] = "1"
os.environ["MPLBACKEND"] = "Agg"


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
    """A function that puts the sloppy template at 4 mm into a work folder, so that runs need not make it again."""
    from bids_app.workflow import templates

    made = tmp_path_factory.mktemp("template")
    templates.prepare(cache=str(made), space="MNI152NLin2009cAsym", resolution=4.0, sloppy=True, seed=1)

    def put(work: Path) -> Path:
        return shutil.copytree(made, work, dirs_exist_ok=True)

    return put


@pytest.fixture(scope="session")
def phantom_maps(tmp_path_factory, with_template):
    """A phantom of eight people at 4 mm and the output folder of its sloppy participant level (gm)."""
    from bids_app.phantom.write import write
    from bids_app.run import main

    folder = tmp_path_factory.mktemp("phantom")
    write(folder / "bids", people=8, resolution=4.0, random_seed=1)
    with_template(folder / "out" / ".work")
    work = ["--sloppy", "--resolution", "4", "--nprocs", "2"]
    assert main([str(folder / "bids"), str(folder / "out"), "participant", *work]) == 0
    return folder / "bids", folder / "out"


@pytest.fixture(scope="session")
def invented_gm():
    """A function that puts an invented 4 mm map `gm` of a person where the participant level would have left it."""

    def put(out, person, image, random, session=None):
        folder = out / person / (f"ses-{session}/anat" if session else "anat")
        folder.mkdir(parents=True)
        who = f"{person}_ses-{session}" if session else person
        stem = folder / f"{who}_space-MNI152NLin2009cAsym_res-4_label-GM_desc-modulated_probseg"
        image.to_filename(f"{stem}.nii.gz")
        parameters = {"Map": "gm", "Registration": "syn", "Space": "MNI152NLin2009cAsym", "ResolutionMm": 4.0}
        size = {"TotalIntracranialVolume": float(random.normal(1500, 100)), "PreprocessingSource": "invented"}
        about = {"MapParameters": {**parameters, "Sloppy": True}, **size}
        stem.with_name(stem.name + ".json").write_text(json.dumps(about))

    return put
