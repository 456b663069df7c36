"""The maps of a site as arrays, with the regions of a parcellation, in this process: a few files, no training."""

from pathlib import Path
from typing import Any

from bids_app.atlases import atlas
from bids_app.classifiers.model_averaging import ATLAS
from bids_app.nodes.template import prepare_template
from bids_app.nodes.train import resample_atlas_to_maps, resample_template, stack_maps
from bids_app.planning.group import GroupPlan
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings


def stack_site_maps(analysis: GroupPlan, settings: Settings, work_dir: WorkDir) -> dict[str, Path]:
    """Write each map of the included participants as an array (participants, voxels), and its grid; returns the files.

    The grid of a map, with its regions, is `work_dir.grid(map)`, its parcellation `work_dir.read_atlas(grid, ATLAS)`.
    """
    shared: Any = {"space": analysis.space, "seed": settings.compute.random_seed, "sloppy": analysis.sloppy}
    cache = str(settings.work_dir)
    template = prepare_template(cache=cache, resolution=min(analysis.resolutions.values()), **shared)
    arrays = {}
    for name, grid_name in analysis.grids.items():
        folder = str(work_dir.template_on_grid(grid_name))
        files = {part: str(file) for part, file in template.items()}
        on_grid = resample_template(template=files, like=str(analysis.used[grid_name][0][0]), folder=folder)
        parcellation = resample_atlas_to_maps(
            atlas_name=ATLAS,
            work=str(work_dir.path),
            link=str(work_dir.atlas_link(grid_name, ATLAS).relative_to(work_dir.path)),
            cache=cache,
            stamp=atlas.stamp(ATLAS),
            template=on_grid,
            **shared,
        )
        stacked = stack_maps(
            template=on_grid,
            map_name=name,
            files=[[str(path) for path in paths] for paths in analysis.used[name]],
            smoothing_mm=analysis.smoothing[name],
            form=analysis.forms[name],
            whole=analysis.whole_grid,
            work=str(work_dir.path),
            parcellation=parcellation,
        )
        arrays[name] = Path(stacked)
    return arrays
