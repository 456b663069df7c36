"""Reports: figures are drawn in the right place and within the brain, and pages have the required content."""

import html
import re
import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from matplotlib.text import Text
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

from bids_app import catalogue
from bids_app.errors import DataError, UsageError
from bids_app.evaluation import audit, checks
from bids_app.evaluation.verdict import BETTER, NO_BETTER, UNJUDGED, Verdict
from bids_app.report.audit import format_audit
from bids_app.report.citation import citation_files
from bids_app.report.curves import draw_confusion, draw_roc
from bids_app.report.figures import draw_heatmap, draw_map, draw_registration, draw_segmentation, heatmap_limits
from bids_app.report.group import MORE_SCORES, NO_CLAIM, NO_IMAGE, select_findings, write_group_report
from bids_app.report.heatmap import Heatmap
from bids_app.report.index import qc_table, write_index
from bids_app.report.methods import describe_group, describe_participant, describe_permutations
from bids_app.report.mosaic import Mosaic, crop_to_mask, dilate_mask
from bids_app.report.page import RESEARCH_USE, format_number, save_page
from bids_app.report.participant import Figure, write_participant_report
from bids_app.report.references import all_references, cited_references
from bids_app.report.viewer import write_viewer

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def template():
    return load_mni152_template(resolution=4)


@pytest.fixture(scope="module")
def mask(template):
    brain = load_mni152_brain_mask(resolution=4)
    return nib.Nifti1Image(np.asarray(brain.dataobj).astype(np.uint8), brain.affine)


@pytest.fixture(scope="module")
def blob(mask):
    """Values of 1 within 14 mm of (-30, -20, 20): in the left hemisphere."""
    away = np.linalg.norm(world(mask) - np.array([-30, -20, 20]), axis=-1)
    return nib.Nifti1Image((away < 14).astype(np.float32), mask.affine)


def world(image):
    voxels = np.moveaxis(np.indices(image.shape), 0, -1)
    return voxels @ image.affine[:3, :3].T + image.affine[:3, 3]


def reoriented(image, codes):
    change = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    return image.as_reoriented(change)


def colored(picture):
    """Where a picture (rows, columns, 4) has a colour, that is, is not grey."""
    rgb = imread(picture)[..., :3]
    return (rgb.max(axis=-1) - rgb.min(axis=-1)) > 0.25


def test_every_brain_figure_is_written_and_not_blank(template, mask, blob, tmp_path):
    dseg = nib.Nifti1Image(
        np.where(np.asarray(blob.dataobj) > 0, 2, np.asarray(mask.dataobj)).astype(np.uint8), mask.affine
    )
    draw_segmentation(template, mask, dseg, tmp_path / "segmentation.png")
    registration = (tmp_path / "registration.png", tmp_path / "template.png")
    draw_registration(template, template, mask, *registration, template_gm=blob)
    draw_map(blob, template, mask, tmp_path / "map.png", title="gm", unit="mL per mL")
    draw_heatmap(blob, template, mask, tmp_path / "heat.png", title="a heatmap", unit="logit")
    written = sorted(tmp_path.glob("*.png"))
    assert len(written) == 5
    for picture in written:
        assert imread(picture)[..., :3].var() > 0.005, picture.name
        assert picture.stat().st_size < 1_000_000, picture.name


@pytest.mark.parametrize(("codes", "radiological"), [("RAS", False), ("LAS", False), ("PIR", True)])
def test_left_hemisphere_is_drawn_on_the_side_labelled_l(template, mask, blob, codes, radiological):
    mosaic = Mosaic(reoriented(template, codes), reoriented(mask, codes), radiological=radiological)
    mosaic.overlay(reoriented(blob, codes), threshold=0.5, colormap="hot", limits=(0, 1))
    sides = 0
    letters = [(text.get_text(), *text.get_position()) for text in mosaic.axes.texts if text.get_text() in "LR"]
    for overlay in mosaic.axes.images[len(mosaic.cuts) :]:
        first, last, bottom, top = overlay.get_extent()
        drawn = np.argwhere(~np.ma.getmaskarray(overlay.get_array()))
        low, high = min(first, last), max(first, last)
        (cut,) = (cut for cut in mosaic.cuts if cut.bottom == bottom and low <= cut.left <= high)
        if cut.axis != 2 or not len(drawn):
            continue
        place = first + (last - first) * (drawn[:, 1].mean() + 0.5) / overlay.get_array().shape[1]
        own = {letter: x for letter, x, y in letters if low <= x <= high and bottom < y <= top}
        assert place == pytest.approx(cut.place(np.array(-30.0), np.array(20.0))[0], abs=4)
        assert abs(place - own["L"]) < abs(place - own["R"])
        sides += 1
    assert sides >= 1


