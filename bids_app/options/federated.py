"""Options of analyses of several sites whose images stay where they are."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bids_app.options.declaration import declare

several = partial(declare, topic="group: several sites")


@dataclass(frozen=True)
class Federated:
    """The part of this run in a federated analysis, and what happens where a site fails."""

    federated: str | None = several(
        None,
        "part in a federated analysis, in which images stay at their site",
        "A `site` answers the coordinator's questions with sums; the `coordinator` runs the server and writes the "
        "results. Both need maps of the participant level and the same settings file. [Consortium](consortium.md)",
        metavar="site|coordinator",
        choices=("site", "coordinator"),
    )
    kit: Path | None = several(
        None,
        "with `--federated`: startup kit of NVIDIA FLARE",
        "Made by `nvflare provision`: that of a client at a site, the folder with those of server and admin at the "
        "coordinator",
        metavar="DIR",
    )
    federated_sites: tuple[str, ...] = several(
        (), "with `--federated coordinator`: the sites that take part, as in the kits", metavar="NAME"
    )
    on_site_failure: str = several(
        "stop",
        "what a federated analysis does where a site fails ({default})",
        "A site fails if it does not answer in time, has other settings or sends values that are not finite. `stop` "
        "ends the run; `drop` runs the analysis anew without the site, and the results say so",
        metavar="stop|drop",
        choices=("stop", "drop"),
    )
    site_timeout: float = several(600.0, "seconds that a site has to answer ({default})", metavar="SECONDS", minimum=1)
    site_attempts: int = several(
        3, "how often a question is asked before a site counts as failed ({default})", metavar="N", minimum=1
    )
