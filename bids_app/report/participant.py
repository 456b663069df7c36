"""The report of one participant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_app.report.page import render_page, save_page


@dataclass(frozen=True)
class Figure:
    """A figure with its caption; `file` is relative to the page."""

    title: str
    caption: str
    file: str


@dataclass(frozen=True)
class RunSection:
    """What a page shows of one BOLD run: its row of the table by heading, its figures, and warnings as sentences."""

    title: str
    row: dict[str, str]
    figures: list[Figure]
    checks: list[str]


def write_participant_report(
    path: Path,
    *,
    participant: str,
    session: str | None,
    figures: list[Figure],
    volumes: dict[str, float],
    facts: dict[str, str],
    checks: list[str],
    methods: str,
    references: list[str],
    version: str,
    functional: Sequence[RunSection] = (),
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write the page of one participant.

    `participant` and `session` are labels without prefix; `volumes` are mL by name (GM, WM, CSF, TIV); `facts` are
    shown as they are; `checks` are warnings as sentences, shown first; `methods` are plain paragraphs; `functional`
    are the BOLD runs, whose warnings are shown with the others; `about`: a `Provenance`.
    """
    name = f"sub-{participant}" + (f", ses-{session}" if session else "")
    page = render_page(
        "participant.html",
        title=f"{name} - Pellucid",
        name=name,
        figures=figures,
        volumes=volumes,
        total=volumes.get("TIV"),
        facts=facts,
        checks=[*checks, *(check for run in functional for check in run.checks)],
        methods=methods,
        references=references,
        version=version,
        functional=functional,
        about=about,
        bold_only=bool(functional) and not volumes and not figures,
    )
    save_page(path, page)
