"""Rounds that survive: each is written down, repeated where a site fails, and read again after a restart."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_app.errors import FailedError
from bids_app.federated.protocol import Answer, Answers, Arrays, Request, Transport


class SiteFailedError(FailedError):
    """A site did not answer a question, after all attempts; `site` and `reason` say which and why."""

    def __init__(self, site: str, reason: str, attempts: int) -> None:
        super().__init__(f"{site} did not answer after {attempts} attempts: {reason}")
        self.site, self.reason = site, reason


class Rounds:
    """A transport that asks again where a site fails, and keeps the answers of each round in `folder`.

    After a restart, rounds with the same question are answered from `folder`, without a message to a site. attempts:
    how often a question is asked before the site counts as failed; settings: the digest that sites compare.
    """

    def __init__(self, transport: Transport, folder: Path, *, attempts: int = 1, settings: str = "") -> None:
        self.transport, self.folder, self.attempts, self.settings = transport, folder, attempts, settings
        self.number = 0
        folder.mkdir(parents=True, exist_ok=True)

    def ask_all(self, request: Request) -> Answers:
        """The answers of all sites. Raises SiteFailedError for a site that failed in every attempt.

        An answer with a value that is not finite is a failure, too.
        """
        self.number += 1
        request = replace(request, number=self.number, settings=self.settings)
        file, digest = self.folder / f"{self.number:05d}.npz", _digest(request)
        if file.exists() and (saved := _read(file, digest)) is not None:
            return saved
        for _ in range(self.attempts):
            answers = {name: _check(answer) for name, answer in self.transport.ask_all(request).items()}
            failed = {name: answer.failed for name, answer in answers.items() if answer.failed}
            if not failed:
                _write(file, answers, digest)
                return answers
        site, reason = next(iter(failed.items()))
        raise SiteFailedError(site, reason, self.attempts)


def _check(answer: Answer) -> Answer:
    bad = [name for name, array in answer.arrays.items() if not np.isfinite(array).all()]
    return Answer({}, failed=f"{bad[0]} has values that are not finite") if bad else answer


def _digest(request: Request) -> str:
    parts = (request.name, request.map_name, request.classifier, request.fold, request.stage, request.settings)
    digest = hashlib.sha256(repr(parts).encode())
    for owner, arrays in (("", request.arrays), *sorted(request.for_site.items())):
        for name, array in sorted(arrays.items()):
            values = np.ascontiguousarray(array)
            digest.update(f"{owner}/{name} {values.dtype} {values.shape}".encode())
            digest.update(values.tobytes())
    return digest.hexdigest()


def _write(file: Path, answers: Answers, digest: str) -> None:
    """Write the answers of a round, complete or not at all."""
    facts = {"digest": digest, "sites": {name: answer.declined for name, answer in answers.items()}}
    arrays = {
        f"{number}/{name}": array
        for number, answer in enumerate(answers.values())
        for name, array in answer.arrays.items()
    }
    unfinished = file.with_name(f".{file.name}")
    np.savez(unfinished, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
    unfinished.replace(file)


def _read(file: Path, digest: str) -> Mapping[str, Answer] | None:
    """The answers of a round, None if its question was another."""
    with np.load(file) as stored:
        facts = json.loads(str(stored["facts"]))
        if facts["digest"] != digest:
            return None
        arrays: list[dict[str, np.ndarray]] = [{} for _ in facts["sites"]]
        for key in stored.files:
            number, _, name = key.partition("/")
            if name:
                arrays[int(number)][name] = stored[key]
    pairs: list[Arrays] = list(arrays)
    return {name: Answer(part, declined) for (name, declined), part in zip(facts["sites"].items(), pairs, strict=True)}
