"""Speed of the functional maps' kernels, as ratios to work of the same size: `pytest -m slow benchmarks/test_maps.py`.

A brain at 3 mm (61 x 73 x 61, 69,809 voxels), 200 volumes. Times are the processor's, on one thread, and each round of
a kernel follows a round of what it is held against, so that what else runs on the machine spoils the ratios little.
"""

import os
import time

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, which reads it once

import numpy as np
import pytest
import scipy.fft
from scipy import stats

from bids_app.maps import alff, falff, fcs, networks, reho, rfcs

pytestmark = [pytest.mark.slow, pytest.mark.benchmark(timer=time.process_time, disable_gc=True)]
VOXELS, VOLUMES, TR, NETWORKS = 69_809, 200, 2.0, 25
BAND = (0.01, 0.08)
NAMES = tuple(f"N{number}" for number in range(NETWORKS))
SPECTRUM = {"tr": TR, "band": BAND, "alff_definition": "mean"}


def ellipsoid(shape, voxels):
    """The so many voxels of a grid that are nearest to its centre, in the grid's own proportions."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    order = np.argsort(sum(axis**2 for axis in axes).ravel(), kind="stable")
    mask = np.zeros(np.prod(shape), bool)
    mask[order[:voxels]] = True
    return mask.reshape(shape)


def noise(voxels, volumes):
    return np.random.default_rng(0).standard_normal((voxels, volumes), dtype=np.float32)


@pytest.fixture(scope="module")
def mask():
    return ellipsoid((61, 73, 61), VOXELS)


@pytest.fixture(scope="module")
def series():
    return noise(VOXELS, VOLUMES)


@pytest.fixture(scope="module")
def table(request):
    """Rows of measurements, printed at the end."""
    rows = []
    yield rows
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n| work | s | held against | s | ratio | goal |\n|---|---|---|---|---|---|")
        print("\n".join(rows))


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def compared(benchmark, work, other, *, rounds=7):
    """Best times of `work` and of `other`, which take turns; once before, for numba to compile."""
    work()
    others = []
    benchmark.pedantic(work, setup=lambda: others.append(seconds(other)), rounds=rounds)
    return benchmark.stats.stats.min, min(others)


def tell(table, work, own, against, other, ratio, goal):
    table.append(f"| {work} | {own:.4f} | {against} | {other:.4f} | {ratio} | {goal} |")


def spectra(series):
    sample_mask = np.ones(series.shape[1], bool)
    alff.compute(series, sample_mask=sample_mask, **SPECTRUM)
    falff.compute(series, sample_mask=sample_mask, **SPECTRUM)


def kendall_loop(ranks, mask, every):
    """W of each `every`-th voxel as C-PAC computes it, a Python loop over neighbours; `ranks` (X, Y, Z, time)."""
    n, result = ranks.shape[3], []
    for x, y, z in np.argwhere(mask)[::every]:
        near = []
        for i in (x - 1, x, x + 1):
            for j in (y - 1, y, y + 1):
                for k in (z - 1, z, z + 1):
                    if all(0 <= at < size for at, size in zip((i, j, k), mask.shape, strict=True)) and mask[i, j, k]:
                        near.append(ranks[i, j, k])
        total = np.array(near).sum(axis=0)
        result.append(12 * ((total**2).sum() - n * total.mean() ** 2) / len(near) ** 2 / (n**3 - n))
    return np.array(result)


@pytest.mark.parametrize("kind", ["noise", "whole numbers"])
def test_reho_takes_less_than_one_argsort(benchmark, table, mask, series, kind):
    values = series if kind == "noise" else np.round(10_000 + 50 * series)
    own, other = compared(
        benchmark, lambda: reho.compute(values, mask=mask, neighbours=27), lambda: np.argsort(values, axis=1)
    )
    tell(table, f"ReHo 27, {kind}", own, "numpy.argsort", other, f"{own / other:.2f}", "< 1")
    assert own < other


def test_reho_is_40_times_faster_than_a_python_loop(benchmark, table, mask, series):
    every = 50
    own, _ = compared(benchmark, lambda: reho.compute(series, mask=mask, neighbours=27), lambda: None)
    start = time.process_time()
    ranks = np.zeros((*mask.shape, VOLUMES))
    ranks[mask] = stats.rankdata(series, axis=1)
    ranked = time.process_time()
    expected = kendall_loop(ranks, mask, every)
    other = (time.process_time() - ranked) * every + ranked - start
    tell(table, "ReHo 27", own, "loop in Python (1 voxel of 50)", other, f"1 / {other / own:.0f}", "< 1 / 40")
    np.testing.assert_allclose(reho.compute(series, mask=mask, neighbours=27)[::every], expected, rtol=1e-5)
    assert own < other / 40


def test_alff_and_falff_take_at_most_3_transforms(benchmark, table, series):
    own, other = compared(benchmark, lambda: spectra(series), lambda: scipy.fft.rfft(series, axis=1))
    tell(table, "ALFF + fALFF", own, "scipy.fft.rfft", other, f"{own / other:.2f}", "<= 3")
    assert own <= 3 * other


def test_mean_r_takes_at_most_4_copies(benchmark, table, series):
    room = np.empty_like(series)
    own, other = compared(
        benchmark, lambda: fcs.compute(series, strength="mean-r"), lambda: np.copyto(room, series), rounds=15
    )
    tell(table, "mean-r", own, "one copy of the array", other, f"{own / other:.2f}", "<= 4")
    assert own <= 4 * other


def test_weighted_degree_runs_at_85_percent_of_sgemm(benchmark, table, series):
    """Over a third of the brain, so that its rounds and those of sgemm alternate within seconds."""
    part, square, room = series[::3], noise(2048, 2048), np.empty((2048, 2048), np.float32)
    own, other = compared(
        benchmark,
        lambda: fcs.compute(part, strength="weighted-degree"),
        lambda: [np.dot(square, square, out=room) for _ in range(6)],
        rounds=5,
    )
    least = other / 6 * len(part) * (len(part) - 1) * VOLUMES / (2 * 2048**3)
    tell(table, "weighted degree, 23,270 voxels", own, "sgemm's rate", least, f"{least / own:.2f}", ">= 0.85")
    assert least / own >= 0.85


def test_dual_regression_is_10_times_faster_than_lstsq(benchmark, table, series):
    maps = noise(VOXELS, NETWORKS)

    def plain():
        courses = np.linalg.lstsq(maps, series, rcond=None)[0].T
        np.linalg.lstsq(courses, series.T, rcond=None)

    own, other = compared(
        benchmark, lambda: networks.compute(series, network_maps=maps, network_names=NAMES), plain, rounds=4
    )
    tell(
        table, "dual regression, 25 maps", own, "numpy.linalg.lstsq, twice", other, f"1 / {other / own:.0f}", "< 1 / 10"
    )
    assert own < other / 10


@pytest.mark.parametrize("grown", ["2 mm", "twice as long"])
def test_cost_is_linear_in_voxels_and_volumes(benchmark, table, mask, series, grown):
    """All maps but the degrees, per voxel and volume: at most 1.5 times what they cost at 3 mm and 200 volumes."""
    larger = ellipsoid((91, 109, 91), 235_000) if grown == "2 mm" else mask
    values = noise(np.count_nonzero(larger), VOLUMES if grown == "2 mm" else 2 * VOLUMES)

    def all_maps(series, mask):
        spectra(series)
        reho.compute(series, mask=mask, neighbours=27)
        fcs.compute(series, strength="mean-r")
        rfcs.compute(series, parcels=np.arange(len(series), dtype=np.int32) // 700, strength="mean-r")
        networks.compute(series, network_maps=noise(len(series), NETWORKS), network_names=NAMES)

    own, other = compared(benchmark, lambda: all_maps(values, larger), lambda: all_maps(series, mask), rounds=3)
    each = (own / values.size) / (other / series.size)
    tell(table, f"all maps, {grown}", own, "3 mm, 200 volumes", other, f"{each:.2f} a value", "<= 1.5")
    assert each <= 1.5
