"""The resting-state part of a page: figures in the right place and time, correct numbers."""

import dataclasses
import re

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
from scipy import signal, stats

from bids_app.errors import DataError
from bids_app.report.bold_run import HEADINGS, RunData, RunMap, TemplateImages, run_measures, run_warnings
from bids_app.report.bold_section import draw_registration, draw_run, draw_run_map, label_tissues
from bids_app.report.carpet import (
    CENSORED_COLOR,
    EMPTY_COLOR,
    MAX_ROWS,
    MIN_SHARE,
    TISSUES,
    censored_segments,
    draw_carpet,
    insert_dropped,
    select_rows,
    standardise_rows,
)
from bids_app.report.mosaic import dilate_mask
from bids_app.report.participant import write_participant_report

GM_COLOR, WM_COLOR, DROPPED = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) / 255 for c in (
    TISSUES[1][1], TISSUES[2][1], CENSORED_COLOR))  # fmt: skip
HOSTILE = '<script>alert("x")</script>'


def near(picture, color):
    return np.abs(picture[..., :3] - color).max(axis=-1) < 0.02


def colored(picture):
    return picture[..., :3].max(axis=-1) - picture[..., :3].min(axis=-1) > 0.25


@pytest.fixture(scope="module")
def template():
    brain, mask = load_mni152_template(resolution=4), load_mni152_brain_mask(resolution=4)
    mask = nib.Nifti1Image(np.asarray(mask.dataobj).astype(np.uint8), mask.affine)
    gm = nib.Nifti1Image(np.asarray(brain.dataobj, dtype=np.float32), brain.affine)
    return TemplateImages(brain, mask, label_tissues({1: gm}), "the template's")


@pytest.fixture(scope="module")
def run(template):
    """40 volumes of 2 s over the left hemisphere; volume 5 and the last two dropped."""
    inside = np.asarray(template.mask.dataobj) > 0
    inside[nib.affines.apply_affine(template.mask.affine, np.moveaxis(np.indices(inside.shape), 0, -1))[..., 0] > 0] = 0
    fd = np.full(40, 0.1)
    fd[[0, 5, 38, 39]] = np.nan, 0.9, 0.7, 0.6
    series = np.random.default_rng(0).normal(1000, 10, (inside.sum(), 40)).astype(np.float32)
    mask = nib.Nifti1Image(inside.astype(np.uint8), template.mask.affine)
    entities = {"task": "rest", "run": "1"}
    return RunData("01", "a", entities, series, mask, 2.0, ~(fd > 0.5), fd, fd + 1, dummy_scans=3)


@pytest.fixture(scope="module")
def drawn(run, template, tmp_path_factory):
    """A section with a positive and a signed map, and the folder of its pictures."""
    inside = np.asarray(run.mask.dataobj) > 0
    rng = np.random.default_rng(1)
    positive = nib.Nifti1Image(rng.uniform(0.2, 1, inside.shape).astype(np.float32), run.mask.affine)
    signed = nib.Nifti1Image(rng.normal(size=inside.shape).astype(np.float32), run.mask.affine)
    maps = [
        RunMap("reho", positive, "Kendall's W", HOSTILE),
        RunMap("beta_SMN", signed, "beta: u; z: Z"),
    ]
    root = tmp_path_factory.mktemp("page")
    return root, draw_run(run, root, template=template, maps=maps, fd_threshold=0.5)


def test_carpet_rows_are_proportional_to_tissues_with_a_minimum_for_small_ones():
    tissue = np.repeat([2, 1, 3, 9], [3000, 6900, 50, 50])
    chosen, bounds = select_rows(tissue)
    assert [label for label, _, _ in bounds] == [1, 2, 3, 0]
    assert len(chosen) == len(set(chosen)) == bounds[-1][2]
    for label, first, after in bounds:
        assert (np.where(tissue == 9, 0, tissue)[chosen[first:after]] == label).all()
        expected = max(np.mean(np.where(tissue == 9, 0, tissue) == label), MIN_SHARE) * MAX_ROWS
        assert after - first == pytest.approx(expected, abs=1)


