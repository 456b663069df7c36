"""Quality measures of a participant, their place among all participants, and the fragment of the page that shows them.

Outliers lie more than 3 scaled MADs from the median: |x - median| > 3 x 1.4826 MAD, or 3 x 1.2533 mean absolute
deviations where the MAD is 0 (Iglewicz & Hoaglin 1993), on the side on which a measure indicates a problem.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bids_app.report.page import format_number, render_page

MIN_PARTICIPANTS = 10  # with fewer, no value is called an outlier
MAD_LIMIT = 3.0
FD_THRESHOLD_MM = 0.2  # as in MRIQC
BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"


@dataclass(frozen=True)
class Measure:
    """A column of qc.tsv that pages show: where an outlier indicates a problem, "high", "low" or on "both" sides."""

    label: str
    unit: str
    digits: int
    side: str
    meaning: str

    @property
    def heading(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def format(self, value: object) -> str:
        """A value with the decimals of the measure; n/a where it is missing."""
        return f"{value:.{self.digits}f}" if isinstance(value, int | float) else "n/a"


MEASURES = {
    "tiv_ml": Measure("TIV", "mL", 0, "both", "total intracranial volume, estimated as GM + WM + CSF"),
    "gm_ml": Measure("GM", "mL", 0, "both", "volume of grey matter in native space"),
    "wm_ml": Measure("WM", "mL", 0, "both", "volume of white matter in native space"),
    "csf_ml": Measure("CSF", "mL", 0, "both", "volume of cerebrospinal fluid inside the brain mask, in native space"),
    "dice_template": Measure(
        "overlap with template",
        "Dice",
        3,
        "low",
        "Dice coefficient of the registered brain mask and the template's; 1: identical",
    ),
    "fd_mean": Measure("mean FD", "mm", 3, "high", "framewise displacement: head motion from one volume to the next"),
    "fd_perc": Measure("FD > 0.2 mm", "% of volumes", 1, "high", "volumes with framewise displacement above 0.2 mm"),
    "censored_perc": Measure("censored", "% of volumes", 1, "high", "volumes left out of all maps"),
    "minutes_retained": Measure("minutes retained", "", 1, "low", "number of retained volumes times the TR"),
    "dice_bold": Measure(
        "BOLD overlap with T1w", "Dice", 3, "low", "Dice coefficient of the two brains after coregistration"
    ),
}
TABLE_COLUMNS = (
    "source", "tiv_ml", "gm_ml", "wm_ml", "csf_ml", "icvs_gm", "icvs_wm", "icvs_csf", "dice_template", "size_t",
    "spacing_tr", "dummy_trs", "fd_mean", "fd_num", "fd_perc", "censored_perc", "minutes_retained", "dice_bold",
)  # fmt: skip


@dataclass(frozen=True)
class Distribution:
    """All values of a measure, sorted."""

    values: Sequence[float]

    def quantile(self, share: float) -> float:
        """The value below which a share (0 to 1) of all lies."""
        return float(np.quantile(self.values, share))

    @cached_property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median, upper quartile."""
        return self.quantile(0.25), self.quantile(0.5), self.quantile(0.75)

    @cached_property
    def limits(self) -> tuple[float, float] | None:
        """Values beyond these are outliers; None with fewer than MIN_PARTICIPANTS values."""
        if len(self.values) < MIN_PARTICIPANTS:
            return None
        median = self.quartiles[1]
        deviations = np.abs(np.array(self.values) - median)
        reach = MAD_LIMIT * float(1.4826 * np.median(deviations) or 1.2533 * deviations.mean())
        return median - reach, median + reach

    def find_outlier(self, value: float, side: str) -> str:
        """Where a value is an outlier, "high" or "low"; "" if it is none."""
        if self.limits is None:
            return ""
        low, high = self.limits
        if value > high and side != "low":
            return "high"
        return "low" if value < low and side != "high" else ""

    def rank(self, value: float) -> str:
        """Rank of a value, from the lowest; ties share the lowest and the highest of their ranks."""
        first, last = bisect_left(self.values, value) + 1, bisect_right(self.values, value)
        return f"{first}" if first >= last else f"{first} to {last}"


def summarise_measures(rows: Iterable[Mapping[str, Any]]) -> dict[str, Distribution]:
    """The distribution of each measure that the rows of complete participants have."""
    complete = [row for row in rows if row["status"] == "done"]
    values = {name: sorted(row[name] for row in complete if row.get(name) is not None) for name in MEASURES}
    return {name: Distribution(known) for name, known in values.items() if known}


def find_outliers(row: Mapping[str, Any], distributions: Mapping[str, Distribution]) -> dict[str, str]:
    """ "high" or "low" for each measure of which a participant is an outlier."""
    sides = {
        name: distribution.find_outlier(row[name], MEASURES[name].side)
        for name, distribution in distributions.items()
        if row.get(name) is not None
    }
    return {name: side for name, side in sides.items() if side}


def render_quality(
    row: Mapping[str, Any], distributions: Mapping[str, Distribution], *, links: Mapping[str, str]
) -> str:
    """The fragment between BEGIN and END: links to other pages (address by text), and the measures of `row`.

    Without `distributions`, as before the end of a run, it shows the measures alone.
    """
    outliers = find_outliers(row, distributions)
    lines = [
        {
            "measure": measure,
            "value": measure.format(row[name]),
            "outlier": outliers.get(name, ""),
            **(_place(row[name], measure, distributions[name]) if name in distributions else {}),
        }
        for name, measure in MEASURES.items()
        if row.get(name) is not None
    ]
    return render_page(
        "quality.html",
        begin=BEGIN,
        end=END,
        lines=lines,
        links=links,
        placed=bool(distributions),
        judged=any(distribution.limits for distribution in distributions.values()),
        outliers=sum(bool(line["outlier"]) for line in lines),
        min_participants=MIN_PARTICIPANTS,
        row=row,
    )


def replace_quality(page: str, fragment: str) -> str:
    """The page with another fragment; unchanged where it has none."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + fragment.strip() + after if end else page


def _place(value: float, measure: Measure, distribution: Distribution) -> dict[str, Any]:
    """Rank and median as text, and positions (0 to 100) of the strip: all values, quartiles, limits, this value."""
    low, high = min(distribution.values[0], value), max(distribution.values[-1], value)
    width = (high - low) or 1.0

    def scale(at: float) -> str:
        return format_number(2 + 96 * (at - low) / width, 4)

    limits = [] if distribution.limits is None else list(distribution.limits)
    sides = {"both": limits, "low": limits[:1], "high": limits[1:]}[measure.side]
    return {
        "rank": f"{distribution.rank(value)} of {len(distribution.values)}",
        "median": measure.format(distribution.quartiles[1]),
        "range": f"{measure.format(distribution.values[0])} to {measure.format(distribution.values[-1])}",
        "at": scale(value),
        "quartiles": [scale(quartile) for quartile in distribution.quartiles],
        "ends": [scale(distribution.values[0]), scale(distribution.values[-1])],
        "limits": [scale(limit) for limit in sides if low <= limit <= high],
    }
