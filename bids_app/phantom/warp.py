"""A participant's true deformation both ways, and its files as ITK reads them."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_app.errors import DataError
from bids_app.phantom.anatomy import MARGIN_MM, Brain
from bids_app.phantom.deformation import Array, positions, sample, transform
from bids_app.phantom.region import Field

STEP_MM = 4.0
PRECISE_MM = 0.02
MAX_STEPS = 200
LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Warp:
    """Displacements (3, X, Y, Z) in mm, RAS, on a grid of the template's world, and the pose, scanner to template.

    to_template is added to a posed point, which gives the template's; to_person takes it back.
    """

    to_template: Array
    to_person: Array
    affine: Array
    posed: Array

    def in_scanner(self, points: Array) -> Array:
        """The positions in the scanner's world of the template's points (3, N)."""
        voxels = transform(points, np.linalg.inv(self.affine))
        return transform(points + sample(self.to_person, voxels), np.linalg.inv(self.posed))


def find(brain: Brain, fields: list[Field], posed: Array) -> Warp:
    """Tabulate the composed fields on 4 mm round the brain, and invert them to 0.02 mm.

    By the fixed point of y -> y - 0.6 (fields(y) - x). Raises DataError if that is not reached.
    """
    sizes = np.linalg.norm(brain.affine[:3, :3], axis=0)
    extent = sizes * (np.array(brain.mask.shape) - 1)
    affine = np.diag([STEP_MM] * 3 + [1.0])
    affine[:3, 3] = brain.affine[:3, 3] - MARGIN_MM
    shape = tuple(int(size) for size in np.ceil((extent + 2 * MARGIN_MM) / STEP_MM) + 1)
    at = transform(positions(shape).reshape(3, -1), affine)
    there = _apply_fields(at, fields)
    back = 2 * at - there
    for _ in range(MAX_STEPS):
        wrong = _apply_fields(back, fields) - at
        if np.abs(wrong).max() < PRECISE_MM:
            break
        back = back - np.float32(0.6) * wrong
    else:
        raise DataError(
            f"the deformation could not be inverted (off by {np.abs(wrong).max():.2f} mm): plant a smaller --effect"
        )
    return Warp((there - at).reshape(3, *shape), (back - at).reshape(3, *shape), affine, posed)


def write(path: Path, warp: Warp, *, to_template: bool) -> None:
    """Write the transform, as ITK names its direction, as a composite HDF5 file: the same transform, the same bytes.

    `to_template`: resamples images of the participant to the template's grid (from-T1w_to-...), so it maps points from
    there.
    """
    import ants  # takes seconds to import, and only this needs it

    matrix = LPS @ (np.linalg.inv(warp.posed) if to_template else warp.posed)[:3, :3] @ LPS
    offset = LPS @ (np.linalg.inv(warp.posed) if to_template else warp.posed)[:3, 3]
    affine = ants.create_ants_transform(
        transform_type="AffineTransform", dimension=3, precision="float", matrix=matrix, offset=offset.tolist()
    )
    vectors = np.moveaxis(warp.to_person if to_template else warp.to_template, 0, -1) @ LPS
    field = ants.transform_from_displacement_field(
        ants.from_numpy(
            np.ascontiguousarray(vectors, np.float32),
            origin=tuple(LPS @ warp.affine[:3, 3]),
            spacing=(STEP_MM,) * 3,
            direction=LPS,
            has_components=True,
        )
    )
    order = [field, affine] if to_template else [affine, field]  # the first is applied to points first
    ants.write_transform(ants.compose_ants_transforms(order), str(path))
    path.write_bytes(remove_dates(path.read_bytes()))


def remove_dates(content: bytes) -> bytes:
    """HDF5 without the times at which its objects were made: object headers of version 2, with checksums.

    The HDF5 file format specification, version 3.0, section IV.A.1.b.
    """
    changed = bytearray(content)
    start = content.find(b"OHDR\x02")
    while start >= 0:
        flags = content[start + 5]
        width = 1 << (flags & 3)
        size_at = start + 6 + 16 * bool(flags & 32) + 4 * bool(flags & 16)
        end = size_at + width + int.from_bytes(content[size_at : size_at + width], "little")
        is_header = content[end : end + 4] == struct.pack("<I", lookup3(content[start:end]))
        if flags & 32 and is_header:
            changed[start + 6 : start + 22] = bytes(16)
            changed[end : end + 4] = struct.pack("<I", lookup3(bytes(changed[start:end])))
        start = content.find(b"OHDR\x02", start + 1)
    return bytes(changed)


def lookup3(data: bytes) -> int:
    """Bob Jenkins's hash of 2006, hashlittle with an initial value of 0, which HDF5 uses as a checksum."""
    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    words = struct.unpack(f"<{-(-len(data) // 12) * 3}I", data.ljust(-(-len(data) // 12) * 12, b"\0"))
    for at in range(0, len(words), 3):
        a, b, c = ((x + y) & 0xFFFFFFFF for x, y in zip((a, b, c), words[at : at + 3], strict=True))
        a, b, c = _mix(a, b, c) if at + 3 < len(words) else _finish(a, b, c)
    return c


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for turn in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & 0xFFFFFFFF) ^ _rotate(c, turn)
        a, b, c = b, (c + b) & 0xFFFFFFFF, a
    return a, b, c


def _finish(a: int, b: int, c: int) -> tuple[int, int, int]:
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, turn)) & 0xFFFFFFFF
        a, b, c = b, c, a
    return c, a, b


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & 0xFFFFFFFF


def _apply_fields(points: Array, fields: list[Field]) -> Array:
    for field in fields:
        points = field.source(points)
    return points
