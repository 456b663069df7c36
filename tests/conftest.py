"""What every test stands on: one thread, no window, and the real data where they are to be had."""

import os
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
