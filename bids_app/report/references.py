"""The references that a text cites, by author and year.

Those of the methods in general are in references.toml; a map, classifier or explainer may have its own, in the constant
`REFERENCES` of its file.
"""

import functools
import re
import tomllib
from pathlib import Path

from bids_app import catalogue
from bids_app.errors import UsageError

CITATION = re.compile(r"\b([A-Z][\w'-]+)(?: et al\.?| (?:&|and) (?:van )?([A-Z][\w'-]+))?,? \(?((?:19|20)\d\d)\b")


@functools.cache
def all_references() -> dict[str, str]:
    """Every reference, by author and year, alphabetically. Raises UsageError where files disagree on one.

    Files of parts are read, not imported: the process that writes reports must not load torch.
    """
    references = tomllib.loads(Path(__file__).with_name("references.toml").read_text(encoding="utf-8"))
    for kind in catalogue.KINDS:
        for name in catalogue.names(kind):
            own = catalogue.constant(kind, name, "REFERENCES") if catalogue.has(kind, name, "REFERENCES") else {}
            for key, reference in own.items():
                if not CITATION.search(key):
                    raise UsageError(f"{kind}/{name}.py: REFERENCES: {key} is no author and year, as in 'Good 2001'")
                if references.setdefault(key, reference) != reference:
                    raise UsageError(f"{kind}/{name}.py: REFERENCES: another file has a different text for {key}")
    return dict(sorted(references.items(), key=lambda item: item[0].casefold()))


def cited_references(text: str) -> list[str]:
    """The references whose author and year occur in a text ('Good 2001', 'Good et al. 2001'), alphabetically."""
    return [all_references()[key] for key in cited_keys(text)]


def cited_keys(text: str) -> list[str]:
    """The keys of the citations in a text; the second author resolves keys that share first author and year."""
    citations = set(CITATION.findall(text))
    pairs = {key: CITATION.findall(key)[0] for key in all_references()}
    known = set(pairs.values())
    return [
        key
        for key, (first, second, year) in pairs.items()
        if (first, second, year) in citations
        or any(
            author == first and published == year and (author, coauthor, published) not in known
            for author, coauthor, published in citations
        )
    ]
