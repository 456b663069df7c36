"""The verdict on a cell in a few sentences, by fixed rules: docs/verdict.md."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bids_app.evaluation.compare import Bounds
from bids_app.evaluation.permutation import ALPHA, MIN_PERMUTATIONS

UNINTERPRETABLE = "Its heatmaps should not be interpreted."
BETTER, NO_BETTER, CHANCE, UNJUDGED = "better", "no better", "chance", "unjudged"
WORDS = {
    BETTER: "above chance and better than the confounds",
    NO_BETTER: "above chance, no better than a confound",
    CHANCE: "not above chance",
    UNJUDGED: "cannot be judged",
}


@dataclass(frozen=True)
class Verdict:
    """The result of one cell. Only BETTER is a claim."""

    kind: str
    text: str

    @property
    def claim(self) -> bool:
        """Whether the cell's maps may be shown as evidence."""
        return self.kind == BETTER


def judge_model(
    rows: pd.DataFrame,
    classes: Sequence[str],
    *,
    chance: Mapping[str, float],
    rivals: Mapping[str, tuple[float, Bounds]],
    unknown: Sequence[str],
) -> Verdict:
    """Return the verdict on one cell.

    rows: its rows of the score table, one per repeat; the first repeat is judged. chance: its row of
    `permutation.tabulate_p_values`. rivals: the difference in balanced accuracy from each baseline without images, and
    its 95 % interval (`compare.bootstrap_difference`). unknown: why a possible confound could not be examined.
    The first rule that applies decides: fewer than 19 permutations, not judged; p > 0.05, or a balanced accuracy not
    above 1 / classes, chance; something unknown, not judged; a rival whose interval includes 0, no better; else better.
    """
    first = rows[rows["repeat"] == rows["repeat"].min()].iloc[0]
    model, labels = cell_words(str(first["cell"])), class_words(classes)
    numbers = _describe_scores(rows, first, classes, chance)
    if not chance["permutations"] >= MIN_PERMUTATIONS or math.isnan(chance["p_corrected"]):
        return Verdict(
            UNJUDGED, _describe_unjudged(model, labels, _describe_too_few(int(chance["permutations"])), numbers)
        )
    if chance["p_corrected"] > ALPHA or first["balanced_accuracy"] <= 1 / len(classes):
        return Verdict(CHANCE, f"{model} did not distinguish {labels} above chance. {numbers} {UNINTERPRETABLE}")
    if unknown:
        return Verdict(
            UNJUDGED,
            _describe_unjudged(model, labels, " and ".join(unknown), f"Its predictions were above chance. {numbers}"),
        )
    stronger = [name for name, (_, (low, _)) in rivals.items() if low <= 0]
    if stronger:
        gains = "; ".join(f"{name}: {_format_gain(rivals[name])}" for name in stronger)
        return Verdict(
            NO_BETTER,
            (
                f"{model} distinguished {labels} above chance, but was not shown to perform better than "
                f"{_join_names(stronger)} alone (difference in balanced accuracy, {gains}). {numbers} {UNINTERPRETABLE}"
            ),
        )
    beaten = f" and better than {_join_names(list(rivals))} alone" if rivals else ""
    return Verdict(BETTER, f"{model} distinguished {labels} above chance{beaten}. {numbers}")


def _describe_scores(
    rows: pd.DataFrame, first: "pd.Series[float]", classes: Sequence[str], chance: Mapping[str, float]
) -> str:
    tested = ""
    if not math.isnan(chance["p_corrected"]):
        several = " corrected over all models" if chance["p_corrected"] != chance["p"] else ""
        tested = f", with {format_p(chance['p_corrected'])}{several} ({int(chance['permutations'])} permutations)"
    text = (
        f"In {int(first['n'])} participants, the balanced accuracy was "
        f"{format_score(first, 'balanced_accuracy', chance=1 / len(classes))}{tested}; the AUROC was "
        f"{format_score(first, 'auroc', chance=0.5)}."
    )
    if len(rows) > 1:
        every = rows["balanced_accuracy"]
        text += f" This is the first of {len(rows)} repeats, which range from {every.min():.2f} to {every.max():.2f}."
    return text


def _describe_too_few(permutations: int) -> str:
    words = {0: "no permutations were run", 1: "only 1 distinct permutation is available"}
    available = words.get(permutations, f"only {permutations} distinct permutations are available")
    return f"{available}; at least {MIN_PERMUTATIONS} are required (--permutations)"


def _describe_unjudged(model: str, labels: str, why: str, numbers: str) -> str:
    return f"Whether {model} distinguishes {labels} cannot be judged, because {why}. {numbers} {UNINTERPRETABLE}"


def _format_gain(gain: tuple[float, Bounds]) -> str:
    middle, (low, high) = gain
    return f"{middle:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}"


def _join_names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def class_words(classes: Sequence[str]) -> str:
    """Return the classes as the object of `distinguish`: patient from control; a, b and c."""
    if len(classes) == 2:
        return f"{classes[1]} from {classes[0]}"
    return f"{', '.join(classes[:-1])} and {classes[-1]}"


def cell_words(cell: str) -> str:
    """Return a cell's name in words: svm/gm is svm on gm."""
    classifier, _, maps = cell.partition("/")
    return f"{classifier} on {maps}" if maps else classifier


def format_p(p: float) -> str:
    """A p value to three decimals: "p = 0.001" (of 0.000999), "p < 0.001"."""
    return f"p = {round(p, 3):g}" if round(p, 3) > 0 else "p < 0.001"


def format_score(row: "pd.Series[float]", name: str, *, chance: float) -> str:
    """Return a score of a row of the table with its interval and what chance would give, as text."""
    if pd.isna(row[name]):
        return "not computable (no fold held out both classes)"
    interval = f"95 % interval {row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f}"
    return f"{row[name]:.2f} ({interval}; chance {chance:.2f})"
