"""Who the invented people are."""

from dataclasses import dataclass

import numpy as np

CONTROL, PATIENT = "control", "patient"
TABLE, PERSON, BASE_GROUP, BASE_PERSON, BOLD = range(5)


@dataclass(frozen=True)
class Person:
    """A row of participants.tsv."""

    label: str
    group: str
    age: int
    sex: str
    site: str


def generator(random_seed: int, stream: int, index: int = 0) -> np.random.Generator:
    """Random numbers of one purpose and person, which do not depend on how many others were drawn."""
    return np.random.default_rng(np.random.SeedSequence((random_seed, stream, index)))


def groups(count: int, rng: np.random.Generator) -> list[str]:
    """Halves of controls and patients in random order; with an odd count one control more."""
    return [str(group) for group in rng.permutation([CONTROL, PATIENT] * (count // 2) + [CONTROL] * (count % 2))]


def invent(count: int, *, random_seed: int) -> list[Person]:
    """People whose group, sex and site are each half and half, in independent random orders; ages of 18 to 65 years."""
    rng = generator(random_seed, TABLE)
    group = groups(count, rng)
    sex = rng.permutation((["F", "M"] * count)[:count])
    site = rng.permutation((["siteA", "siteB"] * count)[:count])
    age = rng.integers(18, 66, count)
    width = max(2, len(str(count)))
    rows = zip(group, age, sex, site, strict=True)
    return [Person(f"{n:0{width}d}", g, int(a), str(x), str(s)) for n, (g, a, x, s) in enumerate(rows, start=1)]
