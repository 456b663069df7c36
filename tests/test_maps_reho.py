"""ReHo compared with the formula of Kendall's W, with and without numba, and invariances."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from bids_app import jit
from bids_app.errors import DataError, UsageError
from bids_app.maps import _ranks, reho
from bids_app.maps._strength import connectivity_strength

SHAPE = (6, 5, 4)


@pytest.fixture(params=["numba", "numpy"])
def way(request, monkeypatch):
    """Both implementations of the kernels."""
    if request.param == "numpy":
        monkeypatch.setattr(jit, "available", lambda: False)
    elif not jit.available():
        pytest.skip("numba is not installed")
    return request.param


def masks():
    """Random, one voxel thick (a plane, a line), up to the edge of the grid, and voxels on their own."""
    ragged = np.random.default_rng(1).random(SHAPE) > 0.4
    plane, line, apart = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    plane[:, 2, :] = line[:, 0, 3] = apart[::3, ::2, ::3] = True
    return {"ragged": ragged, "plane": plane, "line": line, "whole": np.ones(SHAPE, bool), "apart": apart}


def series(mask, volumes=30, *, seed=0, ties=True):
    """Noise that neighbours share in part; whole numbers with ties in half of the voxels, some of them constant."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((mask.sum(), volumes)) + rng.standard_normal(volumes)
    if ties:
        values[::2] = np.round(2 * values[::2])
        values[::9] = 4.2
    return values.astype(np.float32)


def slow(values, mask, neighbours):
    """W of each voxel by rankdata and the formula with its correction for ties."""
    reach = {7: 1, 19: 2, 27: 3}[neighbours]
    row = {tuple(place): number for number, place in enumerate(np.argwhere(mask))}
    n, result = values.shape[1], np.zeros(len(values))
    for place, number in row.items():
        steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if np.abs(s).sum() <= reach]
        rows = [row[at] for s in steps if (at := tuple(np.add(place, s))) in row]
        if len(rows) == 1 or np.ptp(values[number]) == 0:
            continue
        m, ranks = len(rows), stats.rankdata(values[rows], axis=1)
        ties = sum((t**3 - t).sum() for t in (np.unique(values[r], return_counts=True)[1].astype(float) for r in rows))
        top = 12 * (ranks.sum(axis=0) ** 2).sum() - 3 * m**2 * n * (n + 1) ** 2
        result[number] = top / (m**2 * n * (n**2 - 1) - m * ties)
    return result


@pytest.mark.parametrize("neighbours", [7, 19, 27])
@pytest.mark.parametrize("name", masks())
def test_reho_is_kendalls_w_of_neighbours_within_the_mask(way, name, neighbours):
    mask = masks()[name]
    values = series(mask)
    result = reho.compute(values, mask=mask, neighbours=neighbours)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, slow(values, mask, neighbours), rtol=1e-6, atol=1e-7)
    if name == "apart":
        assert not result.any()


@pytest.mark.parametrize("volumes", [3, 1214, 1215, 1500])
def test_sums_of_ranks_do_not_overflow_in_long_scans(way, volumes):
    mask = np.ones((3, 3, 3), bool)
    same = np.tile(np.arange(volumes, dtype=np.float32), (27, 1))
    np.testing.assert_array_equal(reho.compute(same, mask=mask, neighbours=27), 1)
    values = series(mask, volumes)
    np.testing.assert_allclose(
        reho.compute(values, mask=mask, neighbours=27), slow(values, mask, 27), rtol=1e-6, atol=1e-7
    )


def test_reho_is_invariant_to_scale_offset_and_time_order(way):
    mask = masks()["ragged"]
    values = np.round(8 * series(mask, ties=False))
    result = reho.compute(values, mask=mask, neighbours=27)
    rng = np.random.default_rng(3)
    scale = 2.0 ** rng.integers(-20, 20, (len(values), 1))
    offset = rng.integers(-5000, 5000, (len(values), 1))
    order = rng.permutation(values.shape[1])
    for changed in (values * scale, values + offset, values[:, order]):
        again = reho.compute(np.ascontiguousarray(changed, np.float32), mask=mask, neighbours=27)
        np.testing.assert_array_equal(again, result)


def test_reho_ignores_voxels_outside_the_mask(way):
    """Two parts of a mask, a voxel apart, have the values that each has alone, also across the edge of the grid."""
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[:2], right[3:] = True, True
    both = series(left | right)
    result = reho.compute(both, mask=left | right, neighbours=27)
    split = left.sum()
    np.testing.assert_array_equal(result[:split], reho.compute(both[:split], mask=left, neighbours=27))
    np.testing.assert_array_equal(result[split:], reho.compute(both[split:], mask=right, neighbours=27))


@pytest.mark.parametrize("neighbours", [7, 19, 27])
def test_caption_reports_the_number_of_neighbours(neighbours):
    told = reho.caption(np.ones((5, 5, 5), bool), neighbours=neighbours)
    assert f"all {neighbours} for 22 % of the voxels" in told  # 3 x 3 x 3 of 5 x 5 x 5
    assert f"minimum { {7: 4, 19: 7, 27: 8}[neighbours] }" in told
    alone = reho.caption(masks()["apart"], neighbours=neighbours)
    assert "for 0 % of the voxels" in alone
    assert "median 1, minimum 1" in alone


