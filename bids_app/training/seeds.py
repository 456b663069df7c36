"""Random seeds that depend on what is computed, not on the order or the number of processes."""

import hashlib


def derive(seed: int, *parts: str | int) -> int:
    """Return a seed below 2**32, as scikit-learn needs it, for parts such as (cell, repeat, fold)."""
    text = "\0".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
