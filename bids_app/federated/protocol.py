"""Questions and answers between a coordinator and sites, and the order in which answers are summed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]
STEPS = ("combat", "adjust", "scale")  # of the features, in order; a stage is a step, or "raw"


@dataclass(frozen=True, eq=False)
class Request:
    """A question to all sites about one map and the training participants of one fold (0: all participants).

    `stage`: the last step of the features that the question is about. `arrays`: what the question needs, and the
    arrays of fitted steps ("scale.mean"), which the site keeps. `for_site`: arrays of one site each, by site.
    `number`: the round; `settings`: the digest of the settings that all share; `site_number`: the code in ComBat.
    """

    name: str
    map_name: str = ""
    classifier: str = ""
    fold: int = 0
    stage: str = "raw"
    arrays: Arrays = field(default_factory=dict)
    for_site: Mapping[str, Arrays] = field(default_factory=dict)
    number: int = 0
    settings: str = ""
    site_number: int = 0

    def to_site(self, name: str, site_number: int) -> "Request":
        """The question as one site gets it, without the arrays of other sites."""
        arrays = {**self.arrays, **self.for_site.get(name, {})}
        return replace(self, arrays=arrays, for_site={}, site_number=site_number)


@dataclass(frozen=True, eq=False)
class Answer:
    """The arrays of one site; empty, with the reason, if it may not answer (`declined`) or could not (`failed`)."""

    arrays: Arrays
    declined: str = ""
    failed: str = ""


Answers = Mapping[str, Answer]  # by site


class OtherSettingsError(DataError):
    """A site and the coordinator have different settings."""


class Transport(Protocol):
    """How questions reach the sites."""

    def ask_all(self, request: Request) -> Answers:
        """The answers of all sites, by site; their codes follow the order of their names."""
        ...


class Answering(Protocol):
    """A site, as a transport sees it."""

    def answer(self, request: Request) -> Answer:
        """The answer to a question."""
        ...


class InProcess:
    """The transport to sites in the same process."""

    def __init__(self, sites: Mapping[str, Answering]) -> None:
        self.sites, self.number = dict(sites), 0

    def ask_all(self, request: Request) -> Answers:
        """The answers of all sites, by site."""
        self.number += 1
        request = replace(request, number=request.number or self.number)
        codes = {name: code for code, name in enumerate(sorted(self.sites))}
        return {name: site.answer(request.to_site(name, codes[name])) for name, site in self.sites.items()}


def sum_answers(answers: Answers, name: str, *, sites: Sequence[str] | None = None) -> Floats:
    """The sum of one array over the sites that sent it (or over `sites`), in the order of site names.

    Floating-point sums depend on their order: with a fixed one, the same data give the same bits.
    """
    arrays = [
        np.asarray(answer.arrays[name], np.float64)
        for site, answer in sorted(answers.items())
        if not answer.declined and (sites is None or site in sites)
    ]
    total = np.zeros_like(arrays[0]) if arrays else np.zeros(())
    for array in arrays:
        total = total + array
    return total
