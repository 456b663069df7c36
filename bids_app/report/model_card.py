"""The model card: what the models are, on whom they were trained and how good they are; with two checklists."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.report.page import RESEARCH_USE

CHECKLISTS = {
    "tripod_ai": "TRIPOD+AI (Collins et al. 2024)",
    "claim": "CLAIM (Mongan et al. 2020; its item numbers)",
}
ITEMS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("checklists.toml").read_text(encoding="utf-8"))
MEMORISATION = (
    "Weights can reveal more about the training participants than intended: a linear model is a sum over their images, "
    "and membership in the training set can sometimes be inferred from a model's output. Share models as you would "
    "share the data, under the same terms."
)
HEADINGS = {
    "verdicts": "Main findings",
    "use": "Intended use",
    "limits": "Uses that are out of scope, and limitations",
    "models": "Models",
    "counts": "Participants",
    "people": "Characteristics of the participants",
    "maps": "Maps",
    "preparation": "Data preparation",
    "split": "Folds",
    "scores": "Scores",
    "within": "Scores within sites",
    "output": "Output",
    "applying": "How to apply the models",
    "seeds": "Seeds and hardware",
}


def write_model_card(folder: Path, analysis: str, facts: Mapping[str, str | Sequence[str]]) -> None:
    """Write `model_card.md` and `model_card.json`. Items without a known fact stay blank (null).

    facts: by the names that checklists.toml uses, a sentence or several.
    """
    sentences = {name: [text] if isinstance(text, str) else list(text) for name, text in facts.items()}
    unknown = {name for guideline in ITEMS.values() for _, _, name in guideline["items"] if name} - set(sentences)
    if unknown:
        raise ValueError(f"the model card has no {', '.join(sorted(unknown))}")
    lists = {
        key: [
            {"item": number, "about": about, "said": _join_sentences(sentences.get(name, ())) or None}
            for number, about, name in guideline["items"]
        ]
        for key, guideline in ITEMS.items()
    }
    card = {"analysis": analysis, "research_use": RESEARCH_USE, "memory": MEMORISATION, "facts": sentences, **lists}
    (folder / "model_card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (folder / "model_card.md").write_text(_format_markdown(analysis, sentences, lists), encoding="utf-8")


def _join_sentences(texts: Sequence[str]) -> str:
    return " ".join(text if text.endswith(".") else f"{text}." for text in texts)


def _format_markdown(analysis: str, facts: Mapping[str, list[str]], lists: Mapping[str, list[dict[str, Any]]]) -> str:
    parts = [f"# Model card: {analysis}", f"**{RESEARCH_USE}**", f"**{MEMORISATION}**"]
    for name, heading in HEADINGS.items():
        if facts.get(name):
            parts += [f"## {heading}", "\n".join(f"- {text}" for text in facts[name])]
    for key, title in CHECKLISTS.items():
        complete = sum(row["said"] is not None for row in lists[key])
        parts += [
            f"## {title}",
            f"{complete} of {len(lists[key])} items are completed from this run; the others are left blank for the "
            "authors. Items are paraphrased; see the guideline for their exact wording.",
            "\n".join(
                ["| item | topic | this run |", "|---|---|---|"]
                + [
                    f"| {row['item']} | {row['about']} | {(row['said'] or '').replace('|', '/')} |"
                    for row in lists[key]
                ]
            ),
        ]
    return "\n\n".join(parts) + "\n"
