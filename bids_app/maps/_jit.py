"""Loops that numba compiles where it is installed; each map has a way in numpy, of equal results, without it."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def available() -> bool:
    """Whether numba can be imported."""
    return importlib.util.find_spec("numba") is not None


class Jitted(Generic[P, R]):
    """Loops that are compiled at their first call: nothing pays for numba's import before it needs it."""

    def __init__(self, loops: Callable[P, R], *, fastmath: bool) -> None:
        self.loops, self.fastmath = loops, fastmath

    @functools.cached_property
    def compiled(self) -> Callable[P, R]:
        """The compiled loops, from numba's cache where it has them."""
        import numba

        found: Callable[P, R]
        try:
            found = numba.njit(cache=True, nogil=True, fastmath=self.fastmath)(self.loops)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            # numba found no folder to write to (a read-only image): compiled anew in each process
            found = numba.njit(nogil=True, fastmath=self.fastmath)(self.loops)
        return found

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the loops return."""
        return self.compiled(*args, **kwargs)


def jitted(*, fastmath: bool = False) -> Callable[[Callable[P, R]], Jitted[P, R]]:
    """Decorate loops for numba. `fastmath`: sums may be taken in any order."""
    return functools.partial(Jitted, fastmath=fastmath)
