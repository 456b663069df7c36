"""Statistical disclosure control: numbers about fewer than ten participants are not shared."""

MIN_PEOPLE = 10
SMALL = f"<{MIN_PEOPLE}"


def suppress_small_count(number: int) -> int | str:
    """A number of participants, suppressed if small."""
    return SMALL if 0 < number < MIN_PEOPLE else number
