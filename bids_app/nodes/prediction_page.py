"""The page that explains the predictions of one participant."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app import __version__
from bids_app.bids.names import parse_session, session_name
from bids_app.dataset.grid import Grid
from bids_app.preprocess.conform import to_nifti
from bids_app.regions import tables
from bids_app.training.region_zscores import REGION_ZSCORES_FILE

Files = dict[str, Any]


def write_prediction_page(
    *, person: str, session: str, calls: list[Files], own: list[Any], shared: Files, done: str
) -> str:
    """Write one person's page; returns its file."""
    from bids_app.report import called

    visit = parse_session(session)
    template, mask = nib.load(shared["brain"]), nib.load(shared["mask"])
    name = session_name(person, visit)
    called.write(
        Path(done) / f"{name}.html",
        name=name.replace("_", ", "),
        true=calls[0]["told"]["true"],
        classes=shared["classes"],
        calls=[_prediction(its, shared) for its in calls],
        template=template,
        mask=mask,
        own=_t1w_in_template_space([str(path) for path, _ in own], shared["brain"]) if own else None,
        radiological=shared["radiological"],
        version=__version__,
    )
    return str(Path(done) / f"{name}.html")


def _prediction(its: Files, shared: Files) -> Any:
    from bids_app.report.called import Call

    place, told, first = Path(its["place"]), its["told"], its["maps"][0]
    grid = Grid.read(Path(shared["work"]) / f"grid_{first}.npz")
    target = shared["target"]
    explained = told[target] if target in ("predicted", "true") else target
    maps = np.load(place / f"heatmap_{its['method']}.npy", mmap_mode="r")
    values = np.asarray(maps[its["row"], shared["classes"].index(explained)])
    with np.load(place / REGION_ZSCORES_FILE) as stored:
        found = dict(stored)
    return Call(
        cell=its["cell"],
        words=its["words"],
        predicted=told["predicted"],
        probability={one: float(told[f"probability_{one}"]) for one in shared["classes"]},
        method=its["method"],
        explained=explained,
        map=to_nifti(grid.volume(values), grid.affine),
        unit=its["unit"],
        sign=its["sign"],
        atlas=shared["atlases"][first]["name"],
        slope=its["slope"],
        controls=int(found["controls"]),
        regions=_region_table(its, found, values, grid, shared["atlases"][first]["names"]),
    )


def _region_table(its: Files, found: Files, values: np.ndarray, grid: Grid, names: dict[str, str]) -> pd.DataFrame:
    """Every region's mean of the heatmap, and where the person's own maps lie there."""
    index, z = found["index"], found["z"][its["row"]]
    labels = grid.vector(np.load(Path(its["place"]) / "parcels.npy"))
    columns = {"region": [names.get(str(one), str(one)) for one in index]}
    columns["heatmap"] = tables.region_means([values], labels, index)[0]
    return pd.DataFrame(columns | {f"z_{name}": row for name, row in zip(its["maps"], z, strict=True)})


def _t1w_in_template_space(files: list[str], template: str) -> nib.Nifti1Image:
    """A T1w on the template's grid; files: the image, then its transforms as ANTs takes them."""
    import ants

    grid = ants.image_read(template)
    moved = ants.apply_transforms(grid, ants.image_read(files[0]), files[1:])
    return to_nifti(moved.numpy(), nib.load(template).affine)
