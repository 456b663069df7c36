"""The filter through which every answer of a site leaves: it checks, counts and writes each array down."""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bids_app.errors import DataError
from bids_app.federated.protocol import Answer, Arrays, Request
from bids_app.federated.questions import QUESTIONS, Field

MIN_PER_CLASS = 10  # with fewer in either class, a site sends no scores
COLUMNS = ("time", "round", "question", "array", "shape", "bytes", "meaning")


class RefusedError(DataError):
    """An answer that may not leave; its message names no value."""


class OutgoingFilter:
    """Checks what leaves a site against `QUESTIONS` and appends a line for each array to messages.tsv in `folder`.

    per_class: the site's participants in each class; sizes: length of each named dimension, by map.
    """

    def __init__(self, folder: Path, *, per_class: tuple[int, int], sizes: Mapping[str, Mapping[str, int]]) -> None:
        self.file, self.per_class, self.sizes = folder / "messages.tsv", per_class, sizes
        folder.mkdir(parents=True, exist_ok=True)
        if not self.file.exists():
            self._write(COLUMNS)

    def declines(self, name: str) -> str:
        """Why the site does not answer a question, empty if it does. Raises RefusedError for an unknown question."""
        if name not in QUESTIONS:
            raise RefusedError(f"the coordinator asked {name!r}, which is not among the questions that a site answers")
        if QUESTIONS[name].scores and min(self.per_class) < MIN_PER_CLASS:
            return f"fewer than {MIN_PER_CLASS} participants of a class"
        return ""

    def release(self, request: Request, arrays: Arrays) -> Answer:
        """The answer to a question, once it is checked and written down.

        Raises RefusedError, and writes only that, for an array that is not on the list, or has another type or shape,
        or a value that is not finite.
        """
        fields = QUESTIONS[request.name].fields
        sizes = {**self.sizes.get(request.map_name, {}), "slopes": np.size(request.arrays.get("slopes", ()))}
        wrong = [_mismatch(name, fields.get(name), array, sizes) for name, array in arrays.items()]
        wrong += [f"{name} is missing" for name in fields if name not in arrays]
        if refused := next(filter(None, wrong), ""):
            self._write((_now(), request.number, request.name, "nothing", "", 0, f"refused by the filter: {refused}"))
            raise RefusedError(f"the answer to {request.name} was not sent: {refused}")
        if not arrays:
            self._write((_now(), request.number, request.name, "nothing", "", 0, "that the question was received"))
        for name, array in arrays.items():
            shape = "x".join(map(str, array.shape)) or "1"
            self._write((_now(), request.number, request.name, name, shape, array.nbytes, fields[name].meaning))
        return Answer(arrays)

    def decline(self, request: Request, reason: str) -> Answer:
        """An empty answer, written down as such."""
        self._write((_now(), request.number, request.name, "nothing", "", 0, f"not answered: {reason}"))
        return Answer({}, declined=reason)

    def _write(self, row: tuple[object, ...]) -> None:
        with self.file.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerow(row)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _mismatch(name: str, field: Field | None, array: np.ndarray, sizes: Mapping[str, int]) -> str:
    """How an array differs from its declaration, empty if it does not."""
    if field is None:
        return f"{name} is not among the arrays of this answer"
    if array.dtype != (np.int64 if field.integer else np.float64):
        return f"{name} has the type {array.dtype}"
    shape = tuple(size if isinstance(size, int) else sizes[size] for size in field.dims)
    if array.shape != shape:
        return f"{name} has the shape {array.shape}, not {shape}"
    return "" if np.isfinite(array).all() else f"{name} has values that are not finite"
