"""The report of one participant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bids_app.report.page import render_page, save_page
from bids_app.report.quality import render_quality


@dataclass(frozen=True)
class Figure:
    """A figure with its caption; `file` is relative to the page.

    `other`: a picture of the same size that can be shown in its place, or in alternation; `names`: those of the two.
    """

    title: str
    caption: str
    file: str
    other: str | None = None
    names: tuple[str, str] = ("", "")


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
    measures: Mapping[str, object],
    facts: dict[str, str],
    checks: list[str],
    methods: str,
    references: list[str],
    version: str,
    functional: Sequence[RunSection] = (),
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write the page of one participant.

    `participant` and `session` are labels without prefix; `measures` are those of `report.quality` by name;
    `facts` are shown as they are; `checks` are warnings as sentences, shown first; `methods` are plain paragraphs;
    `functional` are the BOLD runs, whose warnings are shown with the others; `about`: a `Provenance`.
    """
    name = f"sub-{participant}" + (f", ses-{session}" if session else "")
    sections = {
        "quality": "Quality",
        **({"figures": "Figures"} if figures else {}),
        **({"rest": "Resting state"} if functional else {}),
        **{"image": "Image", "methods": "Methods", "references": "References"},
        **({"about": "About"} if about else {}),
    }
    page = render_page(
        "participant.html",
        title=f"{name} - Pellucid",
        name=name,
        figures=figures,
        sections=sections,
        quality=Markup(render_quality(measures, {}, links={}).strip()),
        facts=facts,
        checks=[*checks, *(check for run in functional for check in run.checks)],
        methods=methods,
        references=references,
        version=version,
        functional=functional,
        about=about,
    )
    save_page(path, page)