def test_each_slice_stays_in_one_panel_even_if_the_image_is_smaller_than_the_brain(template, mask):
    low = template.slicer[:, :, : template.shape[2] // 2]
    mosaic = Mosaic(low, mask)
    mosaic.outline(mask, level=0.5, color="red", label="brain")
    spare = 2 * max(mask.header.get_zooms())
    for line in mosaic.axes.collections[0].get_segments():
        inside = [
            (line >= np.subtract((cut.left, cut.bottom), spare)).all()
            and (line <= np.add((cut.left + cut.size[0], cut.bottom + cut.size[1]), spare)).all()
            for cut in mosaic.cuts
        ]
        assert sum(inside) == 1


def test_pictures_that_alternate_show_the_same_cuts_at_the_same_places(template, mask, blob, tmp_path):
    names = ("participant", "template", "outlines", "plain")
    participant, other, outlines, plain = (tmp_path / f"{name}.png" for name in names)
    draw_registration(blob, template, mask, participant, other, template_gm=blob)
    assert (colored(participant) == colored(other)).mean() > 0.999
    assert colored(other).mean() > 0.005
    draw_segmentation(template, mask, mask, outlines, plain)
    assert imread(outlines).shape == imread(plain).shape
    changed = (imread(outlines) != imread(plain)).any(axis=-1)
    assert not colored(plain).any()
    assert (changed[:-60] & ~colored(outlines)[:-60]).mean() < 0.02


def test_long_unit_label_stays_inside_the_figure(template, mask):
    mosaic = Mosaic(template, mask, margin_mm=2.0, bar=True)
    unit = "guided gradient times Grad-CAM (arbitrary scale) (in SDs of the fold model)"
    mosaic.scale(label=unit, colormap="viridis", limits=(0, 1), extend="max")
    (drawn,) = (text for text in mosaic.figure.findobj(Text) if text.get_text() == unit)
    extent = drawn.get_window_extent()
    assert extent.y0 >= 0
    assert extent.y1 <= mosaic.figure.bbox.height


def test_left_blob_is_further_left_in_neurological_than_in_radiological_display(template, mask, blob, tmp_path):
    draw_heatmap(blob, template, mask, tmp_path / "left.png", title="", unit="u")
    draw_heatmap(blob, template, mask, tmp_path / "right.png", title="", unit="u", radiological=True)
    left, right = (colored(tmp_path / name)[:230, :1090] for name in ("left.png", "right.png"))
    assert left.any()
    assert right.any()
    assert np.argwhere(left)[:, 1].mean() < np.argwhere(right)[:, 1].mean() - 20


def test_no_intensity_outside_the_dilated_mask_is_drawn(template, mask, tmp_path):
    outside = np.asarray(dilate_mask(mask).dataobj) == 0
    head = np.asarray(template.dataobj, dtype=np.float32).copy()
    plain = nib.Nifti1Image(np.where(outside, 0, head), template.affine)
    head[outside] = 50 * head.max()  # a bright face, and all else round the brain
    draw_segmentation(nib.Nifti1Image(head, template.affine), mask, None, tmp_path / "face.png")
    draw_segmentation(plain, mask, None, tmp_path / "none.png")
    np.testing.assert_array_equal(imread(tmp_path / "face.png"), imread(tmp_path / "none.png"))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "AIR"])
