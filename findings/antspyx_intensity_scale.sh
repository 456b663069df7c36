#!/usr/bin/env bash
# antspyx 0.6.3: N4 and Atropos are not invariant to a constant factor of the intensities, not even to a power of two.
#
# A T1w image in other units (12 bits stored as 16 bits, say) has the same bias field and the same tissues, and in
# floating point a factor of 16 loses nothing. Yet n4_bias_field_correction of 16 times an image differs from 16 times
# its result by some 1e-6 to 1e-5, and atropos on images that differ by as little moves posteriors of single voxels by
# some thousandths. Dividing the image by its mean in the mask first, and multiplying back, makes both exactly equal.
#
# Seen on x86-64 Linux with Python 3.11: N4 differs by 2.6e-06 of the mean, a posterior by 0.0032; by 0 after scaling.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet antspyx==0.6.3 numpy==2.3.5
cd "$folder"
ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 venv/bin/python - <<'PY'
import ants
import numpy as np
from scipy import ndimage

random = np.random.default_rng(0)
shape = (72, 84, 72)
radius = np.linalg.norm((np.indices(shape) - np.array(shape)[:, None, None, None] / 2) / np.array([30, 36, 30])[:, None, None, None], axis=0)
radius = radius + 0.08 * ndimage.gaussian_filter(random.normal(size=shape), 3) / 0.05
inside = radius < 1
classes = {"wm": radius < 0.6, "gm": (radius >= 0.6) & (radius < 0.85), "csf": (radius >= 0.85) & inside}
values = 800.0 * classes["wm"] + 550 * classes["gm"] + 200 * classes["csf"]
values = (values * (1 + 0.3 * np.linspace(-1, 1, shape[0]))[:, None, None] + random.normal(0, 40, shape)).clip(1) * inside


def image(array):
    made = ants.from_numpy(np.asarray(array, np.float32))
    made.set_spacing((2.0, 2.0, 2.0))
    return made


mask = image(inside)
priors = [image(ndimage.gaussian_filter(classes[name].astype(float), 1.5) * inside) for name in ("gm", "wm", "csf")]


def correct(t1w):
    return ants.n4_bias_field_correction(t1w, mask=mask, shrink_factor=2, convergence={"iters": [20, 20, 10], "tol": 1e-7})


def segment(t1w):
    return ants.atropos(a=t1w, x=mask, i=priors, priorweight=0.25, m="[0.1,1x1x1]", c="[5,0.0001]", r=0)["probabilityimages"][0].numpy()


def scaled(function, t1w, back):
    mean = float(np.abs(t1w.numpy()[inside]).mean(dtype=np.float64))
    return function(t1w / mean) * (mean if back else 1)


plain, times = image(values), image(16 * values)
assert (times.numpy() == 16 * plain.numpy()).all()
n4 = [correct(plain).numpy(), correct(times).numpy() / 16]
difference = np.abs(n4[1] - n4[0])[inside].max() / n4[0][inside].mean()
tissue = np.abs(segment(image(n4[0])) - segment(image(16 * n4[1])))[inside].max()
print(f"antspyx {ants.__version__}: N4 of 16 times the image differs by {difference:.1e} of the mean; gm by {tissue:.4f}")
n4 = [scaled(correct, plain, True).numpy(), scaled(correct, times, True).numpy() / 16]
equal = np.array_equal(*n4), np.array_equal(scaled(segment, image(n4[0]), False), scaled(segment, image(16 * n4[1]), False))
print(f"divided by the mean first: N4 equal {equal[0]}, gm equal {equal[1]}")
assert 1e-7 < difference < 1e-3, difference
assert 0 < tissue, tissue
assert equal == (True, True)
PY
echo "as described"
