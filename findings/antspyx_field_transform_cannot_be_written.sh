#!/usr/bin/env bash
# antspyx 0.6.3: a displacement field that was made a transform can be applied and composed, but not written.
#
# ants.transform_from_displacement_field returns an ANTsTransform like every other; apply_to_point works. But
# ants.write_transform raises a TypeError about C++ overloads, since the wrapped function takes only the matrix and
# composite types: it does not name the field, nor the way out. Composed with any other transform (an identity matrix
# will do), the same field is written as HDF5, and maps points as before. The field itself can be stored as an image.
#
# Seen on x86-64 Linux with Python 3.11: TypeError "writeTransform(): incompatible function arguments"; composed, 2.0 mm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet antspyx==0.6.3 nibabel==5.4.2 numpy==2.3.5 scipy==1.15.3
cd "$folder"
venv/bin/python - <<'PY'
import ants
import numpy as np

vectors = np.zeros((16, 16, 16, 3), np.float32)
vectors[..., 0] = 2.0  # mm
field = ants.from_numpy(vectors, has_components=True)
transform = ants.transform_from_displacement_field(field)
print(f"antspyx {ants.__version__}: {type(transform).__name__} of type {transform.transform_type}")
print("a point is taken by", ants.apply_ants_transform_to_point(transform, (8, 8, 8))[0] - 8, "mm")
try:
    ants.write_transform(transform, "field.h5")
except TypeError as error:
    print("write_transform: TypeError:", str(error).splitlines()[0])
    assert "incompatible function arguments" in str(error)
else:
    raise SystemExit("it was written")

identity = ants.new_ants_transform(dimension=3, transform_type="AffineTransform")
ants.write_transform(ants.compose_ants_transforms([transform, identity]), "both.h5")
moved = ants.apply_ants_transform_to_point(ants.read_transform("both.h5"), (8, 8, 8))[0] - 8
print("composed with an identity, written and read:", moved, "mm")
assert abs(moved - 2) < 1e-5
PY
echo "as described"
