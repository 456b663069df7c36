"""nipype's MultiProc with a process for each node, so that a killed worker fails its own node and no other.

nipype's own pool waits forever when a worker is killed, and Python's executor then abandons all running tasks.
"""

import itertools
import logging
import os
import signal
import threading
import traceback
from concurrent.futures import Executor, Future
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from networkx import DiGraph
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, run_node
from nipype.pipeline.plugins.tools import report_nodes_not_run
from nipype.utils.misc import str2bool
from nipype.utils.profiler import get_system_total_memory_gb

from bids_app.graphs.fork_server import LOST, call_in_lasting_thread, start_context
from bids_app.graphs.parent_death import watch_parent
from bids_app.graphs.private_files import PrivateFiles
from bids_app.graphs.schedule import Schedule
from bids_app.run_log import node_context
from bids_app.settings import Compute

ATTEMPTS, PAUSE = 3, 1.0  # at a node whose server was killed, and before the next, s
SERVER_LOST = "the process that starts workers was killed"
REMEDY = "several times; unless it was stopped by hand, it ran out of memory. Lower --nprocs, or provide more memory"

log = logging.getLogger("pellucid")


class ServerLostError(Exception):
    """The server from which workers are forked was killed."""


class WorkerDiedError(Exception):
    """A worker ended without a result, with the exit code `code`."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class ProcessEach(Executor):
    """Runs each call in a process of its own, forked from a clean server."""

    def __init__(self, preload: list[str]) -> None:
        self._context = start_context(preload)
        self._workers: set[Any] = set()
        self._stopped = threading.Event()

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Start at once; nipype itself counts processors and memory."""
        future: Future = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(target=self._wait, args=(future, function, args, kwargs), daemon=True).start()
        return future

    def _wait(self, future: Future, function: Any, args: tuple, kwargs: dict) -> None:
        """Set the result. Where the server was killed, and its workers with it, a new server starts the node again."""
        node, _, taskid = args
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    result = self._run_once(function, args, kwargs)
                    break
                except ServerLostError:
                    if self._stopped.wait(PAUSE):  # it may be that all processes of the run are being ended
                        return
                    if attempt == ATTEMPTS:
                        raise
                    log.warning("%s: it is started again", SERVER_LOST, extra=node_context(node.fullname))
        except WorkerDiedError as error:
            result = {"result": None, "traceback": [death_message(node, error.code)], "taskid": taskid}
        except ServerLostError:
            result = {"result": None, "traceback": [f"MemoryError: {SERVER_LOST} {REMEDY}\n"], "taskid": taskid}
        except Exception as error:
            result = {"result": None, "traceback": [f"{type(error).__name__}: {error}"], "taskid": taskid}
        if result is not None:
            future.set_result(result)

    def _run_once(self, function: Any, args: tuple, kwargs: dict) -> dict[str, Any] | None:
        """The result of a call in a new process; None if the run was stopped before it was started."""
        receiver, sender = self._context.Pipe(duplex=False)
        worker = self._context.Process(target=_work, args=(sender, function, args, kwargs))
        with receiver:
            with sender:
                try:
                    if not call_in_lasting_thread(self._start, worker):
                        return None
                except (ConnectionError, EOFError) as error:
                    raise ServerLostError from error
            try:
                result: dict[str, Any] = receiver.recv()
            except EOFError as error:
                # where processes are started, which asks for the exit codes of all others: two threads must not do so
                call_in_lasting_thread(worker.join)
                if worker.exitcode == LOST:
                    raise ServerLostError from error
                raise WorkerDiedError(worker.exitcode) from error
            finally:
                self._workers.discard(worker)
        worker.join()
        return result

    def _start(self, worker: Any) -> bool:
        """Start a process; False if the run was stopped before."""
        if self._stopped.is_set():
            return False
        worker.start()
        self._workers.add(worker)
        if self._stopped.is_set():  # while it was started
            worker.terminate()
        return True

    def stop(self) -> None:
        """Terminate running processes, and start no more; otherwise Python would wait for them."""
        self._stopped.set()
        for worker in list(self._workers):
            worker.terminate()
        for worker in list(self._workers):
            worker.join()


