"""A label that is age, sex or site itself is neither a confound nor a baseline nor an unknown."""

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app import settings
from bids_app.atlases import templates
from bids_app.bids.participants import with_synonyms
from bids_app.errors import DataError, UsageError
from bids_app.planning import cohort
from bids_app.planning.group import ModelSpec
from bids_app.planning.permutations import exchangeable_labels
from bids_app.results.verdicts import unexamined_confounds
from bids_app.run import main

SPACE, MM, PEOPLE = "MNI152NLin2009cAsym", 4.0, 24
SEXES = ("F", "M")


def chosen(tmp_path, **given):
    return settings.build("group", tmp_path / "bids", tmp_path / "out", options=given)


def people(number=PEOPLE):
    """Sex, site and age are unrelated; `side` is the site under another name."""
    table = pd.DataFrame({"participant_id": [f"sub-{one:02}" for one in range(1, number + 1)]})
    table["sex"] = np.array(SEXES)[np.arange(number) % 2]
    table["site"] = np.array(["A", "B"])[np.arange(number) // 2 % 2]
    table["side"] = table["site"].map({"A": "left", "B": "right"})
    table["age"] = np.random.default_rng(0).integers(20, 60, number).astype(float)
    return table


@pytest.mark.parametrize(
    ("label", "site", "column"),
    [
        ("sex", None, "sex"), ("age", None, "age"), ("site", None, "site"), ("site", "site", "site"),
        ("side", None, None), ("side", "side", "site"), ("site", "side", None), ("sex", "side", "sex"),
    ],
)  # fmt: skip
def test_label_column_is_identified_from_the_label_and_site_options(tmp_path, label, site, column):
    given = {"label": label} | ({"site": site} if site else {})
    assert cohort.label_column(people(), chosen(tmp_path, **given)) == column


def test_sites_that_differ_in_spelling_only_are_named(tmp_path, caplog):
    table = people().assign(**{"class": "x"})
    table.loc[0, "site"] = "a"
    cohort.check_confounded(table, ("x",), chosen(tmp_path, label="side", allow_confounded=True), label_column=None)
    assert "the sites A and a differ in spelling only" in caplog.text


def test_site_as_label_is_not_confounded_with_itself_but_an_equivalent_column_is(tmp_path):
    table = people()
    used = table.assign(**{"class": table["site"]})
    cohort.check_confounded(used, ("A", "B"), chosen(tmp_path, label="site"), label_column="site")
    with pytest.raises(DataError, match="class and site are confounded"):
        cohort.check_confounded(used, ("A", "B"), chosen(tmp_path, label="side"), label_column=None)
    harmonised = chosen(tmp_path, label="site", harmonize="combat")
    with pytest.raises(UsageError, match="harmonisation would remove the effect of interest"):
        cohort.check_confounded(used, ("A", "B"), harmonised, label_column="site")


@pytest.mark.parametrize("label", ["sex", "site"])
def test_label_column_is_no_unexamined_confound_but_missing_age_is(label):
    used = people().assign(**{"class": people()[label]})
    planned = SimpleNamespace(used=used, classes=tuple(sorted(used["class"].unique())), label_column=label)
    assert unexamined_confounds(planned, ModelSpec("svm", ("gm",))) == []
    planned.used = used.assign(age=np.nan)  # that is not known, whatever the label is
    assert unexamined_confounds(planned, ModelSpec("svm", ("gm",))) == ["age is unknown"]


@pytest.mark.parametrize("label", ["sex", "gender"])
def test_combat_covariate_that_is_the_label_is_refused_under_any_name(tmp_path, label):
    table = with_synonyms(people().rename(columns={"sex": "gender"}).drop(columns="age"))
    with pytest.raises(UsageError, match="--combat-covariates sex is the label"):
        cohort.read_classes(table, chosen(tmp_path, label=label, harmonize="combat", combat_covariates=["sex"]))


def test_permutation_is_not_restricted_to_sites_when_site_is_the_label(tmp_path):
    table = people()
    used = table.assign(**{"class": table["site"]})
    split = SimpleNamespace(repeat=1, fold=1, test=range(PEOPLE), groups=tuple(used["participant_id"]))
    planned = SimpleNamespace(used=used, classes=("A", "B"), label_column="site", splits=[split])
    *_, places = exchangeable_labels(planned, chosen(tmp_path, label="site", site="site"))
    assert set(places) == {"-"}


@pytest.fixture(scope="module")
def study(tmp_path_factory, with_template, invented_gm):
    """BIDS and OUT_DIR: men have higher frontal values, and participants of site A higher posterior values."""
    home = tmp_path_factory.mktemp("label")
    bids, out = home / "bids", home / "out"
    bids.mkdir()
    with_template(out / ".work")
    random = np.random.default_rng(3)
    table = people()
    table.to_csv(bids / "participants.tsv", sep="\t", index=False)
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "label", "BIDSVersion": "1.10.0"}))
    shape, affine = templates.grid(SPACE, MM)
    front = np.linspace(-1, 1, shape[1])[None, :, None] > 0
    for row in table.itertuples():
        (bids / row.participant_id).mkdir()
        values = 0.5 + 0.1 * gaussian_filter(random.normal(size=shape), 2) / 0.05
        values = values * (1 + 0.3 * (row.sex == "M") * front + 0.3 * (row.site == "A") * ~front)
        invented_gm(out, row.participant_id, nib.Nifti1Image(values.astype(np.float32), affine), random)
    return bids, out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "classes", "rivals", "left_out"),
    [
        ("sex", "M from F", "site or brain size", "The baseline 'age and sex' was excluded because sex"),
        ("site", "B from A", "age and sex or brain size", "The baseline 'site' was excluded because site"),
    ],
)
def test_label_used_by_a_baseline_is_judged_against_the_other_baselines(study, label, classes, rivals, left_out):
    bids, out = study
    given = ["--label", label, "--site", "site", "--classifiers", "svm", "--explainers", "weights"]
    assert main([str(bids), str(out), "group", *given]) == 0
    folder = out / "group" / label
    audit = json.loads((folder / "audit.json").read_text())
    page = " ".join((folder / "report.html").read_text().split()).replace("&#39;", "'")
    assert f"svm on gm distinguished {classes} above chance and better than {rivals} alone" in page
    assert audit["confounded"] == []
    assert label not in [row["what"] for row in audit["by_class"]]
    assert [one.startswith(left_out) for one in audit["baselines_omitted"]] == [True]
    (sentence,) = audit["baselines_omitted"]
    for name in ("methods.md", "model_card.md", "share/audit.json", "share/methods.md"):
        assert sentence in (folder / name).read_text(), name
    assert f"<p>{sentence}</p>" in page
    assert (audit["within_sites"] == {}) == (label == "site")
    assert (audit["site_predicted_from_maps"] == {}) == (label == "site")
