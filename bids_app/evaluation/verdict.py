"""One sentence that says what was found, by fixed rules: docs/verdict.md."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bids_app.evaluation.compare import Bounds
from bids_app.evaluation.permutation import FEWEST, LEVEL

BETTER, NO_BETTER, CHANCE, UNJUDGED = "better", "no better", "chance", "unjudged"
WORDS = {
    BETTER: "better than chance and the confounds",
    NO_BETTER: "better than chance, no better than a confound",
    CHANCE: "not distinguishable from chance",
    UNJUDGED: "cannot be judged",
}


@dataclass(frozen=True)
class Verdict:
    """What was found of one cell. Only what is BETTER is a claim."""

    kind: str
    text: str

    @property
    def claim(self) -> bool:
        """Whether the cell's maps may be shown as evidence."""
        return self.kind == BETTER


def judge(
    rows: pd.DataFrame,
    classes: Sequence[str],
    *,
    chance: Mapping[str, float],
    rivals: Mapping[str, tuple[float, Bounds]],
    unknown: Sequence[str],
) -> Verdict:
    """The verdict on one cell.

    rows: its rows of the score table, one a repeat; the first repeat is judged. chance: its row of `permutation.table`.
    rivals: by how much its balanced accuracy lies above that of each classifier that sees no image, and the 95 %
    interval of that (`compare.difference`). unknown: why something that could explain a difference was not looked at.
    The rules, of which the first that applies is taken: fewer than 19 permutations, not judged; p > 0.05, or a balanced
    accuracy not above 1 / classes, chance; something unknown, not judged; a rival whose interval reaches 0, no better;
    else better.
    """
    first = rows[rows["repeat"] == rows["repeat"].min()].iloc[0]
    who, apart = cell_words(str(first["cell"])), apart_words(classes)
    numbers = _numbers(rows, first, classes, chance)
    if not chance["permutations"] >= FEWEST or math.isnan(chance["judged"]):
        ran = int(chance["permutations"]) or "no"
        why = f"{ran} permutations of its labels were run, or exist, and {FEWEST} are needed (--permutations)"
        return Verdict(UNJUDGED, _not_judged(who, apart, why, numbers))
    if chance["judged"] > LEVEL or first["balanced_accuracy"] <= 1 / len(classes):
        least = max(chance["needed"], 1 / len(classes))
        needed = f"; with these people a balanced accuracy of {least:.2f} would have been needed"
        return Verdict(
            CHANCE,
            f"{who} is not distinguishable from chance at telling {apart} ({numbers}{needed}); its maps are no "
            "evidence.",
        )
    if unknown:
        return Verdict(UNJUDGED, _not_judged(who, apart, " and ".join(unknown), f"better than chance: {numbers}"))
    stronger = [name for name, (_, (low, _)) in rivals.items() if low <= 0]
    if stronger:
        told = "; ".join(f"{name}: {_gain(rivals[name])}" for name in stronger)
        return Verdict(
            NO_BETTER,
            f"{who} told {apart} better than chance ({numbers}), but is not shown to do better than "
            f"{_listed(stronger)} alone (difference in balanced accuracy, {told}); its maps are no evidence.",
        )
    beaten = f" and better than {_listed(list(rivals))} alone" if rivals else ""
    return Verdict(BETTER, f"{who} told {apart} better than chance{beaten} ({numbers}).")


def _numbers(rows: pd.DataFrame, first: "pd.Series[float]", classes: Sequence[str], chance: Mapping[str, float]) -> str:
    told = [
        f"balanced accuracy {interval(first, 'balanced_accuracy')}, chance {1 / len(classes):.2f}",
        f"AUROC {interval(first, 'auroc')}, chance 0.50",
        f"{int(first['n'])} people",
    ]
    if not math.isnan(chance["judged"]):
        several = " over all cells" if chance["judged"] != chance["p"] else ""
        told.insert(1, f"p = {chance['judged']:.3g}{several}, {int(chance['permutations'])} permutations")
    if len(rows) > 1:
        every = rows["balanced_accuracy"]
        told.append(f"the first of {len(rows)} repeats, of {every.min():.2f} to {every.max():.2f}")
    return "; ".join(told)


def _not_judged(who: str, apart: str, why: str, numbers: str) -> str:
    return f"Whether {who} tells {apart} cannot be judged, because {why} ({numbers}); its maps are no evidence."


def _gain(found: tuple[float, Bounds]) -> str:
    middle, (low, high) = found
    return f"{middle:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def apart_words(classes: Sequence[str]) -> str:
    """patient from control."""
    if len(classes) == 2:
        return f"{classes[1]} from {classes[0]}"
    return f"{', '.join(classes[:-1])} and {classes[-1]} apart"


def cell_words(cell: str) -> str:
    """svm/gm: svm on gm."""
    classifier, _, maps = cell.partition("/")
    return f"{classifier} on {maps}" if maps else classifier


def interval(row: "pd.Series[float]", name: str) -> str:
    """A score of a row of the table, with its interval."""
    if pd.isna(row[name]):
        return "not computable (no fold held out both classes)"
    return f"{row[name]:.2f} (95 % interval {row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"
