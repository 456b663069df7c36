"""The methods of a run with their references, for use in a paper: Markdown, HTML and BibTeX."""

import re

from bids_app.report.page import render_page
from bids_app.report.references import cited_references

BIBTEX_ENTRY = "@misc{{{key},\n  author = {{{author}}},\n  year = {{{year}}},\n{link}  note = {{{text}}}\n}}\n"


def citation_files(texts: list[str], *, version: str) -> dict[str, str]:
    """Content of CITATION.md, CITATION.html and CITATION.bib for one or more methods texts."""
    references = sorted({reference for text in texts for reference in cited_references(text)})
    boilerplate = "\n\n".join([*texts, f"Maps were computed with Pellucid {version}."])
    bullets = "\n".join(f"- {reference}" for reference in references)
    title = "Methods, for your paper"
    return {
        "CITATION.md": f"# {title}\n\n{boilerplate}\n\n## References\n\n{bullets}\n",
        "CITATION.html": render_page("citation.html", title=title, text=boilerplate, references=references),
        "CITATION.bib": "\n".join(_bibtex_entry(reference) for reference in references),
    }


def _bibtex_entry(reference: str) -> str:
    """One reference as BibTeX; reference managers complete it from its DOI."""
    authors, _, rest = reference.partition(". ")
    year = re.findall(r"\b((?:19|20)\d\d)\b(?![-\d])", rest.partition("https")[0])[0]
    names = authors.replace(", et al", ", others").split(", ")
    key = f"{re.sub(r'[^A-Za-z]', '', names[0].rpartition(' ')[0])}{year}"
    spelled = [name if name == "others" else ", ".join(name.rsplit(" ", 1)) for name in names]
    address = reference.partition("https://")[2]
    link = f"  url = {{https://{address}}},\n" if address else ""
    if address.startswith("doi.org/"):
        link = f"  doi = {{{address.removeprefix('doi.org/')}}},\n"
    return BIBTEX_ENTRY.format(key=key, author=" and ".join(spelled), year=year, link=link, text=reference)
