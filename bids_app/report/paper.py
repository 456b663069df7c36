"""Figures of a report as files for a paper: beside each PNG, in `paper/`, the same as PDF and SVG, with captions."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

FOLDER, CAPTIONS = "paper", "captions.md"
FORMATS = {".pdf": "CreationDate", ".svg": "Date"}  # and where each would state the time


def save_figure(figure: Figure, path: Path, *, paper: bool, facecolor: str = "white") -> None:
    """Write a figure as PNG, and with `paper` as PDF and SVG; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=facecolor)
    if not paper:
        return
    folder = path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    for extension, date in FORMATS.items():
        with rc_context({"svg.hashsalt": path.stem}):
            figure.savefig(folder / f"{path.stem}{extension}", facecolor=facecolor, metadata={date: None})


def write_captions(figures: Path, captions: Mapping[str, str]) -> None:
    """Write the captions of those figures that exist, by name without extension, beside the files for a paper."""
    shown = {name: caption for name, caption in captions.items() if (figures / f"{name}.png").is_file()}
    text = "\n\n".join(f"**{name}.** {caption}" for name, caption in shown.items())
    (figures / FOLDER / CAPTIONS).write_text(f"# Captions\n\n{text}\n", encoding="utf-8")
