"""The page that explains the predictions of one participant, by models above chance and better than the confounds."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.report.figures import draw_heatmap
from bids_app.report.page import format_number, render_page, save_page

PREVALENCES = (0.5, 0.2, 0.1, 0.05, 0.01)
TOP = 10


@dataclass(frozen=True)
class Prediction:
    """What one model predicted for a held-out participant.

    `probability` by class, for a population with classes of equal size; `slope`: the model's calibration slope; `map`:
    the raw heatmap of class `explained` by `method`, with its unit and sign; `regions`: region, heatmap (mean), and
    z_<map>, the participant's map there in SDs of the `controls` training participants of the reference class, by the
    first atlas.
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


def save_prediction_page(
    path: Path,
    *,
    name: str,
    true: str,
    classes: Sequence[str],
    predictions: Sequence[Prediction],
    template: Nifti1Image,
    mask: Nifti1Image,
    native: Nifti1Image | None,
    radiological: bool,
    version: str,
) -> None:
    """Write the page, and its figures into a folder of the participant's name beside it.

    native: the participant's T1w in the space of the maps, None where there is none. mask: the template's brain.
    """
    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)  # a model may have lost its claim since
    models = [
        _model_section(prediction, number, folder, classes, template, mask, native, radiological)
        for number, prediction in enumerate(predictions, start=1)
    ]
    page = render_page(
        "prediction_page.html",
        title=f"{name} - why this prediction",
        name=name,
        true_class=true,
        models=models,
        classes=classes,
        version=version,
        native=native is not None,
    )
    save_page(path, page)


def rescale_to_prevalence(probability: float, prevalence: float) -> float:
    """The probability of the second class at a prevalence, from the probability at equal class sizes."""
    odds = probability * prevalence
    return odds / (odds + (1 - probability) * (1 - prevalence))


def _model_section(
    prediction: Prediction,
    order: int,
    folder: Path,
    classes: Sequence[str],
    template: Nifti1Image,
    mask: Nifti1Image,
    native: Nifti1Image | None,
    radiological: bool,
) -> dict[str, object]:
    backgrounds = {"template": template, **({} if native is None else {"T1w": native})}
    pictures = []
    for background, image in backgrounds.items():
        file = folder / f"{order}-{background}.png"
        threshold = draw_heatmap(
            prediction.map,
            image,
            mask,
            file,
            title=f"{prediction.cell}, {prediction.method}, class {prediction.explained}",
            unit=prediction.unit,
            sign=prediction.sign,
            radiological=radiological,
        )
        on = "the template" if background == "template" else "the participant's own T1w image in template space"
        pictures.append({"file": f"{folder.name}/{file.name}", "background": on, "threshold": format_number(threshold)})
    means = prediction.regions["heatmap"]
    strength = means.abs() if prediction.sign == "both" else means
    top = prediction.regions.loc[strength.sort_values(ascending=False, kind="stable").index].head(TOP)
    return {
        "prediction": prediction,
        "probabilities": [{"class": name, "probability": f"{prediction.probability[name]:.2f}"} for name in classes],
        "prevalences": _prevalence_rows(prediction, classes),
        "pictures": pictures,
        "regions": [
            {_heading(key): format_number(value) for key, value in row.items()} for row in top.to_dict("records")
        ],
        "reference": classes[0],
    }


def _prevalence_rows(prediction: Prediction, classes: Sequence[str]) -> list[dict[str, str]]:
    """The probability in populations where the second class is less common; none with more than two classes."""
    if len(classes) != 2:
        return []
    probability = float(np.clip(prediction.probability[classes[1]], 0, 1))
    return [
        {f"prevalence of {classes[1]}": f"{prevalence:.0%}",
         f"probability of {classes[1]}": f"{rescale_to_prevalence(probability, prevalence):.2g}"}
        for prevalence in PREVALENCES
    ]  # fmt: skip


def _heading(column: object) -> str:
    text = str(column)
    if text.startswith("z_"):
        return f"{text.removeprefix('z_')}: SDs from the mean"
    return {"heatmap": "heatmap, mean"}.get(text, text)
