"""Loops that numba compiles; each map has a way in numpy, of equal results, without it."""

import functools
import importlib.util
import types
from collections.abc import Callable
from pathlib import Path
from typing import Generic, ParamSpec, TypeVar

ROOMS = ("maps", "preprocess")  # of which the loops are compiled at installation
P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def available() -> bool:
    """Whether numba can be imported."""
    return importlib.util.find_spec("numba") is not None


class Jitted(Generic[P, R]):
    """Loops that are compiled at their first call: nothing pays for numba's import before it needs it."""

    def __init__(self, loops: Callable[P, R], *, signatures: tuple[str, ...], fastmath: bool) -> None:
        self.loops, self.signatures, self.fastmath = loops, signatures, fastmath

    @functools.cached_property
    def compiled(self) -> Callable[P, R]:
        """The compiled loops, from numba's cache where it has them."""
        import numba

        compiled: Callable[P, R]
        try:
            compiled = numba.njit(cache=True, nogil=True, fastmath=self.fastmath)(self.loops)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            # numba found no folder to write to (a read-only image): compiled again in each process
            compiled = numba.njit(nogil=True, fastmath=self.fastmath)(self.loops)
        return compiled

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the loops return."""
        return self.compiled(*args, **kwargs)


def jitted(*signatures: str, fastmath: bool = False) -> Callable[[Callable[P, R]], Jitted[P, R]]:
    """Decorate loops for numba. `signatures`: what `compile_all` compiles; `fastmath`: sums may take any order."""
    return functools.partial(Jitted, signatures=signatures, fastmath=fastmath)


def compile_all() -> None:
    """Compile all declared loops into numba's cache at installation, so that no computation waits for it."""
    if not available():
        return
    root = Path(__file__).parent
    for path in sorted(path for room in ROOMS for path in (root / room).glob("*.py")):
        if "@jit.jitted(" not in path.read_text():
            continue  # importing ANTs takes seconds
        compile_loops(importlib.import_module(f"bids_app.{path.parent.name}.{path.stem}"))


def compile_loops(module: types.ModuleType) -> None:
    """Compile the declared loops of a module, or load them from numba's cache."""
    from numba.core.sigutils import normalize_signature

    for value in vars(module).values():
        for signature in value.signatures if isinstance(value, Jitted) else ():
            value.compiled.compile(normalize_signature(signature)[0])  # as a call would: the text is another key


if __name__ == "__main__":
    # not this module's own names: run as a program it is another one than the maps import
    importlib.import_module("bids_app.jit").compile_all()
