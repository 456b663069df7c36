"""Study coordinates as a reference map: activation likelihood compared with the definition, and invalid tables."""

import json
import math

import nibabel as nib
import numpy as np
import pytest

from bids_app.dataset import foci
from bids_app.errors import DataError
from bids_app.regions import ale, overlap

AFFINE = np.array([[-4.0, 0, 0, 60], [0, 4, 0, -80], [0, 0, 4, -50], [0, 0, 0, 1]])
SHAPE = (31, 35, 29)
PLACES = nib.affines.apply_affine(AFFINE, np.argwhere(np.ones(SHAPE, bool)))


def written(tmp_path, text, name="foci.tsv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def by_definition(place, studies):
    """ALE at one place by the formulas of Eickhoff 2009 and Turkeltaub 2012, focus by focus."""
    missed = 1.0
    for points, people in studies:
        sigma_subjects = 11.6 / (2 * math.sqrt(2 / math.pi)) / math.sqrt(people)
        sigma_templates = 5.7 / (2 * math.sqrt(2 / math.pi))
        variance = sigma_subjects**2 + sigma_templates**2
        largest = 0.0
        for focus in points:
            squared = sum((a - b) ** 2 for a, b in zip(place, focus, strict=True))
            density = math.exp(-squared / (2 * variance)) / math.sqrt((2 * math.pi * variance) ** 3)
            largest = max(largest, density * 2 * 2 * 2)
        missed *= 1 - largest
    return 1 - missed


def test_ale_matches_the_definition_and_is_zero_beyond_one_fwhm():
    random = np.random.default_rng(0)
    studies = [(random.uniform(-40, 40, (count, 3)), people) for count, people in ((1, 8), (7, 12), (4, 30))]
    result = ale.activation_likelihood(PLACES, [ale.Study(points, people) for points, people in studies])
    for at in [*random.integers(0, len(PLACES), 60), *np.argsort(result)[-20:]]:
        reach = [math.dist(PLACES[at], focus) <= ale.fwhm_mm(people) for points, people in studies for focus in points]
        assert result[at] == pytest.approx(by_definition(PLACES[at], studies) if any(reach) else 0, rel=1e-9)
    assert 0 < (result > 0).mean() < 0.1


def test_ale_is_halved_at_half_the_fwhm():
    for people in (5, 20, 80):
        there, half = ale.activation_likelihood(
            np.array([[0, 0, 0], [0, ale.fwhm_mm(people) / 2, 0]]), [ale.Study(np.zeros((1, 3)), people)]
        )
        assert half == pytest.approx(there / 2)


def test_ale_peaks_where_studies_converge(tmp_path):
    planted = np.array([22.0, -31.0, 13.0])
    random = np.random.default_rng(1)
    lines = ["study\tx\ty\tz\tn"]
    for study in range(8):
        for point in (planted + random.normal(0, 1.5, 3), random.uniform(-45, 45, 3)):
            lines.append("\t".join([f"study {study}", *(f"{value:.1f}" for value in point), "16"]))
    studies, words = foci.read_foci(written(tmp_path, "\n".join(lines)))
    assert words == "activation likelihood of 16 coordinates of 8 studies"
    result = ale.activation_likelihood(PLACES, studies)
    assert np.abs(PLACES[result.argmax()] - planted).max() <= 4  # a voxel
    region, _ = overlap.binarise_reference(result.reshape(SHAPE), np.ones(SHAPE, bool))
    assert region[np.abs(PLACES - planted).max(axis=1) < 4].all()


def test_many_foci_of_one_study_do_not_add_up_but_those_of_several_do(tmp_path):
    table = "x\ty\tz\tn\n" + "10\t10\t10\t20\n" * 3
    one = "study\t" + table.replace("\n1", "\nsame\t1")
    place = np.array([[10.0, 10, 10]])
    alone = float(ale.activation_likelihood(place, foci.read_foci(written(tmp_path, one))[0])[0])
    several = float(ale.activation_likelihood(place, foci.read_foci(written(tmp_path, table))[0])[0])
    assert several == pytest.approx(1 - (1 - alone) ** 3)


def test_studies_without_sample_size_are_assumed_to_have_20_participants(tmp_path):
    table = "Study\tX\tY\tZ\tn\nA\t1\t2\t3\t\nB\t1\t2\t3\tn/a\nB\t4\t5\t6\tn/a\n\nC\t1\t2\t3\t9\n"
    studies, words = foci.read_foci(written(tmp_path, table))
    assert [(one.people, one.foci.tolist()) for one in studies] == [
        (20, [[1, 2, 3]]), (20, [[1, 2, 3], [4, 5, 6]]), (9, [[1, 2, 3]]),
    ]  # fmt: skip
    assert words.endswith("4 coordinates of 3 studies (20 participants assumed in 2)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("x\ty\tz\n", "has no coordinates"),
        ("x\ty\n1\t2\n", "has no column z; its columns: x, y"),
        ("x,y,z\n1,2,3\n", "has no column x, y, z"),
        ("x\ty\tz\n1\t2\t3\n1\tleft\t3\n", "coordinate 2: y is 'left', which is not a number"),
        ("x\ty\tz\n1\t\t3\n", "coordinate 1: y is '', which is not a number"),
        ("x\ty\tz\n1\tinf\t3\n", "y is 'inf'"),
        ("x\ty\tz\n1\t2\t3\t4\n", "line 2, has 4 values, but the header has 3"),
        ("x\ty\tz\tX\n1\t2\t3\t4\n", "several columns with the same name: x"),
        ("x\ty\tz\n1\t2\t300\n", "more than 150 mm from the origin"),
        ("x\ty\tz\tn\n1\t2\t3\tmany\n", "n is 'many'"),
        ("x\ty\tz\tn\n1\t2\t3\t0\n", "n must be the number of participants of a study, not 0"),
        ("study\tx\ty\tz\tn\nA\t2\t3\t4\t9\nA\t2\t3\t4\t8\n", "study A has several values of n"),
        ("study\tx\ty\tz\n\t2\t3\t4\n", "a row without study"),
        ("x\ty\tz\tspace\n1\t2\t3\tTAL\n", "coordinates in TAL"),
    ],
)
def test_unusable_table_is_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(DataError, match="reference-map foci") as told:
        foci.read_foci(written(tmp_path, text))
    assert message in str(told.value)