@pytest.mark.parametrize("volumes", [5, 64, 257])
def test_ranks_match_scipy_for_nearly_equal_and_extreme_values(way, volumes):
    """Values that differ in their last bits only, beside one that is far away, zeros of both signs, and infinities."""
    rng = np.random.default_rng(5)
    values = np.ones((6, volumes), np.float32) + rng.integers(0, 40, (6, volumes)).astype(np.float32) * np.float32(
        2**-23
    )
    values[1:, 0], values[2, 1], values[3, 1:3] = -1e30, 1e30, (0.0, -0.0)
    values[4] = np.sign(rng.standard_normal(volumes)) * np.float32(10.0) ** rng.integers(-40, 38, volumes)
    values[5, :3] = np.inf, -np.inf, 1e-45
    ranks, squares = _ranks.ranked(values, judges=27)
    expected = 2 * stats.rankdata(values, axis=1) - (volumes + 1)
    np.testing.assert_array_equal(ranks, expected)
    np.testing.assert_array_equal(squares, (expected**2).sum(axis=1))


def test_results_without_numba_are_the_same():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np; from bids_app import jit; from bids_app.maps import _strength, reho\n"
        "assert not jit.available()\n"
        "x = np.random.default_rng(0).standard_normal((60, 20), dtype=np.float32)\n"
        "print(*reho.compute(x, mask=np.ones((5, 4, 3), bool), neighbours=27).tolist(),"
        "*_strength.connectivity_strength(x, kind='mean-r').tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    x = np.random.default_rng(0).standard_normal((60, 20), dtype=np.float32)
    here = [*reho.compute(x, mask=np.ones((5, 4, 3), bool), neighbours=27), *connectivity_strength(x, kind="mean-r")]
    np.testing.assert_allclose(np.array(done.stdout.split(), float), here, rtol=1e-5, atol=1e-7)


def test_kernels_compile_without_a_writable_cache():
    pytest.importorskip("numba")
    scope = {}
    exec("def twice(x):\n    return 2 * x\n", scope)  # no file, so that numba finds no folder for its cache
    assert jit.jitted()(scope["twice"])(21) == 42


def test_kernels_compiled_at_installation_cover_reho_and_strengths(tmp_path):
    pytest.importorskip("numba")
    uses = (
        "import numpy as np; from bids_app.maps import _strength, reho\n"
        "for volumes in (20, 1300):\n"
        "    x = np.random.default_rng(0).standard_normal((60, volumes), dtype=np.float32)\n"
        "    reho.compute(x, mask=np.ones((5, 4, 3), bool), neighbours=27)\n"
        "for kind in _strength.STRENGTHS:\n"
        "    _strength.connectivity_strength(x, kind=kind)\n"
    )
    compiled = []
    for arguments in (["-m", "bids_app.jit"], ["-c", uses]):
        subprocess.run([sys.executable, *arguments], env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, check=True)
        compiled.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")})
    of_maps = [{path: at for path, at in files.items() if "maps" in path.parts[-2]} for files in compiled]
    assert len(of_maps[0]) == 9  # seven loops, two of them for ranks of two widths
    assert of_maps[0] == of_maps[1]


@pytest.mark.parametrize(
    ("values", "mask", "message"),
    [
        (np.zeros((0, 20), np.float32), np.zeros(SHAPE, bool), "mask is empty"),
        (np.zeros((5, 20), np.float32), np.ones(SHAPE, bool), "the mask has 120 voxels and the series 5"),
        (np.zeros((120, 2), np.float32), np.ones(SHAPE, bool), "2 volumes are retained"),
    ],
)
def test_invalid_inputs_are_refused(values, mask, message):
    with pytest.raises(DataError, match=message):
        reho.compute(values, mask=mask, neighbours=27)


def test_unsupported_neighbourhood_sizes_are_refused():
    with pytest.raises(UsageError, match="choose 7, 19 or 27"):
        reho.compute(np.zeros((120, 20), np.float32), mask=np.ones(SHAPE, bool), neighbours=26)


def test_reho_of_a_real_scan_is_kendalls_w(shared_data):
    import nibabel as nib

    mask = np.asarray(nib.load(shared_data / "feeds" / "mask.nii.gz").dataobj) > 0
    image = np.asarray(nib.load(shared_data / "feeds" / "bold.nii.gz").dataobj)
    result = reho.compute(image[mask].astype(np.float32), mask=mask, neighbours=27)
    assert ((result >= 0) & (result <= 1)).all()
    part = np.zeros_like(mask)
    part[28:36, 28:36, 8:14] = mask[28:36, 28:36, 8:14]
    values = image[part].astype(np.float32)
    np.testing.assert_allclose(reho.compute(values, mask=part, neighbours=27), slow(values, part, 27), rtol=1e-6)
    middle = np.zeros_like(mask)
    middle[29:35, 29:35, 9:13] = part[29:35, 29:35, 9:13]
    np.testing.assert_allclose(result[middle[mask]], slow(values, part, 27)[middle[part]], rtol=1e-6)