def test_fewer_voxels_than_rows_are_all_drawn():
    chosen, bounds = select_rows(np.array([2, 1, 1]))
    assert sorted(chosen) == [0, 1, 2]
    assert bounds == [(1, 0, 2), (2, 2, 3)]


def test_standardised_rows_are_detrended_z_scores_and_straight_lines_are_zero():
    rng = np.random.default_rng(0)
    series = (rng.normal(12000, 30, (6, 90)) + np.linspace(0, 200, 90)).astype(np.float32)
    expected = stats.zscore(signal.detrend(series.astype(np.float64), axis=1), axis=1)
    np.testing.assert_allclose(standardise_rows(series), expected, atol=2e-3)
    lines = np.outer([0, 1, -3], np.arange(90)).astype(np.float32) + np.float32(12000)
    assert not standardise_rows(lines).any()


def test_censored_volumes_leave_gaps_at_the_original_positions():
    kept = np.random.default_rng(3).uniform(size=50) > 0.3
    whole = insert_dropped(np.ones((4, kept.sum()), np.float32), kept)
    np.testing.assert_array_equal(np.isnan(whole), np.broadcast_to(~kept, (4, 50)))
    covered = {volume for first, after in censored_segments(~kept) for volume in range(first, after)}
    assert covered == set(np.flatnonzero(~kept))
    assert all(kept[after] for _, after in censored_segments(~kept) if after < 50)


