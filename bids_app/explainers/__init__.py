"""One heatmap method per file: what a trained classifier uses.

Each file has a docstring with the citation (printed into reports: its first paragraph, and the names and years of its
last), `SIGN` ("both", or "positive" if only positive values speak for the class), `UNIT` (the text of the colour bar),
`SCOPE` ("sample", "model" or "both") and `check(classifier) -> str | None`, why the method does not suit a classifier.

- Of a sample: `explain(classifier, x, target, *, mask) -> float32 array`. For a classifier of "volumes" x is (channels,
  X, Y, Z) and the map (X, Y, Z), zero outside the mask; for one of "vectors" x is (channels * voxels,) and the map
  (voxels,), summed over channels. A method with the keyword `parcels` also gets the regions of the map's first atlas,
  (X, Y, Z), 0 where there is none.
- Of a model: `describe(classifier, x_train) -> float32 array (classes, channels * voxels)`, with x_train (n, channels *
  voxels) the scaled training samples.

`REFERENCES`, a literal dictionary, has the full text of what the docstring cites: "Good 2001" by "Good CD, et al. ...".
`OPTIONS`, a dictionary of names and defaults, are further keywords of `explain`, set by `--set NAME.OPTION=VALUE`.

`COARSE = True`: the values belong to units of `cam_layer`, which are larger than voxels. `SENSITIVITY = True`: they are
changes of the logit per change of a voxel, not contributions to it. `REGIONWISE = True`: all voxels of a region have
the region's value.

`checks(classifier, x, target, values) -> dict of numbers` may measure what a map has to fulfil, `values` being the map
(voxels in the mask,) of that sample and class; the numbers are written to the sidecar.

Maps are unscaled and signed, in the unit given, never scaled per participant. Hooks are removed afterwards; mode,
weights and stored gradients are unchanged.
"""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from bids_app.errors import UsageError

ALLOWED = {"SIGN": ("both", "positive"), "SCOPE": ("sample", "model", "both")}
FLAGS = ("COARSE", "SENSITIVITY", "REGIONWISE")
# by function, the scopes that have it and its positional arguments
FUNCTIONS = {
    "explain": (("sample", "both"), ["classifier", "x", "target"]),
    "describe": (("model", "both"), ["classifier", "x_train"]),
}
# arguments that explain may ask for beside its OPTIONS
KEYWORDS = {
    "mask": "voxels of the samples (X, Y, Z)",
    "parcels": "region of each voxel in the map's first atlas, 0 for none (X, Y, Z)",
}


def check_contract(name: str, module: ModuleType) -> None:
    """Raise UsageError for constants, functions or keywords that are missing, unknown or do not fit; all are named."""
    problems = [*_wrong_constants(module), *_wrong_functions(module)]
    if problems:
        raise UsageError(f"explainers/{name}.py: {'; '.join(problems)}")


def _wrong_constants(module: ModuleType) -> Iterator[str]:
    for constant, values in ALLOWED.items():
        if getattr(module, constant, None) not in values:
            given = f", not {getattr(module, constant)!r}" if hasattr(module, constant) else ""
            yield f"set {constant} to one of {', '.join(map(repr, values))}{given}"
    if not isinstance(getattr(module, "UNIT", None), str) or not module.UNIT:
        yield "set UNIT to the unit of the map, the text of its colour bar"
    for flag in FLAGS:
        if getattr(module, flag, True) not in (True, False):
            yield f"set {flag} to True, or leave it out"


def _wrong_functions(module: ModuleType) -> Iterator[str]:
    if not callable(getattr(module, "check", None)):
        yield "define check(classifier) -> str | None: why the method does not suit a classifier"
    elif len(inspect.signature(module.check).parameters) != 1:
        yield "check takes one argument, classifier"
    scope = getattr(module, "SCOPE", None)
    for function, (scopes, positional) in FUNCTIONS.items():
        defined = getattr(module, function, None)
        if scope in scopes and not callable(defined):
            yield f"define {function}({', '.join(positional)}), which SCOPE = {scope!r} requires"
        elif defined is not None and scope in ALLOWED["SCOPE"] and scope not in scopes:
            yield f"remove {function}, which SCOPE = {scope!r} does not have, or set SCOPE to 'both'"
        elif defined is not None:
            yield from _wrong_arguments(function, defined, positional, getattr(module, "OPTIONS", {}))
    if getattr(module, "OPTIONS", {}) and not hasattr(module, "explain"):
        yield "remove OPTIONS, which are keywords of explain"


def _wrong_arguments(
    function: str, defined: Callable[..., Any], positional: list[str], options: dict[str, Any]
) -> Iterator[str]:
    parameters = inspect.signature(defined).parameters.values()
    keywords = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    if len(parameters) - len(keywords) != len(positional):
        yield f"{function} takes ({', '.join(positional)}), then keywords after a *"
    if function == "describe":
        return
    if unknown := [key for key in keywords if key not in {*KEYWORDS, *options}]:
        yield (
            f"explain asks for {', '.join(unknown)}, which is neither one of its OPTIONS nor one of "
            f"{', '.join(KEYWORDS)}"
        )
    if missing := [key for key in ("mask", *options) if key not in keywords]:
        yield f"explain has to take the keyword {', '.join(missing)}"