def test_cropped_image_keeps_voxel_positions_and_blanks_the_outside(template, mask, codes):
    image, near = reoriented(template, codes), reoriented(dilate_mask(mask, margin_mm=6.0), codes)
    cut = crop_to_mask(image, near)
    voxels = np.rint((world(cut) - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T).astype(int)
    expected = np.where(np.asarray(near.dataobj) > 0, np.asarray(image.dataobj), 0)
    np.testing.assert_allclose(np.asarray(cut.dataobj), expected[tuple(np.moveaxis(voxels, -1, 0))], rtol=1e-6)
    assert np.asarray(cut.dataobj).sum(dtype=float) == pytest.approx(expected.sum(dtype=float), rel=1e-6)


def test_dilated_mask_contains_every_voxel_within_the_margin():
    mask = nib.Nifti1Image(np.zeros((11, 9, 7), np.uint8), np.diag([2.0, 3.0, 4.0, 1.0]))
    mask.dataobj[5, 4, 3] = 1
    away = np.linalg.norm((np.moveaxis(np.indices(mask.shape), 0, -1) - [5, 4, 3]) * [2.0, 3.0, 4.0], axis=-1)
    np.testing.assert_array_equal(np.asarray(dilate_mask(mask, margin_mm=6.0).dataobj) > 0, away <= 6.0)


def test_an_empty_mask_is_refused(template, mask, tmp_path):
    with pytest.raises(DataError, match="brain mask is empty"):
        draw_segmentation(
            template, nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), None, tmp_path / "x.png"
        )


def test_oblique_images_are_drawn_without_a_warning(template, mask, tmp_path):
    turn = np.eye(4)
    turn[:3, :3] = [[0.94, -0.34, 0], [0.34, 0.94, 0], [0, 0, 1]]
    turned = [nib.Nifti1Image(np.asarray(one.dataobj), turn @ one.affine) for one in (template, mask)]
    draw_segmentation(*turned, turned[1], tmp_path / "oblique.png")
    assert imread(tmp_path / "oblique.png")[..., :3].var() > 0.005


def test_heatmap_threshold_keeps_the_strongest_10_percent_of_brain_voxels(mask):
    values = np.zeros(mask.shape, np.float32)
    inside = np.asarray(mask.dataobj) > 0
    values[inside] = np.random.default_rng(0).normal(size=inside.sum())
    values[~inside] = 1e6  # what lies outside the mask does not count
    low, threshold, high = heatmap_limits(nib.Nifti1Image(values, mask.affine), mask, sign="both")
    assert (np.abs(values[inside]) >= threshold).mean() == pytest.approx(0.10, abs=0.002)
    assert low == -high
    assert threshold < high < 4
    low, threshold, _ = heatmap_limits(nib.Nifti1Image(values, mask.affine), mask, sign="positive")
    assert low == 0
    assert (values[inside] >= threshold).mean() == pytest.approx(0.10, abs=0.002)


def test_zero_and_nearly_zero_heatmaps_are_drawn(template, mask, tmp_path):
    zero = nib.Nifti1Image(np.zeros(mask.shape, np.float32), mask.affine)
    assert draw_heatmap(zero, template, mask, tmp_path / "zero.png", title="z", unit="u") == 0.0
    assert not colored(tmp_path / "zero.png").any()
    one = np.zeros(mask.shape, np.float32)
    one[tuple(np.argwhere(np.asarray(mask.dataobj) > 0)[500])] = 2.0
    assert (
        0 < draw_heatmap(nib.Nifti1Image(one, mask.affine), template, mask, tmp_path / "o.png", title="", unit="u") <= 2
    )


def test_non_finite_heatmap_is_refused(template, mask, tmp_path):
    values = np.where(np.asarray(mask.dataobj) > 0, np.nan, 0).astype(np.float32)
    with pytest.raises(DataError, match="non-finite"):
        draw_heatmap(nib.Nifti1Image(values, mask.affine), template, mask, tmp_path / "x.png", title="", unit="u")


def test_no_figure_stays_open(template, mask, tmp_path):
    from matplotlib import pyplot

    draw_segmentation(template, mask, None, tmp_path / "x.png")
    assert pyplot.get_fignums() == []


def predictions(cells=("svm/gm", "cnn3d/gm"), repeats=1):
    rng = np.random.default_rng(1)
    rows = []
    for cell in cells:
        for repeat in range(1, repeats + 1):
            for number in range(12):
                p = float(rng.uniform())
                rows.append({
                    "participant_id": f"{number:02d}", "session_id": None, "cell": cell, "repeat": repeat,
                    "fold": number % 3, "true": ("control", "patient")[number % 2],
                    "predicted": ("control", "patient")[int(p > 0.5)],
                    "probability_control": 1 - p, "probability_patient": p,
                })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("repeats", [1, 3])
