"""The simulated participants and their variables."""

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
    """The random generator for one purpose and participant, independent of the number of participants."""
    return np.random.default_rng(np.random.SeedSequence((random_seed, stream, index)))


def groups(count: int, rng: np.random.Generator) -> list[str]:
    """Half controls and half patients in random order; with an odd count one more control."""
    return [str(group) for group in rng.permutation([CONTROL, PATIENT] * (count // 2) + [CONTROL] * (count % 2))]


def invent(count: int, *, random_seed: int) -> list[Person]:
    """Participants with group, sex and site each half and half, in independent random orders; aged 18 to 65 years."""
    rng = generator(random_seed, TABLE)
    group = groups(count, rng)
    sex = rng.permutation((["F", "M"] * count)[:count])
    site = rng.permutation((["siteA", "siteB"] * count)[:count])
    age = rng.integers(18, 66, count)
    width = max(2, len(str(count)))
    rows = zip(group, age, sex, site, strict=True)
    return [Person(f"{n:0{width}d}", g, int(a), str(x), str(s)) for n, (g, a, x, s) in enumerate(rows, start=1)]
