"""The report of one person."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_app.report.page import render, save


@dataclass(frozen=True)
class Figure:
    """A picture with what it shows; `file` is relative to the page."""

    title: str
    caption: str
    file: str


@dataclass(frozen=True)
class Section:
    """What a page shows of one BOLD run: a row of the table by heading, its pictures, and warnings in words."""

    title: str
    row: dict[str, str]
    figures: list[Figure]
    checks: list[str]


def write(
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
    functional: Sequence[Section] = (),
) -> None:
    """Write one person's page.

    `participant` and `session` are labels without their prefix; `volumes` are mL by name (GM, WM, CSF, TIV); `facts`
    are shown as they are; `checks` are warnings in words, shown first; `methods` are plain paragraphs; `functional`
    are the BOLD runs, whose warnings stand with the others.
    """
    name = f"sub-{participant}" + (f", ses-{session}" if session else "")
    page = render(
        "person.html",
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
        bold_only=bool(functional) and not volumes and not figures,
    )
    save(path, page)