def test_roc_and_confusion_figures_have_a_panel_for_every_model(tmp_path, repeats):
    table = predictions(repeats=repeats)
    draw_roc(table, ("control", "patient"), tmp_path / "roc.png")
    draw_confusion(table, ("control", "patient"), tmp_path / "confusion.png")
    for name in ("roc.png", "confusion.png"):
        picture = imread(tmp_path / name)[..., :3]
        left, right = np.array_split(picture, 2, axis=1)
        assert left.var() > 0.01
        assert right.var() > 0.01


@pytest.fixture(scope="module")
def report(template, mask, blob, tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis") / "group" / "migraine"
    names = [f"Region_{number:02d}" for number in range(20)]
    regions = pd.DataFrame({
        "region": [*names, "outside the atlas"], "voxels": 10, "volume_ml": 0.64, "mean": 1.0, "p95": 2.0,
        "maximum": 3.0, "mass": 4.0, "share": 1 / 21, "rank": pd.array([*range(1, 21), pd.NA], dtype="Int64"),
        "fold_rank_best": [*range(1, 21), None], "fold_rank_worst": [*range(2, 22), None], "p_size": 0.25,
        "below_resolution": [True, *[False] * 19, None],
    })  # fmt: skip
    shown, values = {"image": blob, "regions": {"AAL": regions}}, np.zeros(3, np.float32)
    heatmaps = [
        Heatmap("svm/gm", "weights", "patient", 6, "SD", "both", values, **shown, resolution_mm=4.0),
        Heatmap(
            "cnn3d/gm",
            "gradcam",
            HOSTILE,
            6,
            "SD",
            "positive",
            values,
            **shown,
            resolution_mm=8.0,
            calls=(5, 1),
            checks={"finite": 1.0},
            measured={"labels_shuffled": 0.75, "infidelity": 0.25},
        ),
    ]
    samples = pd.DataFrame({
        "participant_id": [*(f"{number:02d}" for number in range(12)), HOSTILE, "99"], "session_id": None,
        "class": ["control", "patient"] * 7, "used": [True] * 12 + [False] * 2,
        "reason": [None] * 12 + ["no image", "group is n/a"], "age": [30.0] * 11 + [None] * 3, "sex": ["F", None] * 7,
        "site": HOSTILE, "tiv": 1400.0, "source": "pellucid",
    })  # fmt: skip
    scores = pd.DataFrame([
        {"cell": cell, "repeat": 1, "n": 12, "balanced_accuracy": 0.7, "balanced_accuracy_low": 0.5,
         "balanced_accuracy_high": 0.8, "auroc": 0.75, "auroc_low": 0.6, "auroc_high": 0.9, "sensitivity": 0.7,
         "specificity": 0.7, "p_corrected": 0.01}
        for cell in ("svm/gm", "cnn3d/gm", "age and sex")
    ])  # fmt: skip
    used = samples[samples["used"]]
    audited = {
        "by_class": audit.audit_classes(used, samples, ("control", "patient")),
        "confounded": ["all at site <A>"],
    }
    write_group_report(
        folder / "report.html", analysis="migraine", audit=audited,
        verdicts={"svm/gm": Verdict(BETTER, "The first finding."), "cnn3d/gm": Verdict(NO_BETTER, "The second.")},
        samples=samples, scores=scores, pairs=pd.DataFrame(), predictions=predictions(),
        heatmaps=heatmaps, checks=checks.tabulate_checks(heatmaps), atlas_notes={"AAL": "declares MNIColin27"},
        settings_toml='label = "group"\n',
        methods="Words (Good 2001).", references=cited_references("Good 2001"), template=template, mask=mask,
    )  # fmt: skip
    return folder


def test_group_report_sections_are_in_order_starting_with_the_findings(report):
    glance, found, text = (report / "report.html").read_text().partition('id="found"')
    assert found
    assert 'id="glance"' in glance
    order = [
        "The first finding.", "Research use only; not for diagnosis.", 'id="participants"', 'id="audit"',
        "all at site &lt;A&gt;", "preprocessing source", ">exclusion<",
        'id="scores"', "no better than a confound", NO_IMAGE, "roc.png",
        "confusion.png", 'id="heatmaps"', 'id="settings"', 'id="methods"', 'id="references"', 'id="glossary"',
    ]  # fmt: skip
    places = [text.index(one) for one in order]
    assert places == sorted(places)
    assert "not where the disease is" in text
    assert "Declares MNIColin27." in text
    assert "n/a for 1" in text


def test_every_column_of_every_table_is_explained_where_it_stands(report):
    text = (report / "report.html").read_text()
    headings = re.findall(r'<th scope="col"[^>]*?(?: title="([^"]*)")?>([^<]+)</th>', text)
    unexplained = {html.unescape(name) for title, name in headings if not title}
    # names, and what the paragraph above its table defines
    named = {"model", "region", "class", "sex", "site", "age, mean (SD)", "variable", "heatmap", "check", "value"}
    assert unexplained <= named | set(MORE_SCORES.values()) | {
        name for name in unexplained if name.endswith("participants: balanced accuracy")
    }
    assert len(headings) - len(unexplained) > 20
    for title, name in headings:
        if title:
            assert f"<dt>{name}</dt><dd>{title}</dd>" in text


def test_all_columns_of_a_table_are_one_link_away(report):
    text = (report / "report.html").read_text()
    assert {'href="scores.tsv"', 'href="samples.tsv"', 'href="regions.tsv"'} <= set(re.findall(r'href="[^"]*"', text))


def test_figures_are_written_for_a_paper_with_a_caption_each_and_the_same_bytes_again(report, mask, blob, tmp_path):
    paper = report / "figures" / "paper"
    captions = (paper / "captions.md").read_text()
    pictures = {path.stem for path in (report / "figures").glob("*.png")}
    assert pictures == {path.stem for path in paper.glob("*.pdf")} == {path.stem for path in paper.glob("*.svg")}
    assert all(f"**{name}.** " in captions for name in pictures)
    assert captions.count("**") == 2 * len(pictures)
    for run in ("one", "other"):
        draw_heatmap(blob, mask, mask, tmp_path / run / "same.png", title="t", unit="u", paper=True)
    for extension in (".pdf", ".svg"):
        one, other = (tmp_path / run / "paper" / f"same{extension}" for run in ("one", "other"))
        assert one.read_bytes() == other.read_bytes()


def test_pictures_have_words_for_readers_who_do_not_see_them(report):
    text = (report / "report.html").read_text()
    words = [html.unescape(each) for each in re.findall(r'<img [^>]*alt="([^"]*)"', text)]
    assert any("svm/gm 0.75" in each for each in words)  # AUROC, as in the table
    table = predictions()
    right = table[(table["cell"] == "svm/gm") & (table["true"] == "patient")]["predicted"].eq("patient").mean()
    assert any(f"svm/gm, patient: {right:.0%} predicted correctly" in each for each in words)
    assert any("strongest regions (AAL): Region_00, Region_01, Region_02" in each for each in words)


def test_only_models_without_a_claim_carry_the_warning_before_the_heatmaps(report):
    text = (report / "report.html").read_text()
    assert text.count(NO_CLAIM) == 1
    svm, box, cnn = text.index("heatmap-01"), text.index(NO_CLAIM), text.index("heatmap-02")
    assert svm < box < cnn


def test_failed_checks_are_stated_beside_the_heatmap_and_small_regions_marked(report):
    text = (report / "report.html").read_text().replace("<wbr>", "")
    failed = "similarity to heatmaps trained on shuffled labels: 0.75 (criterion: 0.7 or less)"
    assert text.count(f"This heatmap fails a check: {failed}.") == 1
    assert text.index("heatmap-01") < text.index("This heatmap fails a check") < text.index("heatmap-02")
    assert "1 of 2 passed" in text  # finite, and of shuffled labels; infidelity has no limit
    assert "infidelity (0: best, 1: nothing explained)" in text
    assert text.count("Region_00 \N{DAGGER}") == 2
    assert "Region_01 \N{DAGGER}" not in text
    assert ">2 to 3<" in text


def test_region_table_always_shows_the_row_outside_the_atlas(report):
    text = (report / "report.html").read_text().replace("<wbr>", "")
    shown, hidden = text.split("5 more regions")[0], text.split("5 more regions")[1]
    assert "Region_14" in shown
    assert "Region_15" not in shown
    assert "Region_15" in hidden
    assert shown.index("Region_14") < shown.index("outside the atlas")


def test_every_figure_of_the_group_report_exists_and_paths_are_relative(report):
    text = (report / "report.html").read_text()
    files = re.findall(r'<(?:img|iframe)[^>]* src="([^"]+)"', text)
    assert len(files) == 7  # the map of the finding is also at the top
    assert len(set(files)) == 6
    for file in files:
        assert (report / file).is_file(), file
    assert str(report) not in text
    assert not re.search(r'(src|href)="(/|file:|[A-Za-z]:\\)', text)


def test_html_in_data_is_escaped_in_every_page(report):
    pages = [report / "report.html", *(report / "figures").glob("*.html")]
    assert len(pages) == 3
    for written in pages:
        assert HOSTILE not in written.read_text()
    assert "&lt;script&gt;alert" in (report / "report.html").read_text()


def test_viewers_need_no_network(report):
    for viewer_page in (report / "figures").glob("*.html"):
        text = viewer_page.read_text()
        assert not re.search(r'(src|href)="(https?:)?//', text)
        assert "unit: SD" in text
        assert viewer_page.stat().st_size < 1_000_000


def test_viewer_of_a_zero_heatmap_is_written(template, mask, tmp_path):
    zero = nib.Nifti1Image(np.zeros(mask.shape, np.float32), mask.affine)
    write_viewer(zero, template, tmp_path / "zero.html", mask=mask, threshold=0.0, title="z", unit="u")
    assert (tmp_path / "zero.html").stat().st_size > 10_000


def test_same_heatmap_gives_the_same_viewer_byte_for_byte(template, mask, tmp_path):
    values = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
    for folder in ("one", "other"):
        image, file = nib.Nifti1Image(values, mask.affine), tmp_path / folder / "heatmap.html"
        write_viewer(image, template, file, mask=mask, threshold=0.5, title="z", unit="u")
    one, other = ((tmp_path / folder / "heatmap.html").read_bytes() for folder in ("one", "other"))
    assert one == other


def test_participant_report_contains_the_required_items(tmp_path):
    (tmp_path / "sub-01" / "figures").mkdir(parents=True)
    (tmp_path / "sub-01" / "figures" / "mask.png").write_bytes(b"")
    write_participant_report(
        tmp_path / "sub-01.html", participant="01", session="2",
        figures=[Figure("Mask", "A caption.", "sub-01/figures/mask.png")],
        measures={"gm_ml": 600.0, "wm_ml": 500.0, "csf_ml": 300.0, "tiv_ml": 1400.0}, facts={"site": HOSTILE},
        checks=["the mask is small"], methods="One.\n\n- two\n- three", references=["A. https://doi.org/10.1/x."],
        version="9.9",
    )  # fmt: skip
    text = (tmp_path / "sub-01.html").read_text()
    for must in ("sub-01, ses-2", ">600<", ">1400<", "the mask is small", "<li>two</li>", "9.9", RESEARCH_USE):
        assert must in text
    assert '<a href="https://doi.org/10.1/x">https://doi.org/10.1/x</a>.' in text
    assert HOSTILE not in text
    assert str(tmp_path) not in text
    for file in re.findall(r'<img src="([^"]+)"', text):
        assert (tmp_path / file).is_file()


def test_index_lists_failures_first_and_qc_table_columns_stay_aligned(tmp_path):
    rows = [
        {"participant_id": "01", "session_id": None, "status": "done", "report": "sub-01.html", "gm_ml": 601.25},
        {"participant_id": "02", "session_id": "a", "status": f"the image\tis {HOSTILE}", "report": None},
    ]
    write_index(tmp_path / "index.html", rows, analyses={"diagnosis": "group/diagnosis/report.html"})
    text = (tmp_path / "index.html").read_text()
    assert 'Group analyses: <a href="group/diagnosis/report.html">diagnosis</a>.' in text
    assert text.index('data-participant="sub-02"') < text.index('data-participant="sub-01"')
    assert HOSTILE not in text
    assert 'href="sub-01.html"' in text
    table = qc_table(rows).splitlines()
    assert table[0].split("\t") == ["participant_id", "session_id", "status", "gm_ml", "outliers"]
    assert [len(line.split("\t")) for line in table] == [5, 5, 5]
    assert table[1].split("\t") == ["sub-01", "n/a", "done", "601.25", "n/a"]


def test_citation_files_contain_the_same_references_in_every_format():
    given = {"resolution": 2, "space": "MNI152NLin2009cAsym", "mask_method": "from --brain-mask"}
    given |= {"sloppy": False, "anatomy": "ants"}
    text = describe_participant(maps=["gm"], registration="nonlinear", source="pellucid", **given)
    made = citation_files([text], version="0.0")
    dois = [one.rpartition("https://doi.org/")[2] for one in cited_references(text)]
    assert len(dois) > 5
    for content in made.values():
        assert not [doi for doi in dois if doi not in content]
    entries = re.findall(r"@misc\{(\w+),\n  author = \{(.+)\},\n  year = \{(\d{4})\}", made["CITATION.bib"])
    assert len({key for key, _, _ in entries}) == len(dois)
    assert ("Tustison2010", "Tustison, NJ and others", "2010") in entries
    two = citation_files(["as by Zou & Donner 2008"], version="0.0")["CITATION.bib"]
    assert "author = {Zou, GY and Donner, A}" in two


def test_bibtex_has_the_year_of_each_reference_and_its_doi_or_address():
    for key, reference in all_references().items():
        entry = citation_files([key], version="0.0")["CITATION.bib"]
        assert f"  year = {{{key[-4:]}}},\n" in entry
        doi, address = reference.partition("https://doi.org/")[2], reference.partition("https://")[2]
        assert (f"  doi = {{{doi}}},\n" in entry) == bool(doi)
        assert (f"  url = {{https://{address}}},\n" in entry) == bool(address and not doi)


def test_methods_cite_only_the_steps_performed():
    given = {"resolution": 2, "space": "MNI152NLin2009cAsym", "mask_method": "from --brain-mask"}
    given |= {"sloppy": False, "anatomy": "ants"}
    syn = describe_participant(maps=["gm"], registration="nonlinear", source="pellucid", **given)
    affine = describe_participant(maps=["t1w"], registration="affine", source="pellucid", **given)
    borrowed = describe_participant(maps=["gm"], registration="nonlinear", source="fmriprep", **given)
    fast = describe_participant(maps=["gm"], registration="nonlinear", source="pellucid", **given | {"anatomy": "fast"})
    assert "Yushkevich 2016" in fast
    assert "Tustison 2010" not in fast
    assert "Avants 2008" in syn
    assert "Avants 2008" not in affine
    assert "Tustison 2010" not in borrowed
    assert [one.split()[0] for one in cited_references(borrowed)] == [
        "Esteban",
        "Fonov",
        "Good",
        "Gorgolewski",
        "Gorgolewski",
    ]
    for text in (syn, affine, borrowed, fast):
        named = set(re.findall(r"([A-Z]\w+(?:-\w+)?(?: & \w+)?) (?:et al\. )?((?:19|20)\d\d)", text))
        assert len(cited_references(text)) == len(named)


def test_group_methods_describe_every_plugin_used():
    text = describe_group(
        cells=[f"{name}/gm" for name in catalogue.names("classifiers")], classes={"control": 20, "patient": 19},
        split="They were split into 5 folds, 2 times.", smoothing={"gm": 8.0, "t1w": 0.0}, keep=("age",),
        adjust={"gm": ("tiv",), "t1w": ()}, permutations={"svm/gm": 1000, "cnn3d/gm": 40},
        explainers=catalogue.names("explainers"), version="9.9", atlases=["AAL"],
    )  # fmt: skip
    for must in (
        "39 participants (20 control, 19 patient)",
        "5 folds",
        "2 times",
        "8 mm",
        "tiv (gm)",
        "Rolls 2015",
        "9.9",
        "1000 for svm/gm",
    ):
        assert must in text
    for name in (*catalogue.names("classifiers"), *catalogue.names("explainers")):
        assert re.search(rf"^- {name}\b.*: [A-Z].{{20,}}", text, flags=re.MULTILINE), name
    assert "t1w was smoothed" not in text
    assert "was evaluated on the same folds" not in text
    with pytest.raises(UsageError, match="there is no tarot"):
        describe_group(
            cells=["tarot/gm"],
            classes={"a": 1},
            split="",
            smoothing={},
            adjust={},
            explainers=[],
            version="1",
        )


def test_methods_name_the_image_free_baselines_and_the_omitted_one():
    ran, why = {"svm/gm": 1000, "cnn3d/gm": 0}, "One was left out."
    three = describe_permutations(ran, ["age and sex", "site", "brain size"], [])
    assert "Logistic regression on age and sex, on site and on brain size alone was evaluated" in three
    assert "permutations: 1000 for svm/gm)" in three
    one = describe_permutations(ran, ["brain size"], [why])
    assert "Logistic regression on brain size alone was evaluated" in one
    assert one.endswith(f" {why}")
    assert describe_permutations({"svm/gm": 0}, ["site"], [why]) == ""


def test_papers_with_the_same_name_and_year_are_distinguished():
    for text, start in (("Zou et al. 2008", "Zou QH"), ("Zou 2008", "Zou QH"), ("Zou & Donner (2008)", "Zou GY")):
        assert [one.partition(",")[0] for one in cited_references(text)] == [start]
    assert len(cited_references("Ashburner & Friston 2000; Cortes et al. 1995")) == 2


def test_unchanged_page_is_not_rewritten_and_no_temporary_file_is_left(tmp_path):
    for text, ino_stays in (("a", None), ("a", True), ("b", False)):
        before = (tmp_path / "x.html").stat().st_ino if (tmp_path / "x.html").exists() else None
        save_page(tmp_path / "x.html", text)
        assert ino_stays is None or (before == (tmp_path / "x.html").stat().st_ino) == ino_stays
    assert [one.name for one in tmp_path.iterdir()] == ["x.html"]
    assert (tmp_path / "x.html").read_text() == "b"


def test_every_reference_has_an_address_except_books():
    for key, reference in all_references().items():
        assert "https://" in reference or key == "Kendall & Gibbons 1990"
        assert key.rsplit(" ", 1)[1] in reference
        assert reference.startswith(key.split()[0])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (float("nan"), "n/a"), (np.float32("nan"), "n/a"), (pd.NA, "n/a"), (3.0, "3"), (np.int64(7), "7"),
     (0.123456, "0.123"), (1234.56, "1235"), ("x", "x"), (True, "True"), (-0.00012345, "-0.000123")],
)  # fmt: skip
def test_numbers_are_formatted_to_three_digits_and_missing_values_as_na(value, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert format_number(value) == text


def test_many_unjudged_models_are_grouped_together():
    verdicts = {f"net{number}/gm": Verdict(UNJUDGED, f"Why {number}.") for number in range(5)}
    verdicts["svm/gm"] = Verdict(BETTER, "A claim.")
    result = select_findings(verdicts)
    assert result["findings"] == ["A claim."]
    assert result["unjudged"] == {
        "models": [f"net{number}/gm" for number in range(5)],
        "sentences": [f"Why {number}." for number in range(5)],
    }
    few = dict(list(verdicts.items())[3:])
    assert select_findings(few) == {"findings": ["Why 3.", "Why 4.", "A claim."], "unjudged": None}


def test_within_site_table_has_a_row_per_model_and_a_column_per_site():
    score = {"people": 12, "balanced_accuracy": 0.5, "low": 0.3, "high": 0.7}
    none = {"people": 1, "balanced_accuracy": None, "low": None, "high": None}
    each = [{"site": "A", **score}, {"site": "B", **none}]
    told = {"by_class": [], "confounded": [], "within_sites": {"svm/gm": each, "cnn3d/gm": each}}
    row = {
        "A, 12 participants: balanced accuracy": "0.50 (0.30 to 0.70)",
        "B, 1 participants: balanced accuracy": "n/a",
    }
    assert format_audit(told)["within_sites"] == [{"model": cell, **row} for cell in ("svm/gm", "cnn3d/gm")]
