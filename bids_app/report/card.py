"""The model card: what models are, whom they were trained on, what they are worth; with two reporting checklists."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.report.page import RESEARCH_USE

CHECKLISTS = {
    "tripod_ai": "TRIPOD+AI (Collins et al. 2024)",
    "claim": "CLAIM (Mongan et al. 2020; its numbers of items)",
}
ITEMS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("checklists.toml").read_text(encoding="utf-8"))
MEMORY = (
    "Weights can hold more of the training people than is meant: a linear model is a sum over their images, and "
    "whether somebody took part can sometimes be told from what a model says. Pass models on as you would the data, "
    "under the same terms."
)
HEADINGS = {
    "verdicts": "What was found",
    "use": "What it is for",
    "limits": "What it is not for, and what limits it",
    "models": "Models",
    "counts": "People",
    "people": "What is known of them",
    "maps": "Maps",
    "preparation": "Preparation",
    "split": "Folds",
    "scores": "Scores",
    "within": "Within sites",
    "output": "Output",
    "applying": "How to apply it",
    "seeds": "Seeds and machine",
}


def write(folder: Path, analysis: str, facts: Mapping[str, str | Sequence[str]]) -> None:
    """Write `model_card.md` and `model_card.json`. What a fact is not known for stays blank (null).

    facts: by the names that checklists.toml uses, a sentence or several.
    """
    said = {name: [text] if isinstance(text, str) else list(text) for name, text in facts.items()}
    unknown = {name for its in ITEMS.values() for _, _, name in its["items"] if name} - set(said)
    if unknown:
        raise ValueError(f"the model card has no {', '.join(sorted(unknown))}")
    lists = {
        key: [
            {"item": number, "about": about, "said": _sentences(said.get(name, ())) or None}
            for number, about, name in its["items"]
        ]
        for key, its in ITEMS.items()
    }
    whole = {"analysis": analysis, "research_use": RESEARCH_USE, "memory": MEMORY, "facts": said, **lists}
    (folder / "model_card.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    (folder / "model_card.md").write_text(_markdown(analysis, said, lists), encoding="utf-8")


def _sentences(texts: Sequence[str]) -> str:
    return " ".join(text if text.endswith(".") else f"{text}." for text in texts)


def _markdown(analysis: str, said: Mapping[str, list[str]], lists: Mapping[str, list[dict[str, Any]]]) -> str:
    parts = [f"# Model card: {analysis}", f"**{RESEARCH_USE}**", f"**{MEMORY}**"]
    for name, heading in HEADINGS.items():
        if said.get(name):
            parts += [f"## {heading}", "\n".join(f"- {text}" for text in said[name])]
    for key, title in CHECKLISTS.items():
        filled = sum(row["said"] is not None for row in lists[key])
        parts += [
            f"## {title}",
            f"{filled} of {len(lists[key])} items are filled in from this run; the others are blank, for those who "
            "know. Each is told in other words than the guideline's: see there for what it asks.",
            "\n".join(
                ["| item | about | this run |", "|---|---|---|"]
                + [
                    f"| {row['item']} | {row['about']} | {(row['said'] or '').replace('|', '/')} |"
                    for row in lists[key]
                ]
            ),
        ]
    return "\n\n".join(parts) + "\n"
