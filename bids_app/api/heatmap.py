"""A mean heatmap of an analysis: its image, what it shows, and a figure of it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from nibabel.nifti1 import Nifti1Image

from bids_app.bids import images
from bids_app.bids.json_files import read_object
from bids_app.errors import DataError, MissingInputError
from bids_app.text_files import find_mismatch
from bids_app.training.model_metadata import CELL_FILE

log = logging.getLogger("pellucid")

SCHEMA = {"Cell": str, "Method": str, "ExplainedClass": str, "Units": str, "Sign": str, "Space": str}


@dataclass(frozen=True, eq=False)
class Heatmap:
    """The mean heatmap of one model, method and class.

    `model`: as in the tables (`svm/gm`); `people`: how many held-out participants it is the mean of, None for a method
    that describes the fold models themselves; `unit`: of its values; `sign`: both, or positive; `verdict`: that on the
    model; `claim`: whether it supports a claim; without one, the heatmap should not be interpreted. `sidecar`: the
    whole content of the file beside the image.
    """

    file: Path
    model: str
    method: str
    explained_class: str
    people: int | None
    unit: str
    sign: str
    space: str
    verdict: str
    claim: bool
    sidecar: Mapping[str, Any]

    @cached_property
    def image(self) -> Nifti1Image:
        """The image (X, Y, Z), in `space`, zero outside the analysis mask. Raises DataError if it cannot be read."""
        return images.open_image(self.file)

    def plot(self, **options: Any) -> Any:
        """Draw the heatmap on its template as the group report does, with `nilearn.plotting.plot_stat_map`.

        Shown are the 10 % of brain voxels with the largest values. options: of `plot_stat_map`, such as `display_mode`,
        `cut_coords`, `axes`, `title` or `output_file`; `threshold`, `vmin`, `vmax` and `cmap` replace those of the
        report. Returns nilearn's display. Logs a warning if the model supports no claim.
        Raises MissingInputError, with the command that fetches it, if the template is not on this machine.
        """
        from bids_app.report.stat_map import plot_heatmap

        if not self.claim:
            log.warning("%s", self.verdict)
        title = f"{self.model}, {self.method}, {self.explained_class} ({self.unit})"
        return plot_heatmap(self.image, space=self.space, sign=self.sign, **{"title": title, **options})

    def __repr__(self) -> str:
        return f"Heatmap({self.model}, {self.method}, {self.explained_class})"


def read_heatmap(file: Path, verdicts: Mapping[str, Mapping[str, Any]]) -> Heatmap | None:
    """Read the sidecar of a statistical map; None if it is of another kind than a heatmap.

    verdicts: `text` and `claim` by model. Raises MissingInputError without the sidecar, DataError if it is damaged.
    """
    sidecar = read_object(file.with_name(file.name.removesuffix(".nii.gz") + ".json"))
    if "Cell" not in sidecar:
        return None
    if wrong := find_mismatch(sidecar, SCHEMA, "it"):
        raise DataError(f"the sidecar of {file.name} is not as the group level wrote it: {wrong}; copy it again")
    verdict = verdicts.get(sidecar["Cell"])
    if verdict is None:
        raise MissingInputError(f"models/{sidecar['Cell']}/{CELL_FILE} is not in {file.parent}; copy the whole folder")
    return Heatmap(
        file,
        sidecar["Cell"],
        sidecar["Method"],
        sidecar["ExplainedClass"],
        cast("int | None", sidecar.get("People")),
        sidecar["Units"],
        sidecar["Sign"],
        sidecar["Space"],
        verdict["text"],
        verdict["claim"],
        sidecar,
    )
