"""The coordinator's side of NVIDIA FLARE: a running server, and jobs until the plan has results or a site stops it."""

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bids_app.errors import FailedError
from bids_app.federated import kits, study

log = logging.getLogger("pellucid")
SECONDS_TO_END = 5
MIN_SITES = 2


@contextlib.contextmanager
def running(workspace: Path, folder: Path, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running server or client of `workspace`, ended with all its jobs on leaving; file: its log."""
    folder.mkdir(parents=True, exist_ok=True)
    _end(_list_processes(workspace), signal.SIGKILL)  # of a run that was killed
    process = kits.start(workspace, folder, file)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)  # nothing if it has ended
            _end(_list_processes(workspace), number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)


def _end(processes: Iterable[int], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _list_processes(workspace: Path) -> list[int]:
    """The processes of a workspace, by their command lines: a job's has its own session, and outlives its client."""
    wanted, processes = os.fsencode(workspace), []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if wanted in file.read_bytes().split(b"\0"):
                processes.append(int(file.parent.name))
    return processes


def ask_sites(plan: study.Plan, folder: Path, admin: Path, *, drop: bool) -> dict[str, str]:
    """Run the plan until it has results; returns the sites that were dropped, with the reason.

    A job that ended without naming a site (a process was killed) is submitted again. Raises FailedError where a site
    failed and is not to be dropped, or too few would remain.
    """
    from bids_app.federated.flare import SitesMissingError, submit

    dropped: dict[str, str] = {}
    attempts = 0
    while True:
        attempts += 1
        study.write_plan(folder, plan)
        log.info("asking %s, settings %s", ", ".join(plan.sites), plan.settings[:12])
        try:
            job = kits.write_job(folder, plan.sites)
            status = submit(admin, job, plan.sites, wait=plan.timeout, done=partial(study.has_results, folder))
            if study.has_results(folder):
                return dropped
            site, reason = study.read_failure(folder) or (None, f"the job ended ({status})")
        except SitesMissingError as error:
            site, reason = error.site, str(error)
        if site is None and attempts < plan.attempts:
            log.warning("%s; asking again, from the question that was not answered", reason)
            continue
        if site is None or not drop or len(plan.sites) <= MIN_SITES:
            raise FailedError(f"{reason}; completed rounds are kept, and the same command goes on from them")
        log.warning("%s is dropped: %s; the analysis starts again without it", site, reason)
        plan = replace(plan, sites=tuple(name for name in plan.sites if name != site))
        dropped[site], attempts = reason, 0
