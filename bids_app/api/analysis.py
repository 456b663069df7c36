"""The results of an analysis of the group level, read from OUT_DIR."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from bids_app.api.heatmap import Heatmap, read_heatmap
from bids_app.bids import outputs
from bids_app.errors import MissingInputError, UsageError
from bids_app.training.model_metadata import CELL_FILE, read_cell_file
from bids_app.training.tables import read_table

GROUP_COMMAND = "pellucid BIDS_DIR OUT_DIR group"
TEXT_COLUMNS = (  # never numbers, whatever their values
    "participant_id", "session_id", "class", "true", "predicted", "cell", "method", "explained", "region", "atlas",
    "reason",
)  # fmt: skip


def load_analysis(output_dir: str | PathLike[str], name: str) -> "Analysis":
    """Open the results of OUT_DIR/group/NAME.

    Raises MissingInputError for a missing folder and for an analysis that does not exist (the message lists those that
    do) or is not finished.
    """
    out = Path(output_dir)
    if not out.is_dir():
        raise MissingInputError(f"there is no folder {out}; specify the OUT_DIR of {GROUP_COMMAND}")
    folder = out / "group" / outputs.label(name)
    finished = sorted(report.parent.name for report in out.glob("group/*/report.html"))
    if folder.name in finished:
        return Analysis(folder.name, folder)
    if folder.is_dir() or any((out / ".work").glob(f"*-{folder.name}-*")):
        raise MissingInputError(f"analysis {folder.name} in {out} is not finished; run the group level again")
    if not finished:
        raise MissingInputError(f"{out} has no finished analysis; run {GROUP_COMMAND}")
    raise MissingInputError(f"{out} has no analysis {name}; it has {', '.join(finished)}")


@dataclass(frozen=True, eq=False)
class Analysis:
    """One analysis: its tables, its mean heatmaps and the verdicts on its models. Files are read when first used.

    The columns of the tables are described in docs/outputs.md; n/a is NaN. An analysis that applied a model has only
    some of the tables, and no heatmaps.
    """

    name: str
    folder: Path

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables that the analysis has."""
        return tuple(sorted(file.stem for file in self.folder.glob("*.tsv")))

    def read_table(self, name: str) -> pd.DataFrame:
        """Read a table, such as `checks`. Raises MissingInputError, with the tables that exist, if there is none."""
        if name not in self.table_names:
            raise MissingInputError(
                f"analysis {self.name} has no table {name}; it has {', '.join(self.table_names)} "
                "(an analysis that applies a model has fewer tables)"
            )
        return read_table(self.folder / f"{name}.tsv", text=TEXT_COLUMNS)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The out-of-fold probabilities of every participant and model."""
        return self.read_table("predictions")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The scores, with intervals and p values, of every model and of classifiers that use no image."""
        return self.read_table("scores")

    @cached_property
    def regions(self) -> pd.DataFrame:
        """The regions of the atlases, ranked for each heatmap."""
        return self.read_table("regions")

    @cached_property
    def participants(self) -> pd.DataFrame:
        """All participants (samples.tsv): whether each was used, and why not."""
        return self.read_table("samples")

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Who trained and who was held out in each fold."""
        return self.read_table("folds")

    @cached_property
    def verdicts(self) -> Mapping[str, Mapping[str, Any]]:
        """For each model: `kind`, `claim` (whether it supports one) and `text`, the first sentence of the report."""
        files = sorted((self.folder / "models").glob(f"**/{CELL_FILE}"))
        models = {file.parent.relative_to(self.folder / "models").as_posix(): file for file in files}
        return {model: read_cell_file(file)["verdict"] for model, file in models.items()}

    @cached_property
    def heatmaps(self) -> tuple[Heatmap, ...]:
        """The mean heatmaps, by model, method and class."""
        read = (read_heatmap(file, self.verdicts) for file in self.folder.glob("*_statmap.nii.gz"))
        heatmaps = (heatmap for heatmap in read if heatmap is not None)
        return tuple(sorted(heatmaps, key=lambda heatmap: (heatmap.model, heatmap.method, heatmap.explained_class)))

    def heatmap(
        self, *, model: str | None = None, method: str | None = None, explained_class: str | None = None
    ) -> Heatmap:
        """Return the heatmap of a model, method and class; each may be left out where there is one choice.

        Raises UsageError, with the heatmaps that exist, if none or several match.
        """
        wanted = {"model": model, "method": method, "explained_class": explained_class}
        criteria = {field: value for field, value in wanted.items() if value is not None}
        matching = [
            heatmap
            for heatmap in self.heatmaps
            if all(getattr(heatmap, field) == value for field, value in criteria.items())
        ]
        if len(matching) == 1:
            return matching[0]
        there = "; ".join(f"{each.model}, {each.method}, {each.explained_class}" for each in matching or self.heatmaps)
        problem = "several heatmaps match" if matching else "no heatmap matches"
        raise UsageError(
            f"analysis {self.name}: {problem} {_describe(criteria)}; choose model, method and explained_class from: "
            f"{there or 'none, since it has no heatmaps'}"
        )


def _describe(criteria: Mapping[str, str]) -> str:
    return ", ".join(f"{field}={value}" for field, value in criteria.items()) or "(nothing was criteria)"