@pytest.mark.parametrize("message", ['{"a": 1}', '{"studies": [{"id": "a"}]}'])
def test_unrecognised_json_is_refused(tmp_path, message):
    with pytest.raises(DataError, match="has no readable coordinates"):
        foci.read_foci(written(tmp_path, message, "foci.json"))
    for broken in ("[]", "{"):
        with pytest.raises(DataError, match=r"--reference-map foci\.json cannot be read"):
            foci.read_foci(written(tmp_path, broken, "foci.json"))


def test_both_json_formats_give_the_same_foci_as_the_table(tmp_path):
    columns = {"space": "MNI", "x": [1.0, 4.0], "y": [2.0, 5.0], "z": [3.0, 6.0]}
    dataset = {"A": {"contrasts": {"1": {"coords": columns, "metadata": {"sample_sizes": [10, 14]}}, "2": {}}}}
    points = [{"space": "MNI", "coordinates": [1.0, 2.0, 3.0]}, {"space": "MNI", "coordinates": [4.0, 5.0, 6.0]}]
    analysis = {"id": "1", "points": points, "metadata": {"sample_sizes": [12]}}
    studyset = {"id": "s", "studies": [{"id": "A", "metadata": {}, "analyses": [analysis]}]}
    table = "study\tx\ty\tz\tn\nA-1\t1\t2\t3\t12\nA-1\t4\t5\t6\t12\n"
    every = [
        foci.read_foci(written(tmp_path, json.dumps(dataset), "dataset.json")),
        foci.read_foci(written(tmp_path, json.dumps(studyset), "studyset.json")),
        foci.read_foci(written(tmp_path, table)),
    ]
    assert {words for _, words in every} == {"activation likelihood of 2 coordinates of 1 study"}
    for (one,), _ in every:
        assert (one.people, one.foci.tolist()) == (12, [[1, 2, 3], [4, 5, 6]])


def test_ale_of_pain_studies_matches_nimare(shared_data):
    """Values of NiMARE 0.22.1 (ALE().fit(...).get_map("stat")) at 2 mm: its strongest voxels, and some of each height.

    It takes the Gaussian from a discrete filter, hence the tolerance.
    """
    studies, words = foci.read_foci(shared_data / "maps" / "meta_coordinates" / "nidm_pain_dset.json")
    assert words == "activation likelihood of 267 coordinates of 21 studies"
    theirs = [
        ((38, 4, 2), 0.03412),
        ((-34, 14, -2), 0.02355),
        ((-38, 16, 2), 0.017796),
        ((-62, -28, 20), 0.012042),
        ((-66, -26, 28), 0.008296),
        ((-66, -26, 34), 0.005887),
    ]
    places = np.array([place for place, _ in theirs], float)
    assert ale.activation_likelihood(places, studies) == pytest.approx([value for _, value in theirs], rel=0.01)


def test_neurosynth_studyset_is_read(shared_data):
    studies, words = foci.read_foci(shared_data / "maps" / "meta_coordinates" / "neurosynth_laird_studyset.json")
    assert words == "activation likelihood of 1117 coordinates of 17 studies (20 participants assumed in 17)"
    assert sum(len(one.foci) for one in studies) == 1117
