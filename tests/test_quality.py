"""Quality measures: their definitions, places among participants, and index.html in a browser."""

import html
import json
import re
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_app.bids import exclusions, outputs
from bids_app.nodes.quality import measure_anatomy, measure_runs
from bids_app.publish.index import publish_index
from bids_app.report.index import qc_table, write_index
from bids_app.report.participant import Figure, write_participant_report
from bids_app.report.quality import BEGIN, END, find_outliers, render_quality, summarise_measures

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def add_participant(out, label, session=None, **measures):
    """A page with a place for quality measures, and the measures, as a node leaves them."""
    name = f"sub-{label}" + (f"_ses-{session}" if session else "")
    file = out / outputs.log_file(label, session, "qc")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(measures))
    (out / f"{name}.html").write_text(f"before {BEGIN} {END} after")


def rows_of(values, name="tiv_ml"):
    return [
        {"participant_id": f"{number:02}", "session_id": None, "status": "done", "report": None, name: value}
        for number, value in enumerate(values, start=1)
    ]


@pytest.mark.parametrize(("name", "sides"), [("tiv_ml", "both"), ("fd_mean", "high"), ("minutes_retained", "low")])
def test_outliers_are_those_of_scipys_scaled_mad_on_the_side_that_indicates_a_problem(name, sides):
    values = np.random.default_rng(1).standard_t(2, size=200)
    rows = rows_of(values.tolist(), name)
    distributions = summarise_measures(rows)
    score = (values - np.median(values)) / stats.median_abs_deviation(values, scale="normal")
    expected = np.where(score > 3, "high", np.where(score < -3, "low", ""))
    if sides != "both":
        expected[expected != sides] = ""
    assert (expected != "").sum() > 3
    assert [find_outliers(row, distributions).get(name, "") for row in rows] == expected.tolist()


def test_value_unlike_many_equal_ones_is_an_outlier_and_none_is_among_few_participants():
    rows = rows_of([5.0] * 11 + [2.0], "minutes_retained")
    found = [find_outliers(row, summarise_measures(rows)) for row in rows]
    assert found == [{}] * 11 + [{"minutes_retained": "low"}]
    assert not find_outliers(rows[-1], summarise_measures(rows[3:]))
    same = rows_of([5.0] * 12)
    assert not any(find_outliers(row, summarise_measures(same)) for row in same)


def test_failed_participants_do_not_count_among_those_that_others_are_compared_with():
    rows = rows_of([1500.0, 1510.0, 9000.0])
    rows[2]["status"] = "no brain was found"
    assert summarise_measures(rows)["tiv_ml"].values == [1500.0, 1510.0]


def test_dot_median_and_rank_of_a_page_are_those_of_all_values():
    rows = rows_of([1300.0, 1500.0, 1500.0, 1700.0, 2100.0])
    text = render_quality(rows[3], summarise_measures(rows), links={"All participants": "index.html"})
    assert 'class="dot" d="M50 8h0"' in text
    assert 'class="median" d="M26 2V14"' in text
    for must in (">4 of 5<", ">1700<", "1300 to 2100", 'href="index.html"'):
        assert must in text
    assert ">2 to 3 of 5<" in render_quality(rows[1], summarise_measures(rows), links={})


def test_anatomical_measures_follow_their_definitions(tmp_path):
    first, second = np.zeros((2, 6, 6, 6), np.float32)
    first[:4], second[2:] = 1, 1
    for name, values in (("brain", first), ("template", second)):
        nib.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / f"{name}.nii.gz")
    volumes = {"GM": 600.0, "WM": 500.0, "CSF": 400.0, "TIV": 1500.0}
    sources = {"affine": {"mask": "unused"}, "nonlinear": {"mask": str(tmp_path / "brain.nii.gz")}}
    measures = measure_anatomy(volumes, sources, {"mask": str(tmp_path / "template.nii.gz")})
    assert measures["dice_template"] == 0.5  # 2 of 4 + 4 planes
    assert [measures[f"icvs_{name}"] for name in ("gm", "wm", "csf")] == [0.4, 0.3333, 0.2667]
    assert measures["tiv_ml"] == 1500.0


