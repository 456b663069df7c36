"""From one T1w image to maps, step by step, by both anatomies: `scripts/test -m slow -s benchmarks/test_anatomy.py`.

CPU seconds of one thread, each anatomy in a process of its own. PELLUCID_TEST_DATA has ds002748; without it the image
is a simulated participant.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bids_app.phantom.write import write

pytestmark = pytest.mark.slow
STEPS = ("template", "native", "register", "segment", "to template", "map")
COMPUTE = """
import json, sys, time
import ants
from bids_app.nodes import anatomical, anatomy_preloaded, template
t1w, method, sloppy = sys.argv[1], sys.argv[2], sys.argv[3] == "sloppy"
clock, seconds = [time.process_time()], []
def lap():
    seconds.append(round(time.process_time() - clock[0], 2))
    clock[0] = time.process_time()
options = {"seed": 1, "sloppy": sloppy, "anatomy": method}
files = template.prepare_template(
    cache=".", space="MNI152NLin2009cAsym", resolution=3.0 if sloppy else 2.0, **options
)
lap()
anat = anatomical.prepare_native(t1w=t1w, brain_mask=None, template=None, **options)
lap()
anat = anatomical.register_to_template(anat=anat, templates=files, nonlinear=True, **options)
lap()
del options["seed"]
anat = anatomical.segment_tissues(anat=anat, templates=files, **options)
lap()
sources = anatomical.warp_to_template(kind="nonlinear", anat=anat, templates=files)
lap()
anatomical.make_map(map_name="gm", sources=sources, parameters={})
lap()
print(json.dumps(seconds))
"""


@pytest.fixture(scope="module")
def t1w(tmp_path_factory):
    real = Path(os.environ.get("PELLUCID_TEST_DATA", "")) / "ds002748/sub-01/anat/sub-01_T1w.nii.gz"
    if real.is_file():
        return real
    folder = tmp_path_factory.mktemp("anatomy")
    write(folder, people=4, random_seed=1, resolution=1.0)
    return folder / "sub-01/anat/sub-01_T1w.nii.gz"


def compute_steps(t1w, folder, method, precision):
    folder.mkdir()
    threads = dict.fromkeys(("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-c", COMPUTE, str(t1w), method, precision]
    done = subprocess.run(command, cwd=folder, env=os.environ | threads, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("precision", "least_ratio"), [("full", 10), ("sloppy", 2)])
def test_a_participant_takes_a_tenth_of_the_time_with_the_fast_anatomy(t1w, tmp_path, capsys, precision, least_ratio):
    fast, ants = (compute_steps(t1w, tmp_path / method, method, precision) for method in ("fast", "ants"))
    with capsys.disabled():
        print(f"\n{precision}, CPU s: fast, ants, ratio")
        for step, here, there in zip(STEPS, fast, ants, strict=True):
            print(f"{step:12} {here:7.1f} {there:7.1f} {there / max(here, 0.01):6.1f}")
        print(f"{'participant':12} {sum(fast[1:]):7.1f} {sum(ants[1:]):7.1f} {sum(ants[1:]) / sum(fast[1:]):6.1f}")
    assert sum(ants[1:]) > least_ratio * sum(fast[1:])
