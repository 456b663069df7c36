#!/usr/bin/env bash
# dipy 1.12.1 and antspyx 0.6.3: the same SyN with local correlation takes dipy several times less CPU.
#
# SyN of radius 2 with at most 40, 20 and 5 iterations at a quarter, half and full resolution, on one thread, in single
# precision: dipy's SymmetricDiffeomorphicRegistration with CCMetric, ANTs' SyNOnly with syn_metric CC and syn_sampling 2.
# Neither stops early at half and full resolution, where nearly all time goes (iterations counted for dipy here, in the
# log of ANTs too), and the correlation reached is no lower in dipy. One iteration at full resolution takes 0.4 s in dipy
# and 3.6 s in ANTs. All else is as each has it by default: step length 0.25 voxel and 0.2, smoothing of the update
# SD 2 and variance 3.
#
# Seen on x86-64 Linux with Python 3.11: dipy 3.5 CPU s, correlation 0.990; ANTs 26 to 27 CPU s, 0.982 (0.777 before).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dipy==1.12.1 antspyx==0.6.3 nibabel==5.4.2 numpy==2.3.5 scipy==1.15.3
cd "$folder"
ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 venv/bin/python - <<'PY'
import importlib.metadata
import logging
import time
from collections import Counter

import ants
import numpy as np
from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
from dipy.align.metrics import CCMetric
from scipy import ndimage

logging.disable(logging.INFO)
random = np.random.default_rng(0)
shape = (64, 64, 64)
iterations = (40, 20, 5)


def smooth(sigma):
    array = ndimage.gaussian_filter(random.normal(size=shape), sigma)
    return array / array.std()


deformation = np.stack([2 * smooth(10) for _ in range(3)])  # voxels
moving = (100 + 20 * smooth(3)).astype(np.float32)
fixed = ndimage.map_coordinates(moving, np.indices(shape) + deformation, order=3, mode="nearest").astype(np.float32)


def correlation(image):
    inner = (slice(4, -4),) * 3  # what comes from outside the image apart
    return np.corrcoef(image[inner].ravel(), fixed[inner].ravel())[0, 1]


class Counted(SymmetricDiffeomorphicRegistration):
    done = Counter()

    def _iterate(self):
        self.done[self.current_level] += 1
        return super()._iterate()


start = time.process_time()
warped = Counted(CCMetric(3, radius=2), level_iters=list(iterations)).optimize(fixed, moving).transform(moving)
dipy_seconds, dipy_correlation = time.process_time() - start, correlation(warped)

images = ants.from_numpy(fixed), ants.from_numpy(moving)
start = time.process_time()
made = ants.registration(*images, "SyNOnly", initial_transform="Identity", syn_metric="CC", syn_sampling=2, reg_iterations=iterations)
ants_seconds, ants_correlation = time.process_time() - start, correlation(made["warpedmovout"].numpy())

print(f"before: correlation {correlation(moving):.3f}")
print(
    f"dipy {importlib.metadata.version('dipy')}: {dipy_seconds:.1f} CPU s, correlation {dipy_correlation:.3f}, "
    f"iterations {[Counted.done[level] for level in (2, 1, 0)]}"
)
print(f"antspyx {ants.__version__}: {ants_seconds:.1f} CPU s, correlation {ants_correlation:.3f}; {ants_seconds / dipy_seconds:.1f} times dipy's CPU")
assert Counted.done[1] == iterations[1] and Counted.done[0] == iterations[2], Counted.done
assert dipy_correlation > ants_correlation - 0.005 > 0.9, (dipy_correlation, ants_correlation)
assert ants_seconds > 3 * dipy_seconds, (ants_seconds, dipy_seconds)
PY
echo "as described"