def test_measures_of_bold_follow_the_definitions_of_mriqc_over_runs(tmp_path):
    runs = []
    for number, (fd, tr) in enumerate([([np.nan, 0.1, 0.3, 0.2], 2.0), ([np.nan, 0.5, 0.1, 0.3, 0.3, 0.6], 2.0)]):
        np.save(tmp_path / f"fd{number}.npy", fd)
        np.save(tmp_path / f"mask{number}.npy", np.nan_to_num(fd) < 0.4)
        files = {"fd": str(tmp_path / f"fd{number}.npy"), "sample_mask": str(tmp_path / f"mask{number}.npy")}
        runs.append({**files, "tr": tr, "dummies": number, "overlap": 0.9 - number / 10})
    assert measure_runs(runs) == {
        "size_t": 10, "spacing_tr": 2.0, "dummy_trs": 1, "censored_perc": 20.0, "minutes_retained": 0.27,
        "fd_mean": 0.28, "fd_num": 5, "fd_perc": 50.0, "dice_bold": 0.8,
    }  # fmt: skip


def test_pages_link_to_their_neighbours_and_to_group_reports(tmp_path):
    for label, session in (("01", None), ("02", "a"), ("02", "b")):
        add_participant(tmp_path, label, session, tiv_ml=1500.0)
    (tmp_path / "group" / "diagnosis").mkdir(parents=True)
    (tmp_path / "group" / "diagnosis" / "report.html").touch()
    publish_index(tmp_path)
    text = (tmp_path / "sub-02_ses-a.html").read_text()
    links = re.findall(r'<a href="([^"]+)"', text)
    assert links == ["index.html", "sub-01.html", "sub-02_ses-b.html", "group/diagnosis/report.html"]
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "sub-02_ses-b" not in (tmp_path / "sub-01.html").read_text()


def test_pages_are_up_to_date_after_jobs_that_each_process_one_participant(tmp_path):
    for number in range(1, 10):
        add_participant(tmp_path, f"{number:02}", tiv_ml=1400.0 + number)
        publish_index(tmp_path, processed={(f"{number:02}", None)})
    for number in range(1, 10):
        assert f">{number} of 9<" in (tmp_path / f"sub-{number:02}.html").read_text()


def test_many_jobs_write_few_pages_of_other_participants_and_the_last_group_run_all(tmp_path):
    written = 0
    for number in range(100):
        add_participant(tmp_path, f"{number:03}", tiv_ml=1400.0 + number)
        before = {path: path.read_text() for path in tmp_path.glob("sub-*.html")}
        publish_index(tmp_path, processed={(f"{number:03}", None)})
        written += sum(path.read_text() != text for path, text in before.items())
    assert written < 100 * 100 / 2 / 3
    publish_index(tmp_path)
    assert all("of 100<" in path.read_text() for path in tmp_path.glob("sub-*.html"))


def test_pages_without_a_place_for_quality_measures_are_left_as_they_are(tmp_path):
    (tmp_path / "sub-01.html").write_text("an older page")
    publish_index(tmp_path)
    assert (tmp_path / "sub-01.html").read_text() == "an older page"


def test_qc_table_has_all_measures_and_names_outliers(tmp_path):
    rows = rows_of([*np.linspace(1400, 1600, 12).tolist(), 3000.0])
    table = [line.split("\t") for line in qc_table(rows).splitlines()]
    assert table[0] == ["participant_id", "session_id", "status", "tiv_ml", "outliers"]
    assert [line[-1] for line in table[1:]] == ["n/a"] * 12 + ["tiv_ml"]
    write_index(tmp_path / "index.html", rows, analyses={})
    page = (tmp_path / "index.html").read_text()
    assert page.count('class=" attention"') == 1
    assert not re.search(r"https?://", page)
    assert BEGIN not in page


def browse(page, script, profile, *flags):
    """What a script appended to a page writes into <pre id="seen">, in Chromium."""
    text = page.read_text().replace("</body>", f'<pre id="seen"></pre><script>{script}</script></body>')
    page.write_text(text)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *flags]
    done = subprocess.run(
        [*command, "--virtual-time-budget=2000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True, timeout=90,
    )  # fmt: skip
    return json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)[1]))


