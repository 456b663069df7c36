"""The page that explains the predictions of one participant."""

from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app import __version__
from bids_app.bids.names import parse_session, session_name
from bids_app.dataset.grid import Grid
from bids_app.planning.group_records import PageContext, PagePrediction
from bids_app.planning.work_dir import WorkDir
from bids_app.preprocess.conform import read_image, to_nifti
from bids_app.regions import tables
from bids_app.training.fold_files import FoldFiles

if TYPE_CHECKING:
    from bids_app.report.prediction_page import Prediction


def write_prediction_page(
    *,
    participant: str,
    session: str,
    predictions: list[PagePrediction],
    t1w: list[tuple[str, int]],
    context: PageContext,
    folder: str,
) -> str:
    """Write the page of a participant into `folder`; returns its file.

    t1w: the participant's T1w and its transforms to the template, as ANTs takes them, each with its modification
    time; empty if there is none.
    """
    from bids_app.report.prediction_page import save_prediction_page

    name = session_name(participant, parse_session(session))
    file = Path(folder, *f"{name}.html".split(":"))  # people/NORTH/sub-01.html
    save_prediction_page(
        file,
        name=name.replace("_", ", "),
        true=predictions[0]["prediction"]["true"],
        classes=context["classes"],
        predictions=[_page_section(prediction, context) for prediction in predictions],
        template=read_image(context["brain"]),
        mask=read_image(context["mask"]),
        native=warp_t1w_to_template([str(path) for path, _ in t1w], context["brain"]) if t1w else None,
        radiological=context["radiological"],
        version=__version__,
    )
    return str(file)


def _page_section(prediction: PagePrediction, context: PageContext) -> "Prediction":
    """The content of the page about one cell."""
    from bids_app.report.prediction_page import Prediction

    files, row, first = FoldFiles(Path(prediction["folder"])), prediction["prediction"], prediction["maps"][0]
    grid = Grid.read(WorkDir(Path(context["work"])).grid(first))
    target = context["target"]
    explained = row[target] if target in ("predicted", "true") else target
    maps = np.load(files.heatmap(prediction["method"]), mmap_mode="r")
    heatmap = np.asarray(maps[prediction["row"], context["classes"].index(explained)])
    with np.load(files.region_zscores) as stored:
        zscores = dict(stored)
    return Prediction(
        cell=prediction["cell"],
        words=prediction["verdict"],
        predicted=row["predicted"],
        probability={name: float(row[f"probability_{name}"]) for name in context["classes"]},
        method=prediction["method"],
        explained=explained,
        map=to_nifti(grid.volume(heatmap), grid.affine),
        unit=prediction["unit"],
        sign=prediction["sign"],
        atlas=context["atlases"][first]["name"],
        slope=prediction["slope"],
        controls=int(zscores["controls"]),
        regions=_region_table(prediction, zscores, heatmap, grid, context["atlases"][first]["names"]),
    )


def _region_table(
    prediction: PagePrediction, zscores: dict[str, np.ndarray], heatmap: np.ndarray, grid: Grid, names: dict[str, str]
) -> pd.DataFrame:
    """Every region's mean of the heatmap, and the z of the participant's maps there."""
    index, z = zscores["index"], zscores["z"][prediction["row"]]
    labels = grid.vector(np.load(FoldFiles(Path(prediction["folder"])).parcels))
    columns = {
        "region": [names.get(str(label), str(label)) for label in index],
        "heatmap": tables.region_means([heatmap], labels, index)[0],
    }
    return pd.DataFrame(columns | {f"z_{name}": row for name, row in zip(prediction["maps"], z, strict=True)})


def warp_t1w_to_template(files: list[str], template: str) -> nib.Nifti1Image:
    """A T1w on the template's grid; files: the image, then its transforms as ANTs takes them."""
    import ants

    grid = ants.image_read(template)
    moved = ants.apply_transforms(grid, ants.image_read(files[0]), files[1:])
    return to_nifti(moved.numpy(), read_image(template).affine)
