"""The page that answers why one person was called so, by the cells that do better than chance and the confounds."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.report import figures
from bids_app.report.page import number, render, save

PREVALENCES = (0.5, 0.2, 0.1, 0.05, 0.01)
TOP = 10


@dataclass(frozen=True)
class Call:
    """What one cell said of a person who was held out.

    `probability` by class, of a population with classes of equal size; `slope`: the cell's calibration slope; `map`:
    the raw heatmap of class `explained` by `method`, with its unit and sign; `regions`: region, heatmap (mean), and
    z_<map>, where the person's map lies among the `controls` training people of the reference class, by the first
    atlas.
    """

    cell: str
    words: str
    predicted: str
    probability: Mapping[str, float]
    slope: str
    method: str
    explained: str
    map: Nifti1Image
    unit: str
    sign: str
    atlas: str
    controls: int
    regions: pd.DataFrame


def write(
    path: Path,
    *,
    name: str,
    true: str,
    classes: Sequence[str],
    calls: Sequence[Call],
    template: Nifti1Image,
    mask: Nifti1Image,
    own: Nifti1Image | None,
    radiological: bool,
    version: str,
) -> None:
    """Write the page, and its pictures into a folder of the person's name beside it.

    own: the person's T1w in the space of the maps, None where there is none. mask: the template's brain.
    """
    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)  # a cell may have lost its claim since
    cells = [
        _cell(call, number, folder, classes, template, mask, own, radiological)
        for number, call in enumerate(calls, start=1)
    ]
    page = render(
        "called.html",
        title=f"{name} - why this call",
        name=name,
        true_class=true,
        cells=cells,
        classes=classes,
        version=version,
        own=own is not None,
    )
    save(path, page)


def at_prevalence(probability: float, prevalence: float) -> float:
    """The probability of the second class where so many people have it, from that where half of them have it."""
    odds = probability * prevalence
    return odds / (odds + (1 - probability) * (1 - prevalence))


def _cell(
    call: Call,
    order: int,
    folder: Path,
    classes: Sequence[str],
    template: Nifti1Image,
    mask: Nifti1Image,
    own: Nifti1Image | None,
    radiological: bool,
) -> dict[str, object]:
    shown = {"template": template, **({} if own is None else {"T1w": own})}
    pictures = []
    for background, image in shown.items():
        file = folder / f"{order}-{background}.png"
        threshold = figures.heatmap(
            call.map,
            image,
            mask,
            file,
            title=f"{call.cell}, {call.method}, explaining {call.explained}",
            unit=call.unit,
            sign=call.sign,
            radiological=radiological,
        )
        where = "the template" if background == "template" else "the person's own T1w, by the saved transforms"
        pictures.append({"file": f"{folder.name}/{file.name}", "where": where, "threshold": number(threshold)})
    strongest = call.regions["heatmap"].abs() if call.sign == "both" else call.regions["heatmap"]
    top = call.regions.loc[strongest.sort_values(ascending=False, kind="stable").index].head(TOP)
    return {
        "call": call,
        "probabilities": [{"class": name, "probability": f"{call.probability[name]:.2f}"} for name in classes],
        "prevalences": _prevalences(call, classes),
        "pictures": pictures,
        "regions": [{_heading(key): number(value) for key, value in row.items()} for row in top.to_dict("records")],
        "reference": classes[0],
    }


def _prevalences(call: Call, classes: Sequence[str]) -> list[dict[str, str]]:
    """What the probability comes to in populations where fewer have the second class; nothing with more classes."""
    if len(classes) != 2:
        return []
    probability = float(np.clip(call.probability[classes[1]], 0, 1))
    return [
        {f"share of {classes[1]} in the population": f"{share:.0%}",
         f"probability of {classes[1]}": f"{at_prevalence(probability, share):.2g}"}
        for share in PREVALENCES
    ]  # fmt: skip


def _heading(column: object) -> str:
    text = str(column)
    if text.startswith("z_"):
        return f"{text.removeprefix('z_')}: SDs from the mean"
    return {"heatmap": "mean of the heatmap"}.get(text, text)
