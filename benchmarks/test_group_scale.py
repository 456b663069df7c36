"""The group level with hundreds to thousands of participants: one svm, five folds, 1000 permutations, from planning to
the report. CPU seconds of all processes and the largest one's memory, by number of participants:

    PARTICIPANTS="300 1000" PERMUTATIONS=1000 scripts/test -m slow -s benchmarks/test_group_scale.py

Maps are smooth noise about the grey matter of one simulated participant, 4 mm, with a difference of 0.5 SD between the
classes in a fifth of the voxels.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app import run

pytestmark = pytest.mark.slow
SLOPPY = ("--sloppy", "--skip-bids-validation")
PERMUTATIONS = os.environ.get("PERMUTATIONS", "1000")
GROUP = ("--label", "group", "--folds", "5", "--permutations", PERMUTATIONS, "--explainers", "weights")
CLASSIFIERS = os.environ.get("CLASSIFIERS", "svm").split()
# Node processes belong to a fork server, which this process adopts, so that RUSAGE_CHILDREN counts all of them.
MEASURED = """
import contextlib, ctypes, os, resource, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
code = subprocess.run(sys.argv[1:]).returncode
with contextlib.suppress(ChildProcessError):
    while True:
        os.wait()
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print("MEASURED", usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The maps of one simulated participant."""
    folder = tmp_path_factory.mktemp("one")
    bids, out = str(folder / "bids"), str(folder / "out")
    assert run.phantom([bids, "--people", "4", "--effect", "0", "--random-seed", "7"]) == 0
    command = [bids, out, "participant", "--participant-label", "01", "--maps", "gm", "--resolution", "4", *SLOPPY]
    assert run.main(command) == 0
    return folder


def multiply(one, folder, count):
    """Write a data set and outputs of `count` participants with maps of their own."""
    random = np.random.default_rng(0)
    (source,) = (one / "out").glob("sub-01/anat/*_desc-modulated_probseg.nii.gz")
    image = nib.load(source)
    grey = image.get_fdata(dtype=np.float32)
    basis = np.array([gaussian_filter(random.standard_normal(grey.shape), 1.5) for _ in range(400)], np.float32)
    basis *= 0.1 / basis.std() / 400**0.5
    effect = 0.05 * (basis[0] > np.quantile(basis[0], 0.8))
    bids, out = folder / "bids", folder / "out"
    for name in ("bids", "out"):
        shutil.copytree(one / name, folder / name, ignore=shutil.ignore_patterns("sub-*", ".work", "logs"))
    rows = ["participant_id\tgroup"]
    for number in range(count):
        label, patient = f"sub-{number:05}", number % 2
        rows.append(f"{label}\t{'patient' if patient else 'control'}")
        (bids / label / "anat").mkdir(parents=True)
        os.link(one / "bids/sub-01/anat/sub-01_T1w.nii.gz", bids / label / f"anat/{label}_T1w.nii.gz")
        for file in (one / "out/sub-01").rglob("*"):
            target = out / label / re.sub("sub-01", label, str(file.relative_to(one / "out/sub-01")))
            if file.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if file == source:
                values = (
                    grey + np.tensordot(random.standard_normal(400).astype(np.float32), basis, 1) + patient * effect
                )
                nib.Nifti1Image(np.where(grey > 0, values, 0).astype(np.float32), image.affine).to_filename(target)
            elif file.suffix in (".json", ".tsv"):
                target.write_text(file.read_text().replace("sub-01", label))
            else:
                os.link(file, target)
    (bids / "participants.tsv").write_text("\n".join(rows) + "\n")
    return bids, out


@pytest.mark.parametrize("count", [int(word) for word in os.environ.get("PARTICIPANTS", "300").split()])
def test_group_level_of_many_participants_ends_within_its_memory(one, tmp_path, count):
    bids, out = multiply(one, tmp_path, count)
    command = [sys.executable, "-m", "bids_app", *map(str, (bids, out, "group")), *SLOPPY, *GROUP]
    command += ["--classifiers", *CLASSIFIERS, "--nprocs", "2", "--omp-nthreads", "1"]
    start = time.monotonic()
    result = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    cpu, memory = (float(word) for word in re.search(r"MEASURED (\S+) (\S+)", result.stdout).groups())
    print(f"\n{count} participants: {cpu:.0f} CPU s, {time.monotonic() - start:.0f} s, largest process {memory:.0f} MB")
    scores = pd.read_csv(out / "group/group/scores.tsv", sep="\t").set_index("cell")["balanced_accuracy"]
    print(", ".join(f"{cell} {scores[cell]:.2f}" for cell in scores.index if "/" in cell))
    print("\n".join(f"{name:<30} {seconds:8.1f} s" for name, seconds in steps((out / "logs").glob("*group*")).items()))
    assert memory < 4000


def steps(logs):
    """Wall seconds by step, summed over folds, with what passes before the first and after the last step."""
    (log,) = logs
    lines = [line for line in log.read_text().splitlines() if re.match(r"\d{4}-", line)]
    times = [datetime.fromisoformat(line[:19]) for line in lines]
    begun = [place for place, line in enumerate(lines) if line.endswith(": started")]
    ended = [place for place, line in enumerate(lines) if ": done, " in line]
    seconds = Counter({"planning": (times[begun[0]] - times[0]).total_seconds()})
    for name, value in re.findall(r"DEBUG - (\S+): done, (\S+) s$", "\n".join(lines), re.M):
        seconds[re.sub(r"_repeat_\d+_fold_\d+", "", name)] += float(value)
    seconds["results and report"] = (times[-1] - times[ended[-1]]).total_seconds()
    return seconds
