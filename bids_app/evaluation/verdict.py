"""One sentence that says what was found, by fixed rules from the scores alone."""

from collections.abc import Sequence

import pandas as pd

UNTESTED = "whether age, sex, site, motion or brain size explain it was not tested"


def sentence(rows: pd.DataFrame, classes: Sequence[str]) -> tuple[bool, str]:
    """Whether a cell told the classes apart better than chance, and the sentence that says so.

    rows: the cell's rows of the score table, one a repeat. The rule: in every repeat the 95 % intervals of balanced
    accuracy and of AUROC lie above chance, 1 / classes and 0.5. Balanced accuracy weighs classes equally, so that
    chance does not depend on how many people each has. The numbers told are those of the repeat with the lowest lower
    bound.
    """
    chance = 1 / len(classes)
    worst = rows.iloc[int(rows["balanced_accuracy_low"].to_numpy().argmin())]
    above = rows["balanced_accuracy_low"].gt(chance) & rows["auroc_low"].gt(0.5)
    numbers = (
        f"balanced accuracy {_interval(worst, 'balanced_accuracy')}, chance {chance:.2f}; "
        f"AUROC {_interval(worst, 'auroc')}, chance 0.50; {int(worst['n'])} people"
    )
    if len(rows) > 1:
        numbers += f"; the lowest of {len(rows)} repeats, of which {int(above.sum())} lie above chance"
    who, apart = _cell(str(worst["cell"])), _apart(classes)
    if above.all():
        return True, f"{who} told {apart} better than chance ({numbers}); {UNTESTED}."
    return False, f"{who} is not distinguishable from chance at telling {apart} ({numbers}); its maps are no evidence."


def _apart(classes: Sequence[str]) -> str:
    if len(classes) == 2:
        return f"{classes[1]} from {classes[0]}"
    return f"{', '.join(classes[:-1])} and {classes[-1]} apart"


def _cell(cell: str) -> str:
    classifier, _, maps = cell.partition("/")
    return f"{classifier} on {maps}" if maps else classifier


def _interval(row: "pd.Series[float]", name: str) -> str:
    if pd.isna(row[name]):
        return "not computable (no fold held out both classes)"
    return f"{row[name]:.2f} (95 % interval {row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"
