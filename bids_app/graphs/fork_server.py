"""The server from which workers are forked: it ends with the run, and is started again when it has been killed.

The kernel ends the server with the thread that started it. So one thread, which lasts as long as the process, starts
the server and every worker: multiprocessing starts a killed server again where the next worker is started.
"""

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import forkserver
from queue import SimpleQueue
from typing import Any

from bids_app.graphs.parent_death import RUN_PID

PRELOAD = ["nibabel", "scipy.ndimage", "nipype.pipeline.engine", "bids_app.graphs.multiproc"]
LOST = 255  # the exit code that multiprocessing gives to a process of which a killed server can tell nothing more


def start_context(preload: list[str]) -> Any:
    """The context that starts processes: a running fork server that imports `preload` and ends with this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bids_app.graphs.end_with_run", *PRELOAD, *preload, "bids_app.graphs.freeze_gc"])
    os.environ[RUN_PID] = str(os.getpid())  # it stays, for a server that is started again
    call_in_lasting_thread(forkserver.ensure_running)
    return context


def call_in_lasting_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in the thread that lasts as long as this process, one call after the other."""
    future: Future[Any] = Future()
    _lasting_thread(os.getpid()).put((future, function, args))
    return future.result()


@functools.cache
def _lasting_thread(pid: int) -> "SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]]":  # noqa: ARG001
    """The queue of the thread of this process: a fork of it has none."""
    queue: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()
    threading.Thread(target=_call_each, args=(queue,), daemon=True).start()
    return queue


def _call_each(queue: "SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]]") -> None:
    while True:
        future, function, args = queue.get()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        del future, function, args  # while it waits for the next
