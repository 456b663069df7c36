"""A thousand damaged inputs: an exit code of docs/usage.md, one message that names the file, nothing half-written.

Case N is made by the seed N: PELLUCID_FUZZ=17 or PELLUCID_FUZZ=0:2000 runs others than the first thousand, and
`pytest -m slow tests/test_fuzz.py -k seed17-` repeats one.
"""

import contextlib
import io
import logging
import os
import random
import re
import shutil
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator

import fuzz_targets
import pytest
from fuzz_inputs import GROUP, Study, write_study
from fuzz_mutations import damage
from fuzz_targets import TARGETS, Target

from bids_app import apply, group, participant
from bids_app.errors import FailedError, PellucidError
from bids_app.run import main

pytestmark = pytest.mark.slow
CODES = {0, 1, 16, 17, 18, 64, 65, 66, 73}  # those of docs/usage.md but 70, an internal error
SECONDS = 60
FIRST, LAST = 0, 1000


class PlannedError(PellucidError):
    """Everything was checked, and computing would begin."""

    code = 0


class HangError(BaseException):
    """A case took too long; nothing that catches errors may catch this."""


def seeds() -> list[int]:
    """The seeds to run: the first thousand unless PELLUCID_FUZZ names one, or some as FIRST:LAST."""
    first, _, last = os.environ.get("PELLUCID_FUZZ", f"{FIRST}:{LAST}").partition(":")
    return list(range(int(first), int(last or int(first) + 1)))


def target_of(seed: int) -> Target:
    """The file that a case damages."""
    return TARGETS[seed % len(TARGETS)]


def stop_before_computing(patch: pytest.MonkeyPatch) -> None:
    """Let runs end where they would compute; with nothing to compute, the participant level runs to its end."""
    run = participant.run_participant_graph

    def end(planned, settings):
        if planned.jobs and planned.failed:
            raise FailedError("; ".join(f"{name} failed: {reason}" for name, reason in planned.failed.items()))
        if planned.jobs:
            raise PlannedError(f"{len(planned.jobs)} to compute")
        return run(planned, settings)

    def refuse(*_):
        raise PlannedError("all checked")

    patch.setattr(participant, "run_participant_graph", end)
    patch.setattr(group, "run_group_graph", refuse)
    patch.setattr(apply, "run_application_graph", refuse)


def train(study: Study, patch: pytest.MonkeyPatch) -> None:
    """Train a model, and let all participants be complete."""
    assert main([str(study.bids), str(study.out), *GROUP, "--covariates", "tiv", "sex"]) == 0
    patch.setattr(participant, "run_participant_graph", fuzz_targets.mark_done(study))
    assert main([str(study.bids), str(study.out), *fuzz_targets.PARTICIPANT]) == 0


@pytest.fixture(scope="module")
def study(tmp_path_factory, with_template, invented_gm) -> Iterator[Study]:
    """The undamaged study, which runs use up to the point where they would compute."""
    study = write_study(tmp_path_factory.mktemp("fuzz"), invented_gm)
    with_template(study.out / ".work")
    with pytest.MonkeyPatch.context() as patch:
        train(study, patch)
    with pytest.MonkeyPatch.context() as patch:
        stop_before_computing(patch)
        yield study


@contextlib.contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Raise HangError when the time is over."""

    def ring(*_) -> None:
        raise HangError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def finished(study: Study) -> dict[str, tuple[int, int]]:
    """What an earlier run completed, the maps of participants and the analysis: sizes, and times of the last change."""
    files = [*study.out.glob("sub-*/*/*_*"), *study.out.glob("group/*/**/*")]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()}


def leftovers(study: Study) -> list[str]:
    """What is not finished: staged files, locks, crash files."""
    found = [*study.out.glob(".tmp/*"), *study.out.glob(".work/.tmp/*"), *study.out.rglob("*crash-*")]
    return [str(file.relative_to(study.out)) for file in found]


@contextlib.contextmanager
def damaged(study: Study, seed: int) -> Iterator[str]:
    """Damage the file of a case, and put everything back afterwards, with its times, which runs compare."""
    target, of = target_of(seed), random.Random(seed)
    file = target.file(study)
    others = sorted(path for path in study.files.iterdir() if path.is_file())
    companions = [path for path in {file, *file.parent.iterdir(), *file.parent.parent.glob("*.toml")} if path.is_file()]
    before = {path: (path.read_bytes(), path.stat()) for path in companions}
    try:
        change = damage(file, target.kind, of, [path for path in others if path != file])
        if target.after is not None:
            target.after(study, file)
        yield f"{file.name}: {change}"
    finally:
        if file.is_dir():
            shutil.rmtree(file)
        for path, (content, stat) in before.items():
            if path.is_symlink() or not path.exists() or path.read_bytes() != content:
                path.unlink(missing_ok=True)
                path.write_bytes(content)
            if path.stat().st_mtime_ns != stat.st_mtime_ns:  # also where the same bytes were written again
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def call(study: Study, target: Target) -> int:
    """Run the command line, or the step with what the command line does about its errors."""
    if target.words is not None:
        return main([str(study.bids), str(study.out), *target.words(study)])
    with fuzz_targets.in_empty_folder():
        try:
            target.step(study, target.file(study))
        except PellucidError as error:
            print(f"pellucid: {error}", file=os.sys.stderr)
            return error.code
        except Exception:
            traceback.print_exc()
            return PellucidError.code
    return 0


def run_case(seed: int, study: Study) -> tuple[int, str, list[str]]:
    """The exit code, the messages and all that is wrong with a case."""
    before, logs = finished(study), set(study.out.glob("logs/*"))
    screen, lines = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(lines)
    logging.getLogger("pellucid").addHandler(handler)
    with damaged(study, seed) as change, warnings.catch_warnings(), contextlib.redirect_stderr(screen):
        warnings.simplefilter("ignore")
        try:
            with limit(SECONDS):
                code = call(study, target_of(seed))
        except HangError as error:
            code = -1
            print(error, file=screen)
        finally:
            logging.getLogger("pellucid").removeHandler(handler)
    message = screen.getvalue() + lines.getvalue()
    wrong = [f"{change}"] if code not in CODES else []
    text = message + "".join(file.read_text() for file in set(study.out.glob("logs/*")) - logs)
    wrong += ["a traceback"] if "Traceback" in text else []
    wrong += [f"left: {left}" for left in [leftovers(study)] if left]
    changed = {file for file, _ in before.items() ^ finished(study).items()}
    wrong += [f"finished files changed: {sorted(changed)}"] if changed else []
    wrong += ["no message or several"] if code > 1 and screen.getvalue().count("pellucid: ") != 1 else []
    wrong += ["file not named"] if code and not re.search(target_of(seed).named, message) else []
    for file in study.out.rglob("*crash-*"):
        message += file.read_text()
        file.unlink()
    return code, f"{change}\n{message}", wrong


COUNTS: Counter[int] = Counter()


@pytest.mark.parametrize("seed", seeds(), ids=lambda seed: f"seed{seed}-")
def test_damaged_input_ends_with_a_documented_exit_code_and_a_message_that_names_it(study, seed):
    code, message, wrong = run_case(seed, study)
    COUNTS[code] += 1
    assert not wrong, f"seed {seed}: {wrong}\nexit code {code}\n{message}"


def test_undamaged_study_is_accepted_everywhere(study):
    for target in TARGETS:
        assert call(study, target) == 0, target


def test_every_kind_of_outcome_occurs(study):
    print(dict(COUNTS))
    assert len(seeds()) < LAST or {0, 1, 16, 64, 65, 66} <= set(COUNTS)