def _work(sender: Connection, function: Any, args: tuple, kwargs: dict) -> None:
    watch_parent()
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are reported once, by their crash files
    try:
        result = function(*args, **kwargs)
    except Exception as error:  # nipype's function raises where a node could not even store that it failed
        result = {"result": None, "traceback": traceback.format_exception(error), "taskid": args[2]}
    sender.send(result)
    sender.close()


def death_message(node: Any, code: int | None) -> str:
    """One line about a worker that ended without a result."""
    how = f"by signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
    return (
        f"MemoryError: the process of {node.fullname} ended {how}; unless it was stopped by hand, it ran out of "
        f"memory ({node.mem_gb:g} GB were planned). Lower --nprocs, or provide more memory\n"
    )


class OneProcessEach(PrivateFiles, MultiProcPlugin):
    """MultiProc with one process per node, which waits for nodes to finish instead of looking for finished ones.

    nipype's loop sums the matrix of dependencies and collects garbage ten times a second, which took a third of a core
    from the workers with 72 participants.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args={**plugin_args, "mp_context": "forkserver"})
        self.pool.shutdown()
        self.pool = ProcessEach(plugin_args.get("preload", []))

    def stop(self) -> None:
        """Terminate running processes, after an interrupt or at the first crash."""
        self.pool.stop()

    def run(self, graph: DiGraph, config: dict[str, Any], updatehash: bool = False) -> None:  # noqa: ARG002
        """Run the nodes of a graph, as nipype's own method does. Raises RuntimeError at the end if some failed."""
        self._prerun_check(graph)
        stops = str2bool(config["execution"]["stop_on_first_crash"])
        schedule, finished = Schedule(graph), SimpleQueue()
        running: set[Any] = set()
        task_ids = itertools.count()
        not_run: list[dict[str, Any]] = []
        errors: list[str] = []
        while True:
            while node := schedule.take(lambda node: self._fits(node, running)):
                if _is_cached(node):
                    self._status_callback(node, "end")
                    schedule.finish(node)
                    continue
                running.add(node)
                self._status_callback(node, "start")
                future = self.pool.submit(run_node, node, False, next(task_ids))
                future.add_done_callback(partial(_put, finished, node))
            if not running:
                break
            node, result = finished.get()
            running.discard(node)
            if not result["traceback"]:
                self._status_callback(node, "end")
                schedule.finish(node)
                continue
            self._status_callback(node, "exception")
            crash_file = self._report_crash(node, result=result)
            errors.append("".join(result["traceback"]))
            if stops:
                raise RuntimeError(errors[0])
            not_run.append({"node": node, "dependents": schedule.fail(node), "crashfile": crash_file})
        report_nodes_not_run(not_run)
        if errors:
            raise RuntimeError(errors[0])

    def _fits(self, node: Any, running: set[Any]) -> bool:
        """Whether processors and memory are free for a node; one that needs more than there is runs alone."""
        processors = sum(min(other.n_procs, self.processors) for other in running)
        memory = sum(min(other.mem_gb, self.memory_gb) for other in running)
        return (
            processors + min(node.n_procs, self.processors) <= self.processors
            and memory + min(node.mem_gb, self.memory_gb) <= self.memory_gb
        )


def _put(finished: SimpleQueue, node: Any, future: Future) -> None:
    finished.put((node, future.result()))


def _is_cached(node: Any) -> bool:
    """Whether a node was computed before with the same inputs; it is asked only if it has a folder."""
    if not Path(node.output_dir()).is_dir():
        return False
    try:
        cached, updated = node.is_cached()
    except Exception:  # whatever is left of an interrupted run: the node is run again
        return False
    return cached and updated and not (node.overwrite or (node.overwrite is None and node.interface.always_run))


def memory_gb(compute: Compute) -> float | None:
    """The memory that all nodes together may use, GB; None where the user's plugin decides."""
    if compute.mem_mb is not None:
        return compute.mem_mb / 1000
    return None if compute.use_plugin is not None else 0.9 * get_system_total_memory_gb()


def make_plugin(*, nprocs: int, mem_mb: int | None, preload: list[str]) -> OneProcessEach:
    """The default plugin. Memory defaults to what nipype finds, less a tenth."""
    memory = {} if mem_mb is None else {"memory_gb": mem_mb / 1000}
    os.environ["NIPYPE_NO_ET"] = "1"
    return OneProcessEach({"n_procs": nprocs, "raise_insufficient": False, "preload": preload, **memory})
