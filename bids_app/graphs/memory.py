"""The memory that training each cell needs, known before anything is computed.

A network's requirement is measured in a child of the fork server, because the parent must not import torch; the imports
of the server are reused by the workers.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from bids_app import catalogue
from bids_app.errors import FailedError, NotEnoughMemoryError
from bids_app.graphs.fork_server import start_context
from bids_app.graphs.multiproc import memory_gb
from bids_app.graphs.parent_death import watch_parent
from bids_app.planning import available_maps
from bids_app.planning.group import GroupPlan, ModelSpec
from bids_app.settings import Settings
from bids_app.training.training_config import config_from_module, select_model_options

BRAIN_MM3, BRAIN_MM = 1.9e6, (148.0, 184.0, 158.0)  # of the templates' masks; bounding box plus one voxel
LIBRARIES_GB, COPIES = 1.5, 4
KILLED = (
    "the memory of networks was not measured, since the process that measures it was killed: run again; unless it was "
    "stopped by hand, this machine has too little memory"
)
REMEDY = (
    "use coarser maps (--resolution at the participant level), allow more memory with --mem-mb, remove the "
    "classifier from --classifiers, or raise --set NAME.accumulate, which processes fewer participants at once"
)


@dataclass(frozen=True)
class NetworkRequest:
    """A network for images of `shape` (X, Y, Z)."""

    classifier: str
    channels: int
    classes: int
    shape: tuple[int, ...]
    voxel_mm: float
    options: dict[str, Any]


def memory_by_cell(analysis: GroupPlan, settings: Settings, *, preload: list[str]) -> dict[str, float]:
    """The GB declared by each model's nodes. Raises NotEnoughMemoryError for networks that cannot be trained here."""
    values = {cell.name: _values_gb(analysis, cell) for cell in analysis.cells}
    networks = {
        cell.name: _network_request(analysis, cell)
        for cell in analysis.cells
        if catalogue.has("classifiers", cell.classifier, "EPOCHS")
    }
    if not networks:
        return values
    with ProcessPoolExecutor(1, mp_context=start_context(preload), initializer=watch_parent) as pool:
        measured = pool.submit(measure_networks, list(networks.values()), settings.compute.device)
        try:
            steps_gb, device_gb = measured.result()
        except BrokenProcessPool as error:
            raise FailedError(KILLED) from error
        except BaseException:  # an interrupt does not wait for it
            for child in multiprocessing.active_children():
                child.terminate()
            raise
    steps = dict(zip(networks, steps_gb, strict=True))
    if device_gb is not None:  # the step is in the device's memory, not here
        _check_memory(steps, steps, device_gb, "the device has")
        return values
    needed = values | {name: values[name] + step for name, step in steps.items()}
    most = memory_gb(settings.compute)
    if most is not None:
        _check_memory(
            {name: needed[name] for name in steps},
            steps,
            most,
            ("the available memory (--mem-mb, or that of this machine) is"),
        )
    return needed


def _network_request(analysis: GroupPlan, cell: ModelSpec) -> NetworkRequest:
    edge = analysis.resolutions[cell.maps[0]]
    shape, _ = available_maps.read_grid(analysis.used[cell.maps[0]][0][0])
    box = tuple(min(size, round(mm / edge)) for size, mm in zip(shape, BRAIN_MM, strict=True))
    box = shape if analysis.whole_grid else box
    return NetworkRequest(
        cell.classifier, len(cell.maps), len(analysis.classes), box, edge, analysis.options.get(cell.classifier, {})
    )


def measure_networks(networks: list[NetworkRequest], device: str) -> tuple[list[float], float | None]:
    """GB of each network's training step, and the memory of the CUDA device if training uses one."""
    import torch

    from bids_app.training import memory
    from bids_app.training.device import resolve_device

    steps_gb = []
    for request in networks:
        part = catalogue.load("classifiers", request.classifier)
        built = select_model_options(request.options)
        network = part.build(
            request.channels, request.classes, request.shape, voxel_mm=(request.voxel_mm,) * 3, seed=0, **built
        )
        need = memory.estimate_step(
            network, config_from_module(part, request.options), channels=request.channels, shape=request.shape
        )
        steps_gb.append(need.total / 1e9)
    cuda = resolve_device(device) == "cuda"
    return steps_gb, torch.cuda.mem_get_info()[1] / 1e9 if cuda else None


def _check_memory(needed: dict[str, float], steps: dict[str, float], most: float, where: str) -> None:
    """Raise NotEnoughMemoryError that names each cell that needs more than `most`."""
    large = [name for name, gb in needed.items() if gb > most]
    if large:
        each = "; ".join(
            f"{name} requires about {needed[name]:.1f} GB, {steps[name]:.1f} GB of it for one training step"
            for name in large
        )
        raise NotEnoughMemoryError(
            f"not enough memory for training: {each}; {where} {most:.1f} GB. To solve this, {REMEDY}"
        )


def _values_gb(analysis: GroupPlan, cell: ModelSpec) -> float:
    """GB of the libraries and of the values: raw, adjusted and scaled."""
    values = len(analysis.used) * len(cell.maps) * BRAIN_MM3 / analysis.resolutions[cell.maps[0]] ** 3
    return LIBRARIES_GB + COPIES * values * 4e-9
