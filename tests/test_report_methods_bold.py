"""Methods text of resting-state maps: what was done, what was not, and the sources of definitions."""

import dataclasses
import re

import pytest

from bids_app.errors import UsageError
from bids_app.report.methods_bold import FALFF, STRATEGIES, STRENGTHS, BoldOptions, describe_bold
from bids_app.report.references import all_references, cited_references

CHOSEN = BoldOptions(denoise="24p-wm-csf", band=(0.01, 0.08), fd_threshold=0.5, dropped=4)
MAPS = ("alff", "falff", "reho", "fcs", "rfcs", "networks-SMN", "networks-DMN")
PLACE = {"space": "MNI152NLin2009cAsym", "resolution": 3.0}


def words(maps=MAPS, source="fmriprep", **changed):
    return describe_bold(maps, dataclasses.replace(CHOSEN, **changed), source=source, **PLACE)


def test_methods_of_raw_bold_state_uncorrected_distortion_and_recommend_fmriprep():
    raw = words(source="pellucid", dummy_scans=4, slice_timing=True)
    for must in (
        "distortion was not corrected",
        "preprocessing with fMRIPrep",
        "steady state: 4",
        "SliceTiming",
    ):
        assert must in raw
    assert "not corrected" not in words()
    assert "Slice timing was not corrected" in words(source="pellucid")


@pytest.mark.parametrize(("strength", "message"), [("mean-r", "is a form of"), ("mean-z", "is nearly a form of")])
def test_methods_state_that_unthresholded_strength_reflects_the_global_signal(strength, message):
    assert f"{message} the global signal" in words(strength=strength)
    assert f"{message} the global signal" in words(["rfcs"], strength=strength)
    assert "form of the global signal" not in words(["alff"], strength=strength)
    assert "form of the global signal" not in words(strength="weighted-degree")


def test_methods_describe_only_the_chosen_options():
    plain = words(["reho"], denoise="none", band=None, fd_threshold=None, dropped=0, neighbours=19)
    for must in ("No confounds were removed", "were not band-pass filtered", "19 voxels"):
        assert must in plain
    for never in ("Butterworth", "ensored", "spline", "ALFF", "trend", "global"):
        assert never not in plain
    assert "ensored" not in words(denoise="none", dropped=0)
    assert words().count("- networks:") == 1
    assert "cubic spline" in words()
    assert "Lomb" in words(["alff"])
    assert "Lomb" not in words(["alff"], dropped=0)
    assert "0-0.1 Hz" in words(band=(0.0, 0.1))


def test_every_option_value_has_a_description_and_unknown_ones_are_refused():
    choices = {
        "denoise": STRATEGIES,
        "strength": STRENGTHS,
        "alff_definition": FALFF,
    }
    for field, known in choices.items():
        texts = {words(**{field: one}) for one in known}
        assert len(texts) == len(known)
        with pytest.raises(UsageError, match="tarot"):
            words(**{field: "tarot"})
    with pytest.raises(UsageError, match="xcpd"):
        words(["falff"], alff_definition="xcpd")
    with pytest.raises(UsageError, match="there is no tarot"):
        words(["tarot"])


def test_methods_list_every_paper_named_in_the_text():
    every = [words(source=source, denoise=one) for source in ("pellucid", "fmriprep") for one in STRATEGIES]
    every += [words(alff_definition=one) for one in FALFF] + [words(["alff"], alff_definition="xcpd")]
    for text in every:
        named = set(re.findall(r"([A-Z]\w+(?:-\w+)?(?: & \w+)?) ((?:19|20)\d\d)", text))
        assert {(one.split()[0], year) for one, year in named} <= {
            (key.split()[0], key[-4:])
            for key, reference in all_references().items()
            if reference in cited_references(text)
        }
