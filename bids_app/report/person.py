"""The report of one person."""

from dataclasses import dataclass
from pathlib import Path

from bids_app.report.page import render, save


@dataclass(frozen=True)
class Figure:
    """A picture with what it shows; `file` is relative to the page."""

    title: str
    caption: str
    file: str


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
) -> None:
    """Write one person's page.

    `participant` and `session` are labels without their prefix; `volumes` are mL by name (GM, WM, CSF, TIV); `facts`
    are shown as they are; `checks` are warnings in words, shown first; `methods` are plain paragraphs.
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
        checks=checks,
        methods=methods,
        references=references,
        version=version,
    )
    save(path, page)
