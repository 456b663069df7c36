"""Options of the group level about heatmaps, tests and simulations."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bids_app.options.cohort import Cohort
from bids_app.options.declaration import declare
from bids_app.options.learning import Learning

evidence = partial(declare, topic="group: heatmaps and evidence")


@dataclass(frozen=True)
class Evidence:
    """Explanations of the predictions, and tests of what is claimed."""

    explainers: tuple[str, ...] = evidence(
        ("gradcam", "weights", "pattern"),
        "{names} ({default})",
        "Each is computed for the classifiers that [it suits](parts.md#explainers). `occlusion` takes one forward pass "
        "per region of the first atlas, class and participant",
        metavar="NAME",
        catalogue="explainers",
        common=True,
    )
    explain_target: str = evidence(
        "predicted", "class that a heatmap explains ({default})", metavar="true|predicted|CLASS"
    )
    explainer_checks: bool = evidence(
        False,
        "sanity checks of the explainers",
        "Their maps after randomising parameters from the head downwards, after training on permuted labels and from "
        "another initialisation; deletion and insertion of regions in the order of the map against random orders; "
        "infidelity; sensitivity to noise. [What passes](explaining.md). Each fold is trained twice more, and the "
        "maps of four held-out participants are computed some twenty times more",
        former=("explain_checks",),
    )
    permutations: int | None = evidence(
        None,
        "label permutations, each with a new training (linear models 1000, networks none); 0 for no test at all",
        "Linear models take at least 1000, in seconds. Networks have none unless given, so that nothing is claimed for "
        "them: 100 permutations take 100 times the training. With 0 no model is judged",
        metavar="N",
        minimum=0,
        common=True,
    )
    power: int | None = evidence(
        None,
        "simulate N studies with differences of known size, and show which would have been found (none)",
        "At least 20; 100 are enough. The linear models are trained on these participants with planted differences. "
        "Without `--label`, or with one class in `--classes`, a study is only planned; see "
        "[power](#what-a-study-could-find)",
        metavar="N",
        minimum=20,
    )
    max_mean_fd: float | None = evidence(
        None,
        "leave out participants with a larger mean framewise displacement",
        metavar="MM",
        minimum=0,
    )
    min_minutes: float | None = evidence(
        None,
        "leave out participants with fewer minutes of BOLD after censoring",
        metavar="N",
        minimum=0,
    )
    reference_map: Path | None = evidence(
        None,
        "image or coordinates to compare heatmaps with",
        "A 3D image in the space of the maps, such as a meta-analysis or a region: overlap of every mean heatmap, of "
        "the group mean and of the voxelwise t-map with it, against surrogates as smooth as the map. A binary image "
        "is a region; of any other the strongest tenth is. For coordinates see below",
        metavar="FILE",
    )
    voxelwise_test: int | None = evidence(
        None,
        "also compare the classes voxel by voxel, with N permutations (none)",
        "It uses no classifier: TFCE with p corrected over the voxels of all maps, and overlap of every heatmap with "
        "the result. At least 19 permutations; 1000 are usual; see below",
        metavar="N",
        minimum=0,
    )
    allow_confounded: bool = evidence(
        False,
        "continue although a class occurs at one of several sites only",
        "Nothing is claimed then. Sites that are the label itself do not need it",
    )


@dataclass(frozen=True)
class Group(Evidence, Learning, Cohort):
    """From maps to classifiers, heatmaps and report. None for smoothing and covariates means what each map asks for."""
