"""Damage to files, as it occurs and as it does not: each function takes a file's bytes and a source of randomness."""

import gzip
import json
import math
import random
import shutil
import struct
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tomli_w

Random = random.Random
NUMBERS = [
    "1e308",
    "1e400",
    "-1e39",
    "9" * 40,
    "nan",
    "inf",
    "-inf",
    "NaN",
    "0",
    "-1",
    "-0.0",
    "1,5",
    "0x10",
    "1e-320",
    "³",
]
WORDS = [
    "",
    " ",
    "n/a",
    "é",
    "患者",
    "\u202e",
    "\ufeff",
    "\U0001f9e0",
    "'\"",
    "../../x",
    "%s{}",
    "=1+1",
    "true",
    "sub-",
    "sub-99",
]
ODD: list[Any] = [
    None, True, 0, -1, 1.5, math.nan, math.inf, 10**30, -(10**400), "", "x", "患者", "1.5", [], [1], [[]], ["a"], {},
    {"a": 1}, {"": {}}, [None], [{}], "a" * 5000, [0.1] * 500,
]  # fmt: skip


def flip_bytes(content: bytes, of: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(of.choice([1, 1, 3, 20])):
        if changed:
            changed[of.randrange(len(changed))] ^= 1 << of.randrange(8)
    return bytes(changed)


def truncate(content: bytes, of: Random) -> bytes:
    return content[: of.randrange(max(1, len(content)))]


def insert_nul(content: bytes, of: Random) -> bytes:
    at = of.randrange(len(content) + 1)
    return content[:at] + b"\0" * of.choice([1, 4]) + content[at:]


def insert_unicode(content: bytes, of: Random) -> bytes:
    at = of.randrange(len(content) + 1)
    text = "".join(chr(of.choice([of.randrange(32, 0x300), of.randrange(0x2000, 0x2100), 0x1F9E0])) for _ in range(4))
    return content[:at] + text.encode() + content[at:]


def repeat_part(content: bytes, of: Random) -> bytes:
    start = of.randrange(len(content) + 1)
    end = min(len(content), start + of.choice([1, 10, 1000]))
    return content[:end] + content[start:end] * of.choice([1, 50]) + content[end:]


def replace_all(content: bytes, of: Random) -> bytes:
    return of.choice(
        [b"", b"\n", b"\xff\xfe", b"\x1f\x8b\x08", b"null", b"[]", b"{}", of.randbytes(400), b"a\tb\n" * 9]
    )


BYTES = [flip_bytes, truncate, insert_nul, insert_unicode, repeat_part, replace_all]


def change_lines(content: bytes, of: Random) -> bytes:
    """Duplicate, remove or move lines, or change how they end."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at = of.randrange(len(lines))
    kind = of.randrange(5)
    if kind == 0:
        lines.insert(of.randrange(len(lines) + 1), lines[at])
    elif kind == 1:
        del lines[at]
    elif kind == 2:
        of.shuffle(lines)
    elif kind == 3:
        return b"\r".join(line.strip() for line in lines)
    else:
        lines = [line.replace(b"\t", of.choice([b",", b";", b"  ", b"\t\t"])) for line in lines]
    return b"".join(lines)


def change_cell(content: bytes, of: Random) -> bytes:
    """Put an odd number or word into one cell of a table, or of every line of one column."""
    rows = [line.split("\t") for line in content.decode().splitlines()]
    column, value = of.randrange(len(rows[0])), of.choice([*NUMBERS, *WORDS, "7" * 3000])
    first = of.choice([0, 1, of.randrange(len(rows))])
    for row in rows[first : of.choice([first + 1, first + 1, len(rows)])]:
        row[min(column, len(row) - 1)] = value
    return "\n".join("\t".join(row) for row in rows).encode() + b"\n"


def change_column(content: bytes, of: Random) -> bytes:
    """Remove, repeat or rename a column."""
    rows = [line.split("\t") for line in content.decode().splitlines()]
    at, kind = of.randrange(len(rows[0])), of.randrange(3)
    if kind == 0:
        rows = [row[:at] + row[at + 1 :] for row in rows]
    elif kind == 1:
        rows = [[*row, row[at]] for row in rows]
    else:
        rows[0][at] = of.choice(
            ["participant_id", "age", "site", "session_id", "group", "x", "", "class", "tiv", "index"]
        )
    return "\n".join("\t".join(row) for row in rows).encode() + b"\n"


def _replace_somewhere(value: Any, of: Random) -> Any:
    """The value with something in it replaced, removed or added."""
    if isinstance(value, dict) and value and of.random() < 0.8:
        key = of.choice(sorted(value))
        kind = of.randrange(6)
        if kind == 0:
            return {name: entry for name, entry in value.items() if name != key}
        if kind == 1:
            return {**value, of.choice(["", "x", "患者", key + " "]): value[key]}
        return {**value, key: _replace_somewhere(value[key], of)}
    if isinstance(value, list) and value and of.random() < 0.7:
        at = of.randrange(len(value))
        return [*value[:at], *([] if of.random() < 0.2 else [_replace_somewhere(value[at], of)]), *value[at + 1 :]]
    return of.choice(ODD)


def change_json(content: bytes, of: Random) -> bytes:
    return json.dumps(_replace_somewhere(json.loads(content), of), ensure_ascii=of.random() < 0.5).encode()


def change_toml(content: bytes, of: Random) -> bytes:
    while True:
        changed = _replace_somewhere(tomllib.loads(content.decode()), of)
        try:
            return tomli_w.dumps(changed).encode()
        except (TypeError, ValueError, AttributeError, RecursionError):
            continue  # TOML has no null, and its top is a table


def change_yaml(content: bytes, of: Random) -> bytes:
    import yaml

    return yaml.safe_dump(_replace_somewhere(yaml.safe_load(content), of)).encode()


def change_header(content: bytes, of: Random) -> bytes:
    """Put odd values into one to three fields of a NIfTI header; the rest of the file stays as it is."""
    packed = content[:2] == b"\x1f\x8b"
    raw = bytearray(gzip.decompress(content) if packed else content)
    header = np.frombuffer(bytes(raw[:348]), nib.Nifti1Header.template_dtype).copy()
    for _ in range(of.choice([1, 1, 3])):
        field = of.choice([
            "dim", "dim", "datatype", "bitpix", "pixdim", "pixdim", "vox_offset", "scl_slope", "scl_inter", "srow_x",
            "srow_y", "quatern_b", "qform_code", "sform_code", "xyzt_units", "magic", "sizeof_hdr", "intent_code",
        ])  # fmt: skip
        kind = header[field].dtype.kind
        odd = of.choice(
            [math.nan, math.inf, 0.0, -1.0, 1e-30, 1e30, 0.5, 400.0]
            if kind == "f"
            else [0, 1, 2, -1, 4, 7, 16, 512, 32767]
        )
        if kind == "S":
            header[field] = of.choice([b"", b"ni1", b"n+2", b"xxx"])
        elif header[field].ndim == 2:
            header[field][0, of.randrange(header[field].shape[1])] = odd
        else:
            header[field] = odd if header[field].dtype.itemsize > 1 else abs(odd) % 256
    raw[:348] = header.byteswap().tobytes() if of.random() < 0.1 else header.tobytes()
    return gzip.compress(bytes(raw), 1) if packed else bytes(raw)


def change_voxels(content: bytes, of: Random) -> bytes:
    """Values that are not finite, all the same or none, or a file that ends early inside its compression."""
    packed = content[:2] == b"\x1f\x8b"
    raw = bytearray(gzip.decompress(content) if packed else content)
    kind = of.randrange(4)
    if kind == 0:
        raw[352:] = struct.pack("<f", of.choice([math.nan, math.inf, 1e38, -1.0])) * ((len(raw) - 352) // 4)
    elif kind == 1:
        raw[352:] = bytes(len(raw) - 352)
    elif kind == 2:
        raw[352:] = of.randbytes(len(raw) - 352)
    else:
        del raw[352 + of.randrange(len(raw) - 352) :]
    return gzip.compress(bytes(raw), 1) if packed else bytes(raw)


KINDS: dict[str, list[Callable[[bytes, Random], bytes]]] = {
    "table": [*BYTES, change_lines, change_lines, change_cell, change_cell, change_cell, change_column, change_column],
    "json": [*BYTES, change_lines, *[change_json] * 9],
    "toml": [*BYTES, change_lines, *[change_toml] * 9],
    "yaml": [*BYTES, change_lines, *[change_yaml] * 9],
    "image": [flip_bytes, truncate, replace_all, *[change_header] * 9, change_voxels, change_voxels],
    "bytes": BYTES,
}


def damage(file: Path, kind: str, of: Random, others: list[Path]) -> str:
    """Damage a file in one way and say which; `others` are files that may be put in its place."""
    chance = of.random()
    content = file.read_bytes()
    file.unlink()
    if chance < 0.02:
        file.mkdir()
        return "a folder in its place"
    if chance < 0.04:
        file.symlink_to("nowhere")
        return "a broken link in its place"
    if chance < 0.08:
        other = of.choice(others)
        shutil.copyfile(other, file)
        return f"{other.name} in its place"
    change = of.choice(KINDS[kind])
    file.write_bytes(change(content, of))
    return change.__name__
