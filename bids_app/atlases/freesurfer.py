"""Regions by FreeSurfer's names: their numbers in wmparc, and their names in atlases in template space."""

import functools
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_app.errors import UsageError

ATLAS = "neuromorphometrics"


def check(names: Sequence[str]) -> None:
    """Raise UsageError, with the known names, for an unknown region."""
    unknown = [name for name in names if name not in read_color_table()]
    if unknown:
        raise UsageError(
            f"--exclude-regions: there is no {', '.join(unknown)}; choose from {', '.join(read_color_table())}"
        )


def numbers(names: Sequence[str]) -> list[int]:
    """The labels of regions in FreeSurfer's wmparc."""
    return [read_color_table()[name]["wmparc"] for name in names]


def equivalents(names: Sequence[str]) -> dict[str, str]:
    """The name of each region in ATLAS; those it lacks are omitted."""
    return {name: region for name in names if (region := read_color_table()[name][ATLAS])}


@functools.cache
def read_color_table() -> dict[str, dict[str, Any]]:
    """FreeSurfer's regions by name, with their numbers in wmparc."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