def test_carpet_shows_tissues_and_censored_volumes_at_the_right_positions(tmp_path):
    """GM is high in the middle and WM low; volumes 0-9, 40-49 and 90-99 of 100 are dropped, and mark the axis' ends."""
    step = np.repeat([-1.0, 1.0, -1.0], [25, 50, 25])
    tissue = np.repeat([2, 1], 500)
    noise = np.random.default_rng(0).normal(0, 0.1, (1000, 100))
    series = np.where(tissue[:, None] == 1, step, -step) + noise
    kept = np.isin(np.arange(100) // 10, (0, 4, 9), invert=True)
    draw_carpet(series.astype(np.float32), tmp_path / "c.png", tr=2.0, sample_mask=kept, tissue=tissue)
    picture = imread(tmp_path / "c.png")
    strip = near(picture, DROPPED)
    strip[int(0.9 * len(picture)) :] = False  # the legend
    columns = np.flatnonzero(strip.any(axis=0))
    left, right = columns.min(), columns.max() + 1
    inner = columns[(columns > left + 0.2 * (right - left)) & (columns < right - 0.2 * (right - left))]
    assert (inner.min() - left) / (right - left) == pytest.approx(0.4, abs=0.005)
    assert (inner.max() + 1 - left) / (right - left) == pytest.approx(0.5, abs=0.005)
    early, middle = (
        slice(int(left + a * (right - left)), int(left + b * (right - left))) for a, b in ((0, 0.2), (0.3, 0.7))
    )
    for color, sign in ((GM_COLOR, 1), (WM_COLOR, -1)):
        beside = np.flatnonzero(near(picture, color)[:, : int(left)].sum(axis=1) > 8)
        row = picture[beside.min() + 5 : beside.max() - 4, :, 0]
        assert sign * (row[:, middle].mean() - row[:, early].mean()) > 0.3


def test_denoised_carpet_is_empty_at_censored_volumes(tmp_path):
    rng = np.random.default_rng(0)
    series, kept = rng.normal(size=(300, 60)).astype(np.float32), np.arange(60) % 6 > 0
    drawing = {"tr": 1.0, "sample_mask": kept, "fd": np.ones(60), "dvars": np.ones(60), "fd_threshold": 0.5}
    draw_carpet(series, tmp_path / "one.png", **drawing)
    draw_carpet(series, tmp_path / "nan.png", **{**drawing, "fd": None, "dvars": np.full(60, np.nan)})
    assert imread(tmp_path / "nan.png").shape[0] < imread(tmp_path / "one.png").shape[0] - 150
    draw_carpet(series, tmp_path / "two.png", denoised=series[:, kept], **drawing)
    without = np.array([int(EMPTY_COLOR[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    shares = [near(imread(tmp_path / name), without).sum() for name in ("one.png", "two.png")]
    assert shares[0] == 0
    plot = near(imread(tmp_path / "two.png"), without)
    assert (plot.sum(axis=0) > 100).sum() / 988 == pytest.approx(1 / 6, abs=0.02)  # 988 pixels wide


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sample_mask": np.ones(9, bool)}, "sample mask has 9 entries, expected 10"),
        ({"fd": np.ones(11)}, "FD has 11 entries, expected 10"),
        ({"dvars": np.ones(3)}, "DVARS has 3"),
        ({"tissue": np.ones(4, int)}, "tissue segmentation has 4 entries, expected 5"),
        ({"denoised": np.ones((5, 9), np.float32)}, "denoised series has 9 entries, expected 10"),
        ({"sample_mask": np.zeros(10, bool)}, "all volumes of the run were censored"),
        ({"series": np.ones((0, 10), np.float32)}, "no carpet plot"),
    ],
)
def test_carpet_arrays_of_inconsistent_size_are_refused(change, words, tmp_path):
    given = {"series": np.ones((5, 10), np.float32), "sample_mask": np.ones(10, bool), **change}
    with pytest.raises(DataError, match=words):
        draw_carpet(given.pop("series"), tmp_path / "x.png", tr=2.0, **given)


def test_carpet_of_a_real_run_is_drawn(shared_data, tmp_path):
    inside = np.asarray(nib.load(shared_data / "feeds" / "mask.nii.gz").dataobj) > 0
    series = nib.load(shared_data / "feeds" / "bold.nii.gz").get_fdata(dtype=np.float32)[inside]
    draw_carpet(series, tmp_path / "c.png", tr=3.0, sample_mask=np.ones(series.shape[1], bool))
    assert imread(tmp_path / "c.png")[100:200, 200:1000, 0].std() > 0.1


def test_run_measures_are_correct(run, template):
    result = run_measures(run, template)
    assert result == {
        "volumes": 43, "dummy_scans": 3, "dropped": 3, "minutes": pytest.approx(37 * 2 / 60),
        "mean_fd": pytest.approx((36 * 0.1 + 0.9 + 0.7 + 0.6) / 39), "max_fd": 0.9,
        "covered": pytest.approx(100 * len(run.series) / (np.asarray(template.mask.dataobj) > 0).sum()),
    }  # fmt: skip
    assert set(result) == set(HEADINGS)
    still = run_measures(dataclasses.replace(run, fd=None))
    assert np.isnan(still["mean_fd"])
    assert "covered" not in still


def test_run_warnings_are_given_only_when_needed(run, template):
    said = run_warnings(run, template)
    assert [re.sub(r"^task-rest_run-1: ", "", one)[:16] for one in said] == ["1.2 minutes reta", "BOLD covers 50 %"]
    inside = np.asarray(template.mask.dataobj) > 0
    long = dataclasses.replace(
        run,
        mask=template.mask,
        series=np.ones((inside.sum(), 400), np.float32),
        sample_mask=np.ones(400, bool),
        fd=None,
    )
    assert run_warnings(long, template) == []
    moving = dataclasses.replace(long, fd=np.full(400, 0.8), sample_mask=np.arange(400) % 5 < 2)
    dropped, motion = run_warnings(moving, template)
    assert "240 of 400 volumes were censored" in dropped
    assert "mean FD is 0.80 mm" in motion


def test_section_figures_exist_under_bids_names(drawn):
    root, section = drawn
    names = [figure.file.rpartition("/")[2] for figure in section.figures]
    stem = "sub-01_ses-a_task-rest_run-1_desc-{}_bold.png"
    assert names == [stem.format(desc) for desc in ("carpet", "registration", "mapreho", "mapbetaSMN")]
    for figure in section.figures:
        assert figure.file.startswith("sub-01/figures/")
        assert imread(root / figure.file)[..., :3].var() > 0.005
    assert "FD above 0.5 mm" in section.figures[0].caption
    assert "without the first 3" in section.figures[0].caption


def test_maps_are_drawn_within_the_run_coverage_and_in_two_colours_only_if_signed(drawn):
    root, section = drawn
    positive, signed = (imread(root / figure.file) for figure in section.figures[2:])
    cut = positive[36:215, 479:622]  # the fourth axial cut, which is the widest
    left, right = colored(cut[:, :66]).sum(), colored(cut[:, 77:]).sum()
    assert left > 1000 > 100 > right
    blue = [(one[:, :1100, 2] > one[:, :1100, 0] + 0.25).sum() for one in (positive, signed)]
    assert blue[1] > 3000
    assert blue[1] > 5 * blue[0]


def test_mean_image_is_not_drawn_outside_the_brain(run, template, tmp_path):
    head = np.full(template.brain.shape, 100, np.float32)
    outside = np.asarray(dilate_mask(template.mask).dataobj) == 0
    for name, value in (("face", 5000), ("none", 0)):
        mean = nib.Nifti1Image(np.where(outside, np.float32(value), head), template.brain.affine)
        draw_registration(dataclasses.replace(run, mean=mean), tmp_path / f"{name}.png", tmp_path / "t.png", template)
    np.testing.assert_array_equal(imread(tmp_path / "face.png"), imread(tmp_path / "none.png"))


def test_bold_and_template_alternate_at_the_same_place_under_the_same_outlines(drawn):
    root, section = drawn
    (figure,) = [figure for figure in section.figures if figure.other]
    assert figure.names == ("BOLD", "template")
    bold, brain = imread(root / figure.file), imread(root / figure.other)
    assert bold.shape == brain.shape
    below = slice(40, None)  # the title
    both = [near(picture, DROPPED)[below] for picture in (bold, brain)]
    assert both[0].sum() > 500
    assert (both[0] & both[1]).sum() > 0.9 * both[0].sum()
    grey = [picture[below, :, 0][~colored(picture)[below]] for picture in (bold, brain)]
    assert (grey[1] > 0.1).sum() > 1.5 * (grey[0] > 0.1).sum()  # the BOLD covers the left hemisphere alone


def test_map_or_series_on_another_grid_is_refused(run, template, tmp_path):
    other = RunMap("alff", nib.Nifti1Image(np.ones((3, 3, 3), np.float32), np.eye(4)), "u")
    with pytest.raises(DataError, match=r"alff .* is not on the grid"):
        draw_run_map(other, run, tmp_path / "x.png", template)
    with pytest.raises(DataError, match="are they from the same run"):
        draw_run(dataclasses.replace(run, series=run.series[1:]), tmp_path, template=template)


def test_tissue_labels_need_a_probability_of_one_half_and_csf_fills_the_mask():
    grid = [nib.Nifti1Image(np.array(one, np.float32).reshape(2, 2, 1), np.eye(4)) for one in (
        [0.6, 0.2, 0.4, 0.5], [0.3, 0.8, 0.4, 0.5], [0.1, 0.0, 0.2, 0.0])]  # fmt: skip
    result = label_tissues({1: grid[0], 2: grid[1], 3: grid[2]})
    np.testing.assert_array_equal(np.asarray(result.dataobj).ravel(), [1, 2, 0, 1])
    mask = nib.Nifti1Image(np.array([1, 1, 1, 0], np.uint8).reshape(2, 2, 1), np.eye(4))
    rest = label_tissues({1: grid[2], 2: nib.Nifti1Image(np.float32(0.3) * mask.get_fdata(), np.eye(4))}, mask=mask)
    np.testing.assert_array_equal(np.asarray(rest.dataobj).ravel(), [3, 3, 3, 0])


def test_page_shows_runs_escaped_after_warnings_and_only_if_present(drawn, tmp_path):
    root, section = drawn
    page = {"participant": "01", "session": "a", "figures": [], "measures": {}, "facts": {}, "checks": ["first"],
            "methods": "m", "references": [], "version": "9"}  # fmt: skip
    write_participant_report(root / "with.html", functional=[section], **page)
    text = (root / "with.html").read_text()
    assert (
        text.index("first") < text.index("1.2 minutes retained") < text.index('id="rest"') < text.index('id="methods"')
    )
    for value in ("43", "1.2", "0.149", "0.90"):
        assert f'<td class="n">{value}</td>' in text
    assert HOSTILE not in text
    assert len(re.findall('<img src="([^"]+)"', text)) == 5
    write_participant_report(root / "without.html", **page)
    assert "rest" not in re.sub(
        "(?i)research|interest|<style>.*</style>", "", (root / "without.html").read_text(), flags=re.S
    )
