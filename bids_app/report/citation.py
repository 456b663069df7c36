"""What a paper is to say of a run: the methods in words with their references, as Markdown, HTML and BibTeX."""

import re

from bids_app.report import methods
from bids_app.report.page import render

ENTRY = "@misc{{{key},\n  author = {{{author}}},\n  year = {{{year}}},\n  doi = {{{doi}}},\n  note = {{{text}}}\n}}\n"


def files(texts: list[str], *, version: str) -> dict[str, str]:
    """Content of CITATION.md, CITATION.html and CITATION.bib for one or more texts of methods."""
    references = sorted({one for text in texts for one in methods.cited(text)})
    whole = "\n\n".join([*texts, f"Made with Pellucid {version}."])
    listed = "\n".join(f"- {one}" for one in references)
    title = "Methods, for your paper"
    return {
        "CITATION.md": f"# {title}\n\n{whole}\n\n## References\n\n{listed}\n",
        "CITATION.html": render("citation.html", title=title, text=whole, references=references),
        "CITATION.bib": "\n".join(_entry(one) for one in references),
    }


def _entry(reference: str) -> str:
    """One reference as BibTeX; reference managers complete it by its DOI."""
    authors, _, rest = reference.partition(". ")
    year = re.findall(r"\b(?:19|20)\d\d\b", rest.partition("https")[0])[-1]
    names = authors.replace(", et al", ", others").split(", ")
    key = f"{re.sub(r'[^A-Za-z]', '', names[0].rpartition(' ')[0])}{year}"
    spelled = [name if name == "others" else ", ".join(name.rsplit(" ", 1)) for name in names]
    doi = reference.rpartition("https://doi.org/")[2]
    return ENTRY.format(key=key, author=" and ".join(spelled), year=year, doi=doi, text=reference)
