"""Labels that users write in lists and tables, matched with those of the data set; near misses are suggested."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from bids_app.bids.names import split_site

MAX_NAMED = 10


def near_misses(labels: Iterable[str], known: Collection[str], *, prefix: str = "sub-") -> dict[str, str]:
    """For each label that is not known, the known one that differs by zeros, case, spaces, signs or `prefix` only."""
    there = set(known)
    unmatched = sorted(set(labels) - there)
    near = {_reduce(label, prefix): label for label in sorted(there, reverse=True)} if unmatched else {}
    return {label: near[key] for label in unmatched if (key := _reduce(label, prefix)) in near}


def describe_unmatched(labels: Iterable[str], known: Collection[str], *, prefix: str = "sub-") -> str:
    """The labels that are not known, each with its near miss: "3 (03?), 99"; "" where all are known."""
    unmatched = sorted(set(labels) - set(known))
    near = near_misses(unmatched, known, prefix=prefix)
    return list_some([f"{label} ({near[label]}?)" if label in near else label for label in unmatched])


def spelling_variants(values: Iterable[str]) -> list[list[str]]:
    """The values that differ from each other in case or in what separates their words only: [["HC", "hc"]]."""
    alike: dict[str, list[str]] = {}
    for value in sorted(set(values)):
        alike.setdefault(re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", value.casefold().strip()), []).append(value)
    return [words for words in alike.values() if len(words) > 1]


def list_some(words: list[str]) -> str:
    """Join up to ten words with commas, and count the others."""
    return ", ".join(words[:MAX_NAMED]) + (f" and {len(words) - MAX_NAMED} more" if len(words) > MAX_NAMED else "")


def _reduce(label: str, prefix: str) -> tuple[str, str]:
    """The site of a label, if any, and the rest, without what is often written in another way."""
    site, rest = split_site(label.casefold())
    plain = re.sub(r"[^0-9a-z]", "", rest).removeprefix(re.sub(r"[^0-9a-z]", "", prefix))
    return site or "", re.sub(r"(?<!\d)0+(?=\d)", "", plain)


def list_failures(reasons: Mapping[str, object]) -> str:
    """The first five participants with the reason of each, one a line, and the number of others."""
    lines = [f"  {why}" if str(why).startswith(name) else f"  {name}: {why}" for name, why in reasons.items()]
    return "\n".join(lines[:5] + ([f"  and {len(lines) - 5} more"] if len(lines) > 5 else []))


def suggest_values(wrong: Iterable[str], known: Collection[str]) -> list[str]:
    """Each wrong value with the known one that it resembles, if any: "patints (did you mean patient?)"."""
    folded = {value.casefold(): value for value in known}
    near = {value: difflib.get_close_matches(value.casefold(), folded, n=1, cutoff=0.7) for value in wrong}
    return [f"{value} (did you mean {folded[close[0]]}?)" if close else value for value, close in near.items()]
