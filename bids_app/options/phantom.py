"""Options of pellucid-phantom."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bids_app.options.declaration import declare

phantom = partial(declare, topic="phantom")
functional = partial(declare, topic="phantom: BOLD")


@dataclass(frozen=True)
class Phantom:
    """What is invented. None is left to `bids_app.phantom.write`."""

    people: int = phantom(24, "number of participants, half of them patients ({default})", metavar="N")
    region: str = phantom("Putamen_L", "region of the atlas that lacks tissue in patients ({default})", metavar="NAME")
    atlas: str = phantom("aal", "atlas of the region ({default})", metavar="NAME|FILE")
    effect: float | None = phantom(
        None,
        "fraction of the region's tissue that patients lack (0.3; 0 with `--bold`)",
        "0 plants nothing",
        metavar="X",
    )
    resolution: float = phantom(3.0, "voxel size ({default})", metavar="MM")
    random_seed: int = phantom(1, "the same seed writes the same files ({default})", metavar="N")
    base: Path | None = phantom(
        None, "plant the effect in the controls of this data set instead of the template", metavar="BIDS"
    )
    bold: float | None = functional(
        None,
        "also write a resting-state run of each participant, with this effect size in the patients' region",
        "0 plants nothing",
        metavar="EFFECT_SIZE",
    )
    bold_effect: str | None = functional(
        None,
        "what differs: `amplitude`, `coherence` or `connectivity` (`amplitude`)",
        "Resampling to the template hides about half of an effect on `coherence`",
        metavar="KIND",
    )
    bold_volumes: int | None = functional(None, "volumes of the run (120)", metavar="N")
    tr: float | None = functional(None, "repetition time (2)", metavar="SECONDS")
    derivatives: Path | None = functional(
        None, "folder for derivatives, as fMRIPrep would have written them", metavar="DIR"
    )
