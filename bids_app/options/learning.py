"""Options of the group level about classifiers and how they are trained and tested."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bids_app import values
from bids_app.options.declaration import declare

classification = partial(declare, topic="group: classifiers")


@dataclass(frozen=True)
class Learning:
    """Classifiers, their hyperparameters and the splits into training and test set."""

    classifiers: tuple[str, ...] = classification(
        ("model_averaging", "svm"),
        "{names} ({default})",
        "[What each is](parts.md#classifiers). Where neither `svm` nor `logistic` is named, `svm` is trained on the "
        "same folds as a reference",
        metavar="NAME",
        catalogue="classifiers",
        common=True,
    )
    folds: int = classification(5, "number of stratified folds ({default})", metavar="K", minimum=2, common=True)
    folds_file: Path | None = classification(
        None, "folds from a `folds.tsv`, of an earlier analysis or made elsewhere", metavar="FILE"
    )
    repeats: int = classification(
        1,
        "repetitions of the cross-validation with new folds ({default})",
        "Every repeat is reported",
        metavar="N",
        minimum=1,
    )
    leave_site_out: bool = classification(False, "leave-one-site-out cross-validation")
    test_size: float | None = classification(
        None,
        "fraction of every class to hold out, instead of folds, drawn again in each repeat",
        metavar="FRACTION",
        former=("hold_out",),
    )
    n_test_per_class: int | None = classification(
        None,
        "number of participants of every class that each fold holds out",
        (
            "They are drawn at random, none twice in a repeat; participants drawn in no fold are used for training "
            "only. Groups (`--groups`) and the sessions of a participant are not divided"
        ),
        metavar="N",
        minimum=1,
        former=("test_per_class",),
    )
    inner_folds: int | None = classification(
        None,
        "nested cross-validation with K inner folds, which select the best model in each fold",
        "The model with the best score in the inner folds of the training participants predicts those held out. The "
        "row `chosen` of the scores is the score of this selection, `choices.tsv` what it was based on. The best of "
        "many models in the scores is no such estimate",
        metavar="K",
        minimum=2,
    )
    weights: str | None = classification(
        None,
        "folder of pretrained weights of `biomedclip`; `none` to train from scratch",
        "The Hugging Face cache unless given",
        metavar="DIR|none",
    )
    set: dict[str, dict[str, Any]] = classification(
        {},
        "hyperparameters of a classifier, its training or an explainer; without NAME, of all networks",
        "See [which there are](#what-can-be-tuned)",
        metavar="NAME.OPTION=VALUE",
        parse=values.hyperparameters,
        former=("tune",),
    )
    training_list: Path | None = classification(
        None,
        "with `--model`: `folds.tsv` of its training",
        "Participants listed there are predicted only by models that held them out",
        metavar="FILE",
    )
