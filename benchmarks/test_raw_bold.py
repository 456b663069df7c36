"""CPU seconds of each step of one raw BOLD run, one thread: 120 volumes of 3 mm with known motion:
`scripts/test -m slow -s benchmarks/test_raw_bold.py`.

Realignment is compared with a rigid registration of a volume by ANTs, as ratio in one run, and with the true motion.
"""

import os
import time

os.environ |= {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}  # before both are loaded

import json

import ants
import numpy as np
import pandas as pd
import pytest

from bids_app import run
from bids_app.preprocess import bold, coregister, motion, transforms
from bids_app.preprocess.conform import read_image

pytestmark = pytest.mark.slow
PEER_VOLUMES = 4


def test_raw_run_takes_a_fraction_of_registering_each_volume_with_ants(tmp_path):
    options = ("--people", 4, "--bold", 0.5, "--derivatives", tmp_path / "true")
    run.phantom([*map(str, (tmp_path / "bids", *options))])
    (scan,) = (tmp_path / "bids").glob("sub-01/func/*_bold.nii.gz")
    sidecar = json.loads(scan.with_name(scan.name.replace(".nii.gz", ".json")).read_text())
    seconds, here = {}, str(tmp_path)

    def timed(name, work):
        start = time.process_time()
        result = work()
        seconds[name] = time.process_time() - start
        return result

    timing = {"tr": sidecar["RepetitionTime"], "slice_times": sidecar["SliceTiming"]}
    prepared = timed("reading, slice times", lambda: bold.prepare(scan, folder=here, **timing))
    steady = read_image(prepared.steady)
    data = np.asarray(steady.dataobj)
    reference = timed("reference", lambda: motion.reference(data, steady.affine))
    moved = timed("realignment", lambda: motion.estimate(data, steady.affine, reference))
    t1w = ants.image_read(str(next((tmp_path / "bids").glob("sub-01/anat/*_T1w.nii.gz"))))
    mask = t1w.new_image_like((t1w.numpy() > 0).astype(np.float32))
    place = timed("to the T1w", lambda: coregister.register(reference, steady.affine, t1w, mask, folder=here, seed=1))
    grid = ants.resample_image(t1w, (3, 3, 3), use_voxels=False, interp_type=0)
    inside = ants.resample_image_to_target(mask, grid).numpy() > 0.5
    transforms.write_matrix(np.eye(4), tmp_path / "same.mat")
    paths = place.transform, [str(tmp_path / "same.mat")], grid, tmp_path / "warped.nii"
    corrected = read_image(prepared.timed)
    timed("to the template", lambda: bold.to_template(corrected, moved.files, *paths, inside=inside))

    fixed = transforms.to_ants(reference, steady.affine)
    volumes = [fixed.new_image_like(np.ascontiguousarray(data[..., number])) for number in range(PEER_VOLUMES)]
    coarse = {"aff_iterations": (40,), "aff_shrink_factors": (2,), "aff_smoothing_sigmas": (1,)}
    timed("ants", lambda: [ants.registration(fixed, volume, "Rigid", **coarse) for volume in volumes])
    peer = seconds.pop("ants") * data.shape[3] / PEER_VOLUMES
    true = pd.read_csv(next((tmp_path / "true").glob("sub-01/func/*confounds*.tsv")), sep="\t", na_values="n/a")
    fd = motion.displacement(moved.parameters)[1:]
    wrong = np.abs(fd - true["framewise_displacement"].to_numpy()[-len(fd) :])
    print("\n" + "\n".join(f"{name:<22}{value:7.1f} CPU s" for name, value in seconds.items()))
    print(f"{'all':<22}{sum(seconds.values()):7.1f} CPU s; a coarse registration of each volume by ANTs: {peer:.1f}")
    print(f"framewise displacement: mean error {wrong.mean():.4f} mm, largest {wrong.max():.4f} mm")
    assert seconds["realignment"] < peer / 3
    assert wrong.mean() < 0.02