ORDER = (
    "[...document.querySelectorAll('#participants tbody tr')].filter(r => !r.hidden).map(r => r.dataset.participant)"
)
TELL = "document.getElementById('seen').textContent = JSON.stringify"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_index_sorts_by_number_with_missing_values_last_and_shows_outliers_alone(tmp_path):
    rows = rows_of([900.0, 1500.0, *np.linspace(1400, 1600, 12).tolist()])
    rows.append({**rows[0], "participant_id": "20", "status": "no image"})
    del rows[-1]["tiv_ml"]
    page = tmp_path / "index.html"
    write_index(page, rows, analyses={})
    script = f"""
    const button = [...document.querySelectorAll("th button")].find(b => b.textContent.startsWith("TIV"));
    button.click(); const up = {ORDER}; button.click(); const down = {ORDER};
    const shown = document.getElementById("shown"); shown.value = "attention"; shown.dispatchEvent(new Event("change"));
    {TELL}({{up, down, attention: {ORDER}, sort: button.closest("th").ariaSort}});"""
    seen = browse(page, script, tmp_path / "profile")
    known = sorted(rows[:-1], key=lambda row: row["tiv_ml"])
    assert seen["up"] == [f"sub-{row['participant_id']}" for row in [*known, rows[-1]]]
    assert seen["down"][0] == f"sub-{known[-1]['participant_id']}"
    assert seen["down"][-1] == "sub-20"
    assert set(seen["attention"]) == {"sub-01", "sub-20"}
    assert seen["sort"] == "descending"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_ratings_survive_a_reload_and_the_saved_table_is_one_that_exclude_reads(tmp_path):
    rows = rows_of([1500.0, 1501.0, 1502.0, 1503.0])
    rows[1]["session_id"] = "a"
    page, profile = tmp_path / "index.html", tmp_path / "profile"
    write_index(page, rows, analyses={})
    rate = f"""
    const change = (row, rating, reason) => {{
      const [choice, input] = [row.querySelector("select"), row.querySelector("input")];
      choice.value = rating; choice.dispatchEvent(new Event("change"));
      input.value = reason; input.dispatchEvent(new Event("input")); }};
    const all = document.querySelectorAll("#participants tbody tr");
    change(all[0], "exclude", 'a "large"\\tcyst'); change(all[1], "exclude", ""); change(all[2], "unsure", "motion?");
    {TELL}([...all].map(row => row.querySelector("select").value));"""
    assert browse(page, rate, profile) == ["exclude", "exclude", "unsure", ""]

    write_index(page, rows, analyses={"new": "group/new/report.html"})
    save = f"""
    const links = []; HTMLAnchorElement.prototype.click = function () {{ links.push([this.download, this.href]); }};
    for (const id of ["save-exclude", "save-ratings"]) document.getElementById(id).click();
    {TELL}(links.map(([name, address]) => [name, decodeURIComponent(address.split(",").slice(1).join(","))]));"""
    saved = dict(browse(page, save, profile))
    (tmp_path / "exclude.tsv").write_text(saved["exclude.tsv"])
    assert exclusions.read(tmp_path / "exclude.tsv") == {("01", None): "a large cyst", ("02", "a"): "listed"}
    (tmp_path / "ratings.tsv").write_text(saved["ratings.tsv"])
    ratings = pd.read_csv(tmp_path / "ratings.tsv", sep="\t", dtype=str)
    assert list(ratings["rating"]) == ["exclude", "exclude", "unsure"]
    assert list(ratings["reason"].fillna("")) == ["a large cyst", "", "motion?"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("flags", [(), ("--force-prefers-reduced-motion",)], ids=["motion", "reduced motion"])
def test_pictures_alternate_on_request_and_never_where_reduced_motion_is_preferred(tmp_path, flags):
    page = tmp_path / "sub-01.html"
    figure = Figure("Registration", "A caption.", "a.png", "b.png", ("participant", "template"))
    write_participant_report(
        page, participant="01", session=None, figures=[figure], measures={}, facts={}, checks=[], methods="None.",
        references=[], version="9.9",
    )  # fmt: skip
    script = f"""
    const look = radio => {{
      radio.checked = true;
      const style = getComputedStyle(document.querySelectorAll(".pair img")[1]);
      return [radio.labels[0].textContent, getComputedStyle(radio).display !== "none", style.opacity,
              style.animationName]; }};
    {TELL}([...document.querySelectorAll(".flicker input")].map(look));"""
    seen = browse(page, script, tmp_path / "profile", *flags)
    assert seen[0] == ["participant", True, "0", "none"]
    assert seen[1] == ["template", True, "1", "none"]
    assert seen[2][:2] == ["alternate", not flags]
    assert seen[2][3] == ("none" if flags else "swap")
